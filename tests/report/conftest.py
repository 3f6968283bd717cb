"""A results folder of which every figure is known."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from mtp_bench import catalog
from mtp_bench.store.records import Record, write_record
from mtp_bench.suite.identity import job_id
from mtp_bench.suite.protocol import Span
from mtp_bench.suite.schema import JobSpec, Stage
from tests.protocols import short_protocol

PROTOCOL = short_protocol(64, Span(epochs=2), 32, validate_every=Span(epochs=1))
RATE = {"p10": 1.0, "p90": 999.0, "samples": 9}
PROVENANCE: dict[str, Any] = {
    "version": "0.1.0",
    "commit": None,
    "dirty": None,
    "command": [],
    "python": "3.11",
    "torch": "2.13.0",
    "host": "h",
    "device": "Xeon",
    "driver": None,
    "processes": 1,
    "threads": 2,
    "micro_batch": 32,
    "accumulation": 1,
    "seeds": {},
    "config_sha256": "c",
    "data_counts": {"train": 16200, "test": 5400},
    "split_source": "a list",
    "mean": [0.0, 0.0, 0.0],
    "std": [1.0, 1.0, 1.0],
    "weights": None,
}


@dataclass(frozen=True)
class Study:
    """Writes plans and records into ``results``."""

    results: Path

    def spec(self, dataset: str, recipe: str, seed: int, **changes: Any) -> JobSpec:
        data = {"kind": "finetune", "backbone": "timm/resnet18", "recipe": recipe}
        data |= {"task": catalog.DATASETS[dataset].facts["task"], "dataset": dataset}
        more = {"data": "release", "protocol": PROTOCOL, "seed": seed, **changes}
        return JobSpec.model_validate({**data, "stages": (Stage(name=recipe),), **more})

    def job(self, dataset: str, recipe: str, seed: int) -> str:
        return job_id(self.spec(dataset, recipe, seed))

    def record(self, of: JobSpec, value: float, gpu: bool = False, **changes: Any) -> Record:
        """A record of this job; ``changes`` replace entries, those of provenance one by one."""
        known = PROVENANCE | {"probe": f"{of.backbone} {of.recipe}", "data_fingerprint": of.dataset}
        known |= {"device": "H100"} if gpu else {}
        data = {
            "record_version": 1,
            "job": job_id(of),
            "spec": of.model_dump(mode="json"),
            "synthetic": of.data == "miniature",
            "primary": "accuracy",
            "metrics": {"accuracy": {"value": value, "unit": "%", "higher_is_better": True}},
            "throughput": {
                "train_images_per_s": {"median": 100.0 + of.seed, **RATE},
                "inference_images_per_s": {"median": 400.0, **RATE},
                "data_wait_share": None,
            },
            "memory": {"kind": "device" if gpu else "rss", "peak_bytes": 2**30, "rss_bytes": 2**30},
            "compute": {"parameters": 11_200_000, "trainable_parameters": 11_200_000}
            | {"gpu_hours": 0.5 if gpu else 0.0, "wall_hours": 0.5},
            "provenance": known | changes.pop("provenance", {}),
            "attempts": [],
            "finished": "2026-11-25T00:00:00Z",
        }
        return Record.model_validate_json(json.dumps(data | changes))

    def plan(self, specs: Sequence[JobSpec], suite: str = "s", **changes: Any) -> None:
        """Plan these jobs; ``states`` holds what differs in a job's line, by id."""
        named = {"kind", "task", "dataset", "backbone", "recipe", "seed"}
        states = changes.pop("states", {})
        jobs = [
            {"id": job_id(spec), **spec.model_dump(include=named), "needs": [], "after": False}
            | {"state": "pending", **states.get(job_id(spec), {})}
            for spec in specs
        ]
        text = {"schema": 1, "suite": suite, "title": "", "protocol": "demo", "data": specs[0].data}
        text |= {"baseline": "scratch", "jobs": jobs, "skipped": [], **changes}
        (self.results / suite).mkdir(parents=True, exist_ok=True)
        (self.results / suite / "plan.json").write_text(json.dumps(text))

    def save(self, *records: Record) -> None:
        for record in records:
            write_record(self.results / "records", record, {})


# EuroSAT   scratch 60 62 64  62 ± 2     imp 70   74   72  72 ± 2     delta 10 12 8      +10
# RESISC45  scratch 50 54 52  52 ± 2     imp 61   65   -   63 ± 2.83  delta 11 11        +11, k=2
# mean      scratch 55 58 58  57 ± 1.73  imp 65.5 69.5 -   67.5±2.83  delta 10.5 11.5    +11, k=2
VALUES = {
    ("EuroSAT", "scratch"): (60.0, 62.0, 64.0),
    ("EuroSAT", "imp"): (70.0, 74.0, 72.0),
    ("RESISC45", "scratch"): (50.0, 54.0, 52.0),
    ("RESISC45", "imp"): (61.0, 65.0),
}


@pytest.fixture
def empty(tmp_path: Path) -> Study:
    return Study(tmp_path)


@pytest.fixture
def study(empty: Study) -> Study:
    """The values above; the job that left none has failed, and one pair was skipped."""
    specs = [
        empty.spec(dataset, recipe, seed)
        for dataset in ("EuroSAT", "RESISC45")
        for recipe in ("imp", "scratch")
        for seed in range(3)
    ]
    pair = {"backbone": "timm/resnet18", "recipe": "mae", "dataset": "EuroSAT"}
    empty.plan(
        specs,
        states={empty.job("RESISC45", "imp", 2): {"state": "failed"}},
        skipped=[pair | {"reason": "no weights"}],
    )
    for (dataset, recipe), values in VALUES.items():
        for seed, value in enumerate(values):
            empty.save(empty.record(empty.spec(dataset, recipe, seed), value))
    return empty
