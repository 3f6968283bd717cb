"""The report from files to text: plans and records in a temporary folder, all four formats."""

from __future__ import annotations

import csv
import io
import json
import re
from typing import TYPE_CHECKING

import pytest
import typer
from typer.testing import CliRunner

from mtp_bench.cli.report import report
from mtp_bench.errors import UserError
from mtp_bench.report import to_csv, to_json, to_markdown, to_terminal
from mtp_bench.report.board import build, write

if TYPE_CHECKING:
    pass
from tests.report.conftest import Study

GOLDEN = """\
s: scene classification, protocol demo

backbone       recipe                         EuroSAT                  RESISC45        mean over datasets      train   inference   peak memory   parameters      fine-tuning
                                          accuracy, %               accuracy, %               accuracy, %   images/s    images/s           GiB            M            hours
─────────────  ──────────────────  ───────────────────  ────────────────────────  ────────────────────────  ─────────  ──────────  ────────────  ───────────  ───────────────
timm/resnet18  scratch (baseline)  62.00 ± 2.00 (n=3)        52.00 ± 2.00 (n=3)        57.00 ± 1.73 (n=3)        101         400      1.00 rss         11.2     3 CPU wall-h
timm/resnet18  imp                 72.00 ± 2.00 (n=3)*  63.00 ± 2.83 (n=2 of 3)*  67.50 ± 2.83 (n=2 of 3)*       101         400      1.00 rss         11.2   2.5 CPU wall-h
                                       Δ +10.00 (k=3)            Δ +11.00 (k=2)            Δ +11.00 (k=2)
"""  # noqa: E501


def test_terminal_board_is_the_golden_one(study: Study) -> None:
    text = to_terminal.render(build(study.results, ["s"]))
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


def test_all_formats_say_the_same(study: Study) -> None:
    board = build(study.results, [])
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


def test_json_has_its_schema(study: Study) -> None:
    study.save(study.record(study.spec("EuroSAT", "imp", 0), 70.0, gpu=True))
    document = json.loads(to_json.render(build(study.results, ["s"])))
    assert list(document) == ["schema", "suites", "cells", "pretraining", "missing"]
    assert (document["schema"], document["suites"]) == (1, ["s"])
    imp = document["cells"][1]
    first = {"seed": 0, "value": 70.0, "job": study.job("EuroSAT", "imp", 0)}
    assert imp.pop("values")[0] == first
    assert (imp.pop("ci_low"), imp.pop("ci_high")) == pytest.approx((67.0317, 76.9683), abs=1e-4)
    assert imp == {
        "task": "classification",
        "dataset": "EuroSAT",
        "backbone": "timm/resnet18",
        "recipe": "imp",
        "metric": "accuracy",
        "unit": "%",
        "judge": None,
        "higher_is_better": True,
        "n": 3,
        "awaiting": 0,
        "mean": 72.0,
        "std": 2.0,
        "seen": "none",
        "synthetic": False,
        "train_images_per_s": 101.0,
        "gpu_hours": 0.5,
        "inference_images_per_s": 400.0,
        "peak_memory_bytes": 2**30,
        "memory_kind": "device",
        "suite": "s",
        "protocol": "demo",
        "data": "release",
    }
    failed, skipped = document["missing"]
    assert failed["job"] == study.job("RESISC45", "imp", 2)
    assert (failed["state"], failed["seed"]) == ("failed", 2)
    assert (skipped["job"], skipped["state"], skipped["reason"]) == (None, "skipped", "no weights")


def test_a_planned_suite_without_records_is_all_gaps(empty: Study) -> None:
    empty.plan([empty.spec("DIOR", "imp", seed) for seed in range(2)])
    board = build(empty.results, [])
    (cell,) = json.loads(to_json.render(board))["cells"]
    assert (cell["n"], cell["mean"], cell["metric"], cell["values"]) == (0, None, "AP50", [])
    text = to_terminal.render(board)
    assert "\N{EN DASH} (n=0 of 2)" in text
    assert "timm/resnet18 imp, pending: DIOR seeds 0, 1" in text


def test_a_row_that_lacks_a_dataset_has_no_mean(study: Study) -> None:
    for seed in range(2):
        (study.results / "records" / f"{study.job('RESISC45', 'imp', seed)}.json").unlink()
    text = to_terminal.render(build(study.results, []))
    assert "no mean over datasets for timm/resnet18 imp: it lacks RESISC45" in text
    assert figures(text).count((57.0, 1.73, 3.0)) == 1
    assert "67.50" not in text


