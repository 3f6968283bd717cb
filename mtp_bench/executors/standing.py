"""How every job of a plan stands: what the disk says, and what the scheduler makes of it."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from mtp_bench.executors import scheduler
from mtp_bench.executors.endings import Again, End, Trace, judge
from mtp_bench.executors.scheduler import NoAnswer, Seen
from mtp_bench.store import submissions
from mtp_bench.store.paths import JobPaths, job_paths
from mtp_bench.store.scalars import read_progress
from mtp_bench.store.states import State, StateFile, look
from mtp_bench.store.submissions import Submission
from mtp_bench.suite.plan import Plan
from mtp_bench.suite.schema import Roots

SUBMITTING_SECONDS = 10.0
"""A submission so young may still be on its way to the scheduler."""
NOISE = ("srun:", "submitit ", "slurmstepd: error: ***")


@dataclass(frozen=True)
class Standing:
    """One job."""

    state: State
    """The disk's."""
    last: StateFile
    submission: Submission | None = None
    seen: Seen | None = None
    """Where the scheduler still has the job."""
    verdict: Again | End | None = None
    """Where it has not, and the job left no last word."""

    @property
    def task(self) -> str | None:
        """The scheduler's id of the job."""
        return self.submission.task_id(self.last.task) if self.submission else None


@dataclass(frozen=True)
class Standings:
    """All jobs, by id."""

    jobs: dict[str, Standing]
    silence: str = ""
    """Why the scheduler told nothing, where it was asked and did not answer."""


def on_disk(plan: Plan, roots: Roots, known: Iterable[str] = ()) -> dict[str, Standing]:
    """By the disk alone. ``known``: jobs that were seen done, and stay so."""
    found = {}
    read: dict[int, Submission | None] = {}
    done = set(known)
    for job in plan.jobs:
        if job.id in done:
            found[job.id] = Standing("done", StateFile())
            continue
        state, last = look(job_paths(roots, job.id))
        number = last.submission
        if number is not None and number not in read:
            read[number] = submissions.read(Path(roots.runs), number)
        found[job.id] = Standing(state, last, read[number] if number is not None else None)
    return found


def consult(standings: dict[str, Standing], roots: Roots) -> Standings:
    """Ask the scheduler about the jobs that it should have."""
    waiting = {job: s for job, s in standings.items() if s.state in ("submitted", "running")}
    waiting = {job: s for job, s in waiting.items() if s.last.submission is not None}
    if not waiting:
        return Standings(standings)
    try:
        here = scheduler.facts().cluster
        elsewhere = {
            s.submission.cluster
            for s in waiting.values()
            if s.submission and s.submission.cluster != here
        }
        ours = {j: s for j, s in waiting.items() if not _elsewhere(s, here)}
        asked = _ask(ours, roots)
    except NoAnswer as error:
        return Standings(standings, str(error))
    silence = f"this is {here}, and jobs wait on {', '.join(sorted(elsewhere))}"
    return Standings(standings | asked, silence if elsewhere else "")


def _elsewhere(standing: Standing, here: str) -> bool:
    return standing.submission is not None and standing.submission.cluster != here


def _ask(waiting: dict[str, Standing], roots: Roots) -> dict[str, Standing]:
    named = {job: _identified(standing) for job, standing in waiting.items()}
    ids = {s.submission.slurm_id for s in named.values() if s.submission}
    queue = scheduler.queue(sorted(i for i in ids if i))
    asked, gone = {}, {}
    for job, standing in named.items():
        seen = queue.get(standing.task or "")
        if seen is not None and seen.alive:
            asked[job] = replace(standing, seen=seen)
        elif standing.state == "submitted":
            gone[job] = standing
    # What ended while the scheduler was asked has left its last word by now.
    again = {job: look(job_paths(roots, job)) for job in gone}
    gone = {job: s for job, s in gone.items() if again[job][0] == "submitted"}
    ended = scheduler.endings(s.submission.slurm_id for s in gone.values() if _known(s))  # type: ignore[union-attr,misc]
    for job, standing in gone.items():
        asked[job] = replace(standing, verdict=_verdict(job, standing, ended, roots))
    for job, (state, last) in again.items():
        if job not in gone:
            asked[job] = Standing(state, last, waiting[job].submission)
    return asked


def _known(standing: Standing) -> bool:
    return standing.submission is not None and standing.submission.slurm_id is not None


def _identified(standing: Standing) -> Standing:
    """With the id that the scheduler gave to a submission whose author did not note it."""
    submission = standing.submission
    if submission is None or submission.slurm_id is not None:
        return standing
    found = scheduler.find(submission.name)
    return replace(standing, submission=submission.model_copy(update={"slurm_id": found}))


def _verdict(
    job: str, standing: Standing, ended: dict[str, Seen], roots: Roots
) -> Again | End | None:
    submission = standing.submission
    if submission is None:
        return Again("its submission is no longer on the disk", counts=False)
    if submission.slurm_id is None:
        if time.time() - submission.time < SUBMITTING_SECONDS:
            return None
        return Again(f"submission {submission.number} never reached SLURM", counts=False)
    task = standing.task or ""
    seen = ended.get(task)
    if seen is not None and seen.alive:
        return None  # requeued in the meantime
    return judge(seen, _trace(job_paths(roots, job), standing, submission, Path(roots.runs)))


def _trace(paths: JobPaths, standing: Standing, submission: Submission, runs: Path) -> Trace:
    task = standing.task or ""
    attempt = next(iter(standing.last.attempts[-1:]), None)
    began = attempt is not None and attempt.slurm == task
    newest = max((int(p.stem[5:]) for p in paths.checkpoints.glob("iter_*.pth")), default=0)
    return Trace(
        task=task,
        began=began,
        advanced=attempt is not None and began and newest > attempt.from_iteration,
        rss_bytes=int(read_progress(paths.progress).get("rss_bytes", 0)) if began else 0,
        memory=submission.memory,
        last_words=_last_words(submissions.log_of(runs, submission, standing.last.task)),
    )


def _last_words(path: Path) -> str:
    """The last line of a log that says something, and the file's name."""
    try:
        lines = path.read_text(errors="replace").splitlines()[-50:]
    except OSError:
        return f"no log at {path}"
    starved = [line for line in lines if "oom" in line.lower()]
    telling = [line for line in lines if line.strip() and not line.startswith(NOISE)]
    return f"{(starved or telling or ['no message'])[-1].strip()} ({path})"
