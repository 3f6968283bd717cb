"""What readers find and give: plain samples, no framework in sight."""

import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from mtp_bench.datasets.cards.card import Card, Draw
from mtp_bench.datasets.defects import Defect


@dataclass(frozen=True)
class Item:
    """One picture, or pair, of a release with its annotation: found, not yet read."""

    split: str
    key: str
    """Its name, unique in its split, with ``/`` where the release has folders."""
    images: tuple[Path, ...]
    """One, or the earlier and the later date."""
    label: Path | None = None
    """Its annotation file; None where it has none."""
    target: int | None = None
    """Class of a whole picture."""
    rows: Any = None
    """Its part of an annotation file that many pictures share."""
    extra: Mapping[str, Path] = field(default_factory=dict)
    """Further files, by what they are."""

    def files(self) -> tuple[Path, ...]:
        label = () if self.label is None else (self.label,)
        return (*self.images, *label, *self.extra.values())


@dataclass(frozen=True)
class Found:
    """A release as it lies on disk."""

    folder: Path
    items: tuple[Item, ...]
    defects: tuple[Defect, ...] = ()


@dataclass(frozen=True, eq=False)
class Objects:
    """Objects of one picture, in pixels of that picture; a pixel's left upper corner is (0, 0)."""

    boxes: npt.NDArray[np.float64]
    """(n, 4): left, top, right, bottom. (n, 8): x and y of four corners in turn."""
    labels: npt.NDArray[np.int64]
    """(n,) index into the card's classes."""
    difficult: npt.NDArray[np.int64]
    """(n,) 0, or the release's flag; 2: cut by the edge of a tile; -1: ignored."""
    lines: npt.NDArray[np.int64]
    """(n,) line, or number of the object, in the annotation file."""

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, which: npt.NDArray[Any]) -> "Objects":
        fields = (self.boxes, self.labels, self.difficult, self.lines)
        return Objects(*(column[which] for column in fields))


def objects(rows: Sequence[tuple[Sequence[float], int, int, int]], numbers: int = 8) -> Objects:
    """From (coordinates, label, difficult, line) of each; ``numbers`` coordinates to a box."""
    boxes = np.array([row[0] for row in rows], dtype=np.float64).reshape(-1, numbers)
    rest = np.array([row[1:] for row in rows], dtype=np.int64).reshape(-1, 3)
    return Objects(boxes, *(np.ascontiguousarray(column) for column in rest.T))


class Instance(NamedTuple):
    """One instance with its mask, as SAMRS has them."""

    label: int
    box: tuple[float, float, float, float]
    rle: Mapping[str, Any]
    """COCO's compressed run lengths: ``size`` (height, width) and ``counts``."""


@dataclass(frozen=True, eq=False)
class Parsed:
    """What an annotation says, before anything is mended or left out."""

    objects: Objects | None = None
    mask: npt.NDArray[np.uint8] | None = None
    """(height, width) classes, ``IGNORE`` where nothing counts."""
    instances: tuple[Instance, ...] = ()
    size: tuple[int, int] | None = None
    """Width and height that the annotation gives for the picture."""
    defects: tuple[Defect, ...] = ()


@dataclass(frozen=True)
class LabelledImage:
    """One image and its class (index into the card's classes)."""

    path: Path
    label: int


Splits = dict[str, tuple[LabelledImage, ...]]


@dataclass(frozen=True)
class ReadData:
    """A dataset as read: the samples of each split, in a fixed order."""

    root: Path
    splits: Splits
    split_source: str
    defects: Mapping[str, int] = field(default_factory=dict)
    """What reading met and did, as ``zero-area dropped`` → how often."""

    def counts(self) -> dict[str, int]:
        return {name: len(samples) for name, samples in self.splits.items()}


@dataclass(frozen=True)
class DataFacts:
    """What a record says of the data that a job read."""

    counts: Mapping[str, int]
    """``train``: samples that it trained on; ``test``: pictures of the release that it was judged
    on; ``server``: those that it predicts for a server."""
    split_source: str
    defects: Mapping[str, int]
    fingerprint: str
    train_images: int
    labels: Mapping[str, int] = field(default_factory=dict)
    """Of label maps: pixels of each class in some of them, as they are trained on."""


def deal(draw: Draw, count: int, name: str = "") -> dict[str, list[int]]:
    """Seeded parts of ``count`` things: indices of each part in order.

    The order comes from the draw's constant seed and the name, so that a class keeps its parts
    whatever becomes of the others. Of a few things every part gets one, where there are enough.
    """
    seed = np.random.SeedSequence([draw.seed, *name.encode()])
    order = np.random.default_rng(seed).permutation(count)
    parts, first = {}, 0
    for part, size in _sizes(draw, count).items():
        parts[part] = sorted(int(i) for i in order[first : first + size])
        first += size
    return parts


def _sizes(draw: Draw, count: int) -> dict[str, int]:
    sizes = {part: round(share * count) for part, share in draw.shares.items()}
    for part in (part for part, size in sizes.items() if size == 0):
        largest = max(sizes, key=lambda name: sizes[name])
        if sum(sizes.values()) < count:
            sizes[part] = 1
        elif sizes[largest] > 1:
            sizes[largest], sizes[part] = sizes[largest] - 1, 1
    return sizes


def parts(card: Card, items: Sequence[Item]) -> dict[str, list[Item]]:
    """Items by split: the release's own, and of the one that a draw deals out its parts.

    Whole pictures are dealt out class by class; tiles are not dealt out here.
    """
    draw, found = card.draw, defaultdict[str, list[Item]](list)
    for item in items:
        if draw is None or draw.tiles or item.split != draw.of:
            found[item.split].append(item)
    if draw is not None and not draw.tiles:
        groups = defaultdict[int | None, list[Item]](list)
        for item in items:
            if item.split == draw.of:
                groups[item.target].append(item)
        for part in draw.shares:
            found[part] = []
        for target in sorted(groups, key=lambda t: -1 if t is None else t):
            name = "" if target is None else card.classes[target]
            for part, indices in deal(draw, len(groups[target]), name).items():
                found[part] += [groups[target][i] for i in indices]
    return dict(found)


def fraction(
    samples: Sequence[LabelledImage], share: float, seed: int
) -> tuple[LabelledImage, ...]:
    """A seeded share of each class, at least one image of each that has any."""
    if share >= 1:
        return tuple(samples)
    totals = Counter(sample.label for sample in samples)
    left = {label: max(1, math.ceil(share * count - 1e-9)) for label, count in totals.items()}
    kept = []
    for index in np.random.default_rng(seed).permutation(len(samples)):
        label = samples[index].label
        if left[label]:
            left[label] -= 1
            kept.append(int(index))
    return tuple(samples[i] for i in sorted(kept))
