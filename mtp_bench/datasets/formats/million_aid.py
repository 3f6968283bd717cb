"""Million-AID as downloaded: class folders two or three deep, test images in one."""

import os
from collections.abc import Iterator
from pathlib import Path

from mtp_bench.datasets.cards.card import Card
from mtp_bench.datasets.defects import Defect
from mtp_bench.datasets.formats.boxes import release_folder
from mtp_bench.datasets.formats.reader import LITTER, Reader
from mtp_bench.datasets.samples import Found, Item, Parsed
from mtp_bench.errors import nearest

DEPTH = 4
"""Folders below a split; one more than the release has, and an end for links in a circle."""


def find(root: Path, card: Card) -> Found:
    """Every image of both splits in order of name; a million of them take some seconds."""
    folder = release_folder(root, card, card.splits)
    labels = {name: label for label, name in enumerate(card.classes)}
    items: list[Item] = []
    found: list[Defect] = []
    for split in card.splits:
        place = folder / split
        for inner, names in _folders(place, "", DEPTH):
            leaf = inner.rpartition("/")[2]
            target = labels.get(leaf)
            if leaf and target is None and names:
                hint = nearest(leaf, list(card.classes))
                found.append(Defect("unknown-class", place / inner, f"not a class: {hint}"))
            for name in names:
                stem, suffix = os.path.splitext(name)  # noqa: PTH122 - a million times
                path = place / inner / name
                if suffix.lower() in card.suffixes:
                    items.append(Item(split, f"{inner}/{stem}".lstrip("/"), (path,), None, target))
                else:
                    found.append(Defect("unexpected", path, "no image"))
    return Found(folder, tuple(items), tuple(found))


def _folders(place: Path, inner: str, depth: int) -> Iterator[tuple[str, list[str]]]:
    """Each folder, relative to ``place``, with its files' names."""
    folders: list[str] = []
    names: list[str] = []
    where = place / inner
    for entry in os.scandir(where) if where.is_dir() else ():
        if not LITTER.fullmatch(entry.name):
            (folders if entry.is_dir() else names).append(entry.name)
    yield inner, sorted(names)
    for name in sorted(folders) if depth else ():
        yield from _folders(place, f"{inner}/{name}".lstrip("/"), depth - 1)


def parse(item: Item, card: Card) -> Parsed:
    """Pretraining uses no label: there is nothing to read."""
    return Parsed()


READER = Reader(find, parse)
