"""What to do about a job that left the queue without a last word on the disk.

Classes of failure: what the infrastructure did is tried again, what the user or the code did is
not, and neither is a job that ran out of memory, since another batch is another experiment.
"""

import re
from dataclasses import dataclass, replace

from mtp_bench.executors.scheduler import UNMET, Seen
from mtp_bench.store.states import State
from mtp_bench.worker import TRY_LATER

NOT_WRITABLE = 74
STARVED = re.compile(r"oom[-_ ]kill|out of memory", re.IGNORECASE)
UNWRITTEN = "could not find submitted jobs"
"""submitit's words for a job whose submitter died before it had written everything."""
LAUNCH = re.compile(r"launch|prolog|batch.?host", re.IGNORECASE)
KILLED = frozenset(["0:9", "0:15", "137:0", "143:0"])


@dataclass(frozen=True)
class Again:
    """Submit it again."""

    why: str
    avoid: str = ""
    """Nodes that have shown to be bad."""
    counts: bool = True
    """Whether this was one of its tries."""


@dataclass(frozen=True)
class End:
    """The job's last word."""

    state: State
    message: str


@dataclass(frozen=True)
class Trace:
    """What an attempt left behind."""

    task: str
    """The scheduler's id of the job."""
    began: bool
    advanced: bool
    """Whether it got further than where it began."""
    rss_bytes: int
    memory: str | None
    """What each process was given, as the site profile has it."""
    last_words: str
    """What tells most at the end of what it wrote to the scheduler's own log."""
    tail: str = ""
    """The end itself."""


def judge(seen: Seen | None, trace: Trace) -> Again | End:
    """``seen``: how the scheduler says it ended; None where it no longer knows the job.

    What got further before it was stopped is no failed try: it will come to its end.
    """
    verdict = _judge(seen, trace)
    if isinstance(verdict, Again) and trace.advanced:
        return replace(verdict, counts=False)
    return verdict


def _judge(seen: Seen | None, trace: Trace) -> Again | End:
    job = f"SLURM job {trace.task}"
    if seen is None:
        return Again(f"{job} left the queue without a word")
    if seen.state == "CANCELLED" and seen.reason == UNMET:
        return Again(f"{job} waited for one that did not end well", counts=False)
    if seen.state == "CANCELLED":
        return End("cancelled", f"cancelled in SLURM ({job})")
    if seen.state == "OUT_OF_MEMORY" or STARVED.search(trace.tail):
        return End("oom", _starved(trace))
    if seen.state in ("TIMEOUT", "DEADLINE"):
        if trace.advanced:
            return Again(f"{job} ran into its time limit")
        return End("timeout", f"{job} got no further within its time limit: raise 'time'")
    if seen.state in ("NODE_FAIL", "BOOT_FAIL"):
        return Again(f"{job}: {seen.state} on {seen.nodes}", _one(seen.nodes))
    if seen.state != "FAILED":  # PREEMPTED, COMPLETED without a record, and what later SLURMs add
        return Again(f"{job} ended as {seen.state}, with no record")
    return _failed(seen, trace, job)


def _failed(seen: Seen, trace: Trace, job: str) -> Again | End:
    code, _, signal = seen.exit_code.partition(":")
    if code == str(TRY_LATER):
        return Again(f"{job} stopped and was not requeued")
    if code == str(NOT_WRITABLE):
        return End("failed", f"{job} could not write to its folder: {trace.last_words}")
    if LAUNCH.search(seen.reason) or signal == "53":
        where = f" on {seen.nodes}" if seen.nodes else ""
        return Again(f"{job} could not be started{where} ({seen.reason})", _one(seen.nodes))
    if UNWRITTEN in trace.tail:
        return Again(f"{job} began before its submission was complete", counts=False)
    if seen.exit_code in KILLED:
        return Again(f"{job} was killed")
    ended = "ended" if trace.began else "ended before its worker began,"
    return End("failed", f"{job} {ended} with exit code {seen.exit_code}: {trace.last_words}")


def _one(nodes: str) -> str:
    """A node to avoid; of several nobody knows which was bad."""
    return "" if "," in nodes or "[" in nodes else nodes


def _starved(trace: Trace) -> str:
    least = trace.rss_bytes / 2**30
    used = f"used at least {least:.2f} GiB of" if least else "needed more than"
    given = f"{trace.memory} for each process" if trace.memory else "what the cluster gives it"
    return (
        f"out of memory: SLURM job {trace.task} {used} {given}: raise 'memory' in the site "
        "profile, or choose a smaller --micro-batch"
    )
