"""Random faults over a suite of short jobs on a real SLURM: none lost, none doubled, none changed.

    . "$(slurm/local-cluster/start.sh --env)"
    python benchmarks/faults.py 200 [--jobs 40] [--seed 0]

The suite runs once on this machine, where nothing happens to it. Then it runs on the cluster while
so many faults hit it: a worker killed with SIGKILL, a job requeued, a job cancelled and the suite
run again, the watching process killed and started again, a node's slurmd killed and started again.
Exit code 1 where a record is missing or differs in any figure or point of its curve from the
undisturbed one, where two workers had a job at a time, or where it stood twice in the queue.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

START = Path(__file__).resolve().parents[1] / "slurm" / "local-cluster" / "start.sh"
PATIENCE = 1800.0
PROTOCOL = """\
name: short
rules:
  - set:
      image_size: 32
      length: {iterations: 60}
      batch_size: 8
      lr: 1e-3
      layer_decay: 0.8
      drop_path: 0.2
      augmentation: randaugment
      validate_every: {iterations: 25}
      test: {image_size: 32, batch_size: 32}
"""
SUITE = """\
name: short
protocol: short.protocol.yaml
data: subset
backbones: {{timm/test_vit: [scratch]}}
datasets: [EuroSAT]
seeds: {jobs}
"""
SITE = """\
partition: main
cpus: 1
memory: 1500M
time: 30
stop_before: "1:00"
parallelism: {at_once}
retries: 1000
backoff: "0:01"
"""
LEFT = (
    *("COMPLETED", "CANCELLED", "FAILED", "TIMEOUT", "NODE_FAIL", "OUT_OF_MEMORY", "PREEMPTED"),
    "COMPLETING",  # its processes have ended or been told to: SLURM tidies up after it
)


@dataclass
class Trial:
    """The suite's folder, who watches it, and what was seen."""

    folder: Path
    watcher: subprocess.Popen[bytes] | None = None
    told: Counter[str] = field(default_factory=Counter)
    doubled: list[str] = field(default_factory=list)
    pairs: frozenset[frozenset[str]] = frozenset()
    """Tasks of one job that were in the queue at the last look."""

    def call(self, *words: str, wait: bool = True) -> subprocess.Popen[bytes]:
        with (self.folder / "commands.log").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "mtp_bench", *words],
                cwd=self.folder,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        if wait:
            process.wait()
        return process

    def watch(self) -> None:
        """Run the suite on the cluster, as the user would again after whatever happened."""
        where = ("--executor", "slurm", "--site", "site.yaml")
        self.watcher = self.call("run", "short.yaml", *where, "--retry-failed", wait=False)

    def watch_on(self) -> None:
        """A run ends when all that is left was cancelled; the user runs it again."""
        assert self.watcher is not None
        if self.watcher.poll() is not None:
            self.watch()

    def kill_watcher(self) -> None:
        assert self.watcher is not None
        if self.watcher.poll() is None:
            os.killpg(self.watcher.pid, signal.SIGKILL)
        self.watcher.wait()

    def tasks(self) -> dict[str, str]:
        """SLURM's id → job."""
        found = {}
        for path in sorted(self.folder.glob("runs/slurm/*/submission.json")):
            told = json.loads(path.read_text())
            for task, job in enumerate(told["jobs"]):
                array = f"{told['slurm_id']}_{task}" if len(told["jobs"]) > 1 else told["slurm_id"]
                found[array] = job
        return found

    def look(self) -> dict[str, str]:
        """Our tasks that are running now; takes note of jobs that stand in the queue twice.

        Twice is what two looks saw: a worker that said its last word may be sent out again in the
        second that SLURM needs to see that it has ended.
        """
        text = slurm("squeue", "--noheader", "--array", "--states=all", "--format=%i %T")
        known = self.tasks()
        rows = [line.split() for line in text.splitlines()]
        alive = {task: state for task, state in rows if task in known and state not in LEFT}
        groups: dict[str, set[str]] = {}
        for task in alive:
            groups.setdefault(known[task], set()).add(task)
        pairs = frozenset(frozenset(tasks) for tasks in groups.values() if len(tasks) > 1)
        for tasks in pairs & self.pairs:
            states = ", ".join(f"{task} {alive[task]}" for task in sorted(tasks))
            self.doubled.append(f"{known[min(tasks)]} stood twice in the queue: {states}")
        self.pairs = pairs
        return {task: known[task] for task, state in alive.items() if state == "RUNNING"}

    def records(self) -> dict[str, Any]:
        paths = self.folder.glob("results/records/*.json")
        return {p.stem: json.loads(p.read_text()) for p in paths if ".details." not in p.name}


