"""Everything that is wrong with the files of a dataset, in one pass, in parallel."""

import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from mtp_bench.datasets.access import card_of, fitted
from mtp_bench.datasets.cards.card import Card
from mtp_bench.datasets.counts import MARKER, count_faults, marked
from mtp_bench.datasets.defects import WARNINGS, Defect, action_of, why_known
from mtp_bench.datasets.formats.reader import LITTER
from mtp_bench.datasets.leaks import Thumb, leaks, thumb
from mtp_bench.datasets.pixels import RASTERS
from mtp_bench.datasets.pool import FEW, in_order
from mtp_bench.datasets.reading import examine, find
from mtp_bench.datasets.samples import Found, Item, parts
from mtp_bench.errors import UserError

Progress = Callable[[int, int], None]
CHUNK = 64


@dataclass(frozen=True)
class Finding:
    """A defect, judged: ``error``, ``warning``, or ``known`` in the release."""

    defect: Defect
    level: str
    why: str = ""


@dataclass(frozen=True)
class Report:
    """What a check found."""

    dataset: str
    root: Path
    synthetic: bool
    images: Mapping[str, int]
    objects: Mapping[str, int]
    findings: tuple[Finding, ...]
    actions: Mapping[str, str]
    """Kind → what reading does with it."""
    pixels: bool
    """Whether images were decoded and compared."""

    def count(self, level: str) -> int:
        return sum(finding.level == level for finding in self.findings)


@dataclass
class _Tally:
    """What workers tell, gathered."""

    defects: list[Defect] = field(default_factory=list)
    objects: Counter[str] = field(default_factory=Counter)
    thumbs: dict[Path, Thumb] = field(default_factory=dict)


def check(
    name: str,
    root: Path,
    *,
    workers: int = 1,
    pixels: bool = True,
    subset: bool = False,
    progress: Progress | None = None,
) -> Report:
    """Check the files of a dataset under its own folder.

    Args:
        name: of the dataset.
        root: the dataset's folder.
        workers: processes.
        pixels: also decode every image to its end and compare those of different splits.
        subset: the release's counts are not expected.
        progress: hears (done, total) items.
    """
    card = card_of(name)
    try:
        found = find(card, root)
    except UserError as error:
        lines = tuple(line.removeprefix(f"{card.name}: {root}: ") for line in error.lines)
        found = Found(root, (), tuple(Defect("layout", root, line) for line in lines))
        return _report(card, root, found, _Tally(), None, pixels)
    marker = marked(root, found)
    card = card if marker is None else fitted(card, "miniature")
    tally = _examined(found.items, card, (workers, pixels), progress)
    tally.defects = _tiled(tally.defects, card, found)
    tally.defects += strays(root)
    if marker is None and not subset:
        tally.defects += count_faults(card, found, tally.objects)
    elif marker is not None:
        tally.defects += _marked_counts(card, found, marker)
    if pixels:
        tally.defects += leaks(_by_split(card, found, tally.thumbs))
    return _report(card, root, found, tally, marker, pixels)


def _report(
    card: Card, root: Path, found: Found, tally: _Tally, marker: dict[str, Any] | None, pixels: bool
) -> Report:
    defects = sorted(
        dict.fromkeys((*found.defects, *tally.defects)),
        key=lambda d: (d.kind, str(d.place), d.line or 0, d.at or 0),
    )
    findings = []
    for defect in defects:
        why = why_known(defect, card, found.folder) or why_known(defect, card, root)
        mild = defect.kind in WARNINGS and action_of(defect.kind, card) == "keep"
        level = "known" if why else "warning" if mild else "error"
        findings.append(Finding(defect, level, why or ""))
    images = Counter(item.split for item in found.items)
    actions = {defect.kind: action_of(defect.kind, card) for defect in defects}
    return Report(
        card.name,
        root,
        marker is not None,
        {split: images[split] for split in dict.fromkeys((*card.splits, *images))},
        dict(tally.objects),
        tuple(findings),
        actions,
        pixels,
    )


