"""``plan`` and ``run``: what a suite means here, and doing it, on this machine or on a cluster."""

from __future__ import annotations

import json
import shlex
import shutil
import sys
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TextIO

import typer

from mtp_bench.cli import options
from mtp_bench.cli.options import RESULTS, RUNS, plan_of, roots_of
from mtp_bench.errors import UserError

if TYPE_CHECKING:
    from mtp_bench.executors.outcome import Summary
    from mtp_bench.suite.missing import Missing
    from mtp_bench.suite.plan import Plan
    from mtp_bench.suite.schema import Roots

OF_RUNNING = ("--executor", "--dry-run", "--retry-failed", "--gpus-per-job", "--micro-batch")
Share = tuple[int | None, int | None]
"""A job's GPUs, and the images that each of its processes takes at once."""


class Where(StrEnum):
    local = "local"
    slurm = "slurm"


def plan(
    suite: options.SuiteName,
    only: options.Only = [],
    as_json: options.Json = False,
    data: options.Data = None,
    weights: options.WeightsFolder = None,
    runs: options.Runs = RUNS,
    results: options.Results = RESULTS,
) -> None:
    """The jobs of a suite, their states, and all that is missing. Exit 1 where something is."""
    from mtp_bench.executors.prepare import plan_document
    from mtp_bench.suite.missing import find_missing
    from mtp_bench.suite.plan import select

    whole, roots = plan_of(suite, results), roots_of(data, weights, runs, results)
    planned = select(whole, only)
    _remember(whole, suite, roots)
    missing = find_missing(planned, roots)
    if as_json:
        document = plan_document(planned, roots) | {"missing": [asdict(m) for m in missing]}
        keys = ("suite", "jobs", "missing", "skipped")
        print(json.dumps({key: document[key] for key in keys}, indent=1))
    else:
        _show_plan(planned, roots)
        _show_missing(missing, sys.stdout)
    if missing:
        raise typer.Exit(1)


def run(
    suite: options.SuiteName,
    only: options.Only = [],
    executor: Annotated[Where, typer.Option(help="where jobs run")] = Where.local,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="show the plan, or the batch scripts; start nothing")
    ] = False,
    prepare: Annotated[
        bool, typer.Option("--prepare", help="make the data ready; run nothing")
    ] = False,
    site: options.Site = None,
    detach: Annotated[
        bool, typer.Option("--detach", help="return once all is submitted to SLURM")
    ] = False,
    workers: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="jobs at once here (default: one a core, or a GPU); with --prepare: processes",
        ),
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
    data: options.Data = None,
    weights: options.WeightsFolder = None,
    runs: options.Runs = RUNS,
    results: options.Results = RESULTS,
) -> None:
    """Run a suite to its end; run again, finished jobs are skipped and interrupted ones go on.

    Exit 1 where a job failed or something is missing.
    """
    _refuse_mixed(executor, detach, workers, dry_run and retry)
    if prepare:
        if executor is Where.slurm or dry_run or retry or gpus_per_job or micro_batch:
            raise UserError(f"--prepare runs nothing: leave out {', '.join(OF_RUNNING)}")
        _prepare_only(suite, only, roots_of(data, weights, runs, results), workers)
        return
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
    write_plan(whole, options.suite_path(suite, results), roots)
    missing = find_missing(planned, roots)
    if missing:
        _show_missing(missing, sys.stderr)
        raise typer.Exit(1)
    if retry:
        with submissions.alone(Path(roots.runs), wait=lambda: None):
            retry_failed(planned, roots)
    share = (gpus_per_job, micro_batch)
    if executor is Where.slurm:
        first = _prepare_command(suite, only, roots)
        summary = _run_on_slurm(
            planned, roots, site, share, first, detach=detach, dry_run=dry_run, retry=retry
        )
    else:
        summary = _run_here(planned, roots, workers, share)
    if summary is None:
        return
    _remember(whole, suite, roots)  # again, with the states it ended in
    _tell(summary, "jobs go on in SLURM; " if executor is Where.slurm else "")


def _refuse_mixed(executor: Where, detach: bool, workers: int | None, vain: bool) -> None:
    """No option is silently without effect."""
    if vain:
        raise UserError("--dry-run changes nothing: leave out --retry-failed")
    named = any(word.partition("=")[0] == "--site" for word in sys.argv)
    if executor is Where.local and (detach or named):
        raise UserError("--site and --detach are for --executor slurm")
    if executor is Where.slurm and workers is not None:
        raise UserError("--workers is for this machine: set 'parallelism' in the site profile")


def _prepare_only(suite: str, only: list[str], roots: Roots, workers: int | None) -> None:
    """Make ready what the jobs read that this version can run; weights are not asked for."""
    from dataclasses import replace

    from mtp_bench.cli.progress import View
    from mtp_bench.executors.prepare import prepare_data
    from mtp_bench.suite.missing import find_missing
    from mtp_bench.suite.plan import select

    planned = select(plan_of(suite, Path(roots.results)), only)
    planned = replace(planned, jobs=tuple(job for job in planned.jobs if job.spec.protocol))
    missing = tuple(lack for lack in find_missing(planned, roots) if lack.kind == "data")
    if missing:
        _show_missing(missing, sys.stderr)
        raise typer.Exit(1)
    with View(planned) as view:
        names = prepare_data(planned, roots, view.preparing, workers)
    print("\n".join(f"{name}: ready" for name in names) or "no job is left that needs data")


