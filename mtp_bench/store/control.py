"""How a running job is told to stop, and how it notices that it is no longer its own."""

import signal
import time
from dataclasses import dataclass, field
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


@dataclass
class StopRequest:
    """Whether a process is to stop, and why."""

    deadline: float | None = None
    """Seconds since the epoch after which there is no time left."""
    reasons: set[Reason] = field(default_factory=set)

    def listen(self) -> None:
        """SIGTERM and SIGUSR2 mean: checkpoint and stop. SIGINT is the terminal's to answer."""
        signal.signal(signal.SIGTERM, self._on_signal)
        signal.signal(signal.SIGUSR2, self._on_signal)
        signal.signal(signal.SIGINT, signal.SIG_IGN)

    def _on_signal(self, number: int, _: FrameType | None) -> None:
        self.reasons.add("notice" if number == signal.SIGUSR2 else "ended")

    def wanted(self) -> bool:
        """Cheap enough to ask in every iteration."""
        if self.deadline is not None and time.time() >= self.deadline:
            self.reasons.add("deadline")
        return bool(self.reasons)


@dataclass
class Control:
    """Stop requests by signal, clock or file, and the lock that allows writing."""

    lock: Lock | None
    """None for the further processes of a distributed job, which write nothing."""
    cancel_file: Path
    stop: StopRequest
    looked: float = 0.0

    def stop_wanted(self) -> bool:
        """Cheap enough to ask in every iteration."""
        if time.monotonic() - self.looked > LOOK_SECONDS:
            self.looked = time.monotonic()
            if self.cancel_file.exists():
                self.stop.reasons.add("cancelled")
        return self.stop.wanted()

    def may_write(self) -> None:
        """Raise ``LostLock`` where another worker holds the job."""
        if self.lock is not None and not self.lock.is_mine():
            raise LostLock
