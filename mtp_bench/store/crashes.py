"""What an error that ended a job makes of it: out of memory, a lost peer, or a failure."""

from __future__ import annotations

import os
import re
import time

from mtp_bench.errors import UserError
from mtp_bench.store.paths import job_paths
from mtp_bench.store.states import State, left_word
from mtp_bench.suite.schema import JobFile

WORD_SECONDS = 5.0
PEERS = re.compile(
    r"connection (closed|reset|refused)|broken pipe|timed out|DistBackendError|DistNetworkError"
    r"|DistStoreError|address already in use",
    re.IGNORECASE,
)
"""What the loss of another process looks like to the remaining ones, and a port that is taken."""


def judge_crash(error: Exception, job: JobFile) -> tuple[State, str]:
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