def _prepare_command(suite: str, only: list[str], roots: Roots) -> str:
    """What prepares the data of a run, wherever it is called."""
    path = options.suite_path(suite, Path(roots.results))
    data = ["--data", roots.data] if roots.data else []
    chosen = [word for condition in only for word in ("--only", condition)]
    return shlex.join(["mtp-bench", "run", str(path), "--prepare", *data, *chosen])


def _run_here(planned: Plan, roots: Roots, workers: int | None, share: Share) -> Summary:
    from mtp_bench.cli.progress import View
    from mtp_bench.executors.drive import drive
    from mtp_bench.executors.local import LocalExecutor
    from mtp_bench.executors.prepare import check_resources, prepare_data
    from mtp_bench.suite.site import KINDS

    local = LocalExecutor(workers, share[0] or 1, share[1])
    told = check_resources(planned, dict.fromkeys(KINDS, local.resources))
    with View(planned, told) as view:
        prepare_data(planned, roots, view.preparing)
        return drive(planned, roots, local, tuple(sys.argv), view.show)


def _run_on_slurm(
    planned: Plan,
    roots: Roots,
    name: str | None,
    share: Share,
    first: str,
    *,
    detach: bool,
    dry_run: bool,
    retry: bool,
) -> Summary | None:
    """Submit what is not done; None where nothing is to be watched.

    ``first`` is the command for data that is not prepared.
    """
    from mtp_bench.cli.progress import View
    from mtp_bench.executors.cluster import act, look, summary, watch
    from mtp_bench.executors.dispatch import Cluster, scripts
    from mtp_bench.executors.prepare import check_data, check_resources, site_resources
    from mtp_bench.suite.site import load_site

    if "%" in roots.runs:
        raise UserError(f"--runs {roots.runs}: SLURM reads a % in a path as its own: rename it")
    site = load_site(options.site_path(name))
    resources = site_resources(site, *share)
    with View(planned, check_resources(planned, resources)) as view:
        command = tuple(sys.argv)
        cluster = Cluster(planned, roots, site, resources, command, view.say, retry=retry)
        if dry_run:
            print("\n".join(scripts(cluster)))
            return None
        check_data(planned, roots, view.preparing, first)
        look(cluster)
        if "pending" in cluster.states().values() and not shutil.which("sbatch"):
            raise UserError("sbatch: not found: run this where jobs are submitted to SLURM")
        sent = act(cluster, wait=True)
        cluster.retry = False
        if sent:
            given = (cluster.standings[job].submission for job in sent)
            numbers = {found.slurm_id for found in given if found and found.slurm_id}
            view.say(f"submitted {len(sent)} jobs (SLURM: {', '.join(sorted(numbers))})")
        if not detach:
            return watch(cluster, view.show)
        left = sum(state == "pending" for state in cluster.states().values())
        if left:
            print(f"{left} jobs wait for others or for SLURM: run again", file=sys.stderr)
        return summary(cluster, stopped=bool(left))


def _tell(summary: Summary, meanwhile: str) -> None:
    """How it ended; exit 1 where not all is well."""
    for failure in summary.failures:
        said = f"{failure.message or 'see its log'} (log: {failure.log})"
        print(f"{failure.state}: {failure.job}: {said}", file=sys.stderr)
    if summary.interrupted:
        print(f"stopped; {meanwhile}the same command goes on from here", file=sys.stderr)
    if summary.failures:
        print("'--retry-failed' runs these again", file=sys.stderr)
    if summary.failures or summary.interrupted:
        raise typer.Exit(1)


def _remember(whole: Plan, suite: str, roots: Roots) -> None:
    """Leave plan.json, so that the suite's name and its report work, where that can be written."""
    from mtp_bench.executors.prepare import write_plan

    try:
        write_plan(whole, options.suite_path(suite, Path(roots.results)), roots)
    except UserError as error:
        print(f"warning: {error}", file=sys.stderr)


def _show_plan(planned: Plan, roots: Roots) -> None:
    from rich.console import Console
    from rich.table import Table

    from mtp_bench.store.paths import job_paths
    from mtp_bench.store.states import state_of

    table = Table("task", "state")
    longest = max((len(job.id) for job in planned.jobs), default=3)
    table.add_column("job", no_wrap=True, min_width=longest)
    for job in planned.jobs:
        table.add_row(job.spec.task, state_of(job_paths(roots, job.id)), job.id)
    console = Console(width=None if sys.stdout.isatty() else 200)
    console.print(table)
    kinds = [job.spec.kind for job in planned.jobs]
    tuned, trained = kinds.count("finetune"), kinds.count("pretrain")
    console.print(f"{planned.suite.name}: {tuned} fine-tuning and {trained} pretraining jobs")
    for skip in planned.skipped:
        pair = f"{skip.backbone}, {skip.recipe}, {skip.dataset}"
        console.print(f"skipped: {pair}: {skip.reason}", markup=False)


def _show_missing(missing: tuple[Missing, ...], stream: TextIO) -> None:
    for lack in missing:
        print(f"missing {lack.kind}: {lack.name} ({len(lack.jobs)} jobs): {lack.fix}", file=stream)
    if missing:
        print("leave jobs out with --only KEY=VALUE, or mend what is missing", file=stream)
