"""``data``: the datasets' own commands."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mtp_bench.cli.cards import print_report, report_json, row, sections, text
from mtp_bench.cli.options import Data, Json
from mtp_bench.cli.tables import bar, print_table
from mtp_bench.errors import UserError, nearest

if TYPE_CHECKING:
    from mtp_bench.datasets.cards.card import Card

OUTPUT = Path("demo-data")
FEW = 20
HELP = "Datasets: facts, checks, preparation, contact sheets, synthetic miniatures."
app = typer.Typer(help=HELP, no_args_is_help=True, rich_markup_mode=None)

Names = Annotated[list[str] | None, typer.Argument(metavar="[NAME]…", help="datasets")]
Name = Annotated[str, typer.Argument(metavar="NAME", help="a dataset")]
Workers = Annotated[int, typer.Option(min=1, help="processes (default: one a core)")]
CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@app.command("list")
def list_cards(as_json: Json = False) -> None:
    """Every dataset with its task, size, metric, and what pretraining holds of it."""
    cards = [_card(name) for name in _known()]
    rows = [row(card) for card in cards]
    if as_json:
        print(json.dumps({"datasets": rows}, indent=1))
        return
    shown = [[text(value) for value in row.values()] for row in rows]
    print_table([list(rows[0]), *shown])


@app.command()
def show(name: Name, as_json: Json = False) -> None:
    """A dataset's card: classes, splits, layout as downloaded, licence, known defects."""
    card = _card(name)
    if as_json:
        print(json.dumps(asdict(card), indent=1))
        return
    print(f"{card.name}: {card.task.replace('_', ' ')}")
    for head, lines in sections(card):
        print(f"\n{head}")
        print("\n".join(f"  {line}" for line in lines))


@app.command()
def check(
    names: Names = None,
    data: Data = None,
    as_json: Json = False,
    quick: Annotated[
        bool, typer.Option(help="read headers and annotations only: decode and compare no image")
    ] = False,
    subset: Annotated[
        bool, typer.Option(help="part of a release: do not expect the release's counts")
    ] = False,
    every: Annotated[
        bool, typer.Option("--all", help=f"print all defects of a kind, not only {FEW}")
    ] = False,
    workers: Workers = CORES,
) -> None:
    """Report every defect of datasets as they lie on disk; exit 1 if there is a new one."""
    from mtp_bench.datasets.check import check as checked

    reports = []
    for name, root in _roots(names, data):
        with bar(name) as heard:
            report = checked(
                name, root, workers=workers, pixels=not quick, subset=subset, progress=heard
            )
        reports.append(report)
        if not as_json:
            print_report(report, None if every else FEW)
    if as_json:
        print(json.dumps({"schema": 1, "datasets": [report_json(r) for r in reports]}, indent=1))
    if any(report.count("error") for report in reports):
        raise typer.Exit(1)


@app.command()
def prepare(
    names: Names = None,
    data: Data = None,
    subset: Annotated[
        bool, typer.Option(help="part of a release: do not expect the release's counts")
    ] = False,
    workers: Workers = CORES,
) -> None:
    """Cut scenes, decode labels and write manifests into the cache, once; goes on after a kill."""
    from mtp_bench.datasets import manifest
    from mtp_bench.datasets.counts import is_marked
    from mtp_bench.datasets.prepare import prepare_folder
    from mtp_bench.store.paths import cache_root

    for name, root in _roots(names, data):
        card = _card(name)
        variant = "subset" if subset else "release"
        if is_marked(root / str(_facts(name).get("part", "."))):
            variant = "miniature"
        with bar(name) as heard:
            folder = prepare_folder(
                card, root, cache_root(), variant=variant, workers=workers, progress=heard
            )
        print(f"{name}: {folder}{' SYNTHETIC' if variant == 'miniature' else ''}")
        made = manifest.prepared(folder)
        for split, counts in made.splits.items() if made else ():
            objects = f", {counts.objects:,} objects" if counts.objects is not None else ""
            print(f"  {split}: {counts.samples:,} of {counts.scenes:,} images{objects}")
        for what, count in made.defects.items() if made else ():
            print(f"  {what}: {count:,}")


