"""What happens on a compute node: one job, from the call of the scheduler to its exit code.

The scheduler starts a requeued job with the same words as before, so everything that matters is
found on the disk: whether the job is still this submission's, whether it is done, where it goes on.
"""

import contextlib
import os
import time
import traceback
from dataclasses import dataclass
from pathlib import Path

from mtp_bench.errors import UserError
from mtp_bench.executors import scheduler
from mtp_bench.executors.endings import NOT_WRITABLE
from mtp_bench.store.attempts import scheduler_id
from mtp_bench.store.control import StopRequest
from mtp_bench.store.lock import holder
from mtp_bench.store.paths import JobPaths
from mtp_bench.store.states import read_state_file
from mtp_bench.worker import TRY_LATER, execute, into_log

LOCK_SECONDS = 2.0
REQUEUE_SECONDS = 60.0


@dataclass(frozen=True)
class Terms:
    """What the scheduler gives a job."""

    limit: float
    """Seconds until it is ended, from its start."""
    margin: float
    """Seconds before that at which it stops by itself."""
    requeue: bool
    """Whether it may put itself back into the queue."""


def run(job_file: Path, number: int, terms: Terms) -> int:
    """Run a job for submission ``number``; the exit code.

    0: nothing is left to do here. 74: its folder cannot be written. 75: it goes on from its
    checkpoint another time.
    """
    caught = os.dup(2)  # the scheduler's own log of this process, before the job's takes over
    # Newer SLURMs tell when the job ends: preparations on the node have used up some of its time.
    told = os.environ.get("SLURM_JOB_END_TIME", "")
    end = float(told) if told.isdigit() else time.time() + terms.limit
    stop = StopRequest(end - terms.margin)
    stop.listen()
    try:
        into_log(job_file.parent / "log.txt")
        code = _to_its_end(job_file, number, stop)
    except UserError as error:
        return _told(caught, "; ".join(error.lines), NOT_WRITABLE if error.__cause__ else 1)
    except OSError as error:
        return _told(caught, f"{job_file.parent}: {error.strerror}", NOT_WRITABLE)
    except Exception:
        return _told(caught, traceback.format_exc(), 1)
    if os.environ.get("RANK", "0") != "0":
        return 0  # the first process speaks for the job
    if code == TRY_LATER and terms.requeue and _ours_to_requeue(stop):
        _requeue()
    return code


def _told(caught: int, message: str, code: int) -> int:
    """Say it where it can be read even if the job's own log cannot be written."""
    with contextlib.suppress(OSError):
        os.write(caught, f"{message}\n".encode())
        print(message, flush=True)
    return code


def _to_its_end(job_file: Path, number: int, stop: StopRequest) -> int:
    folder = job_file.parent
    waiting = False
    while True:
        current = read_state_file(JobPaths(folder, folder, folder.name)).submission
        if current != number:
            print(f"submission {number} is out of date: {current} has this job", flush=True)
            return 0
        state = execute(job_file, stop)
        if state == "done":
            return 0
        if state != "running":
            return TRY_LATER if state == "pending" else 1
        if os.environ.get("RANK", "0") != "0":
            return 0
        if stop.wanted():
            return TRY_LATER
        if not waiting:
            waiting = True
            print(f"waiting for the worker that holds this job: {holder(folder)!r}", flush=True)
        time.sleep(LOCK_SECONDS)


def _ours_to_requeue(stop: StopRequest) -> bool:
    """Whether to go back into the queue is ours to ask for.

    After a warning or the deadline it is. SIGTERM comes with a cancellation, which must stay one,
    and with a requeue that the scheduler has done; it also comes with a preemption, which leaves a
    job that ends in its grace time for ended: then alone the scheduler still calls it running.
    """
    if "ended" not in stop.reasons:
        return bool(stop.reasons & {"notice", "deadline"})
    identity = scheduler_id()
    try:
        told = scheduler.endings([identity] if identity else [])
        return any(seen.state == "RUNNING" for seen in told.values())
    except scheduler.NoAnswer:
        return False


def _requeue() -> None:
    """Ask until the controller answers; a job that cannot is submitted again by the next run."""
    identity = scheduler_id() or ""  # not SLURM_JOB_ID: an array's last task has that of the array
    until = time.monotonic() + REQUEUE_SECONDS
    while time.monotonic() < until:
        try:
            return scheduler.requeue(identity)
        except scheduler.NoAnswer as error:
            print(f"cannot be requeued: {error}", flush=True)
            time.sleep(LOCK_SECONDS)
