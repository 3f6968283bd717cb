"""``plan`` and ``run``: what a suite means here, and doing it."""

from __future__ import annotations

import json
import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mtp_bench.cli.options import (
    RESULTS,
    RUNS,
    Data,
    Json,
    Only,
    Results,
    Runs,
    Site,
    SuiteName,
    WeightsFolder,
    plan_of,
    roots_of,
    suite_path,
)

if TYPE_CHECKING:
    from mtp_bench.executors.outcome import Summary
    from mtp_bench.suite.missing import Missing
    from mtp_bench.suite.plan import Plan
    from mtp_bench.suite.schema import Roots


class Where(StrEnum):
    """The executors of this version."""

    local = "local"
    slurm = "slurm"


def plan(
    suite: SuiteName,
    only: Only = [],
    as_json: Json = False,
    data: Data = None,
    weights: WeightsFolder = None,
    runs: Runs = RUNS,
    results: Results = RESULTS,
) -> None:
    """The jobs of a suite, their states, and all that is missing. Exit 1 where something is."""
    from mtp_bench.suite.missing import find_missing
    from mtp_bench.suite.plan import select

    whole, roots = plan_of(suite, results), roots_of(data, weights, runs, results)
    planned = select(whole, only)
    _remember(whole, suite, roots)
    missing = find_missing(planned, roots)
    if as_json:
        print(_plan_json(planned, roots, missing))
    else:
        _show_plan(planned, roots)
        _show_missing(missing, sys.stdout)
    if missing:
        raise typer.Exit(1)


def run(
    suite: SuiteName,
    only: Only = [],
    executor: Annotated[Where, typer.Option(help="where jobs run")] = Where.local,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="show the plan, or the batch scripts; start nothing")
    ] = False,
    site: Site = None,
    detach: Annotated[
        bool, typer.Option("--detach", help="return once all is submitted to SLURM")
    ] = False,
    workers: Annotated[
        int | None, typer.Option(min=1, help="jobs at once here (default: one a core, or a GPU)")
    ] = None,
    gpus_per_job: Annotated[
        int | None,
        typer.Option(min=1, help="GPUs that one job uses (default: 1, or the site profile's)"),
    ] = None,
    micro_batch: Annotated[
        int | None,
        typer.Option(min=1, help="images a process takes at once; the rest of the batch adds up"),
    ] = None,
    retry: Annotated[
        bool, typer.Option("--retry-failed", help="run failed and cancelled jobs again")
    ] = False,
    data: Data = None,
    weights: WeightsFolder = None,
    runs: Runs = RUNS,
    results: Results = RESULTS,
) -> None:
    """Run a suite to its end; run again, finished jobs are skipped and interrupted ones go on.

    Exit 1 where a job failed or something is missing.
    """
    _refuse_mixed(executor, detach, workers, dry_run and retry)
    if dry_run and executor is Where.local:
        plan(suite, only, False, data, weights, runs, results)
        return
    from mtp_bench.executors.outcome import retry_failed
    from mtp_bench.executors.prepare import write_plan
    from mtp_bench.store import submissions
    from mtp_bench.suite.missing import find_missing
    from mtp_bench.suite.plan import select

    whole, roots = plan_of(suite, results), roots_of(data, weights, runs, results)
    planned = select(whole, only)
    write_plan(whole, suite_path(suite, results), roots)
    missing = find_missing(planned, roots)
    if missing:
        _show_missing(missing, sys.stderr)
        raise typer.Exit(1)
    if retry:
        with submissions.alone(Path(roots.runs), wait=lambda: None):
            retry_failed(planned, roots)
    if executor is Where.slurm:
        from mtp_bench.cli.cluster import run_on_slurm

        share = (gpus_per_job, micro_batch)
        summary = run_on_slurm(
            planned, roots, site, share, detach=detach, dry_run=dry_run, retry=retry
        )
    else:
        summary = _run_here(planned, roots, workers, (gpus_per_job or 1, micro_batch))
    if summary is None:
        return
    _remember(whole, suite, roots)  # again, with the states it ended in
    _tell(summary, "jobs go on in SLURM; " if executor is Where.slurm else "")


