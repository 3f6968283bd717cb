"""Handing jobs to the scheduler: what is ready, in which arrays, after what."""

import getpass
import re
import shutil
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from mtp_bench.errors import UserError
from mtp_bench.executors import scheduler, slurm
from mtp_bench.executors.outcome import containing, put_back
from mtp_bench.executors.prepare import write_job
from mtp_bench.executors.standing import Standing, on_disk
from mtp_bench.store import faults, submissions
from mtp_bench.store.paths import job_paths
from mtp_bench.store.states import State, read_state_file, write_state
from mtp_bench.store.submissions import Submission
from mtp_bench.suite.plan import Job, Plan
from mtp_bench.suite.schema import Resources, Roots
from mtp_bench.suite.site import Kind, SiteProfile

WRITERS = 8
HOLD_SECONDS = (30.0, 300.0)
LIMITED = re.compile(r"limit|policy|array specification", re.IGNORECASE)
"""SLURM's words where fewer jobs at a time might do."""


@dataclass
class Cluster:
    """One run of a plan on a cluster."""

    plan: Plan
    roots: Roots
    site: SiteProfile
    resources: dict[Kind, Resources]
    command: tuple[str, ...]
    say: Callable[[str], None]
    tries: dict[str, int] = field(default_factory=dict)
    avoid: dict[str, tuple[str, ...]] = field(default_factory=dict)
    broken: dict[str, str] = field(default_factory=dict)
    """Jobs whose folder cannot be used, and why."""
    standings: dict[str, Standing] = field(default_factory=dict)
    retry: bool = False
    """Whether an end that nobody has noted yet is one to try again from."""
    said: str = ""
    silent: bool = False
    asked: float = 0.0
    hold_until: float = 0.0
    """Nothing is submitted before: the scheduler refused, or did not answer."""
    refusals: int = 0
    pause: float = 0.0

    def states(self) -> dict[str, State]:
        found = {job: standing.state for job, standing in self.standings.items()}
        return found | dict.fromkeys(self.broken, "failed")

    def tell_once(self, line: str) -> None:
        """Say what has not just been said."""
        if line != self.said:
            self.say(line)
        self.said = line


def ready(run: Cluster) -> list[Job]:
    """Jobs to submit now: all they need is done, or in the scheduler's hands."""
    states = run.states()
    return [
        job
        for job in run.plan.jobs
        if states[job.id] == "pending"
        and all(states[n] == "done" or run.standings[n].task for n in job.needs)
    ]


def submit_ready(run: Cluster) -> list[str]:
    """Array by array, with those that these make ready; a refused one leaves the others there."""
    sent: list[str] = []
    facts: scheduler.Facts | None = None
    while waiting := ready(run):
        try:
            facts = facts or scheduler.facts()
        except scheduler.NoAnswer as error:
            run.tell_once(f"SLURM does not answer ({error}): {len(waiting)} jobs wait for it")
            hold(run)
            break
        for jobs in arrays(run, waiting, facts.max_array):
            sent += _submit_some(run, jobs, facts.cluster)
    return sent


def hold(run: Cluster) -> None:
    """Submit nothing for a while, longer each time."""
    run.hold_until = time.monotonic() + min(HOLD_SECONDS[1], HOLD_SECONDS[0] * 2**run.refusals)
    run.refusals += 1


