"""Figures of servers on the board: awaited, scored, and apart from those that are computed here."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest

from mtp_bench.report import to_csv, to_json, to_markdown, to_terminal
from mtp_bench.report.board import Board, build
from mtp_bench.store.records import Record
from mtp_bench.store.scores import Score, digest, write_score
from mtp_bench.suite.schema import JobSpec
from tests.report.conftest import Study

SEEN = {"mAP_kit_val_seen": {"value": 88.0, "unit": "%", "higher_is_better": True}}
HERE = {"value": 71.25, "unit": "%", "higher_is_better": True}


def waits(study: Study, spec: JobSpec, judge: str = "DOTA server") -> Record:
    """Saved, with a figure on the validation images that it was trained on."""
    record = study.record(spec, 0.0, primary="mAP", awaiting=judge, metrics=SEEN)
    study.save(record)
    return record


def judged_here(study: Study, spec: JobSpec) -> None:
    study.save(study.record(spec, 0.0, primary="mAP_kit", metrics={"mAP_kit": HERE}))


def note(study: Study, record: Record, value: float) -> Path:
    path = study.results / "records" / f"{record.job}.json"
    facts: dict[str, Any] = {"job": record.job, "metric": "mAP", "unit": "%", "value": value}
    facts |= {"source": "DOTA server, 2026-11-24", "noted": "2026-11-25"}
    write_score(path, Score(record_sha256=digest(path), **facts))
    return study.results / "scores" / path.name


def shown(board: Board) -> list[list[str]]:
    """The Markdown table's head and rows, their figures alone."""
    lines = [line for line in to_markdown.render(board).splitlines() if line.startswith("| ")]
    rows = [line.strip("| ").replace("\\_", "_").split(" | ") for line in lines]
    return [row[1:-5] for row in (rows[0], *rows[2:])]


@pytest.fixture
def specs(empty: Study) -> list[JobSpec]:
    """DOTA-v1.0: two seeds of scratch, then two of imp."""
    specs = [empty.spec("DOTA-v1.0", r, seed) for r in ("scratch", "imp") for seed in range(2)]
    empty.plan(specs)
    return specs


def test_cells_wait_and_then_show_what_the_server_said(empty: Study, specs: list[JobSpec]) -> None:
    records = [waits(empty, spec) for spec in specs[:3]]
    assert shown(build(empty.results, [])) == [
        ["recipe", "DOTA-v1.0<br>mAP, %, DOTA server, test"],
        ["scratch (baseline)", "awaiting score (n=0 of 2, 2 awaiting)"],
        ["imp", "awaiting score (n=0 of 2, 1 awaiting)"],
    ]
    note(empty, records[0], 78.5)
    note(empty, records[2], 80.5)
    board = build(empty.results, [])
    assert shown(board)[1:] == [
        ["scratch (baseline)", "78.50 (n=1 of 2, 1 awaiting)"],
        ["imp", "**80.50 (n=1 of 2)**<br>Δ +2.00 (k=1)"],
    ]
    text = to_terminal.render(board)
    source = "DOTA server, 2026-11-24"
    assert f"- DOTA-v1.0, scores of the DOTA server: 78.5: {source}; 80.5: {source}\n" in text
    assert "DOTA-v1.0: 1 of 3 finished jobs await the score of the DOTA server: 'mtp-bench" in text
    assert f"notes what it says ({records[1].job})" in text
    assert (
        "DOTA-v1.0: trained on train + val, as published; its figure on val is of training images"
    ) in text
    assert "mAP = mean over 15 classes of AP of rotated boxes" in text
    assert "test images" not in text
    # What waits is done: it costs, and is not missing.
    assert [row.marks["cpu_hours"] for row in board.suites[0].tables[0].rows] == [1.0, 0.5]
    assert text.endswith("Missing in s:\n- timm/resnet18 imp, pending: DOTA-v1.0 seed 1\n\n")


def test_json_and_csv_tell_judge_and_how_many_wait(empty: Study, specs: list[JobSpec]) -> None:
    note(empty, waits(empty, specs[0]), 78.5)
    waits(empty, specs[1])
    board = build(empty.results, [])
    scratch, imp = json.loads(to_json.render(board))["cells"]
    assert (scratch["n"], scratch["awaiting"], scratch["mean"]) == (1, 1, 78.5)
    assert [value["value"] for value in scratch["values"]] == [78.5]
    assert (imp["n"], imp["awaiting"], imp["mean"]) == (0, 0, None)
    assert {cell["judge"] for cell in (scratch, imp)} == {"DOTA server"}
    line = next(csv.DictReader(io.StringIO(to_csv.render(board))))
    assert (line["judge"], line["awaiting"], line["mean"]) == ("DOTA server", "1", "78.5")


