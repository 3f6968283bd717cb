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
from mtp_bench.report.board import build, write
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


def spec(
    dataset: str, recipe: str, seed: int, backbone: str = NET, data: str = "release"
) -> JobSpec:
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
    specs = [
        spec(d, r, seed)
        for d in ("EuroSAT", "RESISC45")
        for r in ("imp", "scratch")
        for seed in range(3)
    ]
    failed = job_id(spec("RESISC45", "imp", 2))
    skipped = [{"backbone": NET, "recipe": "mae", "dataset": "EuroSAT", "reason": "no weights"}]
    plan(tmp_path, specs, states={failed: {"state": "failed"}}, skipped=skipped)
    for (dataset, recipe), values in VALUES.items():
        save(tmp_path, *(record(spec(dataset, recipe, s), v) for s, v in enumerate(values)))
    return tmp_path


GOLDEN = """\
s: scene classification, protocol demo

backbone       recipe                         EuroSAT                  RESISC45        mean over datasets      train   inference   peak memory   parameters      fine-tuning
                                          accuracy, %               accuracy, %               accuracy, %   images/s    images/s           GiB            M            hours
─────────────  ──────────────────  ───────────────────  ────────────────────────  ────────────────────────  ─────────  ──────────  ────────────  ───────────  ───────────────
timm/resnet18  scratch (baseline)  62.00 ± 2.00 (n=3)        52.00 ± 2.00 (n=3)        57.00 ± 1.73 (n=3)        101         400      1.00 rss         11.2     3 CPU wall-h
timm/resnet18  imp                 72.00 ± 2.00 (n=3)*  63.00 ± 2.83 (n=2 of 3)*  67.50 ± 2.83 (n=2 of 3)*       101         400      1.00 rss         11.2   2.5 CPU wall-h
                                       Δ +10.00 (k=3)            Δ +11.00 (k=2)            Δ +11.00 (k=2)
"""  # noqa: E501


def test_terminal_board_is_the_golden_one(results: Path) -> None:
    text = to_terminal.render(build(results, ["s"]))
    table, _, rest = text.partition("\n\n- ")
    assert f"{table}\n" == GOLDEN
    assert "EuroSAT: accuracy = overall accuracy" in rest
    assert "higher is better; 5,400 test images; split: a list" in rest
    assert rest.endswith(
        "Missing in s:\n"
        "- timm/resnet18 imp, failed: RESISC45 seed 2\n"
        "- timm/resnet18 mae on EuroSAT, skipped: no weights\n\n"
    )


def figures(text: str) -> list[tuple[float, ...]]:
    """Mean, spread and n of each score in a text."""
    found = re.findall(r"([\d.]+) ± ([\d.]+) \(n=(\d)", text)
    return [tuple(map(float, groups)) for groups in found]


def test_all_formats_say_the_same(results: Path) -> None:
    board = build(results, [])
    cells = json.loads(to_json.render(board))["cells"]
    expected = [(c["mean"], round(c["std"], 2), c["n"]) for c in cells]
    assert sorted(expected) == [(52, 2, 3), (62, 2, 3), (63, 2.83, 2), (72, 2, 3)]
    means = [(57, 1.73, 3), (67.5, 2.83, 2)]
    for text in (to_terminal.render(board), to_markdown.render(board)):
        assert sorted(figures(text)) == sorted([*expected, *means])
    lines = list(csv.DictReader(io.StringIO(to_csv.render(board))))
    for line, cell in zip(lines, cells, strict=True):
        del cell["values"]
        assert line == {key: "" if value is None else str(value) for key, value in cell.items()}


def test_json_has_its_schema(results: Path) -> None:
    save(results, record(spec("EuroSAT", "imp", 0), 70.0, gpu=True))
    document = json.loads(to_json.render(build(results, ["s"])))
    assert list(document) == ["schema", "suites", "cells", "missing"]
    assert (document["schema"], document["suites"]) == (1, ["s"])
    imp = document["cells"][1]
    first = {"seed": 0, "value": 70.0, "job": job_id(spec("EuroSAT", "imp", 0))}
    assert imp.pop("values")[0] == first
    assert (imp.pop("ci_low"), imp.pop("ci_high")) == pytest.approx((67.0317, 76.9683), abs=1e-4)
    assert imp == {
        **{"task": "classification", "dataset": "EuroSAT", "backbone": NET, "recipe": "imp"},
        **{"metric": "accuracy", "unit": "%", "higher_is_better": True, "n": 3, "mean": 72.0},
        **{"std": 2.0, "synthetic": False, "train_images_per_s": 101.0, "gpu_hours": 0.5},
        **{"inference_images_per_s": 400.0, "peak_memory_bytes": 2**30, "memory_kind": "device"},
    }
    failed, skipped = document["missing"]
    assert failed["job"] == job_id(spec("RESISC45", "imp", 2))
    assert (failed["state"], failed["seed"]) == ("failed", 2)
    assert (skipped["job"], skipped["state"], skipped["reason"]) == (None, "skipped", "no weights")


