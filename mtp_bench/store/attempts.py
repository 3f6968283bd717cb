"""What the attempts at a job tell: where it goes on, which were lost, what ended them, and how."""

import os
import re
import time
from contextlib import suppress
from datetime import UTC, datetime

from mtp_bench.errors import UserError
from mtp_bench.store.paths import JobPaths, job_paths
from mtp_bench.store.records import Attempt
from mtp_bench.store.states import State, left_word
from mtp_bench.suite.schema import JobFile

MOST_IDLE = 10
"""So many attempts in a row that got no further: the next would not either."""
WORD_SECONDS = 5.0
PEERS = re.compile(
    r"connection (closed|reset|refused)|broken pipe|timed out|DistBackendError|DistNetworkError"
    r"|DistStoreError|address already in use",
    re.IGNORECASE,
)
"""What the loss of another process looks like to the remaining ones, and a port that is taken."""


def newest_checkpoint(paths: JobPaths) -> int:
    """Where an attempt will go on, as far as names tell; the record's own attempt is exact."""
    return max((int(p.stem[5:]) for p in paths.checkpoints.glob("iter_*.pth")), default=0)


def got_nowhere(attempts: tuple[Attempt, ...], begun: int) -> str | None:
    """Why one more attempt, from iteration ``begun``, would be as idle as the last ones."""
    last = attempts[-MOST_IDLE:]
    idle = all(a.outcome in ("pending", "lost") and a.from_iteration == begun for a in last)
    if len(last) < MOST_IDLE or not idle:
        return None
    return f"{MOST_IDLE} attempts in a row got no further than iteration {begun}"


def close_lost(attempt: Attempt, paths: JobPaths) -> Attempt:
    """An attempt whose worker was killed: it lasted until its last sign of life."""
    seen = begun = datetime.fromisoformat(attempt.started)
    with suppress(OSError):
        seen = max(begun, datetime.fromtimestamp(paths.progress.stat().st_mtime, UTC))
    ended, seconds = seen.isoformat(timespec="seconds"), (seen - begun).total_seconds()
    return attempt.model_copy(update={"ended": ended, "outcome": "lost", "seconds": seconds})


def scheduler_id() -> str | None:
    """SLURM's id of the job that this process runs in."""
    array, task = os.environ.get("SLURM_ARRAY_JOB_ID"), os.environ.get("SLURM_ARRAY_TASK_ID")
    return f"{array}_{task}" if array and task else os.environ.get("SLURM_JOB_ID")


def judge_crash(error: Exception, job: JobFile) -> tuple[State, str]:
    """What an error that ended a job makes of it: out of memory, a lost peer, or a failure."""
    if isinstance(error, UserError):
        return "failed", "; ".join(error.lines)
    first = (str(error).splitlines() or [""])[0]
    text = f"{type(error).__name__}: {first}"
    if type(error).__name__ == "TrainingFailed":
        return "failed", first
    if job.resources.processes > 1 and (PEERS.search(text) or PEERS.search(str(error))):
        return _peer_lost(job, text)
    micro_batch, _ = job.resources.split(job.spec.settings.batch_size)
    ours = type(error).__name__ in ("OutOfMemoryError", "MemoryError")
    if ours or "can't allocate memory" in str(error):
        half = f", or try --micro-batch {micro_batch // 2}" if micro_batch > 1 else ""
        return "oom", f"{text}: it takes {micro_batch} images at once: give it more memory{half}"
    return "failed", text


def _peer_lost(job: JobFile, text: str) -> tuple[State, str]:
    """What another process died of, where it says so within a moment; else it was killed."""
    paths, until = job_paths(job.roots, job.id), time.monotonic() + WORD_SECONDS
    first = os.environ.get("RANK", "0") == "0"
    while first and time.monotonic() < until:
        word = left_word(paths)
        if word is not None:
            return word.state, word.message
        time.sleep(0.2)
    return "pending", f"another process of this job was lost ({text})"
