"""FAIR1M-2.0 as downloaded: XML of its own, closed polygons of five points."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from xml.etree.ElementTree import Element

import numpy as np

from mtp_bench.datasets.cards.card import Card
from mtp_bench.datasets.defects import Defect
from mtp_bench.datasets.formats import boxes
from mtp_bench.datasets.formats.reader import Reader, entries, pictures
from mtp_bench.datasets.samples import Found, Item, Objects, Parsed

PLACES = {"train/part1": "train", "train/part2": "train", "validation": "val", "test": "test"}
"""Folder → split. Train and validation use the same numbers."""
LABELS = ("labelXml", "labelXmls")


def find(root: Path, card: Card) -> Found:
    """The images of both parts of train, of validation and of test."""
    folder = boxes.release_folder(root, card, PLACES)
    items: list[Item] = []
    found: list[Defect] = []
    for name, split in PLACES.items():
        place = folder / name
        images = pictures(place / "images", card.suffixes)
        found += boxes.tiled(place / "images", images)
        labels: Mapping[str, Path] = {}
        if card.splits[split].labelled:
            labels = pictures(boxes.first_folder(place, LABELS), (".xml",))
            found += _no_labels(place, bool(images), bool(labels))
        part = f"{place.name}/" if split == "train" else ""
        items += (
            replace(item, key=f"{part}{item.key}")
            for item in boxes.paired(split, images, labels, place / "images", card)
        )
    return Found(folder, tuple(items), tuple(found))


def _no_labels(place: Path, images: bool, labels: bool) -> Iterator[Defect]:
    if images and not labels:
        there = ", ".join(path.name for path in entries(place))
        what = f"no annotations: expected *.xml in {' or '.join(LABELS)}; found: {there}"
        yield Defect("layout", place, what)


def parse(item: Item, card: Card) -> Parsed:
    """The objects of one XML file."""
    if item.label is None:
        return boxes.no_label(item, card, 8)
    try:
        root, elements = boxes.read_xml(item.label)
    except boxes.Fault as fault:
        return Parsed(defects=(fault.defect(item.label, None),))
    found, defects = boxes.gathered(elements, partial(_row, card=card), item.label, 8)
    defects += _geographic(found, item.label)
    return Parsed(found, size=boxes.xml_size(root), defects=tuple(defects))


def _row(element: Element, card: Card) -> boxes.Row:
    system = element.findtext("coordinate", "pixel").strip()
    if system != "pixel":
        raise boxes.Fault("geographic", f"coordinates are of '{system}', not pixel")
    points = [_point(point.text, i) for i, point in enumerate(element.iterfind("points/point"), 1)]
    if len(points) != 5 or points[0] != points[-1]:
        closed = "five points, the last as the first, are meant"
        raise boxes.Fault("bad-box", f"{len(points)} points, where {closed}")
    name = element.findtext("possibleresult/name", "").strip()
    return [value for point in points[:4] for value in point], boxes.label_of(name, card), 0


def _point(text: str | None, index: int) -> tuple[float, float]:
    x, comma, y = (text or "").partition(",")
    if not comma:
        raise boxes.Fault("bad-box", f"point {index} is '{x.strip()}', not x,y")
    return boxes.number(x, f"x of point {index}"), boxes.number(y, f"y of point {index}")


def _geographic(found: Objects, place: Path) -> Iterator[Defect]:
    """Whether the file gives degrees: all in their range, no two a degree apart, and fractions.

    Fractions, because objects of the release that collapsed on the image's edge lie on whole
    pixels, but for the noise of 32-bit numbers.
    """
    points = found.boxes.reshape(-1, 2)
    if not len(points) or (np.abs(points) > (180, 90)).any():
        return
    whole = np.abs(points - points.round()) < 1e-3
    if (np.ptp(points, axis=0) < 1).all() and not whole.all():
        for at, (line, box) in enumerate(zip(found.lines, found.boxes, strict=True)):
            what = f"({box[0]:g}, {box[1]:g}) is a longitude and latitude"
            yield Defect("geographic", place, what, int(line) or None, at)


READER = Reader(find, parse)