def test_a_planned_suite_without_records_is_all_gaps(tmp_path: Path) -> None:
    plan(tmp_path, [spec("DIOR", "imp", seed) for seed in range(2)])
    board = build(tmp_path, [])
    (cell,) = json.loads(to_json.render(board))["cells"]
    assert (cell["n"], cell["mean"], cell["metric"], cell["values"]) == (0, None, None, [])
    text = to_terminal.render(board)
    assert "– (n=0 of 2)" in text
    assert "timm/resnet18 imp, pending: DIOR seeds 0, 1" in text


def test_a_row_that_lacks_a_dataset_has_no_mean(results: Path) -> None:
    for seed in range(2):
        (results / "records" / f"{job_id(spec('RESISC45', 'imp', seed))}.json").unlink()
    text = to_terminal.render(build(results, []))
    assert "no mean over datasets for timm/resnet18 imp: it lacks RESISC45" in text
    assert figures(text).count((57.0, 1.73, 3.0)) == 1
    assert "67.50" not in text


def test_a_single_seed_has_no_spread(tmp_path: Path) -> None:
    plan(tmp_path, [spec("EuroSAT", "imp", 0)])
    save(tmp_path, record(spec("EuroSAT", "imp", 0), 61.2))
    board = build(tmp_path, [])
    assert "61.20 (n=1)" in to_terminal.render(board)
    assert json.loads(to_json.render(board))["cells"][0]["std"] is None


def test_every_pair_skipped(tmp_path: Path) -> None:
    plan(
        tmp_path,
        [spec("EuroSAT", "imp", 0)],
        jobs=[],
        skipped=[{"backbone": NET, "recipe": "mae", "dataset": "EuroSAT", "reason": "no weights"}],
    )
    assert to_terminal.render(build(tmp_path, [])).startswith("Missing in s:\n- timm/resnet18 mae")


def test_synthetic_data_has_a_table_of_its_own(results: Path) -> None:
    demo = [spec("EuroSAT", "imp", 0, data="miniature")]
    plan(results, demo, suite="toy", title="a try")
    save(results, record(demo[0], 99.0))
    # Whatever the suite says: a record that calls itself synthetic stands apart.
    save(results, record(spec("EuroSAT", "imp", 0), 98.0, synthetic=True))
    tables = [table for suite in build(results, []).suites for table in suite.tables]
    label = "SYNTHETIC demo data, not a benchmark result"
    assert [table.title for table in tables] == [
        "s: scene classification, protocol demo",
        f"s: scene classification, protocol demo, {label}",
        f"toy (a try): scene classification, protocol demo, {label}",
    ]
    shown = [c["mean"] for t in tables for row in t.rows for h, c in row.cells.items() if h.dataset]
    assert shown == [62, 52, 73, 63, 98, 99]


def test_subset_and_after_the_paper_are_marked(tmp_path: Path) -> None:
    one = spec("EuroSAT", "imp", 0, data="subset")
    plan(tmp_path, [one], states={job_id(one): {"after": True}})
    text = to_terminal.render(build(tmp_path, []))
    assert text.startswith("s: scene classification, protocol demo, subset of the user's own\n")
    assert "imp ‡" in text
    assert "‡ after the paper" in text


def spoil(results: Path, job: str, how: str) -> str:
    """Make a record unusable in one of the ways that happen."""
    path = results / "records" / f"{job}.json"
    data = json.loads(path.read_text())
    if how == "torn":
        path.write_text(path.read_text()[:300])
        return "not a record"
    if how == "newer":
        data["record_version"] = 99
    elif how == "nan":
        data["metrics"]["accuracy"]["value"] = float("nan")
    elif how == "primary":
        data["primary"] = "mIoU"
    elif how == "other":
        data["spec"]["protocol"]["lr"] = 0.5
    elif how == "copy":
        data = json.loads((path.parent / f"{job_id(spec('EuroSAT', 'imp', 1))}.json").read_text())
    path.write_text(json.dumps(data))
    return {
        "newer": "record version 99 is newer than this mtp-bench reads",
        "nan": "its accuracy is not a number",
        "primary": "has no figure for its primary metric 'mIoU'",
        "other": "the id of its spec is eurosat-timm.resnet18-imp-s0-",
        "copy": f"holds the record of {job_id(spec('EuroSAT', 'imp', 1))}",
    }[how]


@pytest.mark.parametrize("how", ["torn", "newer", "nan", "primary", "other", "copy"])
def test_an_unusable_record_is_named_and_the_rest_reported(results: Path, how: str) -> None:
    job = job_id(spec("EuroSAT", "imp", 0))
    message = spoil(results, job, how)
    board = build(results, ["s"])
    (warning,) = board.warnings()
    assert str(results / "records" / f"{job}.json") in warning
    assert message in warning
    cells = json.loads(to_json.render(board))["cells"]
    assert [cell["n"] for cell in cells] == [3, 2, 3, 2]
    assert board.suites[0].missing[0]["state"] == "unusable record"
    assert f"Warnings:\n- {warning}" in to_terminal.render(board)


def test_other_suites_records_concern_only_the_report_of_all(results: Path) -> None:
    (results / "records" / "stray.json").write_text("{")
    assert build(results, ["s"]).warnings() == ()
    (warning,) = build(results, []).warnings()
    assert "stray.json: not a record" in warning


