"""LoveDA as downloaded: three splits of rural and urban images with masks beside them."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from mtp_bench.datasets.cards.card import Card
from mtp_bench.datasets.defects import Defect
from mtp_bench.datasets.formats.boxes import release_folder
from mtp_bench.datasets.formats.label_images import parse_label, values_of
from mtp_bench.datasets.formats.reader import Reader, pictures, strange, unexpected
from mtp_bench.datasets.samples import Found, Item

FOLDERS = {"train": "Train", "val": "Val", "test": "Test"}
DOMAINS = ("Rural", "Urban")
LOOKED_AT = 16
"""Masks that decide about the coding of a copy; one alone need not hold every class."""
ENOUGH = 4


def find(root: Path, card: Card) -> Found:
    """The images of every split and domain; opens a few masks to tell copies of another coding."""
    folder = release_folder(root, card, FOLDERS.values())
    items: list[Item] = []
    found: list[Defect] = []
    for split, name in FOLDERS.items():
        place = folder / name
        if (place / name).is_dir():  # as Kaggle's copy nests it
            place /= name
        found += unexpected(place, DOMAINS, "neither Rural nor Urban")
        for domain in DOMAINS:
            images = pictures(place / domain / "images_png", card.suffixes)
            masks = pictures(place / domain / "masks_png", card.suffixes)
            for stem in {**images, **masks}:
                image = images.get(stem, place / domain / "images_png" / f"{stem}.png")
                items.append(Item(split, f"{domain}/{stem}", (image,), masks.get(stem)))
            found += strange(place / domain / "images_png", card.suffixes)
    found += _recoded(folder, [item.label for item in items if item.label is not None])
    return Found(folder, tuple(items), tuple(found))


def _recoded(folder: Path, masks: Sequence[Path]) -> Iterator[Defect]:
    """Whether several masks together look as copies store them: 0-6, and 255 for no-data."""
    seen, rich = set[int](), 0
    for path in masks[:: max(1, len(masks) // LOOKED_AT)]:
        try:
            values = {int(value) for value in np.unique(values_of(path))}
        except (OSError, ValueError, SyntaxError):
            continue  # parsing it reports it
        seen |= values
        rich += len(values) > 1
    shifted = rich >= ENOUGH and 0 in seen and 7 not in seen
    if 7 not in seen and (255 in seen or shifted) and max(seen) in (6, 255):
        what = f"masks have the values {', '.join(map(str, sorted(seen)))}: a copy that stores "
        yield Defect("label-value", folder, what + "classes as 0-6; the release has 1-7 and 0")


READER = Reader(find, parse_label)
