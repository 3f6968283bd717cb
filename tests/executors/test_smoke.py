"""The shipped smoke suite, by the command line: every kind of job and every task, end to end."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

SUITE = Path(__file__).parents[2] / "suites" / "smoke.yaml"
TASKS = {"classification", "detection", "rotated_detection", "segmentation", "change_detection"}


@pytest.mark.slow
def test_the_smoke_suite_runs_and_is_reported(tmp_path: Path) -> None:
    def call(*words: str) -> str:
        environment = {k: v for k, v in os.environ.items() if not k.startswith("MTP_BENCH")}
        done = subprocess.run(
            [sys.executable, "-m", "mtp_bench", *words],
            cwd=tmp_path,
            env={**environment, "MTP_BENCH_CACHE": str(tmp_path / "cache")},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    call("run", str(SUITE))
    document: dict[str, Any] = json.loads(call("report", "smoke", "--format", "json"))
    assert {cell["task"] for cell in document["cells"]} == TASKS
    assert all(cell["n"] == 1 for cell in document["cells"] if cell["dataset"])
    assert not document["missing"]
    stages = {line["stage"]: line for line in document["pretraining"]}
    assert stages.keys() == {"mae", "mtp"}
    assert (stages["mae"]["used_by"], stages["mtp"]["used_by"]) == (1, 5)
    assert len(stages["mtp"]["conflict"]["cosine"]) == 3
    assert "SYNTHETIC demo data" in call("report", "smoke")
    before = sorted((tmp_path / "results" / "records").iterdir())
    written = [path.stat().st_mtime_ns for path in before]
    call("run", str(SUITE))  # nothing is done twice
    assert [path.stat().st_mtime_ns for path in before] == written
