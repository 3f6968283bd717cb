"""``data``: the datasets' own commands."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from mtp_bench.errors import UserError, nearest

OUTPUT = Path("demo-data")
HELP = "Datasets: render miniatures in the official layouts."
app = typer.Typer(help=HELP, no_args_is_help=True, rich_markup_mode=None)


@app.callback()
def _group() -> None:
    """A group even while it has one command."""


@app.command()
def demo(
    names: Annotated[list[str] | None, typer.Argument(metavar="[NAME]…", help="datasets")] = None,
    everything: Annotated[
        bool, typer.Option("--all", help="every dataset that has a miniature")
    ] = False,
    output: Annotated[
        Path, typer.Option(help="folder to write to; becomes a data folder")
    ] = OUTPUT,
) -> None:
    """Render synthetic miniatures of datasets, in their official layouts."""
    from mtp_bench import catalog
    from mtp_bench.datasets.access import render
    from mtp_bench.datasets.scenes.miniature import MINIATURES

    chosen = list(MINIATURES) if everything else names or []
    if not chosen:
        raise UserError(f"data demo: name datasets ({', '.join(MINIATURES)}), or give --all")
    if strange := [name for name in chosen if name not in MINIATURES]:
        hint = nearest(strange[0], list(MINIATURES))
        raise UserError(f"data demo: no miniature of '{strange[0]}': {hint}")
    for name in chosen:
        root = output / str(catalog.find("dataset", name).facts["folder"])
        if root.exists():
            raise UserError(f"{root}: is there already: choose another --output, or remove it")
        render(name, root)
        print(f"{name}: {root} (synthetic)", file=sys.stderr)
