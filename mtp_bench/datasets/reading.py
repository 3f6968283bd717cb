"""From an item to what a job is given: pictures looked at, annotation parsed, policy applied."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from mtp_bench import catalog
from mtp_bench.datasets import geometry
from mtp_bench.datasets.cards.card import IGNORE, Card
from mtp_bench.datasets.defects import Defect, action_of
from mtp_bench.datasets.formats.reader import Reader
from mtp_bench.datasets.pixels import Picture, look
from mtp_bench.datasets.samples import Found, Item, Objects, Parsed
from mtp_bench.errors import UserError


@dataclass(frozen=True, eq=False)
class Examined:
    """One item with everything that is wrong with it, and what a job gets of it."""

    item: Item
    pictures: tuple[Picture | None, ...]
    """None for one that cannot be opened."""
    parsed: Parsed
    objects: Objects | None
    """After the card's policy."""
    defects: tuple[Defect, ...]


def reader_of(card: Card) -> Reader:
    """The reader that a card names."""
    reader: Reader = catalog.resolve(card.reader)
    return reader


def find(card: Card, root: Path) -> Found:
    """A release as it lies on disk. ``UserError`` names also what may not be read of it."""
    try:
        return reader_of(card).find(root, card)
    except OSError as error:
        why = f"cannot be read ({error.strerror})"
        raise UserError(f"{card.name}: {error.filename}: {why}") from None


def examine(item: Item, card: Card) -> Examined:
    """Look at the pictures' headers, parse the annotation, find what is wrong, apply the policy."""
    pictures, found = _pictures(item, card)
    parsed = reader_of(card).parse(item, card)
    found += parsed.defects
    first = next((picture for picture in pictures if picture is not None), None)
    size = first.size if first is not None else parsed.size
    place = item.label or item.images[0]
    boxes = item.extra.get("rotated", place)
    if first is not None and parsed.size is not None and parsed.size != first.size:
        (w, h), (wide, high) = parsed.size, first.size
        found.append(Defect("size", boxes, f"says {w}x{h} px, the image has {wide}x{high}"))
    if parsed.mask is not None:
        found += _mask_faults(parsed.mask, first, place, item)
    objects = parsed.objects
    if objects is not None:
        found += geometry.faults(objects, size, boxes, card.classes)
        objects = settled(objects, found, size, card)
    return Examined(item, pictures, parsed, objects, tuple(found))


def _pictures(item: Item, card: Card) -> tuple[tuple[Picture | None, ...], list[Defect]]:
    pictures: list[Picture | None] = []
    found: list[Defect] = []
    for path in item.images:
        picture, defects = look(path)
        pictures.append(picture)
        found += defects
        if picture is not None and card.picture and picture.size != card.picture:
            (wide, high), (w, h) = picture.size, card.picture
            found.append(Defect("picture-size", path, f"{wide}x{high} px, the release has {w}x{h}"))
    there = [picture for picture in pictures if picture is not None]
    if len(there) == 2:
        found += _pair_faults(item, there[0], there[1])
    return tuple(pictures), found


def _pair_faults(item: Item, before: Picture, after: Picture) -> Iterable[Defect]:
    if before.size != after.size:
        (w, h), (wide, high) = before.size, after.size
        yield Defect("pair-size", item.images[1], f"{wide}x{high} px, the earlier has {w}x{h}")
    elif before.crs != after.crs:
        yield Defect("pair-projection", item.images[1], f"{after.crs}, the earlier {before.crs}")
    elif before.transform and after.transform:
        moved = np.abs(np.subtract(before.transform, after.transform)).max()
        if moved > 0.5 * max(abs(before.transform[0]), 1e-12):
            yield Defect(
                "pair-projection", item.images[1], "lies at another place than the earlier"
            )


def _mask_faults(
    mask: npt.NDArray[np.uint8], picture: Picture | None, place: Path, item: Item
) -> Iterable[Defect]:
    high, wide = mask.shape
    if picture is not None and picture.size != (wide, high):
        kind = "pair-size" if len(item.images) == 2 else "size"
        w, h = picture.size
        yield Defect(kind, place, f"{wide}x{high} px, the image has {w}x{h}")
    if (mask == IGNORE).all():
        yield Defect("all-ignored", place, "no pixel of it counts")


def settled(
    objects: Objects, found: Iterable[Defect], size: tuple[int, int] | None, card: Card
) -> Objects:
    """The objects after the card's policy: dropped, clipped to the picture, or left."""
    keep = np.ones(len(objects), dtype=bool)
    clip = np.zeros(len(objects), dtype=bool)
    for defect in found:
        if defect.at is not None:
            action = action_of(defect.kind, card)
            keep[defect.at] &= action != "drop"
            clip[defect.at] |= action == "clip"
    if clip.any() and size is not None:
        high = np.tile(np.array(size, dtype=np.float64), objects.boxes.shape[1] // 2)
        clipped = np.where(clip[:, None], np.clip(objects.boxes, 0, high), objects.boxes)
        objects = Objects(clipped, objects.labels, objects.difficult, objects.lines)
        keep &= geometry.areas(geometry.corners(clipped)) >= geometry.LEAST_AREA
    return objects if keep.all() else objects.take(keep)


def counted(found: Iterable[Defect], card: Card) -> Counter[str]:
    """How often each kind was met and what was done: ``zero-area dropped``."""
    words = {"keep": "kept", "clip": "clipped", "drop": "dropped", "refuse": "refused"}
    return Counter(f"{d.kind} {words[action_of(d.kind, card)]}" for d in found)