def slurm(*words: str) -> str:
    """Output of a SLURM command; what it complains about is no matter here."""
    return subprocess.run(words, capture_output=True, text=True, check=False).stdout


def kill_worker(trial: Trial, running: dict[str, str], rng: random.Random) -> bool:
    """SIGKILL to the process that holds a job's lock."""
    from mtp_bench.store.lock import holder

    held = [found for job in running.values() if (found := holder(trial.folder / "runs" / job))]
    if not held:
        return False
    os.kill(rng.choice(held).pid, signal.SIGKILL)
    return True


def requeue(trial: Trial, running: dict[str, str], rng: random.Random) -> bool:
    del trial
    if running:
        slurm("scontrol", "requeue", rng.choice(sorted(running)))
    return bool(running)


def cancel_and_rerun(trial: Trial, running: dict[str, str], rng: random.Random) -> bool:
    """By the user's command or by SLURM's; then the suite runs again."""
    if not running:
        return False
    task = rng.choice(sorted(running))
    if rng.random() < 0.5:
        slurm("scancel", task)
    else:
        seed = json.loads((trial.folder / "runs" / running[task] / "job.json").read_text())
        trial.call("cancel", "short", "--only", f"seed={seed['spec']['seed']}")
    trial.kill_watcher()
    trial.watch()
    return True


def lose_watcher(trial: Trial, running: dict[str, str], rng: random.Random) -> bool:
    del running, rng
    trial.kill_watcher()
    trial.watch()
    return True


def restart_slurmd(trial: Trial, running: dict[str, str], rng: random.Random) -> bool:
    """Only daemons that the local cluster's start.sh has started, found by its pid files."""
    del trial, running
    pids = sorted((Path(os.environ["MTP_SLURM_STATE"]) / "run").glob("slurmd-*.pid"))
    os.kill(int(rng.choice(pids).read_text()), signal.SIGKILL)
    time.sleep(rng.random() * 2)
    subprocess.run([START], check=True, capture_output=True)
    return True


FAULTS: tuple[Callable[[Trial, dict[str, str], random.Random], bool], ...] = (
    kill_worker,
    requeue,
    cancel_and_rerun,
    lose_watcher,
    restart_slurmd,
)


def disturb(trial: Trial, count: int, pause: float, rng: random.Random) -> None:
    """So many faults, of all kinds in turn, while jobs are left to be hit."""
    kinds = [FAULTS[number % len(FAULTS)] for number in range(count)]
    rng.shuffle(kinds)
    total = len(json.loads((trial.folder / "results/short/plan.json").read_text())["jobs"])
    until = time.monotonic() + PATIENCE
    while kinds and len(trial.records()) < total and time.monotonic() < until:
        time.sleep(rng.uniform(0.5, 1.5) * pause)
        trial.watch_on()
        kind = kinds.pop()
        if kind(trial, trial.look(), rng):
            trial.told[kind.__name__] += 1
        else:
            kinds.insert(0, kind)
    while len(trial.records()) < total and time.monotonic() < until:
        trial.look()
        trial.watch_on()
        time.sleep(1)


