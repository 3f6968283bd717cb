"""What ``status`` tells and ``cancel`` does: by the disk, and by the scheduler where jobs wait."""

import statistics
import sys
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mtp_bench.cli.progress import View, clock, describe
from mtp_bench.errors import UserError
from mtp_bench.executors import scheduler
from mtp_bench.executors.endings import Again, End
from mtp_bench.executors.outcome import Snapshot, containing, say_last
from mtp_bench.executors.standing import Standing, consult, on_disk
from mtp_bench.store import submissions
from mtp_bench.store.paths import job_paths
from mtp_bench.store.records import read_record
from mtp_bench.store.scalars import read_progress
from mtp_bench.store.states import ENDED, State
from mtp_bench.suite.plan import Plan
from mtp_bench.suite.schema import Roots

FOLLOW_SECONDS = 2.0
SAMPLE = 200
"""So many records are enough for how long a job takes."""


@dataclass(frozen=True)
class Row:
    job: str
    state: State
    message: str


@dataclass(frozen=True)
class Told:
    """All jobs, what they sum up to, and why the scheduler did not answer where it did not."""

    rows: tuple[Row, ...]
    progress: dict[str, dict[str, Any]]
    """Of the running ones."""
    summary: str
    silence: str


def report_of(planned: Plan, roots: Roots) -> Told:
    """The disk's states, with what the scheduler knows of those that it should have."""
    asked = consult(on_disk(planned, roots), roots)
    running = [job for job, standing in asked.jobs.items() if standing.state == "running"]
    progress = {job: read_progress(job_paths(roots, job).progress) for job in running}
    rows = tuple(_row(job, s, progress.get(job, {})) for job, s in asked.jobs.items())
    counts = Counter(row.state for row in rows)
    summary = ", ".join(f"{count} {state}" for state, count in counts.items())
    left = sum(float(told.get("eta_seconds", 0.0)) for told in progress.values())
    silence = asked.silence and f"SLURM does not answer ({asked.silence}): states are the disk's"
    return Told(rows, progress, summary + _eta(rows, left, roots), silence)


def _row(job: str, standing: Standing, progress: dict[str, Any]) -> Row:
    """A job that left the queue is told as it will be judged."""
    state, seen, verdict = standing.state, standing.seen, standing.verdict
    where = f" (SLURM job {standing.task})" if standing.task else ""
    if state == "running":
        return Row(job, state, f"{describe(progress)}{where}")
    if isinstance(verdict, End):
        return Row(job, verdict.state, verdict.message)
    if isinstance(verdict, Again):
        return Row(job, "pending", f"{verdict.why}: run submits it again")
    if seen is not None:
        reason = f"starting on {seen.nodes}" if seen.state == "RUNNING" else seen.reason
        return Row(job, state, f"{seen.state}: {reason}{where}")
    return Row(job, state, standing.last.message)


def _eta(rows: tuple[Row, ...], left: float, roots: Roots) -> str:
    """Time left, by the median of the finished jobs and as many at once as run now."""
    done = [row.job for row in rows if row.state == "done"]
    waiting = sum(row.state in ("pending", "submitted") for row in rows)
    running = sum(row.state == "running" for row in rows)
    if not running or (waiting and not done):
        return ""
    sample = [job_paths(roots, job).record for job in done[:SAMPLE]] if waiting else []
    each = [3600 * read_record(path).compute.wall_hours for path in sample]
    typical = statistics.median(each) if each else 0.0
    seconds = (left + waiting * typical) / running
    basis = f"; a job takes {clock(typical)}, {running} at once" if each else ""
    return f"; about {clock(seconds)} left{basis}"


def follow_along(planned: Plan, roots: Roots) -> None:
    """Watch as ``run`` does, and submit nothing."""
    states: dict[str, State] = {}
    with View(planned) as view:
        while not states or any(state not in ENDED for state in states.values()):
            told = report_of(planned, roots)
            states = {row.job: row.state for row in told.rows}
            view.show(Snapshot(states, told.progress))
            time.sleep(FOLLOW_SECONDS)


def cancel_all(planned: Plan, roots: Roots) -> None:
    """Running jobs are asked to checkpoint and stop; waiting ones leave the queue."""
    waiting: list[str] = []
    broken: dict[str, str] = {}
    with submissions.alone(Path(roots.runs), wait=lambda: None):
        standings = on_disk(planned, roots)
        running = [job for job, standing in standings.items() if standing.state == "running"]
        for job in running:  # first: the scheduler may take its time to answer
            with containing(broken, job):
                job_paths(roots, job).cancel.touch()
                print(f"asked to stop: {job}", flush=True)
        others = {job: s for job, s in standings.items() if job not in running}
        for job, standing in consult(others, roots).jobs.items():
            if standing.state in ("pending", "submitted"):
                with containing(broken, job):
                    say_last(roots, job, "cancelled", "cancelled by the user")
                    print(f"cancelled: {job}")
                    waiting += [standing.task] if standing.task and not standing.verdict else []
    try:
        scheduler.cancel(waiting)
    except scheduler.NoAnswer as error:
        some = f"of {len(waiting)} jobs some stay in its queue, and end by themselves as they start"
        print(f"SLURM does not answer, or refuses ({error}): {some}", file=sys.stderr)
    if broken:
        raise UserError(*broken.values())
