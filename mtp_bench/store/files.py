"""Files that appear whole: a temporary name in the same folder, fsync, then a rename."""

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, TypeVar

from pydantic import BaseModel

from mtp_bench.errors import UserError
from mtp_bench.store import faults

M = TypeVar("M", bound=BaseModel)


@contextmanager
def whole(path: Path, kind: str = "file") -> Iterator[BinaryIO]:
    """A stream to write a file through: a reader, or a crash, sees the old one or the new one."""
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        with temporary.open("wb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        faults.point(f"{kind}.written")
        temporary.replace(path)
        faults.point(f"{kind}.renamed")
    except BaseException:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise
    with suppress(OSError):  # not every file system can make a rename durable
        handle = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def write_atomically(path: Path, data: str | bytes) -> None:
    """Write ``data`` as a whole. ``UserError`` where it cannot be written."""
    try:
        with whole(path) as stream:
            stream.write(data.encode() if isinstance(data, str) else data)
    except OSError as error:
        raise UserError(
            f"{path}: cannot be written ({error.strerror}): free space, or mend the "
            "folder's permissions"
        ) from error


def read_model(model: type[M], path: Path) -> M | None:
    """What a JSON file holds; None where there is none, or none that can be read."""
    try:
        return model.model_validate_json(path.read_text())
    except (OSError, ValueError):  # no JSON, no UTF-8 and no such model are all ValueErrors
        return None


def make_folder(path: Path) -> None:
    """A folder and those above it. ``UserError`` where it cannot be made."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{path}: cannot be made a folder ({error.strerror})") from None
