"""``status``, ``logs``, ``cancel``, ``forget``: watch and steer jobs by what stands on the disk."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mtp_bench.cli import options
from mtp_bench.cli.options import RESULTS, RUNS, plan_of, roots_of
from mtp_bench.errors import UserError, nearest

if TYPE_CHECKING:
    from mtp_bench.store.paths import JobPaths

JobName = Annotated[
    str, typer.Argument(metavar="JOB", help="a job's id, or enough of its beginning")
]


def status(
    suite: options.SuiteName,
    as_json: options.Json = False,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="go on until every job has ended")
    ] = False,
    runs: options.Runs = RUNS,
    results: options.Results = RESULTS,
) -> None:
    """The state of every job of a suite, as the disk has it and, where jobs wait there, SLURM."""
    from mtp_bench.cli.standing import follow_along, report_of

    roots = roots_of(None, None, runs, results)
    planned = plan_of(suite, results)
    if follow and as_json:
        raise UserError("status: --json tells once: leave out --follow")
    if follow:
        return follow_along(planned, roots)
    told = report_of(planned, roots)
    if told.silence:
        print(told.silence, file=sys.stderr)
    if as_json:
        rows = [{"id": r.job, "state": r.state, "message": r.message} for r in told.rows]
        print(json.dumps({"suite": planned.suite.name, "jobs": rows}, indent=1))
        return
    for row in told.rows:
        print(f"{row.state:9}  {row.job}  {row.message}".rstrip())
    print(told.summary)


def logs(
    job: JobName,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="go on as it grows")] = False,
    runs: options.Runs = RUNS,
    results: options.Results = RESULTS,
) -> None:
    """Print a job's log."""
    from mtp_bench.store.states import ENDED, state_of
    from mtp_bench.store.submissions import early_log

    paths = find_job(job, runs, results)
    early = None if paths.log.exists() else early_log(runs, paths)
    if early is not None:
        print(f"(no log of its own yet; from SLURM's, {early}:)", file=sys.stderr)
        sys.stdout.write(early.read_text(errors="replace"))
    while follow and not paths.log.exists() and state_of(paths) not in ENDED:
        time.sleep(0.5)
    if not paths.log.exists() and early is None:
        raise UserError(f"{paths.job}: has no log yet")
    if not paths.log.exists():
        return
    with paths.log.open(encoding="utf-8", errors="replace") as stream:
        while True:
            sys.stdout.write(stream.read())
            sys.stdout.flush()
            if not follow or state_of(paths) in ENDED:
                sys.stdout.write(stream.read())
                return
            time.sleep(0.5)


def cancel(
    suite: options.SuiteName,
    only: options.Only = [],
    runs: options.Runs = RUNS,
    results: options.Results = RESULTS,
) -> None:
    """Cancel the jobs of a suite that are not done; running ones write a checkpoint and stop."""
    from mtp_bench.cli.standing import cancel_all
    from mtp_bench.suite.plan import select

    planned = select(plan_of(suite, results), only)
    cancel_all(planned, roots_of(None, None, runs, results))


def forget(job: JobName, runs: options.Runs = RUNS, results: options.Results = RESULTS) -> None:
    """Set a job's record aside, and its run folder, so that it runs again from the start."""
    from mtp_bench.store import lock

    paths = find_job(job, runs, results)
    if lock.holder(paths.run) is not None:
        raise UserError(f"{paths.job}: is running: cancel it first")
    stamp = time.strftime("%Y%m%dT%H%M%S")
    for path in (paths.record, paths.details, paths.score, paths.run):
        if path.exists():
            aside = path.parent / "forgotten" / f"{stamp}-{path.name}"
            aside.parent.mkdir(exist_ok=True)
            path.rename(aside)
            print(f"set aside: {aside}")


def find_job(name: str, runs: Path, results: Path) -> JobPaths:
    """The one job whose id begins so."""
    from mtp_bench.store.paths import job_paths
    from mtp_bench.store.records import record_paths

    folders = {path.parent.name for path in runs.glob("*/job.json")}
    known = sorted(folders | {path.stem for path in record_paths(results / "records")})
    found = [name] if name in known else [job for job in known if job.startswith(name)]
    if not found:
        hint = nearest(name, known) if known else "nothing has run yet"
        raise UserError(f"{name}: no such job: {hint}")
    if len(found) > 1:
        raise UserError(f"{name}: could be {', '.join(found[:5])}: write more of it")
    return job_paths(roots_of(None, None, runs, results), found[0])
