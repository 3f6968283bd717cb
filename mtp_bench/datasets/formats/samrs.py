"""SAMRS as downloaded: one image with a semantic mask, instances and rotated boxes."""

import math
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mtp_bench.datasets import geometry
from mtp_bench.datasets.cards.card import Card
from mtp_bench.datasets.defects import Defect
from mtp_bench.datasets.formats import dior_xml, dota_txt, restricted_pickle
from mtp_bench.datasets.formats.boxes import Fault, release_folder
from mtp_bench.datasets.formats.label_images import parse_label
from mtp_bench.datasets.formats.reader import Reader, pictures, strange
from mtp_bench.datasets.samples import Found, Instance, Item, Objects, Parsed, objects


class _Parts(NamedTuple):
    """Folders of a set: images; masks, with gray and ins; rotated boxes."""

    images: str
    masks: str
    rotated: str


TILES = _Parts("trainval/images", "trainval/rhbox_segs_init", "trainval/rbbtxts")
SIOR = _Parts(
    "JPEGImages-trainval",
    "hbox_segs_trainvaltest_init",
    f"Annotations/{dior_xml.ORIENTED}",
)
"""Its labels are also of the test images, which are not read."""


def find(root: Path, card: Card, parts: _Parts) -> Found:
    """All images, each with those of its three labels that are there."""
    folder = release_folder(root, card, (parts.images,))
    place = folder / parts.images
    images = pictures(place, card.suffixes)
    gray, ins = folder / parts.masks / "gray", folder / parts.masks / "ins"
    rotated = folder / parts.rotated
    masks = pictures(gray, (".png",))
    others = {"instances": pictures(ins, (".pkl",)), "rotated": pictures(rotated, (".txt", ".xml"))}
    found = [
        Defect("layout", path, "not there") for path in (gray, ins, rotated) if not path.is_dir()
    ]
    found += strange(place, card.suffixes)
    items = tuple(
        Item(
            "train",
            stem,
            (path,),
            masks.get(stem),
            extra={name: labels[stem] for name, labels in others.items() if stem in labels},
        )
        for stem, path in images.items()
    )
    labelled = {**masks, **others["instances"], **others["rotated"]} if parts is TILES else {}
    found += (
        Defect("image-missing", place / f"{stem}{card.suffixes[0]}", f"{path.name} has no image")
        for stem, path in labelled.items()
        if stem not in images
    )
    return Found(folder, items, tuple(found))


def parse(item: Item, card: Card) -> Parsed:
    """The three labels, which are independent lists; an image without any has no objects."""
    semantic = parse_label(item, card) if item.label is not None else Parsed()
    boxes = _rotated(item, card)
    found = [*semantic.defects, *boxes.defects]
    instances: list[Instance] = []
    path = item.extra.get("instances")
    if path is not None:
        instances, faults = _instances(path, card)
        found += faults
        sizes = {tuple(instance.rle["size"]) for instance in instances}
        if semantic.mask is not None and sizes - {semantic.mask.shape}:
            (high, wide), *_ = sizes - {semantic.mask.shape}
            found.append(Defect("size", path, f"a mask of {wide}x{high} px, unlike the gray one"))
    labels = {
        "gray mask": item.label,
        "instances": path,
        "rotated boxes": item.extra.get("rotated"),
    }
    missing = ", ".join(name for name, there in labels.items() if there is None)
    if missing and (item.label or path or boxes.objects):
        found.append(Defect("label-missing", item.images[0], f"has no {missing}, but other labels"))
    return Parsed(boxes.objects, semantic.mask, tuple(instances), boxes.size, tuple(found))


def _rotated(item: Item, card: Card) -> Parsed:
    path = item.extra.get("rotated")
    if path is None:
        return Parsed(objects([]))
    read = dota_txt.parse if path.suffix == ".txt" else dior_xml.READER_OBB.parse
    parsed = read(replace(item, label=path), card)
    if parsed.objects is None:
        return parsed
    return replace(parsed, defects=(*parsed.defects, *_repeated(parsed.objects, path)))


