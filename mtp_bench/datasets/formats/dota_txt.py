"""DOTA as downloaded: one text file a scene, a line an object (x1 y1 … x4 y4 class difficult)."""

from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path

from mtp_bench.datasets.cards.card import Card
from mtp_bench.datasets.defects import Defect
from mtp_bench.datasets.formats import boxes
from mtp_bench.datasets.formats.reader import Reader, entries, pictures
from mtp_bench.datasets.samples import Found, Item, Parsed

HEADER = ("imagesource:", "gsd:")
LATER = {"container-crane": "1.5", "airport": "2.0", "helipad": "2.0"}
"""Classes by the version that brought them."""


def find(root: Path, card: Card) -> Found:
    """The scenes of every split, with the annotations of the card's version."""
    folder = boxes.release_folder(root, card, card.splits)
    version = card.name.rpartition("-v")[2]
    items: list[Item] = []
    found: list[Defect] = []
    for split, facts in card.splits.items():
        place = folder / split / "images"
        images, labels = _images(place, card), {}
        if facts.labelled and (folder / split).is_dir():
            labels = _labels(folder / split, split, version)
            found += _unpaired(place, images, labels, version)
        found += boxes.tiled(place, images)
        items += boxes.paired(split, images, labels, place, card)
    return Found(folder, tuple(items), tuple(found))


def _images(place: Path, card: Card) -> dict[str, Path]:
    """Images, also where each part was unpacked into a folder of its own."""
    parts = [path for path in entries(place) if path.is_dir()]
    places = (place, *parts, *(part / "images" for part in parts))
    return {name: path for each in places for name, path in pictures(each, card.suffixes).items()}


def _label_folders(split: str, version: str) -> tuple[str, ...]:
    named = f"labelTxt-v{version}"
    return (
        f"{named}/labelTxt",
        f"{named}/DOTA-v{version}_{split}",
        named,
        f"annotations/version{version}",  # torchgeo's copy
        "labelTxt",
    )


def _labels(folder: Path, split: str, version: str) -> dict[str, Path]:
    each = (pictures(folder / name, (".txt",)) for name in _label_folders(split, version))
    return next((labels for labels in each if labels), {})


def _unpaired(
    place: Path, images: Mapping[str, Path], labels: Mapping[str, Path], version: str
) -> Iterator[Defect]:
    if images and not labels:
        folder = place.parent
        names = ", ".join(_label_folders(folder.name, version))
        there = ", ".join(path.name for path in entries(folder))
        what = f"no oriented boxes of v{version}: expected *.txt in one of {names}; found: {there}"
        yield Defect("layout", folder, what)
    missing = sorted(labels.keys() - images.keys())
    if missing:
        hint = "unpack every part of the images"
        if version == "2.0":
            hint = "DOTA-v2.0's package lacks the images of v1.0: unpack those here too"
        what = f"{len(missing)} annotations have no image ({missing[0]}, …): {hint}"
        yield Defect("image-missing", place, what)


def parse(item: Item, card: Card) -> Parsed:
    """The objects of one scene; an empty file or one of header lines only has none."""
    if item.label is None:
        return boxes.no_label(item, card, 8)
    try:
        text = item.label.read_text("utf-8-sig")
    except (OSError, ValueError) as error:
        return Parsed(defects=(Defect("label-unreadable", item.label, f"no text ({error})"),))
    rows = [
        (number, line.split())
        for number, line in enumerate(text.split("\n"), 1)
        if line.strip() and not line.startswith(HEADER)
    ]
    found, defects = boxes.gathered(rows, partial(_row, card=card), item.label, 8)
    return Parsed(found, defects=tuple(defects))


def _row(fields: list[str], card: Card) -> boxes.Row:
    if len(fields) not in (9, 10):
        what = "8 numbers, a class and 'difficult' are meant"
        raise boxes.Fault("bad-box", f"{len(fields)} fields, where {what}")
    coordinates = [boxes.number(text, f"number {i}") for i, text in enumerate(fields[:8], 1)]
    name = fields[8]
    hint = f"it came with DOTA-v{LATER[name]}, whose labels lie here" if name in LATER else ""
    return coordinates, boxes.label_of(name, card, hint), boxes.flag("".join(fields[9:]))


READER = Reader(find, parse)