def test_a_single_seed_has_no_spread(empty: Study) -> None:
    empty.plan([empty.spec("EuroSAT", "imp", 0)])
    empty.save(empty.record(empty.spec("EuroSAT", "imp", 0), 61.2))
    board = build(empty.results, [])
    assert "61.20 (n=1)" in to_terminal.render(board)
    assert json.loads(to_json.render(board))["cells"][0]["std"] is None


def test_every_pair_skipped(empty: Study) -> None:
    empty.plan(
        [empty.spec("EuroSAT", "imp", 0)],
        jobs=[],
        skipped=[
            {
                "backbone": "timm/resnet18",
                "recipe": "mae",
                "dataset": "EuroSAT",
                "reason": "no weights",
            }
        ],
    )
    assert to_terminal.render(build(empty.results, [])).startswith(
        "Missing in s:\n- timm/resnet18 mae"
    )


def test_synthetic_data_has_a_table_of_its_own(study: Study) -> None:
    demo = [study.spec("EuroSAT", "imp", 0, data="miniature")]
    study.plan(demo, suite="toy", title="a try")
    study.save(study.record(demo[0], 99.0))
    # Whatever the suite says: a record that calls itself synthetic stands apart.
    study.save(study.record(study.spec("EuroSAT", "imp", 0), 98.0, synthetic=True))
    tables = [table for suite in build(study.results, []).suites for table in suite.tables]
    tables.sort(key=lambda table: table.title)
    label = "SYNTHETIC demo data, not a benchmark result"
    assert [table.title for table in tables] == [
        "s: scene classification, protocol demo",
        f"s: scene classification, protocol demo, {label}",
        f"toy (a try): scene classification, protocol demo, {label}",
    ]
    shown = [c["mean"] for t in tables for row in t.rows for h, c in row.cells.items() if h.dataset]
    assert shown == [62, 52, 73, 63, 98, 99]


def test_subset_and_after_the_paper_are_marked(empty: Study) -> None:
    one = empty.spec("EuroSAT", "imp", 0, data="subset")
    empty.plan([one], states={empty.record(one, 0.0).job: {"after": True}})
    text = to_terminal.render(build(empty.results, []))
    assert text.startswith("s: scene classification, protocol demo, subset of the user's own\n")
    assert "imp §" in text
    assert "§ after the paper" in text


def spoil(study: Study, job: str, how: str) -> str:
    """Make a record unusable in one of the ways that happen."""
    path = study.results / "records" / f"{job}.json"
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
        data = json.loads((path.parent / f"{study.job('EuroSAT', 'imp', 1)}.json").read_text())
    path.write_text(json.dumps(data))
    return {
        "newer": "record version 99 is newer than this mtp-bench reads",
        "nan": "accuracy.value: Input should be a finite number",
        "primary": "has no figure for its primary metric 'mIoU'",
        "other": "the id of its spec is eurosat-timm.resnet18-imp-s0-",
        "copy": f"holds the record of {study.job('EuroSAT', 'imp', 1)}",
    }[how]


@pytest.mark.parametrize("how", ["torn", "newer", "nan", "primary", "other", "copy"])
def test_an_unusable_record_is_named_and_the_rest_reported(study: Study, how: str) -> None:
    job = study.job("EuroSAT", "imp", 0)
    message = spoil(study, job, how)
    board = build(study.results, ["s"])
    (warning,) = board.warnings()
    assert str(study.results / "records" / f"{job}.json") in warning
    assert message in warning
    cells = json.loads(to_json.render(board))["cells"]
    assert [cell["n"] for cell in cells] == [3, 2, 3, 2]
    assert board.suites[0].missing[0]["state"] == "unusable record"
    assert f"Warnings:\n- {warning}" in to_terminal.render(board)


def test_other_suites_records_concern_only_the_report_of_all(study: Study) -> None:
    (study.results / "records" / "stray.json").write_text("{")
    assert build(study.results, ["s"]).warnings() == ()
    (warning,) = build(study.results, []).warnings()
    assert "stray.json: not a record" in warning


def test_shared_and_doubled_jobs_count_once(study: Study) -> None:
    shared = [
        study.spec("EuroSAT", recipe, seed) for recipe in ("scratch", "imp") for seed in range(3)
    ]
    study.plan([*shared, *shared], suite="twice")
    for suites in ([], ["twice"], ["twice", "twice"]):
        cells = json.loads(to_json.render(build(study.results, suites)))["cells"]
        euro = [cell for cell in cells if cell["dataset"] == "EuroSAT"]
        assert [(cell["recipe"], cell["n"]) for cell in euro] == [("scratch", 3), ("imp", 3)]


