"""From a dataset's name and variant to its samples: the release, or a miniature made once."""

import shutil
import uuid
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

from mtp_bench import catalog
from mtp_bench.datasets.cards.card import Card
from mtp_bench.datasets.counts import count_faults, marked
from mtp_bench.datasets.defects import WARNINGS, refused
from mtp_bench.datasets.reading import counted, find
from mtp_bench.datasets.samples import Found, LabelledImage, ReadData, parts
from mtp_bench.datasets.scenes import RENDERER_VERSION
from mtp_bench.errors import UserError
from mtp_bench.store.files import make_folder
from mtp_bench.store.paths import find_folder

Progress = Callable[[int, int], None]
MINIATURE_SEED = 0
SHOWN = 20


def card_of(name: str) -> Card:
    """The card of a dataset; of SAMRS, which is three, that of the first."""
    parts = catalog.find("dataset", name).facts.get("parts", (name,))
    card: Card = catalog.load("dataset", parts[0])
    return card


def fitted(card: Card, variant: str) -> Card:
    """The card as a variant has it: miniatures are smaller, and of a subset images may lack."""
    if variant == "miniature":
        return replace(card, picture=None)
    if variant == "subset":
        return replace(card, policy={**card.policy, "image-missing": "drop"})
    return card


def miniature_root(name: str, cache: Path) -> Path:
    """Where the miniature of a dataset lies: keyed by all that produced it."""
    return cache / "miniatures" / f"{name}-v{RENDERER_VERSION}-s{MINIATURE_SEED}"


def locate(name: str, variant: str, data: Path | None, cache: Path) -> Path:
    """The dataset's folder. ``UserError`` says what to put where."""
    if variant == "miniature":
        return miniature_root(name, cache)
    facts = catalog.find("dataset", name).facts
    source, wanted = facts["source"], facts["folder"]
    if data is None:
        how = f"give --data DIR or set MTP_BENCH_DATA, with {source} unpacked in DIR/{wanted}"
        raise UserError(f"{name}: no data folder named: {how}")
    folder = find_folder(data, wanted)
    if folder is None:
        raise UserError(f"{name}: no folder {data / wanted}: unpack {source} there")
    return folder


def render_missing(name: str, cache: Path, progress: Progress | None = None) -> bool:
    """Render a miniature that is not there yet; whether it had to be."""
    root = miniature_root(name, cache)
    if _own(name, root).is_dir():
        return False
    render(name, root, progress)
    return True


def _own(name: str, root: Path) -> Path:
    """The part of a folder that is a dataset's own; most have it alone."""
    return root / str(catalog.find("dataset", name).facts.get("part", "."))


def render(name: str, root: Path, progress: Progress | None = None, workers: int = 1) -> None:
    """Render a miniature into a folder that appears whole, whoever else renders it meanwhile."""
    from mtp_bench.datasets.scenes.miniature import write_miniature

    make_folder(root.parent)
    draft, own = root.with_name(f".{root.name}.{uuid.uuid4().hex}"), _own(name, root)
    try:
        write_miniature(name, draft, seed=MINIATURE_SEED, progress=progress, workers=workers)
        make_folder(own.parent)
        _own(name, draft).rename(own)
    except OSError as error:
        if not own.is_dir():  # where it is one, another process was faster with the same
            raise UserError(f"{root}: cannot be written ({error.strerror})") from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def read_data(name: str, variant: str, data: Path | None, cache: Path) -> ReadData:
    """The labelled images of a benchmark, split; see ``read``."""
    root = locate(name, variant, data, cache)
    if variant == "miniature":
        render_missing(name, cache)
    return read(card_of(name), root, variant)


def read(card: Card, root: Path, variant: str) -> ReadData:
    """Labelled images through the card's reader, split.

    Raises:
        UserError: each thing that a job cannot use, with its place and what to do.
    """
    card = fitted(card, variant)
    found = find(card, root)
    check_found(card, found, root, variant)
    splits = {
        part: tuple(LabelledImage(item.images[0], item.target or 0) for item in items)
        for part, items in parts(card, found.items).items()
    }
    check_disjoint(card, ((part, s.path) for part, samples in splits.items() for s in samples))
    for part, samples in splits.items():
        if not samples:
            raise UserError(
                f"{card.name}: the {part} split has no image: too few under {found.folder}"
            )
    defects = dict(counted(found.defects, card))
    return ReadData(found.folder, splits, card.split_source, defects)


def check_disjoint(card: Card, pictures: Iterable[tuple[str, Path]]) -> None:
    """Refuse pictures, each given with its split, that stand in two."""
    seen: dict[Path, str] = {}
    twice = [
        f"{card.name}: {path} stands in {seen[path]} and in {split}"
        for split, path in pictures
        if seen.setdefault(path, split) != split
    ]
    if twice:
        raise UserError(*some(twice))


def some(lines: list[str]) -> list[str]:
    """The first lines, and how many more there are."""
    more = [f"… and {len(lines) - SHOWN} more"] if len(lines) > SHOWN else []
    return [*lines[:SHOWN], *more]


def check_found(card: Card, found: Found, root: Path, variant: str) -> None:
    """Refuse what a job of this variant must not be given: nothing is opened yet."""
    if variant != "miniature" and marked(root, found) is not None:
        raise UserError(f"{card.name}: {root} is a rendered miniature: say 'data: miniature'")
    problems = [
        f"{card.name}: {defect.place}: {defect.what}"
        for defect in found.defects
        if refused(defect, card, found.folder)
    ]
    if variant == "release":
        problems += [
            f"{card.name}: {defect.place}: {defect.what}; complete it, or say 'data: subset' in "
            "the suite"
            for defect in count_faults(card, found)
            if defect.kind not in WARNINGS
        ]
    if problems:
        raise UserError(*problems)
