"""``mtp-bench report``: the leaderboards of suites that have been planned."""

import gc
import os
import shutil
import sys
from pathlib import Path
from typing import Annotated

import typer

from mtp_bench.errors import UserError


def report(
    suites: Annotated[
        list[str] | None,
        typer.Argument(metavar="[SUITE]...", help="Names or YAML files; none: all planned."),
    ] = None,
    format_: Annotated[
        str, typer.Option("--format", help="terminal, markdown, csv or json.")
    ] = "terminal",
    output: Annotated[
        Path | None, typer.Option(help="Write to this file instead of the screen.")
    ] = None,
    results: Annotated[
        Path, typer.Option(envvar="MTP_BENCH_RESULTS", help="Folder of records and plans.")
    ] = Path("results"),
) -> None:
    """Print leaderboards; leave them in results/<suite>/leaderboard.{md,csv,json} too."""
    # Records leave few cycles, and to search 10,000 of them for some is a tenth of the whole time.
    gc.disable()
    try:
        _report([_name(suite) for suite in suites or ()], format_, output, results)
    finally:
        gc.enable()


def _report(suites: list[str], format_: str, output: Path | None, results: Path) -> None:
    from mtp_bench import catalog

    render = catalog.load("format", format_)
    from mtp_bench.report import board as boards
    from mtp_bench.store.files import write_atomically

    board = boards.build(results, suites)
    if output is not None:
        write_atomically(output, render(board))
    else:
        typer.echo(render(board, **(_screen() if format_ == "terminal" else {})), nl=False)
    if catalog.find("format", format_).facts.get("suffix") in ("csv", "json"):
        # These formats hold figures only.
        for line in board.warnings():
            typer.echo(f"warning: {line}", err=True)
    try:
        boards.write(board, results)
    except UserError as error:
        typer.echo(f"warning: {error}", err=True)


def _name(given: str) -> str:
    """A suite is named, or found through its file."""
    path = Path(given)
    if path.suffix not in (".yaml", ".yml"):
        return given
    if not path.is_file():
        return path.stem
    from mtp_bench.suite.load import load_suite

    return load_suite(path).suite.name


def _screen() -> dict[str, object]:
    """Colours and a width only where there is a terminal."""
    if not sys.stdout.isatty():
        return {}
    return {"colour": not os.environ.get("NO_COLOR"), "width": shutil.get_terminal_size().columns}
