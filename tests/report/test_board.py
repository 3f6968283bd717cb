"""The report from files to text: plans and records in a temporary folder, all four formats."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from mtp_bench import catalog
from mtp_bench.cli.report import report
from mtp_bench.errors import UserError
from mtp_bench.report import to_csv, to_json, to_markdown, to_terminal
from mtp_bench.report.board import Board, build, write
from mtp_bench.store.records import Record, write_record
from mtp_bench.suite.identity import job_id
from mtp_bench.suite.schema import JobSpec, Protocol, Span, Stage, TestSettings

PROTOCOL = Protocol(
    image_size=64,
    length=Span(epochs=2),
    batch_size=32,
    lr=1e-3,
    layer_decay=None,
    drop_path=0.0,
    augmentation="none",
    validate_every=Span(epochs=1),
    test=TestSettings(image_size=64),
)
NET = "timm/resnet18"


def spec(dataset: str, recipe: str, seed: int, backbone: str = NET, data: str = "release") -> JobSpec:
    return JobSpec.model_validate(
        {
            "kind": "finetune",
            "backbone": backbone,
            "recipe": recipe,
            "stages": (Stage(name=recipe),),
            "task": catalog.DATASETS[dataset].facts["task"],
            "dataset": dataset,
            "data": data,
            "protocol": PROTOCOL,
            "seed": seed,
        }
    )


def record(of: JobSpec, value: float, **changes: Any) -> Record:
    """A record of this job; ``changes`` replace whole top-level entries, or entries of provenance."""
    gpu = changes.pop("gpu", False)
    provenance = {
        **{"version": "0.1.0", "commit": None, "dirty": None, "command": [], "python": "3.11"},
        **{"torch": "2.13.0", "host": "h", "device": "H100" if gpu else "Xeon", "driver": None},
        **{"processes": 1, "threads": 2, "micro_batch": 32, "accumulation": 1, "seeds": {}},
        **{"data_fingerprint": of.dataset, "data_counts": {"train": 16200, "test": 5400}},
        **{"split_source": "a list", "mean": [0.0, 0.0, 0.0], "std": [1.0, 1.0, 1.0]},
        **{"weights": None, "probe": f"{of.backbone} {of.recipe}", "config_sha256": "c"},
        **changes.pop("provenance", {}),
    }
    rate = {"p10": 1.0, "p90": 999.0, "samples": 9}
    data = {
        "record_version": 1,
        "job": job_id(of),
        "spec": of.model_dump(mode="json"),
        "synthetic": of.data == "miniature",
        "primary": "accuracy",
        "metrics": {"accuracy": {"value": value, "unit": "%", "higher_is_better": True}},
        "throughput": {
            "train_images_per_s": {"median": 100.0 + of.seed, **rate},
            "inference_images_per_s": {"median": 400.0, **rate},
            "data_wait_share": None,
        },
        "memory": {"kind": "device" if gpu else "rss", "peak_bytes": 2**30, "rss_bytes": 2**30},
        "compute": {"parameters": 11_200_000, "trainable_parameters": 11_200_000}
        | {"gpu_hours": 0.5 if gpu else 0.0, "wall_hours": 0.5},
        "provenance": provenance,
        "attempts": [],
        "finished": "2026-11-25T00:00:00Z",
        **changes,
    }
    return Record.model_validate_json(json.dumps(data))


def plan(results: Path, specs: Sequence[JobSpec], suite: str = "s", **changes: Any) -> None:
    jobs = [
        {"id": job_id(s), **s.model_dump(include={"kind", "task", "dataset", "backbone", "recipe"})}
        | {"seed": s.seed, "needs": [], "after": False, "state": "pending"}
        for s in specs
    ]
    for job in jobs:
        job |= changes.get("states", {}).get(job["id"], {})
    changes.pop("states", None)
    text = {"schema": 1, "suite": suite, "title": "", "protocol": "demo", "data": specs[0].data}
    text |= {"baseline": "scratch", "jobs": jobs, "skipped": [], **changes}
    (results / suite).mkdir(parents=True, exist_ok=True)
    (results / suite / "plan.json").write_text(json.dumps(text))


def save(results: Path, *records: Record) -> None:
    for each in records:
        write_record(results / "records", each, {})


# EuroSAT   scratch 60 62 64 → 62 ± 2     imp 70 74 72 → 72 ± 2, delta 10 12 8 → +10
# RESISC45  scratch 50 54 52 → 52 ± 2     imp 61 65 -  → 63 ± 2.83, delta 11 11 → +11, k=2
# mean      scratch 55 58 58 → 57 ± 1.73  imp 65.5 69.5 - → 67.50 ± 2.83, delta 10.5 11.5 → +11, k=2
VALUES = {
    ("EuroSAT", "scratch"): (60.0, 62.0, 64.0),
    ("EuroSAT", "imp"): (70.0, 74.0, 72.0),
    ("RESISC45", "scratch"): (50.0, 54.0, 52.0),
    ("RESISC45", "imp"): (61.0, 65.0),
}


@pytest.fixture
def results(tmp_path: Path) -> Path:
    specs = [spec(d, r, seed) for d in ("EuroSAT", "RESISC45") for r in ("imp", "scratch") for seed in range(3)]
    failed = job_id(spec("RESISC45", "imp", 2))
    skipped = [{"backbone": NET, "recipe": "mae", "dataset": "EuroSAT", "reason": "no weights"}]
    plan(tmp_path, specs, states={failed: {"state": "failed"}}, skipped=skipped)
    for (dataset, recipe), values in VALUES.items():
        save(tmp_path, *(record(spec(dataset, recipe, s), v) for s, v in enumerate(values)))
    return tmp_path


def test_show(results: Path) -> None:
    b = build(results, [])
    for f in (to_terminal, to_markdown, to_csv, to_json):
        print(f.render(b))
    print(to_terminal.render(b, width=80))
    print(to_terminal.render(b, colour=True))
    print(write(b, results))
