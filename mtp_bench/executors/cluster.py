"""A plan on a cluster: submit what is ready, in arrays, and watch until nothing is left to do.

Each pass reads the disk, asks the scheduler about the jobs that it should have, and acts: under
one lock, so that two who run the same suite submit nothing twice. Nothing is remembered but how
often a job was tried; the process can die at any time, and the next one goes on.
"""

import contextlib
import time
from collections.abc import Callable
from pathlib import Path

from mtp_bench.errors import UserError
from mtp_bench.executors import outcome
from mtp_bench.executors.dispatch import Cluster, hold, ready, submit_ready
from mtp_bench.executors.endings import End
from mtp_bench.executors.outcome import Snapshot, Summary, containing, put_back, say_last
from mtp_bench.executors.standing import Standing, consult, on_disk
from mtp_bench.store import submissions
from mtp_bench.store.states import ENDED

LOOK_SECONDS = 1.0
ASK_SECONDS = (2.0, 30.0)
"""The queue is asked so often: at first and after every change, and when nothing changes."""


def look(run: Cluster) -> None:
    """Read the disk; ask the scheduler when it is time to. A change makes that sooner."""
    before = run.states()
    done = {job for job, state in before.items() if state == "done"}
    fresh = on_disk(run.plan, run.roots, done)
    if {job: s.state for job, s in fresh.items()} != before:
        run.pause = ASK_SECONDS[0]
    if time.monotonic() - run.asked < run.pause:
        run.standings = fresh
        return
    run.standings = _asked(run, fresh)
    known = {s.submission for s in fresh.values()}
    for found in {s.submission for s in run.standings.values()} - known:
        if found is not None:  # its author died before noting the scheduler's id
            with contextlib.suppress(UserError):
                submissions.write(Path(run.roots.runs), found)


def _asked(run: Cluster, fresh: dict[str, Standing]) -> dict[str, Standing]:
    answer = consult(fresh, run.roots)
    run.asked = time.monotonic()
    run.pause = min(ASK_SECONDS[1], run.pause * 1.5)
    if answer.silence:
        run.tell_once(f"SLURM does not answer ({answer.silence}): going on by the disk")
    elif run.silent:
        run.tell_once("SLURM answers again")
    run.silent = bool(answer.silence)
    return answer.jobs


def act(run: Cluster, *, wait: bool = False) -> list[str]:
    """Judge what left the queue and submit what is ready; the jobs that were submitted.

    Somebody else's pass is waited for, or left alone. A refusal while other jobs of ours are in
    the queue, as by a limit on jobs, passes with time.

    Raises:
        UserError: where the scheduler refuses, and nothing is left to wait for.
    """
    held = time.monotonic() < run.hold_until
    if not (_due(run) or (ready(run) and not held)):
        return []
    line = f"waiting for another submission to {run.roots.runs}"
    meanwhile = (lambda: run.tell_once(line)) if wait else None
    try:
        with submissions.alone(Path(run.roots.runs), meanwhile) as mine:
            return _act_alone(run, held=held) if mine else []
    except UserError as error:
        if not any(state in ("submitted", "running") for state in run.states().values()):
            raise
        hold(run)
        run.tell_once(f"{error}; tried again as the queue moves on")
    except OSError as error:  # not even the lock can be written
        for unsent in ready(run):
            run.broken[unsent.id] = f"{run.roots.runs}: cannot be written ({error.strerror})"
        for job, standing in _due(run):
            told = standing.verdict.message if isinstance(standing.verdict, End) else str(error)
            run.broken[job] = told
    return []


def _act_alone(run: Cluster, *, held: bool) -> list[str]:
    run.standings = _asked(run, on_disk(run.plan, run.roots))
    for job, standing in _due(run):
        with containing(run.broken, job):
            _settle(run, job, standing)
    run.standings = on_disk(run.plan, run.roots)
    while stuck := outcome.blocked(run.plan.jobs, run.states()):
        for job, message in stuck:
            with containing(run.broken, job):
                say_last(run.roots, job, "cancelled", message)
        run.standings = on_disk(run.plan, run.roots)
    return [] if held else submit_ready(run)


def _due(run: Cluster) -> list[tuple[str, Standing]]:
    """Jobs that left the queue without a last word, or that wait for one which failed."""
    stuck = {job for job, _ in outcome.blocked(run.plan.jobs, run.states())}
    return [
        (job, standing)
        for job, standing in run.standings.items()
        if (standing.verdict is not None or job in stuck) and job not in run.broken
    ]


def _settle(run: Cluster, job: str, standing: Standing) -> None:
    """Give a job its last word, or back to those that wait to be submitted."""
    verdict = standing.verdict
    if verdict is None:
        return
    if isinstance(verdict, End):
        if run.retry:  # a full disk took the job's last word
            return put_back(run.roots, job)
        return say_last(run.roots, job, verdict.state, verdict.message)
    tries = run.tries.get(job, 0)
    if verdict.counts and tries >= run.site.retries:
        told = f"{verdict.why}; given up after {tries} more tries"
        return say_last(run.roots, job, "failed", told)
    if verdict.counts:
        run.tries[job] = tries + 1
    if verdict.avoid:
        run.avoid[job] = tuple(dict.fromkeys((*run.avoid.get(job, ()), verdict.avoid)))
    run.say(f"again: {job}: {verdict.why}")
    put_back(run.roots, job)


def watch(run: Cluster, tell: Callable[[Snapshot], None]) -> Summary:
    """Until every job has ended. Ctrl-C ends the watching; the jobs go on in the queue."""
    stops: list[int] = []
    with outcome.on_stop(stops.append):
        while not stops:
            began = time.monotonic()
            look(run)
            act(run)
            states = run.states()
            tell(outcome.snapshot(run.roots, states))
            if all(state in ENDED for state in states.values()):
                break
            # Many jobs on a slow file system are looked at less often.
            time.sleep(max(LOOK_SECONDS, 5 * (time.monotonic() - began)))
    return summary(run, stopped=bool(stops))


def summary(run: Cluster, *, stopped: bool) -> Summary:
    return outcome.summed_up(run.roots, run.states(), run.broken, stopped)
