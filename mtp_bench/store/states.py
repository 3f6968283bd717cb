"""The state of a job: what the disk says, never what somebody remembers.

``state.json`` holds the last word of a worker; the record decides about *done*, the lock about
*running*.
"""

from datetime import UTC, datetime
from typing import Literal

from mtp_bench.store import faults, lock
from mtp_bench.store.files import make_folder, read_model, write_atomically
from mtp_bench.store.paths import JobPaths
from mtp_bench.store.records import Attempt
from mtp_bench.suite.fields import Model

State = Literal[
    "pending", "submitted", "running", "done", "failed", "oom", "timeout", "cancelled", "skipped"
]
FAILED: frozenset[State] = frozenset({"failed", "oom", "timeout", "cancelled"})
ENDED: frozenset[State] = FAILED | {"done", "skipped"}


class StateFile(Model):
    """``state.json``: the last word, why, and every attempt so far."""

    state: State = "pending"
    message: str = ""
    attempts: tuple[Attempt, ...] = ()
    submission: int | None = None
    """Number of the last submission to a scheduler; one that ended is told by the scheduler."""
    task: int = 0
    """Place of the job in that submission."""


def now() -> str:
    """This moment in UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def read_state_file(paths: JobPaths) -> StateFile:
    """The last word on disk; a fresh one where there is none, or where it is no longer readable."""
    return read_model(StateFile, paths.state) or StateFile()


def write_state(paths: JobPaths, state: StateFile) -> None:
    make_folder(paths.run)
    faults.point("state.before")
    write_atomically(paths.state, state.model_dump_json(indent=1))
    faults.point("state.after")


def look(paths: JobPaths) -> tuple[State, StateFile]:
    """The state of a job as the disk has it, and its last word.

    A worker that was killed leaves ``running`` behind and no live lock: such a job is pending
    again, or submitted where a scheduler has it, which alone knows whether it still does.
    """
    if paths.record.exists():
        return "done", StateFile()
    held = lock.holder(paths.run) is not None
    last = read_state_file(paths)
    if held:
        return "running", last
    if last.state not in ("pending", "submitted", "running", "done"):
        return last.state, last
    return ("pending" if last.submission is None else "submitted"), last


def state_of(paths: JobPaths) -> State:
    return look(paths)[0]


def leave_word(paths: JobPaths, state: State, message: str) -> None:
    """What one of the further processes died of, for the first one, or who judges it, to tell."""
    write_atomically(paths.word, StateFile(state=state, message=message).model_dump_json())


def left_word(paths: JobPaths) -> StateFile | None:
    """The word of a further process of the last attempt, where one left one."""
    return read_model(StateFile, paths.word)


def end_attempt(state: StateFile, outcome: State, message: str, seconds: float) -> StateFile:
    *before, last = state.attempts
    closed = last.model_copy(update={"ended": now(), "outcome": outcome, "seconds": seconds})
    update = {"state": outcome, "message": message, "attempts": (*before, closed)}
    return state.model_copy(update=update)
