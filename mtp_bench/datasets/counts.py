"""How many images and objects there are, against the release or against what was rendered."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mtp_bench.datasets.cards.card import Card
from mtp_bench.datasets.defects import Defect
from mtp_bench.datasets.samples import Found

MARKER = "miniature.json"


def is_marked(folder: Path) -> bool:
    """Whether the renderer made what lies in a folder."""
    return (folder / MARKER).is_file()


def marked(root: Path, found: Found) -> dict[str, Any] | None:
    """What the renderer left beside a miniature; None for data that is real."""
    for folder in (found.folder, root):
        try:
            marker: dict[str, Any] = json.loads((folder / MARKER).read_text())
        except (OSError, ValueError):
            continue
        return marker
    return None


def count_faults(
    card: Card, found: Found, objects: Mapping[str, int] | None = None
) -> Iterator[Defect]:
    """Splits, or classes of whole pictures, of which there are not as many as in the release."""
    if card.class_counts:
        yield from _class_counts(card, found)
        return
    images = Counter(item.split for item in found.items)
    for name, split in card.splits.items():
        kind = "count" if split.confirmed else "expected-count"
        pairs = [("images", images[name], split.images)]
        if objects is not None and split.labelled and images[name] == split.images:
            pairs.append(("objects", objects.get(name, 0), split.objects))
        for what, there, wanted in pairs:
            if wanted is not None and there != wanted:
                told = f"{name}: {there:,} {what} where the release has {wanted:,}"
                yield Defect(kind, found.folder, told)


def _class_counts(card: Card, found: Found) -> list[Defect]:
    there = Counter(item.target for item in found.items)
    counts = [(name, there[i], card.class_counts[name]) for i, name in enumerate(card.classes)]
    wrong = [
        Defect("count", found.folder / name, f"{n:,} images where the release has {wanted:,}")
        for name, n, wanted in counts
        if n != wanted
    ]
    if len(wrong) <= 3:
        return wrong
    total, release = sum(there.values()), sum(card.class_counts.values())
    of = f"({len(wrong)} of {len(counts)} classes differ)"
    what = f"{total:,} images where the release has {release:,} {of}"
    return [Defect("count", found.folder, what)]
