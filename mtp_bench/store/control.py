"""How a running job is told to stop, and how it notices that it is no longer its own."""

from __future__ import annotations

import signal
import threading
import time
from pathlib import Path
from types import FrameType

from mtp_bench.store.lock import Lock

LOOK_SECONDS = 1.0


class Interrupted(Exception):
    """The job was asked to stop; its checkpoint is written."""


class LostLock(Exception):
    """Another worker has taken the job; this one must write nothing more."""


class Control:
    """Stop requests by signal or by file, and the lock that allows writing."""

    def __init__(self, lock: Lock | None, cancel_file: Path) -> None:
        """``lock``: None for the further processes of a distributed job, which write nothing."""
        self._lock = lock
        self._cancel_file = cancel_file
        self._stop = threading.Event()
        self._looked = 0.0

    def listen(self) -> None:
        """SIGTERM means: checkpoint and stop. SIGINT is the terminal's; the executor answers it."""
        signal.signal(signal.SIGTERM, self._on_signal)
        signal.signal(signal.SIGINT, signal.SIG_IGN)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        del number, frame
        self._stop.set()

    def stop_wanted(self) -> bool:
        """Cheap enough to ask in every iteration."""
        if time.monotonic() - self._looked > LOOK_SECONDS:
            self._looked = time.monotonic()
            if self._cancel_file.exists():
                self._stop.set()
        return self._stop.is_set()

    def may_write(self) -> None:
        """Raise ``LostLock`` where another worker holds the job."""
        if self._lock is not None and not self._lock.is_mine():
            raise LostLock
