"""What a job decides as a scheduler starts it: whose it is, what it needs, when to stop."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from mtp_bench.executors import node
from mtp_bench.executors.node import Terms
from mtp_bench.store.attempts import MOST_IDLE
from mtp_bench.store.paths import JobPaths
from mtp_bench.store.records import Attempt
from mtp_bench.store.states import FAILED, State, StateFile, look, read_state_file, write_state
from mtp_bench.suite.schema import JobFile, Resources
from tests.executors.conftest import CONTEXT, Bench

AMPLE = Terms(limit=3600, margin=60, requeue=False)
NONE = Terms(limit=60, margin=60, requeue=False)


def on_node(bench: Bench, number: int, terms: Terms) -> None:
    """One start by a scheduler, in a process of its own."""
    process = CONTEXT.Process(target=node.run, args=(bench.paths.job_file, number, terms))
    process.start()
    process.join()


def submitted(bench: Bench, number: int, **update: object) -> None:
    last = read_state_file(bench.paths)
    write_state(bench.paths, last.model_copy(update={"submission": number, **update}))


def test_a_submitted_job_runs(bench: Bench, undisturbed: Bench) -> None:
    submitted(bench, 3, state="submitted")
    assert look(bench.paths)[0] == "submitted"
    on_node(bench, 3, AMPLE)
    assert bench.record()["metrics"] == undisturbed.record()["metrics"]


def test_a_job_that_was_submitted_anew_leaves(bench: Bench) -> None:
    submitted(bench, 4, state="submitted")
    on_node(bench, 3, AMPLE)
    assert not bench.paths.record.exists()
    assert read_state_file(bench.paths).attempts == ()
    assert "submission 3 is out of date: 4 has this job" in bench.paths.log.read_text()


def test_no_time_and_no_progress_would_be_so_for_ever(bench: Bench) -> None:
    submitted(bench, 1)
    on_node(bench, 1, NONE)
    last = read_state_file(bench.paths)
    assert last.state == "timeout"
    assert "no further than iteration 0 within its time limit" in last.message
    assert last.submission == 1


@pytest.mark.parametrize(
    ("parent", "state", "message"),
    [
        ("failed", "cancelled", "needs parent, which failed"),
        ("cancelled", "cancelled", "needs parent, which failed"),
        ("pending", "pending", "needs parent, which is pending"),
    ],
)
def test_parents_are_looked_at_again(
    parent: State, state: State, message: str, bench: Bench
) -> None:
    """SLURM takes a parent that it has forgotten for one that ended well."""
    write_state(JobPaths(bench.paths.run.parent / "parent", Path(), "parent"), told(parent))
    file = JobFile.model_validate_json(bench.paths.job_file.read_text())
    needing = file.model_copy(update={"needs": ("parent",)})
    bench.paths.job_file.write_text(needing.model_dump_json())
    bench.attempt()
    last = read_state_file(bench.paths)
    assert (last.state, last.message) == (state, message)
    assert not bench.paths.record.exists()
    assert (state in FAILED) == (parent in FAILED)


def told(state: State) -> StateFile:
    return StateFile(state=state)


def test_attempts_that_get_nowhere_come_to_an_end(bench: Bench) -> None:
    lost = Attempt(
        started="2026-01-01T00:00:00+00:00",
        ended="2026-01-01T00:00:01+00:00",
        host="n1",
        outcome="lost",
        from_iteration=0,
        seconds=1.0,
    )
    write_state(bench.paths, StateFile(attempts=(lost,) * MOST_IDLE))
    assert bench.attempt() == 1
    last = read_state_file(bench.paths)
    assert last.state == "timeout"
    assert f"{MOST_IDLE} attempts in a row got no further than iteration 0" in last.message
    write_state(bench.paths, last.model_copy(update={"state": "pending"}))  # --retry-failed
    assert bench.attempt() == 0


def test_a_kill_before_the_first_checkpoint_leaves_no_points(
    tmp_path: Path, make_bench: Callable[..., Bench], undisturbed: Bench
) -> None:
    bench = make_bench(tmp_path, Resources(checkpoint_seconds=1e6))
    bench.attempt(MTP_BENCH_KILL_AT="checkpoint.before")
    assert len(bench.curve()) > 40
    assert not list(bench.paths.checkpoints.glob("iter_*"))
    assert bench.attempt() == 0
    assert bench.curve() == undisturbed.curve()