def _submit_some(run: Cluster, jobs: list[Job], cluster: str) -> list[str]:
    """All, or, where a limit on jobs forbids that, as many as halving finds."""
    try:
        sent = _submit(run, jobs, cluster)
    except UserError as error:
        if len(jobs) == 1 or not LIMITED.search(str(error)):
            raise
        halves = jobs[: len(jobs) // 2], jobs[len(jobs) // 2 :]
        return [job for half in halves for job in _submit_some(run, half, cluster)]
    run.refusals = 0
    return sent


def arrays(run: Cluster, jobs: list[Job], most: int) -> Iterator[list[Job]]:
    """Jobs of one shape together, at most so many: one kind, after the same jobs."""
    shapes: dict[tuple[object, ...], list[Job]] = {}
    for job in jobs:
        shape = (job.spec.kind, _parents(run, job), _delay(run, job), run.avoid.get(job.id, ()))
        shapes.setdefault(shape, []).append(job)
    for alike in shapes.values():
        for start in range(0, len(alike), most):
            yield alike[start : start + most]


def _parents(run: Cluster, job: Job) -> tuple[str, ...]:
    """Those that are not done; the scheduler would take a forgotten one for satisfied."""
    needed = [run.standings[need] for need in job.needs]
    return tuple(s.task for s in needed if s.state != "done" and s.task)


def _delay(run: Cluster, job: Job) -> int:
    """Four times longer after each failure."""
    tries = run.tries.get(job.id, 0)
    return run.site.backoff_seconds * 4 ** (tries - 1) if tries else 0


def _batch(run: Cluster, jobs: list[Job], submission: Submission) -> slurm.Batch:
    first = jobs[0]
    return slurm.Batch(
        number=submission.number,
        name=submission.name,
        kind=first.spec.kind,
        job_files=tuple(job_paths(run.roots, job.id).job_file for job in jobs),
        after=_parents(run, first),
        delay=_delay(run, first),
        avoid=run.avoid.get(first.id, ()),
    )


def _submission(run: Cluster, number: int, jobs: list[Job], cluster: str) -> Submission:
    return Submission(
        number=number,
        name=f"mtp-bench-{number}-{uuid.uuid4().hex[:8]}",  # no other submission has it,
        cluster=cluster,
        jobs=tuple(job.id for job in jobs),
        memory=run.site.memory,
        user=getpass.getuser(),
        time=time.time(),
    )


def _submit(run: Cluster, jobs: list[Job], cluster: str) -> list[str]:
    """One array: the intent on the disk first, then the scheduler, then its id on the disk."""
    runs = Path(run.roots.runs)
    with ThreadPoolExecutor(WRITERS) as pool:  # on network file systems each write waits
        list(pool.map(lambda job: _prepare(run, job), jobs))
    jobs = [job for job in jobs if job.id not in run.broken]
    if not jobs:
        return []
    submission = _submission(run, submissions.next_number(runs), jobs, cluster)
    submissions.write(runs, submission)
    faults.point("submit.intent")
    try:
        with ThreadPoolExecutor(WRITERS) as pool:
            list(pool.map(lambda task: _hand_over(run, submission, task), range(len(jobs))))
        faults.point("submit.before")
        batch = _batch(run, jobs, submission)
        folder = submissions.folder(runs, submission.number)
        given = slurm.submit(folder, run.site, run.resources[batch.kind], batch)
    except UserError:
        for job in jobs:
            with containing(run.broken, job.id):
                put_back(run.roots, job.id)
        shutil.rmtree(submissions.folder(runs, submission.number), ignore_errors=True)
        raise
    except scheduler.NoAnswer as error:  # the intent stays; its name tells later what became of it
        run.tell_once(f"SLURM does not answer ({error}): it is asked again for {len(jobs)} jobs")
        hold(run)
        _note(run, submission)
        return []
    faults.point("submit.after")
    submission = submission.model_copy(update={"slurm_id": given})
    submissions.write(runs, submission)
    _note(run, submission)
    return [job.id for job in jobs]


def _prepare(run: Cluster, job: Job) -> None:
    with containing(run.broken, job.id):
        write_job(job, run.resources[job.spec.kind], run.roots, run.command)
        for left in (job_paths(run.roots, job.id).cancel, job_paths(run.roots, job.id).word):
            left.unlink(missing_ok=True)  # of an attempt before


def _hand_over(run: Cluster, submission: Submission, task: int) -> None:
    paths = job_paths(run.roots, submission.jobs[task])
    update = {"state": "submitted", "message": "", "submission": submission.number, "task": task}
    write_state(paths, read_state_file(paths).model_copy(update=update))


def _note(run: Cluster, submission: Submission) -> None:
    """What was submitted just now, without reading it back."""
    for task, job in enumerate(submission.jobs):
        update = {"submission": submission.number, "task": task}
        last = run.standings[job].last.model_copy(update=update)
        run.standings[job] = Standing("submitted", last, submission)


def scripts(run: Cluster) -> Iterator[str]:
    """The batch scripts of a dry run: no run folder is made, nothing is submitted.

    Jobs that are not submitted yet have no id: ``<1>`` stands for that of the first script.
    """
    run.standings = on_disk(run.plan, run.roots)
    try:
        most = scheduler.facts().max_array
    except scheduler.NoAnswer:
        most = scheduler.MAX_ARRAY
    number = 0
    while waiting := ready(run):
        for jobs in arrays(run, waiting, most):
            number += 1
            told = _submission(run, number, jobs, "").model_copy(update={"slurm_id": f"<{number}>"})
            batch = _batch(run, jobs, told)
            folder = submissions.folder(Path(run.roots.runs), number)
            yield slurm.script(folder, run.site, run.resources[batch.kind], batch)
            _note(run, told)
