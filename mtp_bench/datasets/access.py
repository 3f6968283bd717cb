"""From a dataset's name and variant to its samples: the release, or a miniature made once."""

import importlib
import shutil
import uuid
from collections.abc import Callable
from pathlib import Path

from mtp_bench import catalog
from mtp_bench.datasets.cards.card import Card
from mtp_bench.datasets.samples import ReadData
from mtp_bench.datasets.scenes import RENDERER_VERSION
from mtp_bench.errors import UserError
from mtp_bench.store.files import make_folder
from mtp_bench.store.paths import find_folder

Progress = Callable[[int, int], None]
MINIATURE_SEED = 0


def card_of(name: str) -> Card:
    """The card of a benchmark."""
    card: Card = catalog.load("dataset", name)
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
    if root.is_dir():
        return False
    render(name, root, progress)
    return True


def render(name: str, root: Path, progress: Progress | None = None) -> None:
    """Render a miniature into a folder that appears whole, whoever else renders it meanwhile."""
    from mtp_bench.datasets.scenes.miniature import write_miniature

    make_folder(root.parent)
    draft = root.with_name(f".{root.name}.{uuid.uuid4().hex}")
    try:
        write_miniature(name, draft, seed=MINIATURE_SEED, progress=progress)
        draft.rename(root)
    except OSError as error:
        if not root.is_dir():  # where it is one, another process was faster with the same
            raise UserError(f"{root}: cannot be written ({error.strerror})") from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def read_data(name: str, variant: str, data: Path | None, cache: Path) -> ReadData:
    """The samples of a dataset through its card's reader."""
    card = card_of(name)
    module, _, attribute = card.reader.partition(":")
    root = locate(name, variant, data, cache)
    if variant == "miniature":
        render_missing(name, cache)
    found: ReadData = getattr(importlib.import_module(module), attribute)(root, card, variant)
    return found
