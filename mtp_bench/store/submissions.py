"""What was handed to a scheduler: ``runs/slurm/<number>/submission.json``, one a batch of jobs.

It is written before the scheduler is asked (the intent, under a name that nothing else has) and
again with the scheduler's id, so that a submission whose author died in between is found by name.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

from mtp_bench.store import lock
from mtp_bench.store.files import make_folder, read_model, write_atomically
from mtp_bench.store.paths import JobPaths
from mtp_bench.store.states import read_state_file
from mtp_bench.suite.fields import Model


class Submission(Model):
    """Jobs that were submitted together, in the order of their array."""

    number: int
    name: str
    """The scheduler's name for it."""
    cluster: str
    jobs: tuple[str, ...]
    memory: str | None
    """What each process was given, as the site profile has it."""
    user: str
    time: float
    """Seconds since the epoch."""
    slurm_id: str | None = None
    """None: nobody has noted yet whether the scheduler took it."""

    def task_id(self, task: int) -> str | None:
        """The scheduler's id of one of its jobs; an array of one is none."""
        if self.slurm_id is None or len(self.jobs) == 1:
            return self.slurm_id
        return f"{self.slurm_id}_{task}"


def root(runs: Path) -> Path:
    """Where submissions lie; its lock keeps two from submitting at once."""
    return runs / "slurm"


@contextmanager
def alone(runs: Path, wait: Callable[[], None] | None = None) -> Iterator[bool]:
    """Hold the lock of all submissions to these run folders; whether it could be had.

    ``wait``: called every second while somebody else has it; None leaves it to them.
    """
    while (taken := lock.acquire(root(runs))) is None and wait is not None:
        wait()
        time.sleep(1.0)
    with taken or nullcontext():
        yield taken is not None


def folder(runs: Path, number: int) -> Path:
    """A submission's own: the scheduler's logs lie there too."""
    return root(runs) / f"{number:06}"


def read(runs: Path, number: int) -> Submission | None:
    """One submission; None where there is none, or none that can be read."""
    return read_model(Submission, folder(runs, number) / "submission.json")


def log_of(runs: Path, submission: Submission, task: int) -> Path:
    """What the scheduler caught of a job's first process, before and beside the job's own log."""
    return folder(runs, submission.number) / f"{submission.task_id(task)}_0_log.err"


def early_log(runs: Path, paths: JobPaths) -> Path | None:
    """That of a job's last submission, where there is one and it says something."""
    last = read_state_file(paths)
    found = read(runs, last.submission) if last.submission is not None else None
    if found is None or found.slurm_id is None:
        return None
    path = log_of(runs, found, last.task)
    return path if path.exists() and path.stat().st_size else None


def write(runs: Path, submission: Submission) -> None:
    text = submission.model_dump_json()
    write_atomically(folder(runs, submission.number) / "submission.json", text)


def next_number(runs: Path) -> int:
    """A number, and its folder, that no submission had; call it under the lock of ``root``."""
    make_folder(root(runs))
    taken = [int(p.name) for p in root(runs).iterdir() if p.name.isdigit()]
    number = max(taken, default=0) + 1
    make_folder(folder(runs, number))
    return number
