"""What SLURM says, asked through its own commands, and how it is asked to drop a job.

It is consulted, never believed against the disk: accounting may be off or late, the controller may
be away, and a job that ended some minutes ago is forgotten.
"""

import contextlib
import os
import re
import subprocess
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

PATIENCE_SECONDS = 60.0
AT_ONCE = 500
UNMET = "DependencyNeverSatisfied"
MAX_ARRAY = 1001
"""SLURM's own default for the size of an array."""
ALIVE = {
    *("PENDING", "RUNNING", "CONFIGURING", "COMPLETING", "SUSPENDED", "STOPPED", "SIGNALING"),
    *("REQUEUED", "REQUEUE_FED", "REQUEUE_HOLD", "SPECIAL_EXIT", "RESV_DEL_HOLD"),
    *("RESIZING", "STAGE_OUT"),
}
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
    name: str = ""
    """The submission's: after a loss of its state SLURM gives ids out again."""

    @property
    def alive(self) -> bool:
        return self.state in ALIVE


@dataclass(frozen=True)
class Facts:
    """What this cluster is called, and how large an array it takes."""

    cluster: str
    max_array: int
    private: bool
    """Whether users see their own jobs only."""


def _call(*words: str) -> str:
    """Output of a SLURM command; the user's own defaults for it would change its meaning."""
    own = {k: v for k, v in os.environ.items() if not k.startswith(("SQUEUE_", "SACCT_"))}
    own["SLURM_BITSTR_LEN"] = "0"
    try:
        ended = subprocess.run(
            words, capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=False, env=own
        )
    except OSError as error:
        raise NoAnswer(f"{words[0]}: {error.strerror}") from None
    except subprocess.TimeoutExpired:
        raise NoAnswer(f"{words[0]}: no answer in {PATIENCE_SECONDS:.0f} s") from None
    if ended.returncode:
        lines = ended.stderr.strip().splitlines() or [f"exit code {ended.returncode}"]
        raise NoAnswer(lines[-1])
    return ended.stdout


def facts() -> Facts:
    """Of the cluster that this machine submits to."""
    told = dict(re.findall(r"^(\w+)\s*=\s*(.*?)\s*$", _call("scontrol", "show", "config"), re.M))
    return Facts(
        cluster=told.get("ClusterName", ""),
        max_array=max(1, int(told.get("MaxArraySize", MAX_ARRAY))),
        private="jobs" in told.get("PrivateData", ""),
    )


def queue(ids: Iterable[str]) -> dict[str, Seen]:
    """Each task of these jobs that the controller remembers, ended ones for some minutes."""
    found: dict[str, Seen] = {}
    for some in _chunks(ids):
        for line in _remembered(some).splitlines():
            identity, state, reason, nodes, name = (p.strip() for p in line.split("|", 4))
            found[identity] = Seen(state, reason, nodes, name=name)
    return found


def _remembered(ids: list[str]) -> str:
    asked = ("squeue", "--noheader", "--array", "--states=all", "--format=%i|%T|%r|%N|%j")
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
    known = {name for task in found for name in (task, task.partition("_")[0])}
    for some in _chunks(identity for identity in wanted if identity not in known):
        found |= dict(_accounted(some))
    return found


def _shown(identity: str) -> Iterator[tuple[str, Seen]]:
    try:
        text = _call("scontrol", "--oneliner", "show", "job", identity)
    except NoAnswer as error:
        if "Invalid job id" not in str(error):
            raise
        return
    for line in text.splitlines():
        told = {k: v for k, v in re.findall(r"(\w+)=(\S*)", line) if v != "(null)"}
        array, task = told.get("ArrayJobId"), told.get("ArrayTaskId")
        keys = ("JobState", "Reason", "NodeList", "ExitCode", "JobName")
        seen = Seen(*(told.get(key, "") for key in keys))
        for name in _tasks(f"{array}_{task}" if array else told.get("JobId", "")):
            yield name, seen


def _accounted(ids: list[str]) -> Iterator[tuple[str, Seen]]:
    """Nothing where accounting is off or away. A step that ran out of memory tells of its job."""
    fields = "--format=JobID,State,ExitCode,NodeList,JobName"
    try:
        text = _call("sacct", "--noheader", "--parsable2", fields, f"--jobs={','.join(ids)}")
    except NoAnswer:
        return
    rows = [line.split("|") for line in text.splitlines() if line.count("|") >= 4]
    starved = {row[0].partition(".")[0] for row in rows if row[1].startswith("OUT_OF_ME")}
    for identity, state, code, nodes, name, *_ in rows:
        if "." in identity:
            continue
        state = "OUT_OF_MEMORY" if identity in starved else state
        # Who cancelled stands behind the word; where nobody did, it was for the job's needs.
        state, _, by = state.partition(" ")
        reason = UNMET if state == "CANCELLED" and not by else ""
        for task in _tasks(identity):
            yield task, Seen(state, reason, nodes, code, name)


def _tasks(identity: str) -> Iterator[str]:
    """Waiting tasks that are told in one row, as ``7_[0-2,5%4]``, one by one."""
    array, _, listed = identity.partition("_")
    spans = re.findall(r"(\d+)(?:-(\d+))?(?:,|$)", listed.strip("[]").partition("%")[0])
    if not spans:
        yield identity
    for first, last in spans:
        for task in range(int(first), int(last or first) + 1):
            yield f"{array}_{task}"


def find(name: str) -> str | None:
    """The id of the job with this name; None where the scheduler never took one."""
    found = _call("squeue", "--noheader", "--states=all", "--format=%F", f"--name={name}").split()
    if not found:
        asked = ("--noheader", "-X", "--format=JobID%30", "--starttime=now-7days")
        with contextlib.suppress(NoAnswer):
            found = _call("sacct", *asked, f"--name={name}").split()
    return found[0].partition("_")[0] if found else None


def cancel(ids: Iterable[str]) -> None:
    """Take jobs and tasks out of the queue; all are tried before the first complaint is raised."""
    complaints: list[NoAnswer] = []
    for some in _chunks(ids):
        try:
            _call("scancel", "--quiet", *some)
        except NoAnswer as error:
            complaints.append(error)
    if complaints:
        raise complaints[0]


def requeue(identity: str) -> None:
    """Put a running job back into the queue, for the scheduler to start again."""
    _call("scontrol", "requeue", identity)


def _chunks(ids: Iterable[str]) -> Iterator[list[str]]:
    listed = list(ids)
    for start in range(0, len(listed), AT_ONCE):
        yield listed[start : start + AT_ONCE]