@app.command()
def draw(
    name: Name,
    indices: Annotated[
        list[int] | None, typer.Argument(metavar="[INDEX]…", help="which pictures of the split")
    ] = None,
    data: Data = None,
    split: Annotated[str | None, typer.Option(help="of the release; default: all labelled")] = None,
    count: Annotated[int, typer.Option(min=1, help="pictures, where no INDEX is given")] = 12,
    output: Annotated[Path | None, typer.Option(help="PNG (default: NAME.png)")] = None,
) -> None:
    """Draw pictures with their labels on one sheet: what the reader understood."""
    from mtp_bench.datasets.access import fitted
    from mtp_bench.datasets.counts import marked
    from mtp_bench.datasets.draw import choose, sheet
    from mtp_bench.datasets.reading import find

    ((_, root),) = _roots([name], data)
    card = _card(name)
    found = find(card, root)
    card, items = (
        fitted(card, "release" if marked(root, found) is None else "miniature"),
        found.items,
    )
    splits = sorted({item.split for item in items})
    if split is not None and split not in splits:
        raise UserError(f"{name}: no split '{split}' under {root}: {nearest(split, splits)}")
    labelled = {s for s in splits if s not in card.splits or card.splits[s].labelled}
    wanted = {split} if split else labelled or set(splits)
    chosen = choose([item for item in items if item.split in wanted], card, indices or (), count)
    path = output or Path(f"{name}.png")
    try:
        sheet(chosen, card).save(path, format="PNG")
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror})") from None
    print(path)


@app.command()
def demo(
    names: Names = None,
    everything: Annotated[
        bool, typer.Option("--all", help="every dataset that has a miniature")
    ] = False,
    output: Annotated[
        Path, typer.Option(help="folder to write to; becomes a data folder")
    ] = OUTPUT,
    workers: Workers = CORES,
) -> None:
    """Render synthetic miniatures of datasets, in their official layouts."""
    from mtp_bench.datasets.access import render
    from mtp_bench.datasets.scenes.miniature import MINIATURES

    chosen = list(MINIATURES) if everything else names or []
    if not chosen:
        raise UserError(f"data demo: name datasets ({', '.join(MINIATURES)}), or give --all")
    if strange := [name for name in chosen if name not in MINIATURES]:
        hint = nearest(strange[0], list(MINIATURES))
        raise UserError(f"data demo: no miniature of '{strange[0]}': {hint}")
    places: dict[tuple[Path, str | None], str] = {}
    for name in chosen:
        facts = _facts(name)
        places.setdefault((output / str(facts["folder"]), facts.get("part")), name)
    for root, part in places:
        if (root / part if part else root).exists():
            raise UserError(f"{root / (part or '')}: is there already: choose another --output")
    for (root, _), name in places.items():
        with bar(name) as heard:
            render(name, root, heard, workers)
        print(f"{name}: {root} (synthetic)", file=sys.stderr)


def _known() -> list[str]:
    """Datasets that this version has code for."""
    from mtp_bench import catalog

    names = catalog.names("dataset")
    return [name for name in names if catalog.find("dataset", name).target is not None]


def _facts(name: str) -> Mapping[str, Any]:
    from mtp_bench import catalog

    return catalog.find("dataset", name).facts


def _card(name: str) -> Card:
    from mtp_bench.datasets.access import card_of

    return card_of(name)


def _roots(names: list[str] | None, data: Path | None) -> list[tuple[str, Path]]:
    """The folders of the named datasets, or of all that are there."""
    from mtp_bench.datasets.access import locate
    from mtp_bench.store.paths import cache_root, find_folder

    if names:
        return [(name, locate(name, "release", data, cache_root())) for name in names]
    if data is None:
        raise UserError("no data folder named: give --data DIR or set MTP_BENCH_DATA")
    found = []
    for name in _known():
        facts = _facts(name)
        root = find_folder(data, str(facts["folder"]))
        if root is not None and (root / str(facts.get("part", "."))).is_dir():
            found.append((name, root))
    if not found:
        folders = ", ".join(dict.fromkeys(str(_facts(name)["folder"]) for name in _known()))
        raise UserError(f"{data}: holds no folder of a dataset (one of: {folders})")
    return found
