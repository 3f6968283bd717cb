"""How many images and objects there are, against the release or against what was rendered."""

import json
import os
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mtp_bench.datasets.cards.card import Card
from mtp_bench.datasets.defects import Defect, why_known
from mtp_bench.datasets.samples import Found, Item

MARKER = "miniature.json"


def is_marked(folder: Path) -> bool:
    """Whether the renderer made what lies in a folder."""
    return os.path.isfile(folder / MARKER)  # noqa: PTH113 - False where none may look


def marked(root: Path, found: Found) -> dict[str, Any] | None:
    """What the renderer left beside a miniature, also where damaged; None for data that is real."""
    place = next((folder for folder in (found.folder, root) if is_marked(folder)), None)
    if place is None:
        return None
    try:
        marker = json.loads((place / MARKER).read_text())
    except (OSError, ValueError, RecursionError):
        marker = None
    return marker if isinstance(marker, dict) else {}


def count_faults(
    card: Card, found: Found, objects: Mapping[str, int] | None = None
) -> Iterator[Defect]:
    """Splits, or classes of whole pictures, of which there are not as many as in the release."""
    if card.class_counts:
        yield from _class_counts(card, found)
        return
    lacks = any(known.kind == "image-missing" for known in card.known)
    images = Counter(
        item.split for item in found.items if not (lacks and _known_to_lack(item, card, found))
    )
    for name, split in card.splits.items():
        lost = split.labelled and not images[name]
        kind = "count" if split.confirmed or lost else "expected-count"
        pairs = [("images", images[name], split.images)]
        if objects is not None and split.labelled and images[name] == split.images:
            pairs.append(("objects", objects.get(name, 0), split.objects))
        for what, there, wanted in pairs:
            if wanted is not None and there != wanted:
                told = f"{name}: {there:,} {what} where the release has {wanted:,}"
                yield Defect(kind, found.folder, told)


def _known_to_lack(item: Item, card: Card, found: Found) -> bool:
    """Whether the release has an annotation of an image, and not the image."""
    path = item.images[0]
    missing = Defect("image-missing", path, "")
    return why_known(missing, card, found.folder) is not None and not path.exists()


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
