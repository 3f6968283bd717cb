"""How every job of a plan stands: what the disk says, and what the scheduler makes of it."""

import contextlib
import getpass
import shutil
import time
from collections.abc import Set
from dataclasses import dataclass, replace
from pathlib import Path

from mtp_bench.executors import scheduler
from mtp_bench.executors.endings import STARVED, Again, End, Trace, judge
from mtp_bench.executors.scheduler import Facts, NoAnswer, Seen
from mtp_bench.store import submissions
from mtp_bench.store.attempts import newest_checkpoint
from mtp_bench.store.paths import JobPaths, job_paths
from mtp_bench.store.scalars import read_progress
from mtp_bench.store.states import State, StateFile, left_word, look
from mtp_bench.store.submissions import Submission
from mtp_bench.suite.plan import Plan
from mtp_bench.suite.schema import Roots

SUBMITTING_SECONDS = 10.0
"""A submission so young may still be on its way to the scheduler."""
NO_ROOM = 2**20
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


def on_disk(plan: Plan, roots: Roots, known: Set[str] = frozenset()) -> dict[str, Standing]:
    """By the disk alone. ``known``: jobs that were seen done, and stay so."""
    found = {}
    read: dict[int, Submission | None] = {}
    for job in plan.jobs:
        if job.id in known:
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
        here = scheduler.facts()
        told = {job: s.submission.cluster for job, s in waiting.items() if s.submission}
        elsewhere = {job: name for job, name in told.items() if name != here.cluster}
        asked = _ask({j: s for j, s in waiting.items() if j not in elsewhere}, roots, here)
    except NoAnswer as error:
        return Standings(standings, str(error))
    silence = (
        f"this is {here.cluster}, and jobs wait on {', '.join(sorted(set(elsewhere.values())))}"
    )
    return Standings(standings | asked, silence if elsewhere else "")


def _ask(waiting: dict[str, Standing], roots: Roots, here: Facts) -> dict[str, Standing]:
    found = _identified({s.submission for s in waiting.values() if s.submission})
    named = {
        job: replace(s, submission=found[s.submission.number]) if s.submission else s
        for job, s in waiting.items()
    }
    queue = scheduler.queue(sorted(s.slurm_id for s in found.values() if s.slurm_id))
    asked, gone = {}, {}
    for job, standing in named.items():
        seen = _mine(queue, standing)
        if seen is not None and seen.alive:
            asked[job] = replace(standing, seen=seen)
        elif standing.state == "submitted":
            gone[job] = standing
    for job in list(gone):  # what ended while the scheduler was asked has left its last word now
        state, last = look(job_paths(roots, job))
        if state != "submitted":
            asked[job] = Standing(state, last, gone.pop(job).submission)
    ids = {s.submission.slurm_id for s in gone.values() if s.submission}
    ended = scheduler.endings(sorted(identity for identity in ids if identity))
    for job, standing in gone.items():
        seen = _mine(ended, standing) or _mine(queue, standing)
        others = standing.submission and standing.submission.user != getpass.getuser()
        if seen is None and here.private and others:
            continue  # another user's job, which the scheduler does not show to us
        asked[job] = replace(standing, verdict=_verdict(job, standing, seen, roots))
    return asked


def _mine(rows: dict[str, Seen], standing: Standing) -> Seen | None:
    """The row of a job, if it is not that of a stranger to whom its id was given anew."""
    seen = rows.get(standing.task or "")
    submission = standing.submission
    return seen if seen and submission and seen.name == submission.name else None


def _identified(told: set[Submission]) -> dict[int, Submission]:
    """By number, with the id that the scheduler gave where its author did not note it."""
    found = {}
    for submission in told:
        known = submission.slurm_id or scheduler.find(submission.name)
        found[submission.number] = submission.model_copy(update={"slurm_id": known})
    return found


def _verdict(job: str, standing: Standing, seen: Seen | None, roots: Roots) -> Again | End | None:
    submission, paths = standing.submission, job_paths(roots, job)
    if submission is None:
        return Again("its submission is no longer on the disk", counts=False)
    if submission.slurm_id is None:
        if time.time() - submission.time < SUBMITTING_SECONDS:
            return None
        return Again(f"submission {submission.number} never reached SLURM", counts=False)
    if seen is not None and seen.alive:
        return None  # requeued in the meantime
    word = left_word(paths)
    if word is not None:
        return End(word.state, word.message)
    return judge(seen, _trace(paths, standing, submission, Path(roots.runs)))


def _trace(paths: JobPaths, standing: Standing, submission: Submission, runs: Path) -> Trace:
    task = standing.task or ""
    attempt = next((a for a in standing.last.attempts[-1:] if a.slurm == task), None)
    log = submissions.log_of(runs, submission, standing.last.task)
    lines = _last_lines(log)
    return Trace(
        task=task,
        began=attempt is not None,
        advanced=attempt is not None and newest_checkpoint(paths) > attempt.from_iteration,
        rss_bytes=int(read_progress(paths.progress).get("rss_bytes", 0)) if attempt else 0,
        memory=submission.memory,
        last_words=_telling(lines, log),
        tail="\n".join(lines),
    )


def _last_lines(path: Path) -> list[str]:
    """The end of the scheduler's logs of a job, of its further processes first."""
    lines: list[str] = []
    for each in sorted(path.parent.glob(path.name.replace("_0_log", "_*_log")), reverse=True):
        with contextlib.suppress(OSError):
            lines += each.read_text(errors="replace").splitlines()[-50:]
    return lines


def _telling(lines: list[str], path: Path) -> str:
    """The line that says most, and where it stands."""
    starved = [line for line in lines if STARVED.search(line)]
    telling = [line for line in lines if line.strip() and not line.startswith(NOISE)]
    full = shutil.disk_usage(path.parent).free < NO_ROOM
    silence = "No space left on device" if full else "no message"
    return f"{(starved or telling or [silence])[-1].strip()} ({path})"
