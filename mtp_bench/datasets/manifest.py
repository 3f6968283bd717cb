"""What preparing a dataset leaves on disk, and how it is read.

A prepared folder holds ``prepared.json``, whose presence means that the rest is whole, and one
``<split>.jsonl`` a split with one sample a line. Paths are of the folder itself, or, after a
``:``, of the dataset's own folder, so that both may be moved.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mtp_bench.datasets.samples import Instance, Objects
from mtp_bench.datasets.tiling import Window
from mtp_bench.errors import UserError
from mtp_bench.store.files import read_model
from mtp_bench.suite.fields import Model

NAME = "prepared.json"


class SplitCounts(Model):
    """What a split holds; ``scenes`` are the pictures of the release that it was made from."""

    samples: int
    scenes: int
    objects: int | None = None


class Prepared(Model):
    """``prepared.json``: what was prepared from what, and what was done about defects."""

    dataset: str
    synthetic: bool
    """Made from a miniature."""
    key: str
    """16 hex digits of all that decides what the folder holds."""
    facts: dict[str, Any]
    """What of the card decided it."""
    split_source: str
    splits: dict[str, SplitCounts]
    defects: dict[str, int]
    """How often each kind was met and what was done: ``zero-area dropped``."""


@dataclass(frozen=True, eq=False)
class Sample:
    """One picture, pair or tile as a job reads it."""

    images: tuple[Path, ...]
    scene: str
    """Key of the picture of the release; with the split of the release it is unique."""
    size: tuple[int, int] | None = None
    """Width and height. None where the picture was never looked at (Million-AID)."""
    window: Window | None = None
    """Where a tile lies in its scene."""
    objects: Objects | None = None
    mask: Path | None = None
    """PNG of classes, ``IGNORE`` where nothing counts."""
    instances: Path | None = None
    """JSON that ``read_instances`` reads."""
    target: int | None = None
    """Class of a whole picture."""


def prepared(folder: Path) -> Prepared | None:
    """What a folder holds, if it was prepared to its end."""
    return read_model(Prepared, folder / NAME)


def read(folder: Path, split: str, root: Path) -> list[Sample]:
    """The samples of a split in order; ``root`` is the dataset's own folder."""
    path = folder / f"{split}.jsonl"
    try:
        with path.open("rb") as lines:
            return [_sample(json.loads(line), str(folder), str(root)) for line in lines]
    except FileNotFoundError:
        there = ", ".join(sorted(p.stem for p in folder.glob("*.jsonl"))) or "nothing"
        raise UserError(f"{folder}: has no split '{split}' (it has {there})") from None
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path}: damaged ({error}): delete {folder}, prepare again") from error


def line_of(sample: Sample, folder: Path, root: Path) -> bytes:
    """A sample as a line of a manifest."""
    objects, window = sample.objects, sample.window
    row: dict[str, Any] = {"images": [_named(path, folder, root) for path in sample.images]}
    row |= {"scene": sample.scene, "size": sample.size, "window": window and list(window)}
    row |= {"target": sample.target}
    row |= {"mask": sample.mask and _named(sample.mask, folder, root)}
    row |= {"instances": sample.instances and _named(sample.instances, folder, root)}
    if objects is not None:
        kind = "boxes" if objects.boxes.shape[1] == 4 else "quads"
        row[kind] = [_short(value) for value in objects.boxes.ravel().tolist()]
        row |= {name: getattr(objects, name).tolist() for name in ("labels", "difficult", "lines")}
    told = {name: value for name, value in row.items() if value is not None}
    line = json.dumps(told, separators=(",", ":"), ensure_ascii=False)
    return line.encode(errors="surrogatepass") + b"\n"  # as json reads names that are not UTF-8


def _short(value: float) -> float | int:
    """Equal, and without ``.0``: most coordinates are whole, and a million of them are written."""
    return int(value) if value.is_integer() else value


def _named(path: Path, folder: Path, root: Path) -> str:
    if path.is_relative_to(folder):
        return path.relative_to(folder).as_posix()
    return ":" + path.relative_to(root).as_posix()


def _sample(row: dict[str, Any], folder: str, root: str) -> Sample:
    def place(name: str) -> Path:
        if "/../" in f"/{name.removeprefix(':')}/":
            raise ValueError(f"{name} leaves its folder")
        return Path(f"{root}/{name[1:]}" if name[0] == ":" else f"{folder}/{name}")

    def maybe(name: str) -> Path | None:
        return place(row[name]) if name in row else None

    size, window = row.get("size"), row.get("window")
    return Sample(
        images=tuple(place(name) for name in row["images"]),
        scene=row["scene"],
        size=(size[0], size[1]) if size else None,
        window=Window(*window) if window else None,
        objects=_objects(row) if "labels" in row else None,
        mask=maybe("mask"),
        instances=maybe("instances"),
        target=row.get("target"),
    )


def _objects(row: dict[str, Any]) -> Objects:
    numbers, flat = (4, row["boxes"]) if "boxes" in row else (8, row["quads"])
    columns: Iterator[npt.NDArray[np.int64]] = (
        np.array(row[name], dtype=np.int64) for name in ("labels", "difficult", "lines")
    )
    return Objects(np.array(flat, dtype=np.float64).reshape(-1, numbers), *columns)


def instances_text(instances: tuple[Instance, ...]) -> str:
    """Instances as JSON; COCO's run lengths are ASCII."""
    rows = []
    for label, box, rle in instances:
        counts = rle["counts"]
        text = counts.decode("ascii") if isinstance(counts, bytes) else str(counts)
        size = [int(length) for length in rle["size"]]
        rows.append([int(label), [float(x) for x in box], {"size": size, "counts": text}])
    return json.dumps(rows, separators=(",", ":"))


def read_instances(path: Path) -> tuple[Instance, ...]:
    rows = json.loads(path.read_text())
    return tuple(Instance(label, (b[0], b[1], b[2], b[3]), rle) for label, b, rle in rows)
