"""Seconds of ``mtp-bench report`` over 10,010 records: ``python benchmarks/report.py``.

Makes a suite of 14 data sets, 13 backbones, 11 recipes and 5 seeds in a temporary folder, then
times the whole command (the median of five fresh processes) and its parts in this process.
"""

from __future__ import annotations

import itertools
import json
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from mtp_bench import catalog
from mtp_bench.store import records
from mtp_bench.suite.identity import job_id
from mtp_bench.suite.protocol import Protocol, Span, TestSettings
from mtp_bench.suite.schema import JobSpec, Stage, Weights

T = TypeVar("T")
RUNS = 5
PROTOCOL = Protocol(
    image_size=224,
    length=Span(epochs=100),
    batch_size=64,
    lr=6.25e-5,
    layer_decay=0.9,
    drop_path=0.1,
    augmentation="randaugment",
    validate_every=Span(epochs=5),
    test=TestSettings(image_size=224, resize=256),
)
PROVENANCE: dict[str, Any] = {
    "version": "0.1.0",
    "commit": "0123456789abcdef0123456789abcdef01234567",
    "dirty": False,
    "command": ["mtp-bench", "run", "suites/full.yaml", "--executor", "slurm", "--site", "h.yaml"],
    "python": "3.11.7",
    "torch": "2.13.0+cu130",
    "host": "node-017.cluster",
    "device": "NVIDIA H100 80GB HBM3",
    "driver": "580.82.07",
    "processes": 1,
    "threads": 8,
    "micro_batch": 64,
    "accumulation": 1,
    "seeds": {"order": 1418933017, "head": 823749182, "augmentation": 1203948576},
    "data_fingerprint": "f" * 64,
    "data_counts": {"train": 16200, "val": 5400, "test": 5400},
    "split_source": "seeded 60/20 split of every class, of the published sizes",
    "mean": [123.675, 116.28, 103.53],
    "std": [58.395, 57.12, 57.375],
    "weights": {"source": "encoder.pth", "sha256": "a" * 64, "matched_share": 0.998},
    "config_sha256": "c" * 64,
}


def record(spec: JobSpec, chance: random.Random) -> records.Record:
    def metric() -> dict[str, Any]:
        return {"value": chance.uniform(60, 95), "unit": "%", "higher_is_better": True}

    def rate(images: float) -> dict[str, Any]:
        return {"median": images, "p10": images * 0.9, "p90": images * 1.1, "samples": 400}

    peak = chance.randrange(10**10, 7 * 10**10)
    data = {
        "record_version": records.RECORD_VERSION,
        "job": job_id(spec),
        "spec": spec.model_dump(mode="json"),
        "synthetic": False,
        "primary": "accuracy",
        "metrics": {name: metric() for name in ("accuracy", "macro_f1", "kappa")},
        "throughput": {
            "train_images_per_s": rate(chance.uniform(500, 900)),
            "inference_images_per_s": rate(chance.uniform(1500, 3000)),
            "data_wait_share": 0.03,
        },
        "memory": {"kind": "device", "peak_bytes": peak, "rss_bytes": peak // 4}
        | {"device_allocated_bytes": [peak - 10**9], "device_reserved_bytes": [peak]},
        "compute": {"parameters": 89_000_000, "trainable_parameters": 89_000_000}
        | {"gpu_hours": 1.7, "wall_hours": 1.7},
        "provenance": PROVENANCE | {"probe": f"{hash((spec.backbone, spec.recipe)):x}"},
        "attempts": [
            {"started": "2026-11-25T03:00:00Z", "ended": "2026-11-25T04:42:00Z", "host": "node-017"}
            | {"outcome": "done", "from_iteration": 0, "seconds": 6120.0, "gpus": 1}
        ],
        "finished": "2026-11-25T04:42:00Z",
    }
    return records.Record.model_validate_json(json.dumps(data))


def make(results: Path) -> int:
    """A plan and all of its records."""
    folder = results / "records"
    folder.mkdir(parents=True)
    datasets = {d: e.facts["task"] for d, e in catalog.DATASETS.items()}
    datasets = {d: task for d, task in datasets.items() if task != "pretraining"}
    backbones = [f"vit_{letter}" for letter in "abcdefghijklm"]
    recipes = ["scratch", *(f"recipe_{i}" for i in range(10))]
    chance, jobs = random.Random(0), []
    grid = itertools.product(datasets, backbones, recipes, range(5))
    for dataset, backbone, recipe, seed in grid:
        spec = JobSpec(
            kind="finetune",
            backbone=backbone,
            recipe=recipe,
            stages=(Stage(name=recipe, weights=Weights(file="encoder.pth", sha256="a" * 64)),),
            task=datasets[dataset],
            dataset=dataset,
            data="release",
            protocol=PROTOCOL,
            seed=seed,
        )
        made = record(spec, chance)
        (folder / f"{made.job}.json").write_text(made.model_dump_json(), encoding="utf-8")
        line = spec.model_dump(include={"kind", "task", "dataset", "backbone", "recipe", "seed"})
        jobs.append({"id": made.job, **line, "needs": [], "after": False, "state": "done"})
    plan = {"schema": 1, "suite": "large", "title": "", "protocol": "paper", "data": "release"}
    plan |= {"baseline": "scratch", "jobs": jobs, "skipped": []}
    (results / "large").mkdir()
    (results / "large" / "plan.json").write_text(json.dumps(plan), encoding="utf-8")
    return len(jobs)


def say(name: str, seconds: float) -> None:
    sys.stdout.write(f"{name:<58}{seconds:6.2f} s\n")


def timed(name: str, call: Callable[[], T]) -> T:
    start = time.perf_counter()
    result = call()
    say(name, time.perf_counter() - start)
    return result


def whole(name: str, arguments: list[str]) -> None:
    """Medians of fresh processes: on the clock, and on the CPU, which a busy machine slows less."""
    clock, cpu = [], []
    for _ in range(RUNS):
        start, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL)
        clock.append(time.perf_counter() - start)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    say(f"{name}, {sorted(cpu)[RUNS // 2]:.2f} s of CPU", sorted(clock)[RUNS // 2])


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        results = Path(folder) / "results"
        count = make(results)
        sizes = [path.stat().st_size for path in records.record_paths(results / "records")]
        sys.stdout.write(f"{count} records of {sum(sizes) // count} bytes\n")
        for format_ in catalog.FORMATS:
            command = ["-m", "mtp_bench", "report", "--format", format_, "--results", str(results)]
            whole(f"report --format {format_}", command)
        whole("of which: python -c 'import pandas'", ["-c", "import pandas"])
        from mtp_bench.report import aggregate, board, frame

        paths = list(records.record_paths(results / "records"))
        timed("read_record, all", lambda: [records.read_record(path).job for path in paths])
        spec = records.read_record(paths[0]).spec
        timed("job_id, as often", lambda: [job_id(spec) for _ in paths])
        plans = timed("plan.json", lambda: frame.read_plans(results, []))
        folder_ = results / "records"
        found, _ = timed("frame.read_records", lambda: frame.read_records(folder_, None))
        jobs = timed("frame.planned_frame", lambda: frame.planned_frame(plans, found))
        timed("aggregate.cells", lambda: aggregate.cells(jobs))
        made = timed("board.build, all of the above", lambda: board.build(results, []))
        for name in catalog.FORMATS:
            timed(f"to_{name}.render", lambda name=name: catalog.load("format", name)(made))  # type: ignore[misc]
        timed("board.write", lambda: board.write(made, results))


if __name__ == "__main__":
    main()
