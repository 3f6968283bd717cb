"""Files that appear whole: a temporary name in the same folder, fsync, then a rename."""

from __future__ import annotations

import os
import uuid
from contextlib import suppress
from pathlib import Path

from mtp_bench.errors import UserError


def write_atomically(path: Path, data: str | bytes) -> None:
    """Write ``data`` so that a reader, or a crash, sees the old file or the new one."""
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    blob = data.encode() if isinstance(data, str) else data
    try:
        with temporary.open("wb") as stream:
            stream.write(blob)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
    except OSError as error:
        _discard(temporary)
        raise UserError(
            f"{path}: cannot be written ({error.strerror}): free space, or mend the "
            "folder's permissions"
        ) from error
    except BaseException:
        _discard(temporary)
        raise
    sync_folder(path.parent)


def _discard(path: Path) -> None:
    with suppress(OSError):
        path.unlink(missing_ok=True)


def make_folder(path: Path) -> None:
    """A folder and those above it. ``UserError`` where it cannot be made."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{path}: cannot be made a folder ({error.strerror})") from None


def sync_folder(folder: Path) -> None:
    """Make the renames in a folder durable, where the file system offers it."""
    try:
        handle = os.open(folder, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(handle)
    except OSError:
        pass
    finally:
        os.close(handle)
