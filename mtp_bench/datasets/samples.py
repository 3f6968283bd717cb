"""What a reader gives: plain samples and the counts that were found, no framework in sight."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mtp_bench.datasets.cards.card import Card


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

    def counts(self) -> dict[str, int]:
        return {name: len(samples) for name, samples in self.splits.items()}


def stratified(card: Card, by_class: Sequence[Sequence[LabelledImage]]) -> Splits:
    """Seeded split of each class by the card's shares: the same images on every machine.

    The order within a class comes from the card's constant seed and the class's name, so a class
    keeps its split whatever becomes of the others.
    """
    chosen: dict[str, list[LabelledImage]] = {"train": [], "test": []}
    for name, samples in zip(card.classes, by_class, strict=True):
        seed = np.random.SeedSequence([card.splits.seed, *name.encode()])
        order = np.random.default_rng(seed).permutation(len(samples))
        first = round(card.splits.train.share * len(samples))
        last = first + round(card.splits.test.share * len(samples))
        chosen["train"] += [samples[i] for i in sorted(order[:first])]
        chosen["test"] += [samples[i] for i in sorted(order[first:last])]
    return {name: tuple(samples) for name, samples in chosen.items()}


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
