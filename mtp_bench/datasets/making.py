"""What the processes that prepare a dataset do: a part of its items each, surveyed, then made."""

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
from rasterio.errors import RasterioError

from mtp_bench.datasets import cutting, manifest
from mtp_bench.datasets.cards.card import Card
from mtp_bench.datasets.defects import OF_ROWS, Defect, action_of, refused
from mtp_bench.datasets.manifest import Sample
from mtp_bench.datasets.pixels import RASTERS
from mtp_bench.datasets.reading import Examined, counted, examine
from mtp_bench.datasets.samples import Item
from mtp_bench.datasets.tiling import windows
from mtp_bench.errors import UserError
from mtp_bench.store.files import write_atomically

PACKED = 0.7
"""Bytes of PNG for each byte of a photograph, generously."""


@dataclass(frozen=True)
class Job:
    """What every process needs to know."""

    card: Card
    root: Path
    found: Path
    """The folder within ``root`` where the release lies."""
    draft: Path


@dataclass(frozen=True)
class Part:
    """Some items that are made, and written down, together."""

    job: Job
    items: tuple[Item, ...]
    path: Path
    first: int
    """Number of the first of the items among all."""


@dataclass
class Survey:
    """What reading the annotations of a part told, before anything is made."""

    refused: list[str]
    defects: Counter[str]
    objects: Counter[str]
    bytes: int = 0


def survey(part: Part) -> Survey:
    """Read every annotation of a part, and make nothing."""
    card, told = part.job.card, Survey([], Counter(), Counter())
    for item in part.items:
        if _only_listed(item, card):
            continue
        seen = examine(item, card)
        told.refused += [
            f"{d.place}{f':{d.line}' if d.line else ''}: {d.kind}: {d.what}"
            for d in seen.defects
            if refused(d, card, part.job.found)
        ]
        told.defects += counted(seen.defects, card)
        if seen.objects is not None:
            told.objects[item.split] += len(seen.objects)
        told.bytes += _bytes(seen, card)
    return told


def _only_listed(item: Item, card: Card) -> bool:
    """Pictures of pretraining without any label, a million of them, are not opened."""
    return card.metric is None and item.label is None and not item.extra


def _bytes(seen: Examined, card: Card) -> int:
    """About how much an item takes on disk."""
    item, picture = seen.item, seen.pictures[0]
    if picture is None:
        return 0
    if card.tiles is not None:
        pixels = sum(window.side**2 for window in windows(picture.size, card.tiles))
        return int(len(item.images) * pixels * 3 * PACKED)
    copied = [path for path in item.images if path.suffix.lower() in RASTERS]
    if item.label is not None and seen.parsed.mask is not None:
        copied.append(item.label)
    return sum(path.stat().st_size for path in copied)


def make(part: Part) -> None:
    """Make a part: files first, then, as a whole, the lines that tell of them.

    The first line has, for each item, the numbers of objects of its samples; null where it is left
    out.
    """
    job = part.job
    counts: list[list[int | None] | None] = []
    lines = []
    for item in part.items:
        samples = _samples(item, job)
        lines += [manifest.line_of(sample, job.draft, job.root) for sample in samples or ()]
        known = (None if s.objects is None else len(s.objects) for s in samples or ())
        counts.append(None if samples is None else list(known))
    write_atomically(part.path, json.dumps(counts).encode() + b"\n" + b"".join(lines))


def _samples(item: Item, job: Job) -> list[Sample] | None:
    """None where the card says to leave such an item out."""
    card = job.card
    if _only_listed(item, card):
        return [Sample(item.images, item.key, target=item.target)]
    seen = examine(item, card)
    if any(_leaves_out(defect, card) for defect in seen.defects):
        return None
    try:
        return cutting.samples_of(seen, card, job.draft)
    except (RasterioError, OSError, ValueError, cv2.error) as error:
        if action_of("image-unreadable", card) == "drop":
            return None
        why = str(error).partition("\n")[0]
        names = ", ".join(map(str, item.images))
        raise UserError(f"{names}: cannot be made samples of ({why})") from error


def _leaves_out(defect: Defect, card: Card) -> bool:
    """Also where it would be refused, were it not known in the release."""
    of_row = defect.at is not None or defect.kind in OF_ROWS
    return not of_row and action_of(defect.kind, card) in ("drop", "refuse")


@dataclass(frozen=True)
class Row:
    """A sample as written, and which item it is of."""

    item: int
    objects: int | None
    line: bytes


def read_part(part: Part) -> Iterator[Row]:
    """The samples of a part that is made."""
    with part.path.open("rb") as stream:
        for item, counts in enumerate(json.loads(stream.readline()), part.first):
            for count in counts or ():
                yield Row(item, count, stream.readline())
