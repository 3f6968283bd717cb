"""Scene classification as downloaded: one folder a class (EuroSAT, RESISC45)."""

from collections.abc import Iterator
from pathlib import Path

from mtp_bench.datasets.cards.card import Card
from mtp_bench.datasets.defects import Defect
from mtp_bench.datasets.formats.reader import Reader, entries, nothing_found, pictures, strange
from mtp_bench.datasets.samples import Found, Item, Parsed
from mtp_bench.errors import nearest


def find(root: Path, card: Card) -> Found:
    """All images of all classes, in one split ``all``."""
    folder = _class_root(root, card)
    items = tuple(
        Item("all", f"{name}/{stem}", (path,), target=label)
        for label, name in enumerate(card.classes)
        for stem, path in pictures(folder / name, card.suffixes).items()
    )
    return Found(folder, items, tuple(_strange(folder, card)))


def parse(item: Item, card: Card) -> Parsed:
    """A whole picture's class is its folder: there is nothing to read."""
    return Parsed()


READER = Reader(find, parse)


def _class_root(root: Path, card: Card) -> Path:
    for layout in card.layouts:
        folder = root / layout
        if any((folder / name).is_dir() for name in card.classes):
            return folder
    expected = root / card.layouts[0] / card.classes[0]
    raise nothing_found(card, root, f"class folders as {expected}/…")


def _strange(folder: Path, card: Card) -> Iterator[Defect]:
    """Folders that are no class, and what lies in the others besides images."""
    for path in entries(folder):
        if not path.is_dir():
            yield Defect("unexpected", path, "no class folder")
        elif path.name not in card.classes:
            hint = nearest(path.name, list(card.classes))
            yield Defect("unknown-class", path, f"not a class: {hint}")
        else:
            hint = ": this is another variant of the dataset"
            yield from strange(path, card.suffixes, hint)
