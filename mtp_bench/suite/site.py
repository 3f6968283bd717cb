"""Site profiles: how one cluster is used. Data and its words for the shell; nothing runs here.

A profile is never part of what a job is: the same job has the same id on every site.
"""

import json
import os
import re
import shlex
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from mtp_bench.errors import UserError
from mtp_bench.suite.fields import Count, Model, exactly_one
from mtp_bench.suite.load import read, validate

Kind = Literal["pretrain", "finetune"]
KINDS: tuple[Kind, ...] = ("pretrain", "finetune")
_SET_BY = {
    "--detach": ("parsable", "quiet", "wait"),
    "--dry-run": ("test-only",),
    "--runs": ("chdir", "error", "open-mode", "output"),
    "--site, one cluster each": ("clusters",),
    "backoff": ("begin",),
    "cpus": ("cpus-per-gpu", "cpus-per-task"),
    "gpus": ("gpus", "gpus-per-node", "gpus-per-task", "gres"),
    "memory": ("mem", "mem-per-cpu", "mem-per-gpu"),
    "parallelism": ("array",),
    "processes": ("nodes", "ntasks", "ntasks-per-node"),
    "requeue": ("no-requeue", "requeue"),
    "setup": ("wrap",),
    "stop_before": ("signal",),
    "the suite": ("dependency", "job-name", "kill-on-invalid-dep"),
    "its own key": ("account", "constraint", "exclude", "partition", "qos", "reservation"),
    "time": ("time", "time-min"),
}
OURS = {flag: key for key, flags in _SET_BY.items() for flag in flags}
"""Flags of sbatch that are set from elsewhere, and from where."""
_TIME = re.compile(r"(?:(\d+)-)?(\d+)(?::(\d+))?(?::(\d+))?")


def seconds(text: str) -> int:
    """SLURM's notation: minutes, MM:SS, HH:MM:SS, D-HH, D-HH:MM or D-HH:MM:SS (``man sbatch``)."""
    found = _TIME.fullmatch(text)
    if found is None:
        raise ValueError(f"must be minutes, MM:SS, HH:MM:SS or D-HH[:MM[:SS]], not '{text}'")
    days, *rest = found.groups()
    parts = [int(part) for part in rest if part is not None]
    if days is None and len(parts) < 3:
        parts = [0, *parts]  # of hours: a lone number is minutes, two are minutes and seconds
    hours, minutes, left = (*parts, 0, 0)[:3]
    return ((int(days or 0) * 24 + hours) * 60 + minutes) * 60 + left


def _time(value: Any) -> Any:
    """A bare number stands for minutes, as it does for SLURM."""
    text = str(value) if isinstance(value, int) and not isinstance(value, bool) else value
    if isinstance(text, str):
        seconds(text)
    return text


def _one_line(text: str) -> str:
    if not text.isprintable():
        raise ValueError("must be one line, without control characters")
    return text


def _is_name(text: str) -> str:
    if re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", text) is None:
        raise ValueError("is no name of a variable")
    return text


def _is_flag(text: str) -> str:
    if re.fullmatch(r"[a-z][a-z0-9-]*", text) is None:
        raise ValueError("must be a long flag without its dashes, like 'mail-type'")
    if text in OURS:
        raise ValueError(f"is set by {OURS[text]}")
    return text


def _each_kind(value: Any) -> Any:
    """One for all kinds of jobs, or one for each."""
    given = value if isinstance(value, dict) else dict.fromkeys(KINDS, value)
    if missing := [kind for kind in KINDS if kind not in given]:
        raise ValueError(f"must say {' and '.join(missing)} too")
    return given


def _value(value: Any) -> Any:
    """Checked before the union of types, which would complain once for each of them."""
    if value in (None, "") or not isinstance(value, str | int | float):
        raise ValueError(f"must be a word, a number or true, not {json.dumps(value)}")
    return _one_line(value) if isinstance(value, str) else value


Line = Annotated[str, Field(min_length=1), AfterValidator(_one_line)]
Time = Annotated[str, BeforeValidator(_time)]
Value = Annotated[str | int | float | bool, BeforeValidator(_value)]
Variable = Annotated[str, AfterValidator(_is_name)]
Flag = Annotated[str, AfterValidator(_is_flag)]
Node = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.,\[\]-]+$")]
Memory = Annotated[str, Field(pattern=r"^[1-9][0-9]*[KMGT]?$")]


