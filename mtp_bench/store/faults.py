"""Named points at which tests kill a process for real, to prove that nothing is lost.

``MTP_BENCH_KILL_AT=checkpoint.renamed`` kills at the first passing, ``checkpoint.renamed@3`` at
the third.
"""

import os
import signal
from collections import Counter

_passed: Counter[str] = Counter()


def point(name: str) -> None:
    """Pass a named point; SIGKILL to this process where the environment asks for it."""
    wanted = os.environ.get("MTP_BENCH_KILL_AT")
    if not wanted:
        return
    _passed[name] += 1
    at, _, count = wanted.partition("@")
    if at == name and _passed[name] == int(count or 1):
        os.kill(os.getpid(), signal.SIGKILL)
