"""Scene classification as downloaded: one folder a class (EuroSAT, RESISC45)."""

import re
from pathlib import Path

from mtp_bench.datasets.cards.card import Card
from mtp_bench.datasets.samples import LabelledImage, ReadData, stratified
from mtp_bench.errors import UserError, nearest

LITTER = re.compile(r"\._.*|\.DS_Store|Thumbs\.db|__MACOSX", re.IGNORECASE)


def read(root: Path, card: Card, variant: str) -> ReadData:
    """All samples of a dataset, split. ``UserError`` tells each thing that the card does not."""
    folder = _class_root(root, card)
    problems = _strange_folders(folder, card)
    by_class = [_images(folder / name, label, card) for label, name in enumerate(card.classes)]
    if variant == "release":
        problems += _count_problems(folder, card, [len(samples) for samples in by_class])
    if problems:
        raise UserError(*problems)
    splits = stratified(card, by_class)
    for name, samples in splits.items():
        if not samples:
            raise UserError(f"{card.name}: the {name} split has no image: too few under {folder}")
    return ReadData(folder, splits, card.splits.source)


def _entries(folder: Path) -> list[Path]:
    """What lies in a folder, without what operating systems leave there."""
    return [path for path in folder.iterdir() if not LITTER.fullmatch(path.name)]


def _class_root(root: Path, card: Card) -> Path:
    for layout in card.layouts:
        folder = root / layout
        if any((folder / name).is_dir() for name in card.classes):
            return folder
    expected = root / card.layouts[0] / card.classes[0]
    found = sorted(path.name for path in _entries(root))[:5]
    raise UserError(
        f"{card.name}: no class folder under {root}: expected {expected}/… "
        f"(found: {', '.join(found) or 'nothing'}); unpack {card.source} there"
    )


def _strange_folders(folder: Path, card: Card) -> list[str]:
    return [
        f"{card.name}: {path}: not a class: {nearest(path.name, list(card.classes))}"
        for path in sorted(_entries(folder))
        if path.is_dir() and path.name not in card.classes
    ]


def _images(folder: Path, label: int, card: Card) -> list[LabelledImage]:
    if not folder.is_dir():
        return []
    entries = _entries(folder)
    paths = [path for path in entries if path.suffix.lower() in card.suffixes]
    other = sorted({path.suffix for path in entries if path.suffix})
    if other and not paths:
        raise UserError(
            f"{card.name}: {folder}: holds {', '.join(other)}, no {', '.join(card.suffixes)}: "
            "this is another variant of the dataset"
        )
    return [LabelledImage(path, label) for path in sorted(paths, key=_natural)]


def _natural(path: Path) -> tuple[str | int, ...]:
    """Forest_2 before Forest_10."""
    return tuple(int(part) if part.isdigit() else part for part in re.split(r"(\d+)", path.name))


def _count_problems(folder: Path, card: Card, found: list[int]) -> list[str]:
    wrong = [
        f"{card.name}: {folder / name}: {count:,} images where the release has "
        f"{card.class_counts[name]:,}"
        for name, count in zip(card.classes, found, strict=True)
        if count != card.class_counts[name]
    ]
    if len(wrong) > 3:
        wrong = [
            f"{card.name}: {folder}: {sum(found):,} images where the release has "
            f"{sum(card.class_counts.values()):,} ({len(wrong)} of {len(found)} classes differ)"
        ]
    return [f"{line}; complete it, or say 'data: subset' in the suite" for line in wrong]
