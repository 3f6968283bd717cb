"""What a report says of pretraining: its jobs apart, and marks where it has seen what is judged."""

from __future__ import annotations

import json
from typing import Any

import pytest

from mtp_bench import catalog
from mtp_bench.report import to_json, to_markdown, to_terminal
from mtp_bench.report.board import build
from mtp_bench.store.records import write_record
from mtp_bench.suite.identity import job_id
from mtp_bench.suite.protocol import Mtp
from mtp_bench.suite.schema import JobSpec, Stage
from tests.report.conftest import PROTOCOL, Study


def test_cells_whose_training_images_were_seen_in_pretraining_are_marked(empty: Study) -> None:
    clean = [empty.spec(name, "imp", 0) for name in ("DIOR", "xView")]
    renamed = empty.spec("DIOR", "mine", 0, stages=(Stage(name="mae+mtp"),))
    touched = [empty.spec(name, "imp+mtp", 0) for name in ("DIOR", "xView")]
    empty.plan(clean, "clean")
    empty.plan([*clean, *touched, renamed], "both")
    empty.save(*(empty.record(spec, 50.0) for spec in (*clean, *touched, renamed)))
    assert "†" not in to_terminal.render(build(empty.results, ["clean"]))
    board = build(empty.results, ["both"])
    found = {
        (c["dataset"], c["recipe"]): c["seen"] for c in json.loads(to_json.render(board))["cells"]
    }
    assert found["DIOR", "imp+mtp"] == found["DIOR", "mine"] == "train"
    assert found["DIOR", "imp"] == found["xView", "imp+mtp"] == "none"
    text = to_terminal.render(board)
    assert "50.00 (n=1) †" in text
    assert "† its pretraining has seen training images" in text
    assert "- DIOR: imp+mtp and mine pretrained on SAMRS: SIOR holds train and val" in text


def pretraining(study: Study, **mtp: Any) -> JobSpec:
    """The job of a stage; ``mtp``: its settings."""
    words = {"kind": "pretrain", "task": "pretraining", "stage": "mtp", "stages": ()}
    protocol = PROTOCOL.model_copy(update={"mtp": Mtp(**mtp), "batch_size": 12})
    return study.spec("SAMRS", "imp+mtp", 0, **words, protocol=protocol)


@pytest.mark.parametrize(
    ("mtp", "dataset", "judged_here", "seen"),
    [
        ({}, "DOTA-v1.0", True, "evaluation"),
        ({}, "DOTA-v1.0", False, "train"),
        ({"exclude": "val"}, "DOTA-v1.0", True, "train"),
        ({"subsets": ("SIOR", "FAST")}, "DOTA-v1.0", True, "none"),
        ({"subsets": ("FAST",)}, "FAIR1M-2.0", True, "evaluation"),
        ({}, "DIOR", False, "train"),
        ({}, "LoveDA", True, "none"),
    ],
)
def test_what_a_pretraining_here_has_seen_is_by_its_sets(
    mtp: dict[str, Any], dataset: str, judged_here: bool, seen: str, empty: Study
) -> None:
    stage = pretraining(empty, **mtp)
    made = empty.record(stage, 3.0)
    spec = empty.spec(dataset, "imp+mtp", 0, stages=(Stage(name="mtp", pretrain=made.job),))
    empty.plan([stage, spec])
    card = catalog.load("dataset", dataset)
    name = card.judged_here.name if judged_here else card.primary.name
    figure = {name: {"value": 50.0, "unit": "%", "higher_is_better": True}}
    record = empty.record(spec, 50.0, primary=name, metrics=figure)
    empty.save(made, record)
    (cell,) = json.loads(to_json.render(build(empty.results, [])))["cells"]
    assert cell["seen"] == seen


@pytest.mark.parametrize(
    ("stage", "seen"),
    [
        (Stage(name="one_head", pretrain="pretrain-samrs-x-mae+one_head-s0-0"), "train"),
        (Stage(name="my_mae", pretrain="pretrain-million.aid-x-my_mae-s0-0"), "none"),
        (Stage(name="mae+mtp_rd"), "train"),
        (Stage(name="mae"), "none"),
    ],
)
def test_what_left_no_record_is_taken_to_have_seen_all(
    stage: Stage, seen: str, empty: Study
) -> None:
    spec = empty.spec("DIOR", "mine", 0, stages=(stage,))
    empty.plan([spec])
    empty.save(empty.record(spec, 50.0))
    (cell,) = json.loads(to_json.render(build(empty.results, [])))["cells"]
    assert cell["seen"] == seen


def test_pretraining_is_told_apart_with_its_cost(empty: Study) -> None:
    stage = pretraining(empty, heads=("semantic", "rotated"))
    made = empty.record(stage, 3.0)
    users = [
        empty.spec("EuroSAT", "imp+mtp", seed, stages=(Stage(name="mtp", pretrain=made.job),))
        for seed in range(2)
    ]
    needs = {job_id(spec): {"needs": [made.job]} for spec in users}
    empty.plan([stage, *users], states=needs)
    looks = {"first": 0.5, "last": 0.1, "mean": 0.25, "looks": 3}
    write_record(
        empty.results / "records",
        made,
        {"conflict": {"gradient_norm": {"rotated": looks}, "cosine": {"semantic~rotated": looks}}},
    )
    board = build(empty.results, [])
    (told,) = json.loads(to_json.render(board))["pretraining"]
    assert (told["used_by"], told["heads"]) == (2, ["semantic", "rotated"])
    assert told["conflict"]["cosine"]["semantic~rotated"]["mean"] == 0.25
    for text in (to_terminal.render(board), to_markdown.render(board).replace("\\", "")):
        assert "Pretraining in s" in text
        assert "timm/resnet18 imp+mtp: SAMRS, 2 epochs; parts: SOTA-RBB + SIOR + FAST" in text
        assert "used by 2 jobs" in text
        assert "cosines semantic~rotated 0.25 (0.5 to 0.1)" in text
    assert len(json.loads(to_json.render(board))["missing"]) == 2
    assert all(row.recipe == "imp+mtp" for s in board.suites for t in s.tables for row in t.rows)