def test_shared_and_doubled_jobs_count_once(results: Path) -> None:
    shared = [spec("EuroSAT", recipe, seed) for recipe in ("scratch", "imp") for seed in range(3)]
    plan(results, [*shared, *shared], suite="twice")
    for suites in ([], ["twice"], ["twice", "twice"]):
        cells = json.loads(to_json.render(build(results, suites)))["cells"]
        euro = [cell for cell in cells if cell["dataset"] == "EuroSAT"]
        assert [(cell["recipe"], cell["n"]) for cell in euro] == [("scratch", 3), ("imp", 3)]


def test_checks_that_need_more_than_one_record(results: Path) -> None:
    one, two, three = (spec("EuroSAT", recipe, 0) for recipe in ("imp", "scratch", "imp"))
    same = {"probe": "the same"}
    save(results, record(one, 70.0, provenance=same, warnings=["partial weights"]))
    save(results, record(two, 60.0, provenance=same | {"data_fingerprint": "changed"}))
    assert build(results, []).warnings() == (
        "timm/resnet18 scratch and timm/resnet18 imp started from the same weights (equal probes)",
        "EuroSAT: the runs saw 2 different data (data_fingerprint)",
        f"{job_id(three)}: partial weights",
    )


def test_unlike_hardware_is_said(results: Path) -> None:
    save(results, record(spec("EuroSAT", "imp", 0), 70.0, gpu=True))
    text = to_terminal.render(build(results, []))
    assert "costs mix hardware, so that rows do not compare: 1 x Xeon, 2 threads (10 jobs)" in text
    assert "1.00 device + 1.00 rss" in text
    assert "0.5 GPU-h + 2 CPU wall-h" in text


def test_a_narrow_terminal_cuts_the_table_into_blocks(results: Path) -> None:
    board = build(results, [])
    lines = to_terminal.render(board, width=80).splitlines()
    assert max(map(len, lines)) <= 80
    assert sum(line.startswith("timm/resnet18  imp ") for line in lines) > 1
    assert sorted(figures("\n".join(lines))) == sorted(figures(to_terminal.render(board)))


def test_colour_only_where_asked(results: Path) -> None:
    board = build(results, [])
    assert "\033[1m72.00 ± 2.00 (n=3) \033[0m" in to_terminal.render(board, colour=True)
    assert "\033" not in to_terminal.render(board)
    assert "**72.00 ± 2.00 (n=3)**<br>Δ +10.00 (k=3)" in to_markdown.render(board)


@pytest.mark.parametrize(
    ("suites", "message"),
    [(["d"], "unknown suite 'd' in .*: known: s"), (["s", "ss"], "did you mean 's'")],
)
def test_unknown_suite(results: Path, suites: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        build(results, suites)


def test_no_plan_and_bad_plans(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no suite has been planned here"):
        build(tmp_path, [])
    plan(tmp_path, [spec("EuroSAT", "imp", 0)], schema=2)
    with pytest.raises(UserError, match=r"s/plan.json: schema: .* 1: plan the suite again"):
        build(tmp_path, [])
    plan(tmp_path, [spec("EuroSAT", "imp", 0)])
    (tmp_path / "s").rename(tmp_path / "copy")
    with pytest.raises(UserError, match="the plan of 's' in another suite's folder"):
        build(tmp_path, [])


def test_leaderboards_are_left_beside_the_plan(results: Path) -> None:
    board = build(results, [])
    assert {path.name for path in write(board, results)} == {
        "leaderboard.md",
        "leaderboard.csv",
        "leaderboard.json",
    }
    assert (results / "s" / "leaderboard.json").read_text() == to_json.render(board)
    assert {path.name for path in (results / "s").iterdir()} == {
        "plan.json",
        "leaderboard.md",
        "leaderboard.csv",
        "leaderboard.json",
    }


def call(results: Path, *arguments: str) -> tuple[str, str]:
    app = typer.Typer()
    app.command()(report)
    answer = CliRunner().invoke(app, ["--results", str(results), *arguments])
    if answer.exception is not None:
        raise answer.exception
    return answer.stdout, answer.stderr


def test_command_prints_one_document_and_warns_beside_it(results: Path) -> None:
    spoil(results, job_id(spec("EuroSAT", "imp", 0)), "newer")
    out, err = call(results, "s", "--format", "json")
    assert json.loads(out)["suites"] == ["s"]
    assert err.startswith("warning: ")
    assert err.count("\n") == 1
    assert (results / "s" / "leaderboard.md").exists()


def test_command_takes_files_and_writes_files(results: Path, tmp_path: Path) -> None:
    out, _ = call(results, "suites/s.yaml", "--output", str(tmp_path / "board.txt"))
    assert out == ""
    assert (tmp_path / "board.txt").read_text() == to_terminal.render(build(results, ["s"]))
    assert call(results)[0] == (tmp_path / "board.txt").read_text()
    with pytest.raises(UserError, match="unknown format 'jsn': did you mean 'json'"):
        call(results, "--format", "jsn")
