"""Child processes of the set-up: run one, pass an interruption on, say what failed."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

GRACE_S = 20
"""How long an interrupted pip or compiler may tidy up after itself."""


class SetupError(Exception):
    """Something the user can mend, one line."""


def environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """Ours without what would lead pip or ninja astray: foreign packages, make's job server."""
    astray = {"PYTHONPATH", "PYTHONHOME", "MAKEFLAGS", "MFLAGS", "PIP_USER", "PIP_TARGET"}
    kept = {k: v for k, v in os.environ.items() if k not in astray}
    return {**kept, "PIP_DISABLE_PIP_VERSION_CHECK": "1", **(extra or {})}


def query(command: Sequence[str]) -> str:
    """What a short command prints."""
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, check=False)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise SetupError(f"{shlex.join(command[:2])} failed: {last}")
    return done.stdout


def call(
    command: Sequence[str],
    env: Mapping[str, str] | None = None,
    log: Path | None = None,
    tick: Callable[[], None] | None = None,
) -> None:
    """Runs a command to its end; with ``log`` its output goes there, and its tail into the error.

    The child gets a session of its own, so that Ctrl-C reaches it through us and exactly once: a
    second interruption would stop pip in the middle of tidying up. Descriptors stay open for the
    lock, which must live as long as the last process that writes.
    """
    output = None if log is None else log.open("w")
    child = subprocess.Popen(
        command,
        env=environment(env),
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=None if output is None else subprocess.STDOUT,
        start_new_session=True,
        close_fds=False,
    )
    try:
        while (code := wait(child, 1.0)) is None:
            if tick is not None:
                tick()
    except BaseException:
        stop(child)
        raise
    finally:
        if output is not None:
            output.close()
    if code:
        raise SetupError(failure(command, code, log))


def wait(child: subprocess.Popen[bytes], seconds: float) -> int | None:
    """The exit status, or None where it still runs after ``seconds``."""
    try:
        return child.wait(seconds)
    except subprocess.TimeoutExpired:
        return None


def stop(child: subprocess.Popen[bytes]) -> None:
    """Interrupts the child and all it started; kills what does not obey."""
    for number, seconds in ((signal.SIGINT, GRACE_S), (signal.SIGKILL, GRACE_S)):
        if wait(child, 0) is None:
            os.killpg(child.pid, number)
            wait(child, seconds)


def failure(command: Sequence[str], code: int, log: Path | None) -> str:
    """The line that names the command, after the end of its log."""
    line = f"{shlex.join(command)}: exit status {code}"
    if log is None:
        return line
    tail = log.read_text(errors="replace").splitlines()[-15:]
    return "\n".join([*tail, f"{line}; all of its output: {log}"])
