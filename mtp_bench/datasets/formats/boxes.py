"""What the readers of boxes and polygons share: faults of one row, XML with lines, pairing."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import TypeVar
from xml.etree import ElementTree

from mtp_bench.datasets.cards.card import Card
from mtp_bench.datasets.defects import Defect
from mtp_bench.datasets.formats.reader import nothing_found
from mtp_bench.datasets.samples import Item, Objects, Parsed, objects
from mtp_bench.errors import nearest

Row = tuple[list[float], int, int]
"""Coordinates, label, difficult."""
T = TypeVar("T")
TILE = re.compile(r".+__[\d.]+__-?\d+___-?\d+")
"""DOTA's kit's P0004__1__0___0 (scale), mmrotate's P0004__1024__0___0 (size of the window)."""
FAR = 1e9
"""No coordinate of an image; areas of what lies further off would overflow."""


class Fault(Exception):
    """Why a row, or a whole file, gives no objects: a kind of ``defects.KINDS`` and words."""

    def __init__(self, kind: str, what: str, line: int | None = None) -> None:
        super().__init__(what)
        self.kind, self.what, self.line = kind, what, line

    def defect(self, place: Path, line: int | None) -> Defect:
        return Defect(self.kind, place, self.what, self.line or line)


def release_folder(root: Path, card: Card, signs: Iterable[str]) -> Path:
    """The first of the card's layouts in which any of these files or folders lies."""
    wanted = list(signs)
    for layout in card.layouts:
        if any((root / layout / sign).exists() for sign in wanted):
            return root / layout
    raise nothing_found(card, root, " or ".join(wanted))


def first_folder(folder: Path, names: Iterable[str]) -> Path:
    """The first of these folders that is there; the first name where none is."""
    there = [folder / name for name in names]
    return next((path for path in there if path.is_dir()), there[0])


def paired(
    split: str, images: Mapping[str, Path], labels: Mapping[str, Path], folder: Path, card: Card
) -> list[Item]:
    """One item for each image or annotation; ``folder`` is where a missing image should lie."""
    names = sorted(images.keys() | labels.keys(), key=lambda name: (len(name), name))
    return [
        Item(
            split,
            name,
            (images.get(name) or folder / f"{name}{card.suffixes[0]}",),
            labels.get(name),
        )
        for name in names
    ]


def tiled(place: Path, images: Iterable[str]) -> Iterator[Defect]:
    """Whether images are named as the common splitters name tiles."""
    tiles = [name for name in images if TILE.fullmatch(name)]
    if tiles:
        what = f"{len(tiles)} names as {tiles[0]}: tiles, where whole scenes are meant"
        yield Defect("tiled", place, what)


def no_label(item: Item, card: Card, numbers: int) -> Parsed:
    """A picture without annotation: none is published, or it is missing."""
    if not card.splits[item.split].labelled:
        return Parsed()
    missing = Defect("label-missing", item.images[0], "has no annotation")
    return Parsed(objects([], numbers), defects=(missing,))


def number(text: str | None, name: str) -> float:
    """A number from a text, such as may be a coordinate."""
    try:
        value = float(text or "")
    except ValueError:
        said = f"is '{text.strip()}', no number" if text else "is missing"
        raise Fault("bad-box", f"{name} {said}") from None
    if not abs(value) < FAR:
        raise Fault("bad-box", f"{name} is {value:g}")
    return value


def flag(text: str | None) -> int:
    """The field ``difficult``: 0 where there is none."""
    said = (text or "0").strip()
    if len(said) == 1 and said in "012":
        return int(said)
    raise Fault("bad-box", f"difficult is '{said}', not 0, 1 or 2")


def label_of(name: str, card: Card, hint: str = "") -> int:
    """A class's index by its exact name or a stated alias."""
    known = card.aliases.get(name, name)
    if known in card.classes:
        return card.classes.index(known)
    raise Fault("unknown-class", f"'{name}' is no class: {hint or _near(name, card.classes)}")


@lru_cache(maxsize=1024)  # a folder of another dataset has millions of such rows
def _near(name: str, classes: tuple[str, ...]) -> str:
    return nearest(name, list(classes))


def gathered(
    entries: Iterable[tuple[int, T]], read: Callable[[T], Row], place: Path, numbers: int
) -> tuple[Objects, list[Defect]]:
    """The objects of (line, entry) pairs, and a defect for each entry that is none."""
    rows, found = [], []
    for line, entry in entries:
        try:
            rows.append((*read(entry), line))
        except Fault as fault:
            found.append(fault.defect(place, line or None))
    return objects(rows, numbers), found


def read_xml(path: Path) -> tuple[ElementTree.Element, list[tuple[int, ElementTree.Element]]]:
    """An XML file's root, and its ``<object>`` elements with their lines."""
    try:
        data = path.read_bytes()
        root = ElementTree.fromstring(data)
    except ElementTree.ParseError as error:
        raise Fault("label-unreadable", f"no XML: {error}", error.position[0]) from None
    except (OSError, ValueError, LookupError) as error:
        raise Fault("label-unreadable", f"cannot be read ({error})") from None
    found, lines, last = list(root.iter("object")), [], 0
    line = 1
    for match in re.finditer(rb"<object[\s/>]", data):
        line += data.count(b"\n", last, match.start())
        last = match.start()
        lines.append(line)
    if len(lines) != len(found):  # UTF-16, or the word stands in a comment
        lines = [0] * len(found)
    return root, list(zip(lines, found, strict=True))


def xml_size(root: ElementTree.Element) -> tuple[int, int] | None:
    """Width and height that an annotation gives, where it gives any."""
    try:
        return int(root.findtext("size/width", "")), int(root.findtext("size/height", ""))
    except ValueError:
        return None
