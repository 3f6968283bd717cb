"""How a run goes and how it ended, whoever drives it."""

import signal
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

from mtp_bench.errors import UserError
from mtp_bench.store.paths import job_paths
from mtp_bench.store.scalars import read_progress
from mtp_bench.store.states import FAILED, State, read_state_file, state_of, write_state
from mtp_bench.suite.plan import Job, Plan
from mtp_bench.suite.schema import Roots


@dataclass(frozen=True)
class Snapshot:
    """What is going on: the state of every job, and how far the running ones are."""

    states: dict[str, State]
    progress: dict[str, dict[str, Any]]


def snapshot(roots: Roots, states: dict[str, State]) -> Snapshot:
    """With how far the running jobs are, by the disk."""
    running = [job for job, state in states.items() if state == "running"]
    progress = {job: read_progress(job_paths(roots, job).progress) for job in running}
    return Snapshot(states, progress)


@dataclass(frozen=True)
class Failure:
    job: str
    state: State
    message: str
    log: Path


@dataclass(frozen=True)
class Summary:
    """How a run ended."""

    states: dict[str, State]
    failures: tuple[Failure, ...]
    interrupted: bool


def blocked(jobs: Iterable[Job], states: Mapping[str, State]) -> list[tuple[str, str]]:
    """Jobs that wait for one which failed, and the words for it."""
    found = []
    for job in jobs:
        needed = next((need for need in job.needs if states[need] in FAILED), None)
        if needed is not None and states[job.id] in ("pending", "submitted"):
            how = "was cancelled" if states[needed] == "cancelled" else "failed"
            found.append((job.id, f"needs {needed}, which {how}"))
    return found


@contextmanager
def containing(broken: dict[str, str], job: str) -> Iterator[None]:
    """One job's broken folder or full disk, which is noted, stops no other job."""
    try:
        yield
    except (UserError, OSError) as error:
        broken[job] = str(error)


def put_back(roots: Roots, job: str) -> None:
    """Pending again, and in nobody's queue; what is known of its attempts stays."""
    paths = job_paths(roots, job)
    update = {"state": "pending", "message": "", "submission": None}
    write_state(paths, read_state_file(paths).model_copy(update=update))


def say_last(roots: Roots, job: str, state: State, message: str) -> None:
    """Write a job's last word; what is known of its attempts stays."""
    paths = job_paths(roots, job)
    last = read_state_file(paths)
    write_state(paths, last.model_copy(update={"state": state, "message": message}))


def summed_up(
    roots: Roots, states: dict[str, State], broken: Mapping[str, str], interrupted: bool
) -> Summary:
    """How a run ended. ``broken``: jobs whose folders cannot be used, and why."""
    found = []
    for job, state in states.items():
        if state in FAILED:
            paths = job_paths(roots, job)
            message = broken.get(job) or read_state_file(paths).message
            found.append(Failure(job, state, message, paths.log))
    return Summary(states, tuple(found), interrupted)


@contextmanager
def on_stop(action: Callable[[int], None]) -> Iterator[None]:
    """Meanwhile Ctrl-C and SIGTERM do this alone; it is told how many of them there were."""
    presses = count(1)
    stops = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.signal(number, lambda *_: action(next(presses))) for number in stops}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def retry_failed(plan: Plan, roots: Roots) -> list[str]:
    """Put failed and cancelled jobs back to pending; their attempts stay on record."""
    again = [job.id for job in plan.jobs if state_of(job_paths(roots, job.id)) in FAILED]
    for job in again:
        put_back(roots, job)
    return again
