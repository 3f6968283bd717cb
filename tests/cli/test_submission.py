"""`submission` and `score` as users type them, on made-up records, up to the leaderboard."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from mtp_bench.cli import app, main
from mtp_bench.store.paths import JobPaths
from tests.report.conftest import Study

BOX = [1.0, 2.0, 31.0, 2.0, 31.0, 12.5, 1.0, 12.5]
SAID = ("--metric", "mAP", "--value", "80.5", "--source", "DOTA server, 2026-11-24")


def call(*words: str) -> Result:
    result = CliRunner().invoke(app, words)
    if result.exception is not None:
        raise result.exception
    return result


def finish(dataset: str, **changes: Any) -> JobPaths:
    """A finished job in runs/ and results/, and a plan that has it."""
    study = Study(Path("results"))
    spec = study.spec(dataset, "imp", 0)
    record = study.record(spec, 50.0, **changes)
    study.plan([spec])
    study.save(record)
    return JobPaths(Path("runs") / record.job, Path("results") / "records", record.job)


@pytest.fixture
def dota(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> JobPaths:
    """Awaits its score; one scene was predicted of test, by the second of two processes."""
    monkeypatch.chdir(tmp_path)
    for name in ("RUNS", "RESULTS"):
        monkeypatch.delenv(f"MTP_BENCH_{name}", raising=False)
    paths = finish("DOTA-v1.0", primary="mAP", awaiting="DOTA server", metrics={})
    paths.predictions.mkdir(parents=True)
    line = {"scene": "P0006", "split": "test", "size": [800, 600], "boxes": [BOX], "labels": [0]}
    (paths.predictions / "test.0.jsonl").touch()
    (paths.predictions / "test.1.jsonl").write_text(json.dumps(line | {"scores": [0.5]}) + "\n")
    return paths


def test_from_predictions_to_the_leaderboard(dota: JobPaths) -> None:
    out = call("submission", dota.job).stdout
    assert out.startswith(f"{dota.submission.absolute()}: 15 files, 1 scenes (937 published), 1 ")
    assert f"upload it to the DOTA server; then: mtp-bench score {dota.job} --metric mAP" in out
    call("submission", dota.job, "--output", "other.zip")
    assert Path("other.zip").read_bytes() == dota.submission.read_bytes()
    with zipfile.ZipFile("other.zip") as archive:
        assert archive.read("Task1_plane.txt").startswith(b"P0006 0.500000 1.00 2.00 ")
    assert "awaiting score" in call("report").stdout
    before = dota.record.read_bytes()
    out = call("score", dota.job[:12], *SAID).stdout
    assert out == f"{dota.job}: mAP 80.5 %, DOTA server, 2026-11-24: {dota.score.absolute()}\n"
    assert dota.record.read_bytes() == before
    text = call("report").stdout
    assert "80.50 (n=1)" in text
    assert "DOTA-v1.0, scores of the DOTA server: 80.5: DOTA server, 2026-11-24" in text


def test_another_value_needs_replace(dota: JobPaths) -> None:
    call("score", dota.job, *SAID)
    call("score", dota.job, *SAID)
    other = ("score", dota.job, "--metric", "mAP", "--value", "81", "--source", "again")
    with pytest.raises(Exception, match=r"80\.5 is noted \(DOTA server, 2026-11-24\): --replace"):
        call(*other)
    call(*other, "--replace")
    assert json.loads(dota.score.read_text())["value"] == 81
    call("forget", dota.job)
    assert not dota.score.exists()


def test_a_damaged_score_can_be_replaced(dota: JobPaths) -> None:
    dota.score.parent.mkdir()
    dota.score.write_text("{")
    with pytest.raises(Exception, match="Invalid JSON"):
        call("score", dota.job, *SAID)
    call("score", dota.job, *SAID, "--replace")
    assert json.loads(dota.score.read_text())["value"] == 80.5


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["submission", "nojob"], "nojob: no such job"),
        (["submission", "dior"], "DIOR-R is judged here: no server takes predictions"),
        (["submission", "fair1m"], "left no predictions: no *.jsonl in "),
        (["submission", "planned"], "planned: is not finished: it has no record in "),
        (["submission", "dota.v2"], "only val is predicted, where the DOTA server judges test-dev"),
        (["submission", "dota.v1", "--output", "no/a.zip"], "no/a.zip: cannot be written"),
        (["score", "nojob", *SAID], "nojob: no such job"),
        (["score", "planned", *SAID], "planned: is not finished"),
        (["score", "dior", *SAID], "awaits no score: mAP_mmrotate was computed here"),
        (["score", "dota.v1", *SAID, "--metric", "map"], "--metric map: the DOTA server gives no"),
        (["score", "dota.v1", *SAID, "--metric", "map"], "did you mean 'mAP'?"),
        (["score", "dota.v1", *SAID, "--value", "100.5"], "--value 100.5: must be from 0 to 100"),
        (["score", "dota.v1", *SAID, "--value", "nan"], "--value nan: must be from 0 to 100"),
        (["score", "dota.v1", *SAID, "--source", " "], "--source: say who gave the score"),
    ],
)
def test_wrong_input_is_one_line_and_exit_2(
    dota: JobPaths,
    words: list[str],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    figure = {"value": 70.0, "unit": "%", "higher_is_better": True}
    finish("DIOR-R", primary="mAP_mmrotate", metrics={"mAP_mmrotate": figure})
    finish("FAIR1M-2.0", primary="mAP", awaiting="Gaofen challenge server", metrics={})
    two = finish("DOTA-v2.0", primary="mAP_kit", metrics={"mAP_kit": figure})
    two.predictions.mkdir(parents=True)
    line = {"scene": "P1", "split": "val", "size": [9, 9], "boxes": [], "labels": []}
    (two.predictions / "val.jsonl").write_text(json.dumps(line | {"scores": []}) + "\n")
    Path("runs/planned").mkdir()
    Path("runs/planned/job.json").write_text("{}")
    monkeypatch.setattr("sys.argv", ["mtp-bench", *words])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert message in told.err
    assert len(told.err.strip().splitlines()) == 1
