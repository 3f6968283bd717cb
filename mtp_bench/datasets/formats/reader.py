"""What a reader is: two plain functions, and what several of them need."""

import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from mtp_bench.datasets.cards.card import Card
from mtp_bench.datasets.defects import Defect
from mtp_bench.datasets.samples import Found, Item, Parsed
from mtp_bench.errors import UserError

LITTER = re.compile(r"\._.*|\.DS_Store|Thumbs\.db|desktop\.ini|__MACOSX", re.IGNORECASE)


class Reader(NamedTuple):
    """``find`` lists what a release holds and opens no image; ``parse`` reads one annotation.

    Both report every defect that they meet and never stop at one. ``find`` raises ``UserError``
    only where there is nothing of the release at all, and then says what was expected and what was
    found.
    """

    find: Callable[[Path, Card], Found]
    parse: Callable[[Item, Card], Parsed]


def entries(folder: Path) -> list[Path]:
    """What lies in a folder in order of name, without what operating systems leave there."""
    there = sorted(folder.iterdir()) if folder.is_dir() else []
    return [path for path in there if not LITTER.fullmatch(path.name)]


def natural(path: Path) -> tuple[str | int, ...]:
    """A key for sorting: Forest_2 before Forest_10."""
    return tuple(int(part) if part.isdigit() else part for part in re.split(r"(\d+)", path.name))


def pictures(folder: Path, suffixes: Iterable[str]) -> dict[str, Path]:
    """Files with these suffixes by their names without suffix, in natural order."""
    wanted = tuple(suffixes)
    there = (path for path in entries(folder) if path.suffix.lower() in wanted)
    return {path.stem: path for path in sorted(there, key=natural)}


def unexpected(folder: Path, expected: Iterable[str], what: str) -> Iterator[Defect]:
    """Entries of a folder that none of these names is."""
    names = set(expected)
    for path in entries(folder):
        if path.name not in names:
            yield Defect("unexpected", path, what)


def strange(folder: Path, suffixes: Iterable[str], hint: str = "") -> Iterator[Defect]:
    """What lies in a folder of images besides images; ``hint``: of one that has no image at all."""
    wanted, there = tuple(suffixes), entries(folder)
    other = [path for path in there if path.suffix.lower() not in wanted]
    if other and len(other) == len(there):
        kinds = ", ".join(sorted({path.suffix for path in other}))
        yield Defect("layout", folder, f"holds {kinds}, no {', '.join(wanted)}{hint}")
    else:
        yield from (Defect("unexpected", path, "no image") for path in other)


def nothing_found(card: Card, root: Path, expected: str) -> UserError:
    """There is nothing of the release in this folder."""
    found = ", ".join(path.name for path in entries(root)[:5]) or "nothing"
    return UserError(
        f"{card.name}: {root}: expected {expected} (found: {found}); unpack {card.source} there"
    )
