"""What SLURM says, asked through its own commands, and how it is asked to drop a job.

It is consulted, never believed against the disk: accounting may be off or late, the controller may
be away, and a job that ended some minutes ago is forgotten.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from mtp_bench.errors import UserError

PATIENCE_SECONDS = 60.0
AT_ONCE = 500
MAX_ARRAY = 1001
"""SLURM's own default for the size of an array."""
ALIVE = frozenset(
    [
        *("PENDING", "RUNNING", "CONFIGURING", "COMPLETING", "SUSPENDED", "STOPPED", "SIGNALING"),
        *("REQUEUED", "REQUEUE_FED", "REQUEUE_HOLD", "SPECIAL_EXIT", "RESV_DEL_HOLD"),
        *("RESIZING", "STAGE_OUT"),
    ]
)
"""States of jobs that the scheduler still has; a requeued job goes through several of them."""


class NoAnswer(Exception):
    """The controller, or the command to ask it with, cannot be reached."""


@dataclass(frozen=True)
class Seen:
    """What the scheduler knows about a job."""

    state: str
    reason: str = ""
    nodes: str = ""
    exit_code: str = ""
    """``code:signal``; empty where it was not asked for."""

    @property
    def alive(self) -> bool:
        return self.state in ALIVE


@dataclass(frozen=True)
class Facts:
    """What this cluster is called, and how large an array it takes."""

    cluster: str
    max_array: int


def _call(*words: str) -> str:
    """Output of a SLURM command; the user's own defaults for it would change its meaning."""
    own = {k: v for k, v in os.environ.items() if not k.startswith(("SQUEUE_", "SACCT_"))}
    try:
        ended = subprocess.run(
            words,
            capture_output=True,
            text=True,
            timeout=PATIENCE_SECONDS,
            check=False,
            env={**own, "SLURM_BITSTR_LEN": "0"},
        )
    except FileNotFoundError:
        raise NoAnswer(f"{words[0]}: not found: is this a login node of the cluster?") from None
    except subprocess.TimeoutExpired:
        raise NoAnswer(f"{words[0]}: no answer in {PATIENCE_SECONDS:.0f} s") from None
    if ended.returncode:
        lines = ended.stderr.strip().splitlines() or [f"exit code {ended.returncode}"]
        raise NoAnswer(lines[-1])
    return ended.stdout


def facts() -> Facts:
    """Of the cluster that this machine submits to."""
    told = dict(re.findall(r"^(\w+)\s*=\s*(.*?)\s*$", _call("scontrol", "show", "config"), re.M))
    return Facts(told.get("ClusterName", ""), int(told.get("MaxArraySize", MAX_ARRAY)))


def queue(ids: Iterable[str]) -> dict[str, Seen]:
    """Each task of these jobs that the controller remembers, ended ones for some minutes."""
    found: dict[str, Seen] = {}
    for some in _chunks(ids):
        for line in _remembered(some).splitlines():
            identity, state, reason, nodes = (part.strip() for part in line.split("|")[:4])
            found[identity] = Seen(state, reason, nodes)
    return found


def _remembered(ids: list[str]) -> str:
    asked = ("squeue", "--noheader", "--array", "--states=all", "--format=%i|%T|%r|%N")
    try:
        return _call(*asked, f"--jobs={','.join(ids)}")
    except NoAnswer as error:
        if "Invalid job id" not in str(error):
            raise
    if len(ids) == 1:
        return ""
    return "".join(_remembered([identity]) for identity in ids)


def endings(ids: Iterable[str]) -> dict[str, Seen]:
    """How the tasks of these jobs ended, by the controller or, once it forgot, by accounting."""
    wanted = list(dict.fromkeys(ids))
    found: dict[str, Seen] = {}
    for identity in wanted:
        found |= dict(_shown(identity))
    for some in _chunks(i for i in wanted if not any(_same(known, i) for known in found)):
        found |= dict(_accounted(some))
    return found


def _same(task: str, job: str) -> bool:
    return task == job or task.startswith(f"{job}_")


def _shown(identity: str) -> Iterator[tuple[str, Seen]]:
    try:
        text = _call("scontrol", "--oneliner", "show", "job", identity)
    except NoAnswer as error:
        if "Invalid job id" not in str(error):
            raise
        return
    for line in text.splitlines():
        told = dict(re.findall(r"(\w+)=(\S*)", line))
        array, task = told.get("ArrayJobId"), told.get("ArrayTaskId")
        name = f"{array}_{task}" if array else told.get("JobId", "")
        nodes = "" if told.get("NodeList") == "(null)" else told.get("NodeList", "")
        state = told.get("JobState", "")
        yield name, Seen(state, told.get("Reason", ""), nodes, told.get("ExitCode", ""))


def _accounted(ids: list[str]) -> Iterator[tuple[str, Seen]]:
    """Nothing where accounting is off or away. A step that ran out of memory tells of its job."""
    fields = "--format=JobID,State,ExitCode,NodeList"
    try:
        text = _call("sacct", "--noheader", "--parsable2", fields, f"--jobs={','.join(ids)}")
    except NoAnswer:
        return
    rows = [line.split("|") for line in text.splitlines() if line.count("|") >= 3]
    starved = {row[0].partition(".")[0] for row in rows if row[1].startswith("OUT_OF_ME")}
    for identity, state, code, nodes, *_ in rows:
        if "." not in identity:
            state = "OUT_OF_MEMORY" if identity in starved else state.split(" ")[0]
            yield identity, Seen(state, "", nodes, code)


def find(name: str) -> str | None:
    """The id of the job with this name; None where the scheduler never took one."""
    tried: tuple[Callable[[], str], ...] = (
        lambda: _call("squeue", "--noheader", "--states=all", "--format=%F", f"--name={name}"),
        lambda: _call("sacct", "--noheader", "-X", "--format=JobID%30", f"--name={name}"),
    )
    found = tried[0]().split()
    if not found:
        try:
            found = tried[1]().split()
        except NoAnswer:
            return None
    return found[0].partition("_")[0] if found else None


def cancel(ids: Iterable[str]) -> None:
    """Take jobs, or single tasks of arrays, out of the queue. What has ended is left alone."""
    for some in _chunks(ids):
        _call("scancel", "--quiet", *some)


def requeue(identity: str) -> None:
    """Put a running job back into the queue, for the scheduler to start again."""
    _call("scontrol", "requeue", identity)


def require() -> Facts:
    """The facts, for who wants to submit."""
    try:
        return facts()
    except NoAnswer as error:
        raise UserError(f"SLURM does not answer: {error}") from None


def _chunks(ids: Iterable[str]) -> Iterator[list[str]]:
    listed = list(ids)
    for start in range(0, len(listed), AT_ONCE):
        yield listed[start : start + AT_ONCE]