def test_what_is_judged_here_has_a_column_of_its_own(empty: Study, specs: list[JobSpec]) -> None:
    for spec in specs[2:]:
        judged_here(empty, spec)
    for spec, value in zip(specs[:2], (78.0, 80.0), strict=True):
        note(empty, waits(empty, spec), value)
    board = build(empty.results, [])
    assert shown(board) == [
        ["recipe", "DOTA-v1.0<br>mAP, %, DOTA server, test", "DOTA-v1.0<br>mAP_kit, %, val"],
        ["scratch (baseline)", "79.00 ± 1.41 (n=2)", "\N{EN DASH}"],
        ["imp", "\N{EN DASH}", "71.25 ± 0.00 (n=2)"],
    ]
    text = to_terminal.render(board)
    assert "mAP_kit = mAP after DOTA's development kit on whole scenes of val" in text
    assert "no mean over datasets" not in text
    assert [cell["judge"] for cell in json.loads(to_json.render(board))["cells"]] == [
        "DOTA server",
        None,
    ]


def test_means_join_what_one_judge_said_and_nothing_else(empty: Study) -> None:
    names = ("DOTA-v1.0", "DOTA-v2.0", "FAIR1M-2.0")
    one, two, three = (empty.spec(name, "imp", 0) for name in names)
    for spec, value in ((one, 80.0), (two, 60.0)):
        note(empty, waits(empty, spec), value)
    empty.plan([one, two], "alike")
    empty.plan([one, two, three], "unlike")
    head, row = shown(build(empty.results, ["alike"]))
    assert head[2:] == [
        "DOTA-v2.0<br>mAP, %, DOTA server, test-dev",
        "mean over datasets<br>mAP, %, DOTA server",
    ]
    assert row[1:] == ["80.00 (n=1)", "60.00 (n=1)", "70.00 (n=1)"]
    waits(empty, three, "Gaofen challenge server")
    board = build(empty.results, ["unlike"])
    assert shown(board)[0][-1] == "FAIR1M-2.0<br>mAP, %, Gaofen challenge server, test"
    assert "no mean over datasets: their metrics or judges differ" in to_terminal.render(board)


def test_another_suites_judge_says_nothing_of_what_is_planned(
    empty: Study, specs: list[JobSpec]
) -> None:
    other = empty.spec("DOTA-v1.0", "mae", 0)
    empty.plan([other, empty.spec("DOTA-v1.0", "mae", 1)], "here")
    judged_here(empty, other)
    heads = [table.heads for suite in build(empty.results, []).suites for table in suite.tables]
    assert [[(head.metric, head.judge) for head in found] for found in heads] == [
        [("mAP_kit", "")],
        [("mAP", "DOTA server")],
    ]


@pytest.mark.parametrize("how", ["torn", "other", "earlier"])
def test_a_damaged_score_is_named_and_the_rest_reported(
    empty: Study, specs: list[JobSpec], how: str
) -> None:
    records = [waits(empty, spec) for spec in specs[:2]]
    places = [note(empty, record, 80.0) for record in records]
    if how == "torn":
        places[0].write_text(places[0].read_text()[:50])
    elif how == "other":
        places[0].write_text(places[1].read_text())
    else:
        empty.save(records[0].model_copy(update={"finished": "2026-11-26T00:00:00Z"}))
    board = build(empty.results, ["s"])
    (warning,) = board.warnings()
    assert warning.startswith(f"{places[0]}: ")
    assert shown(board)[1][1] == "80.00 (n=1 of 2, 1 awaiting)"
    assert {line["state"] for line in board.suites[0].missing} == {"pending"}


def test_scores_of_no_record_or_of_one_that_awaits_none_are_not_used(
    empty: Study, specs: list[JobSpec]
) -> None:
    record = waits(empty, specs[0])
    note(empty, record, 80.0)
    (empty.results / "records" / f"{record.job}.json").unlink()
    judged_here(empty, specs[2])
    note(empty, empty.record(specs[2], 0.0), 99.0)
    board = build(empty.results, [])
    assert board.warnings() == ()
    means = [cell["mean"] for cell in json.loads(to_json.render(board))["cells"]]
    assert [mean for mean in means if mean] == [71.25]


def test_a_record_that_awaits_what_its_card_does_not_know_is_unusable(
    empty: Study, specs: list[JobSpec]
) -> None:
    empty.save(empty.record(specs[0], 0.0, primary="AP50", awaiting="DOTA server", metrics={}))
    board = build(empty.results, [])
    assert "has no figure for its primary metric 'AP50'" in board.warnings()[0]
    assert board.suites[0].missing[0]["state"] == "unusable record"


def test_miniatures_stay_synthetic(empty: Study) -> None:
    spec = empty.spec("DOTA-v1.0", "imp", 0, data="miniature")
    empty.plan([spec])
    judged_here(empty, spec)
    (table,) = build(empty.results, []).suites[0].tables
    assert "SYNTHETIC" in table.title
    assert table.heads[0].metric == "mAP_kit"
