"""Scores beside records: whole or refused, and never of another record."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mtp_bench.errors import UserError
from mtp_bench.store.paths import score_path
from mtp_bench.store.records import Record, write_record
from mtp_bench.store.scores import Score, digest, read_score, write_score
from tests.report.conftest import Study


@pytest.fixture
def record(tmp_path: Path) -> Record:
    study = Study(tmp_path)
    waits: dict[str, Any] = {"primary": "mAP", "awaiting": "DOTA server", "metrics": {}}
    record = study.record(study.spec("DOTA-v1.0", "imp", 0), 0.0, **waits)
    write_record(tmp_path / "records", record, {})
    return record


@pytest.fixture
def path(tmp_path: Path, record: Record) -> Path:
    """The record's, with a score."""
    path = tmp_path / "records" / f"{record.job}.json"
    facts: dict[str, Any] = {"unit": "%", "source": "DOTA server", "noted": "2026-11-24"}
    facts |= {"job": record.job, "metric": "mAP", "record_sha256": digest(path)}
    write_score(path, Score(value=80.5, **facts))
    return path


def test_a_score_is_read_as_it_was_noted(path: Path, record: Record) -> None:
    assert score_path(path) == path.parents[1] / "scores" / path.name
    found = json.loads(score_path(path).read_text())
    assert list(found)[:4] == ["schema", "job", "metric", "value"]
    assert found["schema"] == 1
    score = read_score(path, record)
    assert score is not None
    assert score.value == 80.5
    score_path(path).unlink()
    assert read_score(path, record) is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"value": 101.0}, "value: Input should be less than or equal to 100"),
        ({"value": "80"}, "value: Input should be a valid number"),
        ({"schema": 2}, "schema: Input should be 1"),
        ({"job": "other"}, "holds mAP of other"),
        ({"metric": "AP50"}, "holds AP50 of "),
        ({"record_sha256": "0" * 64}, "is of an earlier record of the job"),
    ],
)
def test_a_score_that_cannot_be_used_is_told(
    path: Path, record: Record, change: dict[str, Any], message: str
) -> None:
    place = score_path(path)
    place.write_text(json.dumps(json.loads(place.read_text()) | change))
    with pytest.raises(UserError, match=message) as told:
        read_score(path, record)
    assert str(told.value).startswith(f"{place}: ")
    assert len(told.value.lines) == 1
    place.write_text("{")
    with pytest.raises(UserError, match="the file: Invalid JSON"):
        read_score(path, record)
