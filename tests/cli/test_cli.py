"""The command line as a user meets it: exit codes, one line an error, JSON alone on stdout."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from mtp_bench.cli import app, main
from mtp_bench.errors import UserError

SUITES = Path(__file__).parents[2] / "suites"


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No command may depend on the folder that it is called in."""
    monkeypatch.chdir(tmp_path)
    for name in ("DATA", "WEIGHTS", "RUNS", "RESULTS"):
        monkeypatch.delenv(f"MTP_BENCH_{name}", raising=False)


def call(*words: str) -> Result:
    return CliRunner().invoke(app, words)


def test_full_without_data_lists_everything_that_is_missing() -> None:
    result = call("plan", str(SUITES / "full.yaml"), "--json")
    assert result.exit_code == 1
    document = json.loads(result.stdout)
    assert document["suite"] == "full"
    assert [job["kind"] for job in document["jobs"]] == ["finetune"] * 84
    assert {job["state"] for job in document["jobs"]} == {"pending"}
    missing = document["missing"]
    assert sum(m["kind"] == "data" for m in missing) == 14
    assert sum(m["kind"] == "weights" for m in missing) == 6
    assert all(m["jobs"] and m["fix"] for m in missing)
    assert document["skipped"] == []


def test_the_demo_lacks_nothing_and_plans_the_same_ids_everywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = call("plan", str(SUITES / "demo.yaml"), "--json")
    assert here.exit_code == 0
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    there = call("plan", str(SUITES / "demo.yaml"), "--json", "--data", str(tmp_path))
    assert here.stdout == there.stdout


def test_plan_without_json_shows_a_table_and_the_missing_list() -> None:
    result = call("plan", str(SUITES / "full.yaml"), "--only", "dataset=EuroSAT")
    assert result.exit_code == 1
    assert "6 fine-tuning and 0 pretraining jobs" in result.stdout
    assert "missing data: EuroSAT (6 jobs): get EuroSAT_RGB.zip" in result.stdout


def test_run_refuses_to_start_what_cannot_end() -> None:
    result = call("run", str(SUITES / "full.yaml"))
    assert result.exit_code == 1
    assert "missing data: DIOR (6 jobs)" in result.stderr
    assert not Path("runs").exists()


def test_a_dry_run_starts_nothing() -> None:
    result = call("run", str(SUITES / "demo.yaml"), "--dry-run")
    assert result.exit_code == 0
    assert "24 fine-tuning" in result.stdout
    assert [path.as_posix() for path in Path().rglob("*.*")] == ["results/demo/plan.json"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["plan", "nowhere.yaml"], "nowhere.yaml: no such suite"),
        (["plan", "nowhere"], "nowhere: no suite of this name was planned in results"),
        (["status", "nowhere"], "no suite of this name was planned"),
        (["logs", "nojob"], "nojob: no such job: nothing has run yet"),
        (["forget", "nojob"], "nojob: no such job"),
        (["data", "demo"], "data demo: name datasets"),
        (["data", "demo", "EuroSta"], "no miniature of 'EuroSta': did you mean 'EuroSAT'?"),
        (["plan", str(SUITES / "demo.yaml"), "--only", "x=y"], "--only x=y: write KEY=VALUE"),
        (["run", str(SUITES / "demo.yaml"), "--gpus-per-job", "64"], "--gpus-per-job 64: this"),
    ],
)
def test_wrong_input_is_one_line_and_exit_2(
    words: list[str],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("sys.argv", ["mtp-bench", *words])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert message in told.err
    assert len(told.err.strip().splitlines()) == 1


def test_a_file_where_a_folder_is_meant_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    result = call("plan", str(SUITES / "demo.yaml"), "--data", str(tmp_path / "file"))
    assert isinstance(result.exception, UserError)
    assert "not a folder" in str(result.exception)


@pytest.mark.parametrize("what", ["backbones", "recipes", "datasets", "tasks", "protocols"])
def test_list_names_what_there_is(what: str) -> None:
    rows = json.loads(call("list", what, "--json").stdout)[what]
    assert len({row["name"] for row in rows}) == len(rows) >= 2
    assert rows[0]["name"] in call("list", what).stdout
