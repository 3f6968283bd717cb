"""The `data` commands as users type them, on miniatures of a few pictures."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image
from typer.testing import CliRunner, Result

from mtp_bench import catalog
from mtp_bench.cli import app
from mtp_bench.datasets.access import card_of
from mtp_bench.datasets.scenes.miniature import MINIATURES
from mtp_bench.errors import UserError

NAMES = [name for name, entry in catalog.DATASETS.items() if entry.target is not None]
SMALL = {
    "LEVIR-CD": {"train": 2, "val": 1, "test": 1},
    "DOTA-v1.0": {"train": 2, "val": 1, "test": 1},
    "SIOR": {"train": 2},
    "FAST": {"train": 2},
}


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["data", *arguments])


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Miniatures of a few pictures each, and a cache of one's own."""
    for name, splits in SMALL.items():
        monkeypatch.setitem(MINIATURES, name, MINIATURES[name]._replace(splits=splits))
    monkeypatch.setenv("MTP_BENCH_CACHE", str(tmp_path / "cache"))
    return tmp_path


def test_every_dataset_has_a_card_of_its_name_task_and_miniature() -> None:
    assert len(NAMES) == 18
    assert set(MINIATURES) == set(NAMES)
    for name in NAMES:
        card = card_of(name)
        assert (card.name, card.task) == (name, catalog.DATASETS[name].facts["task"])
        assert len(set(card.classes)) == len(card.classes)
        assert set(MINIATURES[name].classes) <= set(card.classes)
        assert (card.metric is None) == (card.task == "pretraining")
        assert card.image_size > 0
        assert all((card.licence, card.source, card.citation, card.layout, card.split_source))
        dealt = card.draw.shares if card.draw else {}
        named = {split for splits in card.roles.values() for split in splits}
        assert named <= {*card.splits, *dealt}


def test_list_and_show_say_the_same_to_people_and_programs() -> None:
    rows = json.loads(run("list", "--json").stdout)["datasets"]
    assert [row["name"] for row in rows] == NAMES
    leaky = {row["name"] for row in rows if row["in pretraining set"]}
    assert leaky == {"DIOR", "DIOR-R", "FAIR1M-2.0", "DOTA-v1.0", "DOTA-v2.0"}
    lines = run("list").stdout.splitlines()
    assert [line.split()[0] for line in lines[1:]] == NAMES
    shown, told = run("show", "LoveDA").stdout, json.loads(run("show", "LoveDA", "--json").stdout)
    assert told["classes"][1] == "building"
    assert "   1 building\n" in shown
    assert "in label order" in shown


def test_demo_check_prepare_and_draw_go_together(small: Path) -> None:
    data, sheet = str(small / "data"), small / "sheet.png"
    assert run("demo", *SMALL, "--output", data, "--workers", "1").exit_code == 0
    assert run("check", "--data", data, "--workers", "1").exit_code == 0
    made = run("prepare", "--data", data, "--workers", "1")
    assert made.exit_code == 0
    heads = [line for line in made.stdout.splitlines() if not line.startswith(" ")]
    assert [line.split(":")[0] for line in heads] == [name for name in NAMES if name in SMALL]
    assert all(line.endswith(" SYNTHETIC") for line in heads)
    folders = {Path(line.split()[1]) for line in heads}
    assert {path.parent for path in folders} == {small / "cache" / "prepared"}
    assert run("prepare", "--data", data, "--workers", "1").stdout == made.stdout
    assert run("draw", "LEVIR-CD", "0", "--data", data, "--output", str(sheet)).exit_code == 0
    with Image.open(sheet) as image:
        assert image.size == (3 * 320, 338)


def test_demo_overwrites_nothing_and_adds_parts(small: Path) -> None:
    data = small / "data"
    assert run("demo", "SIOR", "--output", str(data), "--workers", "1").exit_code == 0
    before = (data / "SAMRS" / "dior" / "miniature.json").stat().st_mtime_ns
    assert run("demo", "FAST", "--output", str(data), "--workers", "1").exit_code == 0
    again = run("demo", "SIOR", "--output", str(data), "--workers", "1")
    assert isinstance(again.exception, UserError)
    assert "SAMRS/dior: is there already" in str(again.exception)
    assert (data / "SAMRS" / "dior" / "miniature.json").stat().st_mtime_ns == before
    assert sorted(p.name for p in (data / "SAMRS").iterdir()) == ["dior", "fair1m_1024"]


def test_a_rendered_folder_is_no_release(small: Path) -> None:
    data = small / "data"
    run("demo", "LEVIR-CD", "--output", str(data), "--workers", "1")
    (data / "LEVIR-CD" / "miniature.json").rename(small / "kept.json")
    refused = run("prepare", "LEVIR-CD", "--data", str(data), "--workers", "1")
    assert "2 images where the release has 445" in str(refused.exception)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["check"], "no data folder named: give --data DIR or set MTP_BENCH_DATA"),
        (["check", "DOIR", "--data", "."], "did you mean 'DIOR'?"),
        (["show", "Dior"], "did you mean 'DIOR'?"),
        (["check", "--data", "tests/cli"], "tests/cli: holds no folder of a dataset"),
        (["draw", "DIOR", "--data", "tests"], "DIOR: no folder tests/DIOR: unpack"),
    ],
)
def test_mistakes_are_told_in_one_line(
    arguments: list[str], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MTP_BENCH_DATA", raising=False)
    monkeypatch.chdir(Path(__file__).parents[2])
    error = run(*arguments).exception
    assert isinstance(error, UserError)
    assert message in str(error)
    assert len(error.lines) == 1