def _refuse_mixed(executor: Where, detach: bool, workers: int | None, vain: bool) -> None:
    """No option is silently without effect."""
    from mtp_bench.errors import UserError

    if vain:
        raise UserError("--dry-run changes nothing: leave out --retry-failed")
    named = any(word.partition("=")[0] == "--site" for word in sys.argv)
    if executor is Where.local and (detach or named):
        raise UserError("--site and --detach are for --executor slurm")
    if executor is Where.slurm and workers is not None:
        raise UserError("--workers is for this machine: set 'parallelism' in the site profile")


def _run_here(
    planned: Plan, roots: Roots, workers: int | None, share: tuple[int, int | None]
) -> Summary:
    """``share``: a job's GPUs, and the images that each of them takes at once."""
    from mtp_bench.cli.progress import View
    from mtp_bench.executors.drive import drive
    from mtp_bench.executors.local import LocalExecutor
    from mtp_bench.executors.prepare import check_resources, prepare_data
    from mtp_bench.suite.site import KINDS

    local = LocalExecutor(workers, *share)
    told = check_resources(planned, dict.fromkeys(KINDS, local.resources))
    with View(planned) as view:
        for line in told:
            view.say(line)
        prepare_data(planned, roots, view.preparing)
        return drive(planned, roots, local, tuple(sys.argv), view.show)


def _tell(summary: Summary, meanwhile: str) -> None:
    """How it ended; exit 1 where not all is well."""
    for failure in summary.failures:
        print(
            f"{failure.state}: {failure.job}: {failure.message or 'see its log'} "
            f"(log: {failure.log})",
            file=sys.stderr,
        )
    if summary.interrupted:
        print(f"stopped; {meanwhile}the same command goes on from here", file=sys.stderr)
    if summary.failures:
        print("'--retry-failed' runs these again", file=sys.stderr)
    if summary.failures or summary.interrupted:
        raise typer.Exit(1)


def _remember(whole: Plan, suite: str, roots: Roots) -> None:
    """Leave plan.json, so that the suite's name and its report work, where that can be written."""
    from mtp_bench.errors import UserError
    from mtp_bench.executors.prepare import write_plan

    try:
        write_plan(whole, suite_path(suite, Path(roots.results)), roots)
    except UserError as error:
        print(f"warning: {error}", file=sys.stderr)


def _plan_json(planned: Plan, roots: Roots, missing: tuple[Missing, ...]) -> str:
    from dataclasses import asdict

    from mtp_bench.executors.prepare import plan_document

    document = plan_document(planned, roots)
    listed = {key: document[key] for key in ("suite", "jobs")}
    return json.dumps(
        {**listed, "missing": [asdict(m) for m in missing], "skipped": document["skipped"]},
        indent=1,
    )


def _show_plan(planned: Plan, roots: Roots) -> None:
    from rich.console import Console
    from rich.table import Table

    from mtp_bench.store.paths import job_paths
    from mtp_bench.store.states import state_of

    table = Table("task", "state")
    table.add_column(
        "job", no_wrap=True, min_width=max((len(j.id) for j in planned.jobs), default=3)
    )
    for job in planned.jobs:
        table.add_row(job.spec.task, state_of(job_paths(roots, job.id)), job.id)
    console = Console(width=None if sys.stdout.isatty() else 200)
    console.print(table)
    kinds = [job.spec.kind for job in planned.jobs]
    console.print(
        f"{planned.suite.name}: {kinds.count('finetune')} fine-tuning and "
        f"{kinds.count('pretrain')} pretraining jobs"
    )
    for skip in planned.skipped:
        console.print(
            f"skipped: {skip.backbone}, {skip.recipe}, {skip.dataset}: {skip.reason}",
            markup=False,
        )


def _show_missing(missing: tuple[Missing, ...], stream: object) -> None:
    if not missing:
        return
    lines = [f"missing {m.kind}: {m.name} ({len(m.jobs)} jobs): {m.fix}" for m in missing]
    print(
        "\n".join([*lines, "leave jobs out with --only KEY=VALUE, or mend what is missing"]),
        file=stream,
    )  # type: ignore[call-overload]
