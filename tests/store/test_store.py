"""States, locks and atomic files, with real processes that really die."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from mtp_bench.errors import UserError
from mtp_bench.store import lock, scalars
from mtp_bench.store.files import write_atomically
from mtp_bench.store.paths import JobPaths
from mtp_bench.store.states import StateFile, read_state_file, state_of, write_state

HOLD = """
import sys, time
from pathlib import Path
from mtp_bench.store import lock
taken = lock.acquire(Path(sys.argv[1]))
print("taken" if taken else "refused", flush=True)
if taken:
    with taken:
        sys.stdin.readline()
"""


@pytest.fixture
def paths(tmp_path: Path) -> JobPaths:
    return JobPaths(tmp_path / "runs" / "job", tmp_path / "results" / "records", "job")


def hold(folder: Path) -> subprocess.Popen[str]:
    """Another process that takes the lock, and what it said."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    process.said = process.stdout.readline().strip()  # type: ignore[attr-defined]
    return process


def end(process: subprocess.Popen[str], *, kill: bool = False) -> None:
    if kill:
        process.kill()
    process.communicate("\n")


def test_one_of_two_processes_gets_the_lock(tmp_path: Path) -> None:
    first = hold(tmp_path)
    assert lock.acquire(tmp_path) is None
    assert lock.holder(tmp_path) is not None
    end(first)
    again = lock.acquire(tmp_path)
    assert again is not None


def test_a_killed_holder_leaves_a_stale_lock(tmp_path: Path) -> None:
    process = hold(tmp_path)
    end(process, kill=True)
    assert lock.holder(tmp_path) is None
    again = lock.acquire(tmp_path)
    assert again is not None
    assert again.number == 2


def test_a_lock_of_a_later_process_with_the_same_number_is_stale(tmp_path: Path) -> None:
    taken = lock.acquire(tmp_path)
    assert taken is not None
    path = tmp_path / "lock.1"
    path.write_text(json.dumps({**json.loads(path.read_text()), "started": "1"}))
    assert lock.holder(tmp_path) is None


def test_a_silent_holder_on_another_host_goes_stale(tmp_path: Path) -> None:
    taken = lock.acquire(tmp_path)
    assert taken is not None
    path = tmp_path / "lock.1"
    path.write_text(json.dumps({**json.loads(path.read_text()), "host": "elsewhere"}))
    assert lock.holder(tmp_path) is not None
    old = path.stat().st_mtime - lock.STALE_SECONDS - 1
    os.utime(path, (old, old))
    assert lock.holder(tmp_path) is None


def test_who_lost_the_lock_knows_it(tmp_path: Path) -> None:
    taken = lock.acquire(tmp_path)
    assert taken is not None
    with taken:
        assert taken.is_mine()
        path = tmp_path / "lock.1"
        path.write_text(json.dumps({**json.loads(path.read_text()), "started": "1"}))
        other = lock.acquire(tmp_path)
        assert other is not None
        assert not taken.is_mine()
    assert other.is_mine()


def test_many_takers_of_a_stale_lock_make_one_holder(tmp_path: Path) -> None:
    end(hold(tmp_path), kill=True)
    takers = [
        subprocess.Popen(
            [sys.executable, "-c", HOLD, str(tmp_path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(6)
    ]
    said = []
    for taker in takers:
        assert taker.stdout is not None
        said.append(taker.stdout.readline().strip())
    for taker in takers:
        taker.communicate("\n")
    assert said.count("taken") == 1


def test_states_are_what_the_disk_says(paths: JobPaths) -> None:
    assert state_of(paths) == "pending"
    write_state(paths, StateFile(state="failed", message="why"))
    assert state_of(paths) == "failed"
    write_state(paths, StateFile(state="running"))
    assert state_of(paths) == "pending"
    holder = hold(paths.run)
    assert state_of(paths) == "running"
    end(holder)
    paths.records.mkdir(parents=True)
    paths.record.write_text("{}")
    assert state_of(paths) == "done"


@pytest.mark.parametrize("content", ["", "{", '{"state": "dancing"}', "\x00\x00"])
def test_a_broken_state_file_means_pending(content: str, paths: JobPaths) -> None:
    paths.run.mkdir(parents=True)
    paths.state.write_text(content)
    assert read_state_file(paths) == StateFile()
    assert state_of(paths) == "pending"


def test_a_failed_write_leaves_the_old_file_and_no_litter(tmp_path: Path) -> None:
    target = tmp_path / "file"
    target.mkdir()
    (target / "inside").touch()
    with pytest.raises(UserError, match="cannot be written"):
        write_atomically(target, "new")
    assert [p.name for p in tmp_path.iterdir()] == ["file"]
    assert (target / "inside").exists()


WRITE = """
import sys
from pathlib import Path
from mtp_bench.store.paths import JobPaths
from mtp_bench.store.states import StateFile, write_state
paths = JobPaths(Path(sys.argv[1]), Path(sys.argv[1]), "job")
write_state(paths, StateFile(state="failed", message="old"))
write_state(paths, StateFile(state="failed", message="new"))
"""


@pytest.mark.parametrize(("point", "left"), [("state.before@2", "old"), ("state.after@2", "new")])
def test_a_kill_around_a_state_leaves_a_whole_one(point: str, left: str, tmp_path: Path) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", WRITE, str(tmp_path)],
        env={**os.environ, "MTP_BENCH_KILL_AT": point},
        check=False,
    )
    assert ended.returncode == -signal.SIGKILL
    assert read_state_file(JobPaths(tmp_path, tmp_path, "job")).message == left


def test_curves_are_cut_at_the_resumed_iteration(tmp_path: Path) -> None:
    path = tmp_path / "scalars.jsonl"
    for iteration in range(1, 6):
        scalars.append(path, {"iteration": iteration})
    with path.open("a") as stream:
        stream.write('{"iteration": 6, "lo')
    scalars.cut(path, 3)
    assert [row["iteration"] for row in scalars.read(path)] == [1, 2, 3]
