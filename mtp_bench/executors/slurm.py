"""The one place that speaks submitit: batch scripts, arrays, and the call that a node makes."""

import contextlib
import hashlib
import io
import os
import re
import shlex
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import submitit
from submitit.core.utils import FailedJobError
from submitit.slurm.slurm import SlurmExecutor, _make_sbatch_string

from mtp_bench.errors import UserError
from mtp_bench.executors import node
from mtp_bench.executors.scheduler import NoAnswer
from mtp_bench.suite.schema import Resources
from mtp_bench.suite.site import Kind, SiteProfile
from mtp_bench.worker import THREAD_VARIABLES

TAIL_SECONDS = 600
"""The first process may still write a checkpoint when the others have ended."""
LEAST_WARNING = 30
UNSURE = re.compile(r"timed out|unable to contact|connect failure", re.IGNORECASE)
LOWEST_PORT, PORTS = 20_000, 12_000
"""Below those that systems give out by themselves."""
DISTRIBUTED = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


@dataclass(frozen=True)
class Batch:
    """Jobs of one shape that are submitted together."""

    number: int
    name: str
    kind: Kind
    job_files: tuple[Path, ...]
    after: tuple[str, ...] = ()
    """Scheduler's ids of the jobs that all of them need."""
    delay: int = 0
    """Seconds until the first may start."""
    avoid: tuple[str, ...] = ()
    """Nodes that have shown to be bad."""


def on_node(job_file: str, number: int, limit: float, margin: float, requeue: bool) -> None:
    """What a node calls, once for each process of a job; it leaves no result but the job's own."""
    for name in DISTRIBUTED:  # of whatever the user's shell was in
        os.environ.pop(name, None)
    if int(os.environ.get("SLURM_NTASKS", "1")) > 1:
        # Which of the visible GPUs is whose is settled by the local rank, not by this.
        environment = submitit.helpers.TorchDistributedEnvironment()
        environment.export(set_cuda_visible_devices=False, overwrite=True)
        start = f"{os.environ['SLURM_JOB_ID']}-{os.environ.get('SLURM_RESTART_COUNT', '0')}"
        port = LOWEST_PORT + int(hashlib.sha256(start.encode()).hexdigest(), 16) % PORTS
        os.environ["MASTER_PORT"] = str(port)  # another one after each requeue
    code = node.run(Path(job_file), number, node.Terms(limit, margin, requeue))
    with contextlib.suppress(OSError):  # the job's log, on a disk that may be full
        sys.stdout.flush()
    os._exit(code)


def _parameters(site: SiteProfile, resources: Resources, batch: Batch) -> dict[str, Any]:
    """In submitit's words, which are sbatch's own with underscores."""
    nodes, per_node = site.layout(resources.processes)
    gpus = {}
    if site.gpus is not None:
        flag = "gres" if site.gpus.request == "gres" else "gpus_per_node"
        gpus = {flag: f"{site.gpus.name}:{per_node}".removeprefix(":")}  # a name may be empty
    avoid = ",".join(dict.fromkeys((*site.exclude, *batch.avoid)))
    # SLURM is told a node's, and the site profile a process's.
    memory = site.memory and re.sub(r"\d+", lambda n: str(int(n[0]) * per_node), site.memory)
    # srun does not inherit this from sbatch (since SLURM 22.05).
    cpus = f"--cpus-per-task={site.cpus}"
    threads = [f"export {name}={resources.threads}" for name in THREAD_VARIABLES]
    given = {
        "job_name": batch.name,
        **{key: getattr(site, key) for key in ("partition", "account", "qos", "constraint")},
        "exclude": avoid or None,
        "time": site.limit(batch.kind),
        "nodes": nodes,
        "ntasks_per_node": per_node,
        "cpus_per_task": site.cpus,
        "mem": memory,
        **gpus,
        # After the job's own deadline: a second warning, for jobs that did not look at the clock.
        "signal_delay_s": max(LEAST_WARNING, site.margin_seconds - 120),
        "setup": [*threads, *site.shell_lines()],
        "array_parallelism": site.parallelism or len(batch.job_files),
        "dependency": f"afterok:{':'.join(batch.after)}" if batch.after else None,
        "srun_args": [cpus, "--kill-on-bad-exit=1", f"--wait={TAIL_SECONDS}", *site.srun],
        "additional_parameters": _further(site, batch),
    }
    # submitit's own default, a wckey named after itself, is refused where wckeys are checked
    return {k: v for k, v in given.items() if v is not None} | {"wckey": None}


def _further(site: SiteProfile, batch: Batch) -> dict[str, Any]:
    further: dict[str, Any] = {"requeue" if site.requeue else "no-requeue": True, **site.sbatch}
    if site.reservation is not None:
        further["reservation"] = site.reservation
    if batch.after:
        further["kill-on-invalid-dep"] = "yes"
    if batch.delay:
        further["begin"] = f"now+{batch.delay}"
    return further


def script(folder: Path, site: SiteProfile, resources: Resources, batch: Batch) -> str:
    """The batch script of what ``submit`` would submit."""
    count = len(batch.job_files)
    python, where = site.python_command(sys.executable), shlex.quote(str(folder))
    command = f"{python} -u -m submitit.core._submit {where}"
    parameters = _parameters(site, resources, batch)
    tasks = count if count > 1 else None
    return str(_make_sbatch_string(command, folder, map_count=tasks, **parameters))


@contextlib.contextmanager
def _outside_of_jobs() -> Iterator[None]:
    """As if submitted from a plain login shell.

    What an allocation sets would go on into the job, and sbatch's own variables overrule a script.
    """
    set_aside = {k: v for k, v in os.environ.items() if k.startswith(("SLURM_", "SBATCH_"))}
    set_aside.pop("SLURM_CONF", None)
    for name in set_aside:
        del os.environ[name]
    try:
        yield
    finally:
        os.environ.update(set_aside)


def submit(folder: Path, site: SiteProfile, resources: Resources, batch: Batch) -> str:
    """Hand a batch to the scheduler; its id.

    Raises:
        UserError: the scheduler refuses it.
        NoAnswer: nobody knows whether it was taken.
    """
    limit, margin = 60.0 * site.limit(batch.kind), float(site.margin_seconds)
    same = (batch.number, limit, margin, site.requeue)
    try:
        executor = SlurmExecutor(folder, python=site.python_command(sys.executable))
        executor.update_parameters(**_parameters(site, resources, batch))
        files = [str(path) for path in batch.job_files]
        # submitit repeats on stderr what it also raises
        with _outside_of_jobs(), contextlib.redirect_stderr(io.StringIO()):
            repeated = ([value] * len(files) for value in same)
            calls: Sequence[Any] = executor.map_array(on_node, files, *repeated)
    except FailedJobError as error:
        lines = [line for line in str(error).splitlines() if "sbatch: error" in line]
        told = (lines or str(error).splitlines())[0].removeprefix("sbatch: error: ")
        told = told.removeprefix("Batch job submission failed: ")
        if UNSURE.search(str(error)):
            raise NoAnswer(told) from None
        raise UserError(f"SLURM refuses {len(batch.job_files)} jobs: {told}") from None
    except OSError as error:
        raise UserError(f"{folder}: cannot be written ({error.strerror})") from error
    except RuntimeError as error:  # submitit could not read the id
        raise NoAnswer(str(error).splitlines()[0]) from None
    return str(calls[0].job_id).partition("_")[0]