def overlaps(record: dict[str, Any]) -> bool:
    """Whether two attempts of a job were at work at the same time (to the second)."""
    spans = sorted(
        (datetime.fromisoformat(a["started"]), datetime.fromisoformat(a["ended"]))
        for a in record["attempts"]
    )
    return any(begun < ended for (_, ended), (begun, _) in pairwise(spans))


def compare(trial: Trial, undisturbed: Trial) -> list[str]:
    """Everything that is not as if nothing had happened."""
    wrong = list(dict.fromkeys(trial.doubled))
    records = trial.records()
    for job, wanted in undisturbed.records().items():
        found = records.get(job)
        curves = [(t.folder / "runs" / job / "scalars.jsonl") for t in (trial, undisturbed)]
        if found is None:
            wrong.append(f"{job}: no record")
        elif any(found[key] != wanted[key] for key in ("metrics", "spec")) or (
            found["provenance"]["probe"] != wanted["provenance"]["probe"]
        ):
            wrong.append(f"{job}: {found['metrics']} instead of {wanted['metrics']}")
        elif curves[0].read_text() != curves[1].read_text():
            wrong.append(f"{job}: another curve")
        elif [a["outcome"] for a in found["attempts"]].count("done") != 1:
            wrong.append(f"{job}: done more than once: {found['attempts']}")
        elif overlaps(found):
            wrong.append(f"{job}: two workers at a time: {found['attempts']}")
    return wrong


def write_data(root: Path) -> None:
    """Ten small pictures of each class, told apart by their colour."""
    import numpy as np
    from PIL import Image

    from mtp_bench.datasets.cards.eurosat import CARD

    rng = np.random.default_rng(0)
    for label, name in enumerate(CARD.classes):
        folder = root / "EuroSAT" / "2750" / name
        folder.mkdir(parents=True)
        for number in range(1, 11):
            noise = rng.integers(-20, 20, (32, 32, 3))
            base = np.array([25 * label, 255 - 25 * label, 25 * (label % 3)])
            picture = np.clip(base + noise, 0, 255).astype(np.uint8)
            Image.fromarray(picture).save(folder / f"{name}_{number}.jpg")


def prepare(folder: Path, jobs: int, at_once: int) -> Trial:
    folder.mkdir()
    (folder / "short.protocol.yaml").write_text(PROTOCOL)
    (folder / "short.yaml").write_text(SUITE.format(jobs=jobs))
    (folder / "site.yaml").write_text(SITE.format(at_once=at_once))
    return Trial(folder)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("count", type=int, help="faults")
    parser.add_argument("--jobs", type=int, default=40)
    parser.add_argument("--at-once", type=int, default=2, help="jobs that run at a time")
    parser.add_argument("--pause", type=float, default=4.0, help="seconds between faults, about")
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        room = Path(name)
        write_data(room / "data")
        os.environ["MTP_BENCH_DATA"] = str(room / "data")
        undisturbed = prepare(room / "undisturbed", chosen.jobs, chosen.at_once)
        undisturbed.call("run", "short.yaml")
        trial = prepare(room / "trial", chosen.jobs, chosen.at_once)
        trial.call("plan", "short.yaml")
        began = time.monotonic()
        trial.watch()
        disturb(trial, chosen.count, chosen.pause, random.Random(chosen.seed))
        took = time.monotonic() - began
        assert trial.watcher is not None
        trial.watcher.wait()
        trial.call("report", "short")
        wrong = compare(trial, undisturbed)
        if sum(trial.told.values()) < chosen.count:
            wrong.append(f"only {sum(trial.told.values())} faults: shorten --pause")
        attempts = sum(len(record["attempts"]) for record in trial.records().values())
        if wrong:
            print((trial.folder / "commands.log").read_text()[-5000:], file=sys.stderr)
    print(f"{chosen.jobs} jobs, {attempts} attempts, {took:.0f} s; faults: {dict(trial.told)}")
    print("\n".join(wrong) or "none lost, none doubled, every record and curve as undisturbed")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
