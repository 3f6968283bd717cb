"""This machine: each job in a fresh process from a preloaded forkserver; imports are paid once.

One job a GPU (or ``gpus_per_job``), or one worker of one thread a CPU core.
"""

import multiprocessing
import os
import re
import socket
from dataclasses import dataclass
from importlib.util import find_spec
from multiprocessing.process import BaseProcess
from pathlib import Path

from mtp_bench.datasets.pool import serve
from mtp_bench.errors import UserError
from mtp_bench.executors.prepare import share_of
from mtp_bench.profiling.nvidia import query
from mtp_bench.worker import THREAD_VARIABLES, run_in_process

PRELOAD = "mtp_bench.mm.preload"


def visible_gpus() -> list[str]:
    """GPUs that this user may use, without importing torch."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named is not None:
        return [part for part in named.split(",") if part.strip() and part.strip() != "-1"]
    return query("index")


def torch_has_cuda() -> bool:
    """Whether the installed torch is a CUDA build, by its version file: torch is not imported."""
    spec = find_spec("torch")
    if spec is None or spec.origin is None:
        return False
    text = Path(spec.origin).with_name("version.py").read_text()
    return re.search(r"^cuda\b[^=]*= *['\"]", text, re.MULTILINE) is not None


@dataclass
class Running:
    """One job's processes; the first one holds the lock and writes."""

    processes: list[BaseProcess]
    gpus: list[str]


class LocalExecutor:
    """Starts jobs in processes of this machine and tells when they have ended."""

    def __init__(
        self, workers: int | None, gpus_per_job: int, micro_batch: int | None = None
    ) -> None:
        gpus = visible_gpus()
        if gpus and not torch_has_cuda():
            raise UserError(
                f"{len(gpus)} GPU(s) and a torch for the CPU: install its CUDA build "
                "(docs/install.md), or hide the GPUs: CUDA_VISIBLE_DEVICES="
            )
        cores = len(os.sched_getaffinity(0))
        if gpus_per_job > max(1, len(gpus)):
            found = f"{len(gpus)} GPU(s)" if gpus else "no GPU"
            raise UserError(f"--gpus-per-job {gpus_per_job}: this machine shows {found}")
        self._free = list(gpus)
        most = len(gpus) // gpus_per_job if gpus else cores
        self.capacity = min(workers, most) if workers and gpus else workers or most
        cpus = max(1, cores // len(gpus)) if gpus else 1
        self.resources = share_of(gpus_per_job, cpus, micro_batch, gpus=bool(gpus))
        # Libraries ask for GPUs while they are imported; asked through the driver's library
        # (NVML), that does not spoil CUDA for the processes that are forked afterwards.
        os.environ["PYTORCH_NVML_BASED_CUDA_CHECK"] = "1"
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload([PRELOAD])
        for variable in THREAD_VARIABLES:
            os.environ[variable] = str(self.resources.threads)

    def start(self, job_file: Path) -> Running:
        """Begin a job. Its processes learn by environment which device and rank they are."""
        serve()
        count = self.resources.processes
        gpus = [self._free.pop(0) for _ in range(count)] if self.resources.device == "cuda" else []
        shared = {"CUDA_VISIBLE_DEVICES": ",".join(gpus)} if gpus else {}
        if count > 1:
            shared |= {"WORLD_SIZE": str(count), "MASTER_ADDR": "127.0.0.1"}
            shared["MASTER_PORT"] = str(_free_port())
        running = Running([], gpus)
        for rank in range(count):
            mine = {"RANK": str(rank), "LOCAL_RANK": str(rank)} if count > 1 else {}
            arguments = (str(job_file), shared | mine)
            process = self._context.Process(target=run_in_process, args=arguments)
            process.start()
            running.processes.append(process)
        return running

    def ended(self, running: Running) -> int | None:
        """Exit code once the first process has ended (negative: the signal), the others with it."""
        first, *others = running.processes
        code = first.exitcode
        if code is None and any(p.exitcode not in (None, 0, 75) for p in others):
            code = 1  # the first would wait for the lost process for ever
        if code is None:
            return None
        for process in running.processes:
            if process.exitcode is None:
                process.kill()
            process.join()
        self._free += running.gpus
        return code

    def stop(self, running: Running, *, at_once: bool = False) -> None:
        """Ask a job to checkpoint and stop, or end it at once."""
        for process in running.processes:
            if process.exitcode is None:
                (process.kill if at_once else process.terminate)()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