def test_checks_that_need_more_than_one_record(study: Study) -> None:
    one, two = (study.spec("EuroSAT", recipe, 0) for recipe in ("imp", "scratch"))
    same = {"probe": "the same"}
    study.save(study.record(one, 70.0, provenance=same, warnings=["partial weights"]))
    study.save(study.record(two, 60.0, provenance=same | {"data_fingerprint": "changed"}))
    assert build(study.results, []).warnings() == (
        "timm/resnet18 imp and timm/resnet18 scratch started from the same weights (equal probes)",
        "EuroSAT: the runs saw 2 different data (data_fingerprint)",
        f"{study.record(one, 0.0).job}: partial weights",
    )


def test_unlike_hardware_is_said(study: Study) -> None:
    study.save(study.record(study.spec("EuroSAT", "imp", 0), 70.0, gpu=True))
    text = to_terminal.render(build(study.results, []))
    assert "costs mix hardware, so that rows do not compare: 1 x Xeon, 2 threads (10 jobs)" in text
    assert "1.00 device + 1.00 rss" in text
    assert "0.5 GPU-h + 2 CPU wall-h" in text


def test_a_narrow_terminal_cuts_the_table_into_blocks(study: Study) -> None:
    board = build(study.results, [])
    lines = to_terminal.render(board, width=80).splitlines()
    assert max(map(len, lines)) <= 80
    assert sum(line.startswith("timm/resnet18  imp ") for line in lines) > 1
    assert sorted(figures("\n".join(lines))) == sorted(figures(to_terminal.render(board)))


def test_colour_only_where_asked(study: Study) -> None:
    board = build(study.results, [])
    assert "\033[1m72.00 ± 2.00 (n=3) \033[0m" in to_terminal.render(board, colour=True)
    assert "\033" not in to_terminal.render(board)
    assert "**72.00 ± 2.00 (n=3)**<br>Δ +10.00 (k=3)" in to_markdown.render(board)


@pytest.mark.parametrize(
    ("suites", "message"),
    [(["d"], "unknown suite 'd' in .*: known: s"), (["s", "ss"], "did you mean 's'")],
)
def test_unknown_suite(study: Study, suites: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        build(study.results, suites)


def test_no_plan_and_bad_plans(empty: Study) -> None:
    with pytest.raises(UserError, match="no suite has been planned here"):
        build(empty.results, [])
    empty.plan([empty.spec("EuroSAT", "imp", 0)], schema=2)
    with pytest.raises(UserError, match=r"s/plan.json: schema: .* 1: plan the suite again"):
        build(empty.results, [])
    empty.plan([empty.spec("EuroSAT", "imp", 0)])
    (empty.results / "s").rename(empty.results / "copy")
    with pytest.raises(UserError, match="the plan of 's' in another suite's folder"):
        build(empty.results, [])


def test_leaderboards_are_left_beside_the_plan(study: Study) -> None:
    board = build(study.results, [])
    assert {path.name for path in write(board, study.results)} == {
        "leaderboard.md",
        "leaderboard.csv",
        "leaderboard.json",
    }
    assert (study.results / "s" / "leaderboard.json").read_text() == to_json.render(board)
    assert {path.name for path in (study.results / "s").iterdir()} == {
        "plan.json",
        "leaderboard.md",
        "leaderboard.csv",
        "leaderboard.json",
    }


def call(study: Study, *arguments: str) -> tuple[str, str]:
    app = typer.Typer()
    app.command()(report)
    answer = CliRunner().invoke(app, ["--results", str(study.results), *arguments])
    if answer.exception is not None:
        raise answer.exception
    return answer.stdout, answer.stderr


def test_command_prints_one_document_and_warns_beside_it(study: Study) -> None:
    spoil(study, study.job("EuroSAT", "imp", 0), "newer")
    out, err = call(study, "s", "--format", "json")
    assert json.loads(out)["suites"] == ["s"]
    assert err.startswith("warning: ")
    assert err.count("\n") == 1
    assert (study.results / "s" / "leaderboard.md").exists()


def test_command_takes_files_and_writes_files(study: Study) -> None:
    out, _ = call(study, "suites/s.yaml", "--output", str(study.results / "board.txt"))
    assert out == ""
    assert (study.results / "board.txt").read_text() == to_terminal.render(
        build(study.results, ["s"])
    )
    assert call(study)[0] == (study.results / "board.txt").read_text()
    with pytest.raises(UserError, match="unknown format 'jsn': did you mean 'json'"):
        call(study, "--format", "jsn")
