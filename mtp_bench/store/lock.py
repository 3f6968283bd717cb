"""One worker a job: a lock that names its holder, beats, and goes stale by itself.

The lock is a series of files ``lock.1``, ``lock.2`` … in the job's folder; the highest number
rules. A taker creates the next number with ``link``, which only one can do, on network file
systems too; nobody ever deletes the ruling file, so two that find the same stale lock cannot both
get it.
"""

import os
import socket
import threading
import time
import uuid
from contextlib import suppress
from pathlib import Path
from typing import Self

from mtp_bench.store.files import make_folder, read_model
from mtp_bench.suite.fields import Model

BEAT_SECONDS = 10.0
STALE_SECONDS = 120.0
"""A holder on another host that has not beaten for so long is taken for dead."""


class Holder(Model):
    """Who holds a lock. ``started`` tells a process from a later one with the same number."""

    token: str
    host: str
    pid: int
    started: str
    released: bool = False


def _process_start(pid: int) -> str | None:
    """The kernel's start time of a process; None where there is none (a zombie is none)."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else fields[19]


def _newest(folder: Path) -> tuple[int, Path]:
    """Number and path of the ruling file; 0, and a path where nothing is, where there is none."""
    numbers = [int(p.suffix[1:]) for p in folder.glob("lock.*") if p.suffix[1:].isdigit()]
    top = max(numbers, default=0)
    return top, folder / f"lock.{top}"


def _now_there(folder: Path) -> float:
    """The file system's own clock, since hosts' clocks differ."""
    probe = folder / f".clock.{uuid.uuid4().hex}"
    probe.touch()
    try:
        return probe.stat().st_mtime
    finally:
        probe.unlink(missing_ok=True)


def holder(folder: Path) -> Holder | None:
    """Who holds the lock of a job folder now; None where nobody alive does."""
    return _living(folder, _newest(folder)[1]) if folder.is_dir() else None


def _living(folder: Path, path: Path) -> Holder | None:
    found = read_model(Holder, path)
    if found is None or found.released:
        return None
    if found.host == socket.gethostname():
        return found if _process_start(found.pid) == found.started else None
    try:
        now = _now_there(folder)
    except OSError:
        now = time.time()  # a folder that may only be read
    try:
        age = now - path.stat().st_mtime
    except OSError:
        return found
    return found if age < STALE_SECONDS else None


class Lock:
    """A held lock; ``acquire`` makes it. Use as a context: it beats until it is released."""

    def __init__(self, folder: Path, number: int, me: Holder) -> None:
        self._path = folder / f"lock.{number}"
        self._folder = folder
        self._me = me
        self.number = number
        """How many holders this job has had, this one included."""
        self._stop = threading.Event()
        self._beat = threading.Thread(target=self._beating, daemon=True, name="lock")

    def __enter__(self) -> Self:
        self._beat.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._beat.join()
        if self.is_mine():
            temporary = self._path.with_name(f".{self._path.name}.{uuid.uuid4().hex}")
            temporary.write_text(self._me.model_copy(update={"released": True}).model_dump_json())
            temporary.replace(self._path)

    def _beating(self) -> None:
        while not self._stop.wait(BEAT_SECONDS):
            with suppress(OSError):
                os.utime(self._path)

    def is_mine(self) -> bool:
        """Whether no other worker has taken the job in the meantime."""
        number, path = _newest(self._folder)
        found = read_model(Holder, path)
        return number == self.number and found is not None and found.token == self._me.token


def acquire(folder: Path) -> Lock | None:
    """Take the lock of a job folder, or None where a living worker holds it."""
    make_folder(folder)
    number, path = _newest(folder)
    if _living(folder, path) is not None:
        return None
    pid = os.getpid()
    started = _process_start(pid) or ""
    me = Holder(token=uuid.uuid4().hex, host=socket.gethostname(), pid=pid, started=started)
    temporary = folder / f".lock.{me.token}"
    temporary.write_text(me.model_dump_json())
    try:
        os.link(temporary, folder / f"lock.{number + 1}")
    except FileExistsError:
        return None
    finally:
        temporary.unlink(missing_ok=True)
    for old in range(max(1, number - 3), number):
        (folder / f"lock.{old}").unlink(missing_ok=True)
    return Lock(folder, number + 1, me)