class Gpus(Model):
    """How this cluster is asked for GPUs; each process of a job gets one."""

    request: Literal["gres", "gpus"] = "gres"
    """``gres``: ``--gres=NAME:N``; ``gpus``: ``--gpus-per-node=[NAME:]N``."""
    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.:-]*$")] = "gpu"

    @model_validator(mode="after")
    def _named(self) -> Self:
        if self.request == "gres" and not self.name:
            raise ValueError("'gres' needs a name, like gpu or gpu:a100")
        if self.request == "gpus" and (self.name == "gpu" or ":" in self.name):
            raise ValueError("'gpus' needs the type alone as its name, like a100, or '' for any")
        return self


class Activate(Model):
    """How the Python environment is entered on a node: one of the three."""

    conda: Line | None = None
    venv: Line | None = None
    container: Line | None = None

    _exactly_one = exactly_one("conda", "venv", "container")


class SiteProfile(Model):
    """One cluster. slurm/README.md says what each key is for."""

    partition: Line | None = None
    account: Line | None = None
    qos: Line | None = None
    constraint: Line | None = None
    reservation: Line | None = None
    exclude: tuple[Node, ...] = ()
    gpus: Gpus | None = None
    processes: Annotated[dict[Kind, Count], BeforeValidator(_each_kind)] = dict.fromkeys(KINDS, 1)
    processes_per_node: Count = 1
    cpus: Count = 1
    """For each process, as ``memory`` is."""
    memory: Memory | None = None
    time: Annotated[dict[Kind, Time], BeforeValidator(_each_kind)]
    stop_before: Time = "5:00"
    parallelism: Count | None = None
    requeue: bool = True
    retries: Annotated[int, Field(ge=0)] = 3
    backoff: Time = "1:00"
    setup: tuple[Line, ...] = ()
    activate: Activate | None = None
    python: Line | None = None
    env: dict[Variable, Value] = Field(default_factory=dict)
    sbatch: dict[Flag, Value] = Field(default_factory=dict)
    srun: tuple[Line, ...] = ()

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if off := [flag for flag, value in self.sbatch.items() if value is False]:
            raise ValueError(f"'sbatch': leave out {off[0]}: a flag is true, or has a value")
        for kind in KINDS:
            if self.limit(kind) * 60 <= 2 * self.margin_seconds:
                raise ValueError(
                    f"'stop_before' must be less than half of 'time' ({self.limit(kind)} minutes)"
                )
            try:
                self.layout(self.processes_of(kind))
            except UserError as error:
                raise ValueError(str(error)) from None
        return self

    def limit(self, kind: Kind) -> int:
        """Minutes that a job of this kind may take, as SLURM counts them: rounded up."""
        return max(1, -(-seconds(self.time[kind]) // 60))

    @property
    def margin_seconds(self) -> int:
        """So long before its limit a job stops by itself."""
        return seconds(self.stop_before)

    @property
    def backoff_seconds(self) -> int:
        """Waiting time before the first new try; four times longer after each further one."""
        return seconds(self.backoff)

    def processes_of(self, kind: Kind) -> int:
        """Processes of a job of this kind, one GPU each where the site has some."""
        return self.processes[kind]

    def layout(self, processes: int) -> tuple[int, int]:
        """Nodes, and processes on each; ``UserError`` where they cannot be filled evenly."""
        each = self.processes_per_node
        if processes <= each:
            return 1, processes
        nodes, rest = divmod(processes, each)
        if rest:
            near = f"take {nodes * each} or {(nodes + 1) * each}"
            raise UserError(f"{processes} processes do not fill nodes of {each} evenly: {near}")
        return nodes, each

    def shell_lines(self) -> list[str]:
        """What is run on the node before the job: set-up, activation, variables."""
        lines = [*self.setup]
        if self.activate and self.activate.conda:
            # 'conda activate' is a shell function, which a batch script does not have yet.
            lines += ['eval "$(conda shell.bash hook)"']
            lines += [f"conda activate {shlex.quote(self.activate.conda)} || exit 1"]
        if self.activate and self.activate.venv:
            script = Path(self.activate.venv).expanduser() / "bin" / "activate"
            lines.append(f"source {shlex.quote(str(script))} || exit 1")
        env = {k: str(v).lower() if isinstance(v, bool) else str(v) for k, v in self.env.items()}
        return lines + [f"export {k}={shlex.quote(v)}" for k, v in env.items()]

    def python_command(self, default: str) -> str:
        """Shell words that start Python on a node. ``default``: the interpreter that submits."""
        inside = "python" if self.activate else default
        python = shlex.quote(os.path.expanduser(self.python or inside))  # noqa: PTH111 - a word
        container = self.activate.container if self.activate else None
        return f"{container} {python}" if container else python


def load_site(path: Path) -> SiteProfile:
    """Read and check a profile. ``UserError`` holds every problem of the file, one a line."""
    return validate(read(path, "site profile", "give its path: --site FILE"), SiteProfile)