def _repeated(found: Objects, place: Path) -> Iterator[Defect]:
    """Boxes of which two neighbouring corners are one, which MTP skips as well."""
    quads = geometry.corners(found.boxes)
    for i in np.flatnonzero((quads == np.roll(quads, -1, axis=1)).all(axis=2).any(axis=1)):
        what = "two neighbouring corners are one"
        yield Defect("repeated-corner", place, what, int(found.lines[i]) or None, int(i))


def _instances(path: Path, card: Card) -> tuple[list[Instance], list[Defect]]:
    try:
        rows = restricted_pickle.load(path)
    except (OSError, restricted_pickle.PickleRefused) as error:
        return [], [Defect("label-unreadable", path, str(error))]
    if not isinstance(rows, list):
        return [], [Defect("label-unreadable", path, "holds no list of instances")]
    kept: list[Instance] = []
    found: list[Defect] = []
    for number, row in enumerate(rows, 1):
        try:
            kept.append(_instance(row, card))
        except Fault as fault:
            found.append(Defect(fault.kind, path, f"instance {number}: {fault.what}", number))
    return kept, found


def _instance(row: Any, card: Card) -> Instance:
    """One instance. Values of a wrong type are not shown: lists can nest beyond any printing."""
    if not isinstance(row, dict):
        raise Fault("bad-box", f"a {type(row).__name__}, no dict")
    label, name = row.get("label"), row.get("category")
    if not isinstance(label, (int, np.integer)) or not 0 <= label < len(card.classes):
        raise Fault("unknown-class", f"its label is no number below {len(card.classes)}")
    if isinstance(name, str) and card.aliases.get(name, name) != card.classes[label]:
        what = f"label {label} is {card.classes[label]}, and {name:.40} here"
        raise Fault("unknown-class", f"{what}: another order of classes")
    return Instance(int(label), _box(row.get("rhbox", row.get("bbox"))), _rle(row.get("mask")))


def _box(value: Any) -> tuple[float, float, float, float]:
    try:
        left, top, right, bottom = (float(number) for number in value)
    except (TypeError, ValueError, OverflowError):
        raise Fault("bad-box", "its box is not of four numbers") from None
    if not all(map(math.isfinite, (left, top, right, bottom))):
        raise Fault("bad-box", "its box has coordinates that are not finite")
    return left, top, right, bottom


def _rle(value: Any) -> dict[str, Any]:
    """Run lengths that make a mask of their own size: decoders in C do not ask."""
    try:
        (high, wide), counts = value["size"], value["counts"]
        high, wide = int(high), int(wide)
        text = counts.decode("ascii") if isinstance(counts, bytes) else str.__str__(counts)
        covered = _covered(text.encode("ascii"))
    except (TypeError, ValueError, LookupError, OverflowError) as error:
        raise Fault("bad-box", f"its mask has no run lengths ({error})") from None
    if covered != high * wide or min(high, wide) < 1:
        raise Fault("bad-box", f"run lengths of {covered:,} pixels for a mask of {wide}x{high}")
    return {"size": [high, wide], "counts": text}


def _covered(data: bytes) -> int:
    """How many pixels COCO's compressed run lengths make: five bits a letter, then differences."""
    runs: list[int] = []
    value = bits = 0
    for letter in data:
        code = letter - 48
        if not 0 <= code < 64 or bits > 35:
            raise ValueError("not COCO's letters")
        value |= (code & 31) << bits
        bits += 5
        if code & 32:
            continue
        if code & 16:
            value -= 1 << bits
        runs.append(value + (runs[-2] if len(runs) > 2 else 0))
        value = bits = 0
    if bits or min(runs, default=0) < 0:
        raise ValueError("cut off, or of negative length")
    return sum(runs)


READER = Reader(partial(find, parts=TILES), parse)
READER_SIOR = Reader(partial(find, parts=SIOR), parse)
