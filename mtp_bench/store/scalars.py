"""``scalars.jsonl`` (curves) and ``progress.json`` (how far a running job is)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any


def append(path: Path, row: dict[str, Any]) -> None:
    """Add one line."""
    with path.open("a", encoding="utf-8") as stream:
        stream.write(json.dumps(row) + "\n")


def read(path: Path) -> Iterator[dict[str, Any]]:
    """The lines of a curve file; a last line that a kill cut short is left out."""
    if not path.exists():
        return
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            yield json.loads(line)
        except json.JSONDecodeError:
            continue


def cut(path: Path, iteration: int) -> None:
    """Drop what lies beyond an iteration, so that a resumed job writes no point twice."""
    kept = [json.dumps(row) for row in read(path) if row.get("iteration", 0) <= iteration]
    if path.exists():
        path.write_text("".join(f"{row}\n" for row in kept), encoding="utf-8")
