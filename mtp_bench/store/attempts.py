"""What the attempts at a job tell: where it goes on, which were lost, whether it gets anywhere."""

from __future__ import annotations

import os
from datetime import UTC, datetime

from mtp_bench.store.paths import JobPaths
from mtp_bench.store.records import Attempt

MOST_IDLE = 10
"""So many attempts in a row that got no further: the next would not either."""


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
    begun = datetime.fromisoformat(attempt.started)
    try:
        seen = datetime.fromtimestamp(paths.progress.stat().st_mtime, UTC)
    except OSError:
        seen = begun
    seconds = max(0.0, (seen - begun).total_seconds())
    ended = max(seen, begun).isoformat(timespec="seconds")
    return attempt.model_copy(update={"ended": ended, "outcome": "lost", "seconds": seconds})


def scheduler_id() -> str | None:
    """SLURM's id of the job that this process runs in."""
    array, task = os.environ.get("SLURM_ARRAY_JOB_ID"), os.environ.get("SLURM_ARRAY_TASK_ID")
    return f"{array}_{task}" if array and task else os.environ.get("SLURM_JOB_ID")