def _marked_counts(card: Card, found: Found, marker: dict[str, Any]) -> Iterator[Defect]:
    there = Counter(item.split for item in found.items)
    splits = marker.get("splits")
    if not isinstance(splits, dict):
        yield Defect("layout", found.folder, f"{MARKER} is not as it was rendered: render anew")
        return
    for split, wanted in splits.items():
        if split in card.splits and there[split] != wanted:
            what = f"{split}: {there[split]:,} images, {wanted} rendered"
            yield Defect("count", found.folder, what)


def strays(root: Path) -> Iterator[Defect]:
    """What operating systems leave in folders, and files of which readers see one alone."""
    for folder, folders, files in os.walk(root):
        for name in (*folders, *files):
            if LITTER.fullmatch(name):
                yield Defect("stray", Path(folder, name), "litter of an operating system")
        first: dict[str, str] = {}
        for name in sorted(files):
            stem, dot, suffix = name.rpartition(".")
            other = first.setdefault(f"{stem}{dot}{suffix.lower()}", name)
            if other != name:
                yield Defect("unexpected", Path(folder, name), f"{other} is there too: one is read")
        folders[:] = [name for name in folders if not LITTER.fullmatch(name)]


def _tiled(defects: list[Defect], card: Card, found: Found) -> list[Defect]:
    """Where all pictures have the size of tiles, that is one finding and not one each."""
    images = sum(len(item.images) for item in found.items)
    other = [d for d in defects if d.kind != "picture-size"]
    sizes = {d.what for d in defects if d.kind == "picture-size"}
    if card.tiles is None or not images or len(defects) - len(other) < images or len(sizes) > 1:
        return defects
    what = f"all {images:,} images: {sizes.pop()}"
    if what.split(": ")[1].startswith(f"{card.tiles.size}x{card.tiles.size} "):
        return [*other, Defect("tiled", found.folder, f"{what}: they were cut into tiles before")]
    return defects


def _by_split(
    card: Card, found: Found, thumbs: Mapping[Path, Thumb]
) -> dict[str, list[tuple[Path, Thumb]]]:
    return {
        split: [(p, thumbs[p]) for item in items for p in item.images if p in thumbs]
        for split, items in parts(card, found.items).items()
    }


Told = tuple[list[Defect], Counter[str], dict[Path, Thumb]]


def _examined(
    items: Sequence[Item], card: Card, how: tuple[int, bool], progress: Progress | None
) -> _Tally:
    workers, pixels = how
    tally, done = _Tally(), 0
    chunks = [items[i : i + CHUNK] for i in range(0, len(items), CHUNK)]
    work = partial(_chunk, card=card, pixels=pixels)
    died = f"{card.name}: a process died, perhaps for want of memory: check again with fewer "
    several = workers if len(items) >= FEW else 1
    results = in_order(work, chunks, several, f"{died}workers")
    for chunk, told in zip(chunks, results, strict=True):
        tally.defects += told[0]
        tally.objects += told[1]
        tally.thumbs |= told[2]
        done += len(chunk)
        if progress:
            progress(done, len(items))
    return tally


def _chunk(items: Sequence[Item], card: Card, pixels: bool) -> Told:
    defects: list[Defect] = []
    objects: Counter[str] = Counter()
    thumbs: dict[Path, Thumb] = {}
    for item in items:
        seen = examine(item, card)
        defects += seen.defects
        if seen.parsed.objects is not None:
            objects[item.split] += len(seen.parsed.objects)
        there = zip(item.images, seen.pictures, strict=True)
        for path in (path for path, picture in there if pixels and picture is not None):
            try:
                small = thumb(path)
            except OSError as error:
                defects.append(Defect("image-unreadable", path, f"cannot be decoded ({error})"))
                continue
            if small is not None:
                thumbs[path] = small
        for path in (path for path in item.extra.values() if pixels and path.suffix in RASTERS):
            try:
                thumb(path)
            except OSError as error:
                defects.append(Defect("bands", path, f"cannot be decoded ({error})"))
    return defects, objects, thumbs
