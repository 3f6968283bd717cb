"""Options that several commands share, and the folders that they stand for."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mtp_bench.errors import UserError, nearest

if TYPE_CHECKING:
    from mtp_bench.suite.plan import Plan
    from mtp_bench.suite.schema import Roots


def _folder(name: str, meaning: str) -> Any:
    return typer.Option(f"--{name}", envvar=f"MTP_BENCH_{name.upper()}", help=meaning)


Only = Annotated[
    list[str],
    typer.Option(
        "--only", metavar="KEY=VALUE", help="task, dataset, backbone, recipe or seed; repeats"
    ),
]
Data = Annotated[Path | None, _folder("data", "folder that holds the datasets")]
WeightsFolder = Annotated[Path | None, _folder("weights", "folder that holds weights files")]
Runs = Annotated[Path, _folder("runs", "run folders: checkpoints, logs")]
Results = Annotated[Path, _folder("results", "records and leaderboards")]
Json = Annotated[bool, typer.Option("--json", help="print one JSON document and nothing else")]
SuiteName = Annotated[
    str, typer.Argument(metavar="SUITE", help="a suite's YAML file, or a suite planned before")
]
Site = Annotated[
    str | None,
    typer.Option(
        "--site",
        metavar="FILE",
        envvar="MTP_BENCH_SITE",
        help="a site profile, or its name in slurm/ (default: slurm/default.yaml)",
    ),
]

RUNS = Path("runs")
RESULTS = Path("results")


def roots_of(data: Path | None, weights: Path | None, runs: Path, results: Path) -> Roots:
    """The folders of this invocation, absolute. ``UserError`` for one that is no folder."""
    from mtp_bench.store.paths import cache_root
    from mtp_bench.suite.schema import Roots

    for flag, folder in (("--data", data), ("--weights", weights)):
        if folder is not None and folder.exists() and not folder.is_dir():
            raise UserError(f"{flag} {folder}: not a folder")
    return Roots(
        runs=str(runs.absolute()),
        results=str(results.absolute()),
        data=str(data.absolute()) if data else None,
        weights=str(weights.absolute()) if weights else None,
        cache=str(cache_root().absolute()),
    )


def plan_of(suite: str, results: Path) -> Plan:
    """The whole plan of a suite file, or of a suite planned before."""
    from mtp_bench.suite.load import load_suite
    from mtp_bench.suite.plan import make_plan

    return make_plan(load_suite(suite_path(suite, results)))


def site_path(site: str | None) -> Path:
    """A path as it is; a bare name in the folder of site profiles."""
    path = Path(site or "default")
    return path if path.suffix in (".yaml", ".yml") else Path("slurm") / f"{path}.yaml"


def suite_path(suite: str, results: Path) -> Path:
    """A path as it is; a name through the ``plan.json`` that an earlier plan left."""
    path = Path(suite)
    if path.suffix in (".yaml", ".yml") or os.path.isfile(suite):  # noqa: PTH113 - any text will do
        return path
    planned = results / suite / "plan.json"
    known = sorted(p.parent.name for p in results.glob("*/plan.json"))
    if suite in known:
        try:
            return (planned.parent / str(json.loads(planned.read_text())["file"])).resolve()
        except (ValueError, KeyError, TypeError):
            raise UserError(f"{planned}: broken: give the path of the suite's file") from None
    hint = nearest(suite, known) if known else "give the path of a suite's YAML file"
    raise UserError(f"{suite}: no suite of this name was planned in {results}: {hint}")
