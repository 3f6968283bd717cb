"""``scalars.jsonl`` (curves) and ``progress.json`` (how far a running job is)."""

import json
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from mtp_bench.store.files import write_atomically


def append(path: Path, row: dict[str, Any]) -> None:
    with path.open("a", encoding="utf-8") as stream:
        stream.write(json.dumps(row) + "\n")


def read(path: Path) -> Iterator[dict[str, Any]]:
    """The lines of a curve file; a last line that a kill cut short is left out."""
    if not path.exists():
        return
    for line in path.read_text(encoding="utf-8").splitlines():
        with suppress(json.JSONDecodeError):
            yield json.loads(line)


def cut(path: Path, iteration: int) -> None:
    """Drop what lies beyond an iteration, so that a resumed job writes no point twice."""
    if path.exists():
        kept = [json.dumps(row) for row in read(path) if row.get("iteration", 0) <= iteration]
        write_atomically(path, "".join(f"{row}\n" for row in kept))


def write_progress(path: Path, progress: dict[str, Any]) -> None:
    """Replace ``progress.json``: often, so whole but not durable."""
    temporary = path.with_suffix(f".{os.getpid()}.tmp")
    temporary.write_text(json.dumps(progress))
    temporary.replace(path)


def read_progress(path: Path) -> dict[str, Any]:
    """How far a job is, or what else it tells in JSON; empty where it has not told yet."""
    with suppress(OSError, ValueError):
        return dict(json.loads(path.read_text()))
    return {}
