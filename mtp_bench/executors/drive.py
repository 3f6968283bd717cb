"""This machine's loop: start what is ready, watch, tell, until nothing is left to do."""

import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from mtp_bench.executors import outcome
from mtp_bench.executors.local import LocalExecutor, Running
from mtp_bench.executors.outcome import Snapshot, Summary, containing, say_last
from mtp_bench.executors.prepare import write_job
from mtp_bench.store.paths import JobPaths, job_paths
from mtp_bench.store.states import ENDED, State, left_word, state_of
from mtp_bench.suite.plan import Job, Plan
from mtp_bench.suite.schema import Roots
from mtp_bench.worker import TRY_LATER

POLL_SECONDS = 0.2
LOOK_SECONDS = 2.0
RESTARTS = 2
"""How often a job that was killed from outside is started again within one run."""


@dataclass
class _Run:
    plan: Plan
    roots: Roots
    executor: LocalExecutor
    command: tuple[str, ...]
    mine: dict[str, Running] = field(default_factory=dict)
    deaths: dict[str, int] = field(default_factory=dict)
    stopping: bool = False
    broken: dict[str, str] = field(default_factory=dict)
    """Jobs whose folder cannot be used, and why."""
    seen: dict[str, State] = field(default_factory=dict)
    looked: float = 0.0

    def paths(self, job: str) -> JobPaths:
        return job_paths(self.roots, job)

    def states(self) -> dict[str, State]:
        """Of all jobs; what is not ours is looked up every two seconds, and *done* stays done."""
        if time.monotonic() - self.looked > LOOK_SECONDS:
            self.looked = time.monotonic()
            for job in self.plan.jobs:
                if self.seen.get(job.id) != "done" and job.id not in self.mine:
                    self.seen[job.id] = state_of(self.paths(job.id))
        found = self.seen | dict.fromkeys(self.mine, "running")
        return found | dict.fromkeys(self.broken, "failed")

    def look_again(self, job: str) -> None:
        self.seen[job] = state_of(self.paths(job))


def drive(
    plan: Plan,
    roots: Roots,
    executor: LocalExecutor,
    command: tuple[str, ...],
    tell: Callable[[Snapshot], None],
) -> Summary:
    """Run all jobs of a plan that are not done, each after what it needs.

    A job that another run holds is waited for. Ctrl-C (or SIGTERM) asks the jobs to checkpoint and
    stop; a second one ends them at once.
    """
    run = _Run(plan, roots, executor, command)

    def stop(presses: int) -> None:
        run.stopping = True
        for running in list(run.mine.values()):
            executor.stop(running, at_once=presses > 1)

    with outcome.on_stop(stop):
        while _step(run):
            tell(outcome.snapshot(roots, run.states()))
            time.sleep(POLL_SECONDS)
    states = run.states()
    tell(Snapshot(states, {}))
    return outcome.summed_up(roots, states, run.broken, run.stopping)


def _step(run: _Run) -> bool:
    """Take note of what ended, start what is ready; whether anything is left to wait for."""
    for identity, running in list(run.mine.items()):
        code = run.executor.ended(running)
        if code is not None:
            del run.mine[identity]
            with containing(run.broken, identity):
                _after(run, identity, code)
            run.look_again(identity)
    if run.stopping:
        return bool(run.mine)
    states = run.states()
    for identity, message in outcome.blocked(run.plan.jobs, states):
        with containing(run.broken, identity):
            say_last(run.roots, identity, "cancelled", message)
        run.look_again(identity)
    states = run.states()
    for job in run.plan.jobs:
        if len(run.mine) >= run.executor.capacity or run.stopping:
            break
        if states[job.id] == "pending" and all(states[need] == "done" for need in job.needs):
            with containing(run.broken, job.id):
                _start(run, job)
    return bool(run.mine) or any(state not in ENDED for state in run.states().values())


def _start(run: _Run, job: Job) -> None:
    run.look_again(job.id)
    if run.seen[job.id] != "pending":
        return
    job_file = write_job(job, run.executor.resources, run.roots, run.command)
    run.paths(job.id).cancel.unlink(missing_ok=True)
    running = run.executor.start(job_file)
    run.mine[job.id] = running
    if run.stopping:  # asked to stop while it started
        run.executor.stop(running)


def _after(run: _Run, job: str, code: int) -> None:
    """A worker writes its own end; one that was killed could not."""
    paths = run.paths(job)
    if state_of(paths) != "pending" or run.stopping or code in (0, TRY_LATER):
        return
    run.deaths[job] = run.deaths.get(job, 0) + 1
    outside = code in (-signal.SIGKILL, -signal.SIGTERM)
    if outside and run.deaths[job] <= RESTARTS:
        return
    word = left_word(paths)
    if word is not None:  # another of its processes knows better
        say_last(run.roots, job, word.state, word.message)
        return
    ended = f"killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
    times = f" {run.deaths[job]} times" if run.deaths[job] > 1 else ""
    hint = " (out of memory?)" if code == -signal.SIGKILL else ""
    say_last(run.roots, job, "failed", f"the worker was {ended}{times}{hint}")
