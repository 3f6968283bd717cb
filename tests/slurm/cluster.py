"""A running test cluster, as the SLURM tests drive it: commands, faults, and a clean table between.

Nothing here sleeps for a guessed time: what takes a while is polled up to a deadline.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

SCRIPTS = Path(__file__).parents[2] / "slurm" / "local-cluster"
CANNOT_BE_HAD = 3  # start.sh's exit code where SLURM cannot be had on this machine
PREFIX = "mtp-bench-slurm-test-"
T = TypeVar("T")


def until(condition: Callable[[], T], seconds: float, what: str) -> T:
    """Poll until the condition gives something true, and return that."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds:g} s: {what} (last: {found!r})")
        time.sleep(0.1)
    return found


@dataclass(frozen=True)
class Cluster:
    """One cluster of ``start.sh``; give ``environment`` to every process that is to use it."""

    state: Path
    environment: dict[str, str]

    def run(self, *arguments: str) -> str:
        """Run a SLURM command and return what it prints; what it complains about is raised."""
        done = subprocess.run(
            arguments, env=self.environment, capture_output=True, text=True, check=False, timeout=60
        )
        if done.returncode:
            raise RuntimeError(
                f"{' '.join(arguments)}: exit code {done.returncode}: {done.stderr.strip()}"
            )
        return done.stdout.strip()

    def queue(self) -> dict[str, str]:
        """State by job id (``12`` or ``12_3``), with the jobs that ended a short while ago."""
        lines = self.run("squeue", "-h", "-r", "-t", "all", "-o", "%i %T").splitlines()
        return dict(line.split() for line in lines)

    def details(self, job_id: str) -> dict[str, str]:
        """What scontrol says of one job, such as ``Restarts`` or ``Reason``; '' for no value."""
        fields = self.run("scontrol", "-o", "show", "job", job_id).split(" ")
        pairs = (field.partition("=") for field in fields if "=" in field)
        return {key: value for key, _, value in pairs}

    def wait_for(self, job_id: str, state: str, seconds: float = 30) -> None:
        """Wait until squeue gives the job this state."""
        until(lambda: self.queue().get(job_id) == state, seconds, f"job {job_id} is {state}")

    def pids(self) -> dict[str, int]:
        """The pid of each daemon that runs now, by name: ``slurmctld``, ``slurmd-n2``."""
        found = {}
        for file in sorted((self.state / "run").glob("*.pid")):
            with contextlib.suppress(OSError, ValueError):  # gone, or not written yet
                pid = int(file.read_text())
                if f"MTP_SLURM_DAEMON={self.state}" in environment_of(pid):
                    found[file.stem] = pid
        return found

    def job_processes(self) -> list[int]:
        """Every process of a job, also of one that SLURM has lost sight of."""
        conf = f"SLURM_CONF={self.environment['SLURM_CONF']}"
        found = []
        for pid in (int(folder.name) for folder in Path("/proc").glob("[0-9]*")):
            variables = environment_of(pid)
            # The second is what tells a job from who submits one.
            if conf in variables and any(v.startswith("SLURMD_NODENAME=") for v in variables):
                found.append(pid)
        return found

    def limits_memory(self) -> bool:
        """Whether a job that takes more memory than it asked for is ended at once."""
        return "proctrack/cgroup" in Path(self.environment["SLURM_CONF"]).read_text()

    def kill(self, daemon: str, number: int = signal.SIGTERM) -> None:
        """Send a daemon a signal and wait for its end; ``start_missing`` brings it back."""
        pid = self.pids()[daemon]
        os.kill(pid, number)
        until(lambda: self.pids().get(daemon) != pid, 30, f"{daemon} has ended")

    def start_missing(self) -> None:
        """Start the daemons that do not run, and resume every node."""
        done = script("start.sh", self.environment)
        if done.returncode:
            raise RuntimeError(f"start.sh: exit code {done.returncode}: {done.stderr.strip()}")

    def set_node(self, name: str, state: str) -> None:
        """Set a node's state: ``down`` loses its jobs, ``drain`` takes no new ones, ``resume``."""
        self.run("scontrol", "update", f"nodename={name}", f"state={state}", "reason=test")

    def settle(self) -> None:
        """End every job and bring every daemon and node back, for the next test."""
        self.start_missing()
        until(self._emptied, 150, "the queue is empty")
        until(self._idle, 30, "every node is idle")

    def _emptied(self) -> bool:
        ids = sorted(set(self.run("squeue", "-h", "-o", "%F").split()))
        if ids:  # the exit code does not count: one may have ended by now
            subprocess.run(
                ["scancel", *ids], env=self.environment, capture_output=True, check=False
            )
        # SLURM would wait for KillWait where TERM is ignored, as submitit does.
        processes = self.job_processes()
        for pid in processes:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return not ids and not processes

    def _idle(self) -> bool:
        return set(self.run("sinfo", "-h", "-N", "-o", "%T").split()) == {"idle"}


def script(
    name: str, environment: dict[str, str], *arguments: str
) -> subprocess.CompletedProcess[str]:
    """Run start.sh or stop.sh to its end."""
    return subprocess.run(
        [str(SCRIPTS / name), *arguments],
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )


def prepare(name: str, nodes: int, **knobs: str) -> Cluster:
    """A cluster to be started, on free ports; knobs are start.sh's, such as ``GPUS="1"``."""
    # Not in pytest's own folder: munged's socket must be in one that all may enter.
    state = Path(tempfile.gettempdir()).resolve() / f"{PREFIX}{os.getpid()}-{name}"
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("SLURM_", "MTP_SLURM_"))}
    knobs = {"STATE": str(state), "NODES": str(nodes), "PORT": str(_free_ports(nodes)), **knobs}
    environment = {
        **kept,
        "SLURM_CONF": str(state / "etc" / "slurm.conf"),
        **{f"MTP_SLURM_{key}": value for key, value in knobs.items()},
    }
    return Cluster(state, environment)


def remove_left_over() -> None:
    """Take away the clusters of test runs that were killed: their daemons would stay for ever."""
    for state in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        if not Path("/proc", state.name.removeprefix(PREFIX).split("-")[0]).exists():
            script("stop.sh", {**os.environ, "MTP_SLURM_STATE": str(state)}, "--purge")


def _free_ports(nodes: int) -> int:
    # Below the ports that the kernel gives out (from 32768), and elsewhere for another test run.
    first = 22_000 + os.getpid() % 200 * 50
    for base in range(first, 32_700, 50):
        if all(_is_free(base + step) for step in (0, 1, *range(11, 11 + nodes))):
            return base
    raise RuntimeError(f"no free ports between {first} and 32700")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def environment_of(pid: int) -> list[str]:
    """A process's variables as ``NAME=value``; none where it has ended, also as a zombie."""
    try:
        return Path(f"/proc/{pid}/environ").read_text(errors="replace").split("\0")
    except OSError:
        return []
