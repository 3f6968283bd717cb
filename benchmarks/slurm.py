"""How fast a suite of 1,000 jobs is dispatched, asked about, and found finished.

    . "$(slurm/local-cluster/start.sh --env)"
    python benchmarks/slurm.py [--jobs 1000] [--repeats 3]

Needs a SLURM (slurm/local-cluster/start.sh brings one up). The jobs are submitted and held, so that
none runs while the dispatch is timed, and are taken out of the queue afterwards. Every figure is
the median of whole commands, process start included.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

PROTOCOL = """\
name: many
rules:
  - set:
      image_size: 32
      length: {iterations: 10}
      batch_size: 8
      lr: 1e-3
      layer_decay: null
      drop_path: 0.0
      augmentation: none
      validate_every: {iterations: 10}
      test: {image_size: 32}
"""
SUITE = """\
name: many
protocol: many.protocol.yaml
data: miniature
backbones: {{timm/test_vit: [scratch]}}
datasets: [EuroSAT]
seeds: {jobs}
"""
SITE = """\
partition: main
cpus: 1
memory: 100M
time: 10
stop_before: "1:00"
sbatch: {hold: true}
"""


def timed(*words: str, folder: Path, expect: int = 0) -> float:
    """Wall time of one command of ours."""
    start = time.perf_counter()
    ended = subprocess.run(
        [sys.executable, "-m", "mtp_bench", *words],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    took = time.perf_counter() - start
    if ended.returncode != expect:
        sys.exit(f"{' '.join(words)}: exit code {ended.returncode}\n{ended.stderr[-2000:]}")
    return took


def dispatch(folder: Path, jobs: int, repeats: int) -> list[float]:
    """Submit, then empty the queue and forget it all, so that the next time is as the first."""
    seconds = []
    for turn in range(repeats):
        runs = f"runs-{turn}"
        words = ("--executor", "slurm", "--site", "site.yaml", "--detach", "--runs", runs)
        seconds.append(timed("run", "many.yaml", *words, folder=folder))
        found = [json.loads(p.read_text()) for p in (folder / runs).glob("slurm/*/submission.json")]
        if sum(len(s["jobs"]) for s in found) != jobs:
            sys.exit("not every job was submitted")
        if turn < repeats - 1:
            subprocess.run(["scancel", *[s["slurm_id"] for s in found]], check=True)
    return seconds


def finish(folder: Path) -> None:
    """A record for every job, as if all had run: one real record under each of the names."""
    only = ("--only", "seed=0")
    timed("run", "many.yaml", *only, "--runs", "runs-real", folder=folder)
    records = folder / "results" / "records"
    (real,) = (p for p in records.glob("*.json") if ".details." not in p.name)
    record = json.loads(real.read_text())
    plan = json.loads((folder / "results" / "many" / "plan.json").read_text())
    for job in plan["jobs"]:
        record["job"], record["spec"]["seed"] = job["id"], job["seed"]
        (records / f"{job['id']}.json").write_text(json.dumps(record))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=1000)
    parser.add_argument("--repeats", type=int, default=3)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as room:
        folder = Path(room)
        (folder / "many.protocol.yaml").write_text(PROTOCOL)
        (folder / "many.yaml").write_text(SUITE.format(jobs=chosen.jobs))
        (folder / "site.yaml").write_text(SITE)
        timed("run", "many.yaml", "--only", "seed=0", "--runs", "warm", folder=folder)
        for path in (folder / "results" / "records").glob("*"):
            path.unlink()
        told = {"dispatch": dispatch(folder, chosen.jobs, chosen.repeats)}
        last = f"runs-{chosen.repeats - 1}"
        asked = ("status", "many.yaml", "--runs", last)
        told["status, all in the queue"] = [
            timed(*asked, folder=folder) for _ in range(chosen.repeats)
        ]
        timed("cancel", "many.yaml", "--runs", last, folder=folder)
        finish(folder)
        again = ("run", "many.yaml", "--executor", "slurm", "--site", "site.yaml", "--runs", last)
        told["run, all finished"] = [timed(*again, folder=folder) for _ in range(chosen.repeats)]
        told["status, all finished"] = [timed(*asked, folder=folder) for _ in range(chosen.repeats)]
    print(f"{chosen.jobs} jobs, {os.cpu_count()} cores, median of {chosen.repeats} (least, most):")
    for what, seconds in told.items():
        middle = statistics.median(seconds)
        print(f"{what:26} {middle:6.2f} s ({min(seconds):.2f}, {max(seconds):.2f})")


if __name__ == "__main__":
    main()
