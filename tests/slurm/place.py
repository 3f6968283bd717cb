"""A working folder on the test cluster: a tiny suite, a site profile, and the command line."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from mtp_bench.store import scalars
from mtp_bench.store.lock import holder
from tests.slurm.cluster import Cluster, until

TIMEOUT = 300.0
LONG = 2000
"""Iterations that take longer than half a minute."""
LENGTH = ("length: {iterations: 40}", "length: {iterations: 150}")
SEEDS = ("datasets: [EuroSAT]", "datasets: [EuroSAT]\nseeds: 2")
"""What the tiny suite is changed to: two jobs that train for some seconds each."""
SITE = {
    "partition": "main",
    "cpus": 1,
    "memory": "1500M",
    "time": 20,
    "stop_before": "1:00",
    "parallelism": 2,
    "backoff": "0:01",
}


class Place:
    """Commands run in a folder, with the environment that reaches one cluster."""

    def __init__(self, suite: Path, data: Path, cluster: Cluster) -> None:
        self.folder = suite.parent
        self.suite = suite
        self.started: list[subprocess.Popen[str]] = []
        self.data = data
        self.on(cluster)
        self.site()

    def on(self, cluster: Cluster) -> None:
        """Use this cluster from now on."""
        self.cluster = cluster
        self.environment = {
            **{k: v for k, v in cluster.environment.items() if not k.startswith("MTP_BENCH")},
            "MTP_BENCH_DATA": str(self.data),
            "MTP_BENCH_CACHE": str(self.folder / "cache"),
        }

    def site(self, **changes: Any) -> None:
        """The profile of the cluster, with changes."""
        (self.folder / "site.yaml").write_text(yaml.safe_dump(SITE | changes))

    def change(self, old: str, new: str) -> None:
        """Change the suite."""
        text = self.suite.read_text()
        assert old in text
        self.suite.write_text(text.replace(old, new))

    def change_protocol(self, old: str, new: str) -> None:
        """Change the suite's protocol."""
        path = self.folder / "tiny.protocol.yaml"
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new))

    def start(self, *words: str, **environment: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-m", "mtp_bench", *words],
            cwd=self.folder,
            env=self.environment | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self.started.append(process)
        return process

    def start_run(self, *words: str, **environment: str) -> subprocess.Popen[str]:
        """``run`` on the cluster."""
        where = ("--executor", "slurm", "--site", "site.yaml")
        return self.start("run", self.suite.name, *where, *words, **environment)

    def ended(self, process: subprocess.Popen[str]) -> tuple[int, str, str]:
        out, err = process.communicate(timeout=TIMEOUT)
        return process.returncode, out, err

    def run(self, *words: str, **environment: str) -> tuple[int, str, str]:
        return self.ended(self.start_run(*words, **environment))

    def call(self, *words: str, **environment: str) -> tuple[int, str, str]:
        return self.ended(self.start(*words, **environment))

    def kill_all(self) -> None:
        for process in self.started:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
            for stream in (process.stdout, process.stderr):
                if stream is not None:
                    stream.close()

    @property
    def runs(self) -> Path:
        return Path(self.environment.get("MTP_BENCH_RUNS", self.folder / "runs"))

    @property
    def records_folder(self) -> Path:
        results = Path(self.environment.get("MTP_BENCH_RESULTS", self.folder / "results"))
        return results / "records"

    def records(self) -> list[dict[str, Any]]:
        paths = sorted(self.records_folder.glob("*.json"))
        return [json.loads(p.read_text()) for p in paths if ".details." not in p.name]

    def record(self, job: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.records_folder / f"{job}.json").read_text())
        return found

    def curve(self, job: str) -> list[dict[str, Any]]:
        return list(scalars.read(self.runs / job / "scalars.jsonl"))

    def submissions(self) -> list[dict[str, Any]]:
        """What was handed to the scheduler so far, in order."""
        paths = sorted((self.runs / "slurm").glob("*/submission.json"))
        return [json.loads(path.read_text()) for path in paths]

    def tasks(self) -> dict[str, str]:
        """SLURM's id → job, of everything that was submitted."""
        return {
            (f"{s['slurm_id']}_{task}" if len(s["jobs"]) > 1 else s["slurm_id"]): job
            for s in self.submissions()
            if s["slurm_id"]
            for task, job in enumerate(s["jobs"])
        }

    def queued(self) -> dict[str, str]:
        """Our tasks that the scheduler still has, and their states."""
        ours = self.tasks()
        ended = ("COMPLETED", "CANCELLED", "FAILED", "TIMEOUT", "NODE_FAIL", "OUT_OF_MEMORY")
        queue = self.cluster.queue()
        return {t: s for t, s in queue.items() if t in ours and s not in ended}

    def states(self) -> dict[str, int]:
        """How many jobs are in each state, by ``status``."""
        code, out, err = self.call("status", self.suite.stem, "--json")
        assert code == 0, err
        return dict(Counter(row["state"] for row in json.loads(out)["jobs"]))

    def iteration(self, job: str) -> int:
        """How far a job's newest checkpoint or curve is."""
        return max((int(row["iteration"]) for row in self.curve(job)), default=0)

    def training(self, past: int) -> tuple[str, str]:
        """Wait for a job that is in the middle of its training; the job and SLURM's id of it."""

        def found() -> tuple[str, str] | None:
            for task, job in self.tasks().items():
                if self.iteration(job) > past and holder(self.runs / job) is not None:
                    return job, task
            return None

        result = until(found, 120, f"a job past iteration {past}")
        assert result is not None
        return result


def same(place: Place, undisturbed: Place, only: str | None = None) -> None:
    """The same records as where nothing happened: every figure, every point of the curves."""
    jobs = {r["job"]: r for r in place.records()}
    wanted = {r["job"]: r for r in undisturbed.records() if only in (None, r["job"])}
    assert set(jobs) == set(wanted)
    for job, record in jobs.items():
        assert record["metrics"] == wanted[job]["metrics"]
        assert record["spec"] == wanted[job]["spec"]
        assert record["provenance"]["probe"] == wanted[job]["provenance"]["probe"]
        assert place.curve(job) == undisturbed.curve(job)


def fill(folder: Path) -> Path:
    """Leave no room on a file system; the file that takes it."""
    filler = folder / "filler"
    with contextlib.suppress(OSError), filler.open("wb") as stream:
        while True:
            stream.write(bytes(1 << 16))
            stream.flush()
    return filler


@contextlib.contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """A mounted folder, read-only for a while; root's writes are refused too."""
    subprocess.run(["mount", "-o", "remount,ro", folder], check=True)
    try:
        yield
    finally:
        subprocess.run(["mount", "-o", "remount,rw", folder], check=True)
