"""One preloaded forkserver for all attempts of these tests, as the executor starts its own."""

from __future__ import annotations

import json
import multiprocessing
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from mtp_bench.executors.local import PRELOAD, LocalExecutor
from mtp_bench.executors.prepare import write_job
from mtp_bench.store import scalars
from mtp_bench.store.paths import JobPaths, job_paths
from mtp_bench.suite.load import load_suite
from mtp_bench.suite.plan import make_plan
from mtp_bench.suite.schema import Resources, Roots
from mtp_bench.worker import THREAD_VARIABLES, run_in_process

for _variable in THREAD_VARIABLES:
    os.environ[_variable] = "1"
CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload([PRELOAD])


@dataclass
class Bench:
    """A planned job and its folder; attempts run in fresh processes, as the executor's do."""

    paths: JobPaths
    exits: list[int | None] = field(default_factory=list)

    def attempt(self, **environment: str) -> int | None:
        """Run the job file to its end in a process of its own; its exit code."""
        process = CONTEXT.Process(
            target=run_in_process, args=(str(self.paths.job_file), environment)
        )
        process.start()
        process.join()
        self.exits.append(process.exitcode)
        return process.exitcode

    def attempt_together(self, processes: int) -> int | None:
        """The same by several processes at once, which the local executor starts."""
        executor = LocalExecutor(workers=1, gpus_per_job=1)
        executor.resources = Resources(processes=processes)
        running = executor.start(self.paths.job_file)
        for process in running.processes:
            process.join(240)
        return executor.ended(running)

    def record(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.paths.record.read_text())
        return found

    def curve(self) -> list[dict[str, Any]]:
        return list(scalars.read(self.paths.scalars))


MakeBench = Callable[..., Bench]


@pytest.fixture(scope="session")
def make_bench(write_suite: Callable[[Path], Path], tiny_data: Path) -> MakeBench:
    """Plans the tiny suite in a folder and writes its job file."""

    def make(folder: Path, resources: Resources, settings: str = "drop_path: 0.2") -> Bench:
        suite = write_suite(folder)
        with suite.open("a") as stream:
            stream.write(f"overrides: [{{set: {{{settings}}}}}]\n")
        (job,) = make_plan(load_suite(suite)).jobs
        roots = Roots(
            runs=str(folder / "runs"),
            results=str(folder / "results"),
            data=str(tiny_data),
            weights=None,
            cache=str(folder / "cache"),
        )
        write_job(job, resources, roots, ("test",))
        return Bench(job_paths(roots, job.id))

    return make


@pytest.fixture
def bench(tmp_path: Path, make_bench: MakeBench) -> Bench:
    """The tiny job, with a checkpoint after every iteration."""
    return make_bench(tmp_path, Resources(checkpoint_seconds=0.0))


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, make_bench: MakeBench) -> Bench:
    """The tiny job when nothing happens to it."""
    here = make_bench(tmp_path_factory.mktemp("undisturbed"), Resources())
    assert here.attempt() == 0, here.paths.log.read_text()
    return here
