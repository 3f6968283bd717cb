"""``status``, ``logs``, ``cancel``, ``forget``: watch and steer jobs by what stands on the disk."""

from __future__ import annotations

import json
import sys
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mtp_bench.cli.options import (
    RESULTS,
    RUNS,
    Json,
    Only,
    Results,
    Runs,
    SuiteName,
    plan_of,
    roots_of,
)

if TYPE_CHECKING:
    from mtp_bench.store.paths import JobPaths

JobName = Annotated[
    str, typer.Argument(metavar="JOB", help="a job's id, or enough of its beginning")
]


def status(
    suite: SuiteName, as_json: Json = False, runs: Runs = RUNS, results: Results = RESULTS
) -> None:
    """The state of every job of a suite."""
    from mtp_bench.cli.progress import describe
    from mtp_bench.store.paths import job_paths
    from mtp_bench.store.scalars import read_progress
    from mtp_bench.store.states import read_state_file, state_of

    roots = roots_of(None, None, runs, results)
    rows = []
    planned = plan_of(suite, results)
    for job in planned.jobs:
        paths = job_paths(roots, job.id)
        state = state_of(paths)
        message = read_state_file(paths).message
        if state == "running":
            message = describe(read_progress(paths.progress))
        elif state == "done":
            message = ""
        rows.append({"id": job.id, "state": state, "message": message})
    if as_json:
        print(json.dumps({"suite": planned.suite.name, "jobs": rows}, indent=1))
        return
    for row in rows:
        print(f"{row['state']:9}  {row['id']}  {row['message']}".rstrip())
    counts = Counter(row["state"] for row in rows)
    print(", ".join(f"{count} {state}" for state, count in counts.items()))


def logs(
    job: JobName,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="go on as it grows")] = False,
    runs: Runs = RUNS,
    results: Results = RESULTS,
) -> None:
    """Print a job's log."""
    from mtp_bench.errors import UserError
    from mtp_bench.store.states import ENDED, state_of

    paths = _find(job, runs, results)
    if not paths.log.exists():
        raise UserError(f"{paths.job}: has no log yet")
    with paths.log.open(encoding="utf-8", errors="replace") as stream:
        while True:
            sys.stdout.write(stream.read())
            sys.stdout.flush()
            if not follow or state_of(paths) in ENDED:
                sys.stdout.write(stream.read())
                return
            time.sleep(0.5)


def cancel(
    suite: SuiteName,
    only: Only = [],
    runs: Runs = RUNS,
    results: Results = RESULTS,
) -> None:
    """Cancel the jobs of a suite that are not done; running ones write a checkpoint and stop."""
    from mtp_bench.store.paths import job_paths
    from mtp_bench.store.states import read_state_file, state_of, write_state
    from mtp_bench.suite.plan import select

    roots = roots_of(None, None, runs, results)
    for job in select(plan_of(suite, results), only).jobs:
        paths = job_paths(roots, job.id)
        state = state_of(paths)
        if state == "running":
            (paths.run / "cancel").touch()
            print(f"asked to stop: {job.id}")
        elif state in ("pending", "submitted"):
            update = {"state": "cancelled", "message": "cancelled by the user"}
            write_state(paths, read_state_file(paths).model_copy(update=update))
            print(f"cancelled: {job.id}")


def forget(job: JobName, runs: Runs = RUNS, results: Results = RESULTS) -> None:
    """Set a job's record aside, and its run folder, so that it runs again from the start."""
    from mtp_bench.errors import UserError
    from mtp_bench.store import lock

    paths = _find(job, runs, results)
    if lock.holder(paths.run) is not None:
        raise UserError(f"{paths.job}: is running: cancel it first")
    stamp = time.strftime("%Y%m%dT%H%M%S")
    for path in (paths.record, paths.details, paths.run):
        if path.exists():
            aside = path.parent / "forgotten" / f"{stamp}-{path.name}"
            aside.parent.mkdir(exist_ok=True)
            path.rename(aside)
            print(f"set aside: {aside}")


def _find(name: str, runs: Path, results: Path) -> JobPaths:
    """The one job whose id begins so."""
    from mtp_bench.errors import UserError, nearest
    from mtp_bench.store.paths import job_paths

    folders = [p.parent.name for p in runs.glob("*/job.json")]
    records = [
        p.stem for p in (results / "records").glob("*.json") if not p.name.endswith(".details.json")
    ]
    known = sorted({*folders, *records})
    found = [job for job in known if job.startswith(name)]
    if name in known:
        found = [name]
    if not found:
        raise UserError(
            f"{name}: no such job: {nearest(name, known) if known else 'nothing has run yet'}"
        )
    if len(found) > 1:
        raise UserError(f"{name}: could be {', '.join(found[:5])}: write more of it")
    return job_paths(roots_of(None, None, runs, results), found[0])
