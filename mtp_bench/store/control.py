"""How a running job is told to stop, and how it notices that it is no longer its own."""

from __future__ import annotations

import signal
import time
from pathlib import Path
from types import FrameType
from typing import Literal, get_args

from mtp_bench.store.lock import Lock

LOOK_SECONDS = 1.0
Reason = Literal["ended", "notice", "deadline", "cancelled"]
"""Why a job stops: SIGTERM (whoever sent it deals with what follows), SIGUSR2 (a scheduler's
warning), its own deadline, or the user's ``cancel`` file."""
REASONS: tuple[Reason, ...] = get_args(Reason)


class Interrupted(Exception):
    """The job was asked to stop; its checkpoint is written."""


class LostLock(Exception):
    """Another worker has taken the job; this one must write nothing more."""


class StopRequest:
    """Whether a process is to stop, and why."""

    def __init__(self, deadline: float | None = None) -> None:
        """``deadline``: seconds since the epoch after which there is no time left."""
        self._deadline = deadline
        self.reasons: set[Reason] = set()

    def listen(self) -> None:
        """SIGTERM and SIGUSR2 mean: checkpoint and stop. SIGINT is the terminal's to answer."""
        signal.signal(signal.SIGTERM, self._on_signal)
        signal.signal(signal.SIGUSR2, self._on_signal)
        signal.signal(signal.SIGINT, signal.SIG_IGN)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        del frame
        self.reasons.add("notice" if number == signal.SIGUSR2 else "ended")

    def wanted(self) -> bool:
        """Cheap enough to ask in every iteration."""
        if self._deadline is not None and time.time() >= self._deadline:
            self.reasons.add("deadline")
        return bool(self.reasons)


class Control:
    """Stop requests by signal, clock or file, and the lock that allows writing."""

    def __init__(self, lock: Lock | None, cancel_file: Path, stop: StopRequest) -> None:
        """``lock``: None for the further processes of a distributed job, which write nothing."""
        self._lock = lock
        self._cancel_file = cancel_file
        self._looked = 0.0
        self.stop = stop

    def stop_wanted(self) -> bool:
        """Cheap enough to ask in every iteration."""
        if time.monotonic() - self._looked > LOOK_SECONDS:
            self._looked = time.monotonic()
            if self._cancel_file.exists():
                self.stop.reasons.add("cancelled")
        return self.stop.wanted()

    def may_write(self) -> None:
        """Raise ``LostLock`` where another worker holds the job."""
        if self._lock is not None and not self._lock.is_mine():
            raise LostLock
