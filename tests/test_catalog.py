"""The catalogue: nearest names, and entries of other packages, which fail loudly or not at all."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mtp_bench import catalog
from mtp_bench.errors import UserError

Install = Callable[[str], None]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Puts a distribution with one entry point on the path."""
    (tmp_path / "plug_in_of_a_test.py").write_text(
        "from mtp_bench.catalog import Entry\n"
        "CARD = 'a card'\n"
        "ENTRY = Entry('plug_in_of_a_test:CARD', {'task': 'classification', 'folder': 'Mine'})\n"
    )
    monkeypatch.syspath_prepend(tmp_path)

    def add(line: str) -> None:
        info = tmp_path / "plug_in_of_a_test-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(
            "Metadata-Version: 2.1\nName: plug-in-of-a-test\nVersion: 1\n"
        )
        (info / "entry_points.txt").write_text(f"[mtp_bench.catalog]\n{line}\n")
        catalog.plugins.cache_clear()

    yield add
    catalog.plugins.cache_clear()


def test_another_package_adds_a_dataset(install: Install) -> None:
    install("dataset/Mine = plug_in_of_a_test:ENTRY")
    assert "Mine" in catalog.names("dataset")
    assert catalog.find("dataset", "Mine").facts["task"] == "classification"
    assert catalog.load("dataset", "Mine") == "a card"
    with pytest.raises(UserError, match="did you mean 'Mine'"):
        catalog.find("dataset", "Mime")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("datasets/Mine = plug_in_of_a_test:ENTRY", "the name must be kind/name, kind one of"),
        ("Mine = plug_in_of_a_test:ENTRY", "the name must be kind/name, kind one of"),
        ("dataset/EuroSAT = plug_in_of_a_test:ENTRY", "this name is taken"),
        ("dataset/Mine = plug_in_of_a_test:CARD", "is not a mtp_bench.catalog.Entry"),
    ],
)
def test_a_broken_plug_in_fails_loudly(line: str, message: str, install: Install) -> None:
    install(line)
    with pytest.raises(UserError, match=message):
        catalog.find("dataset", "Mine")


def test_what_has_no_code_yet_cannot_be_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(catalog.RECIPES, "dino", catalog.Entry(None))
    assert not catalog.has_code("recipe stage", "dino")
    with pytest.raises(UserError, match="'dino' is not part of this version"):
        catalog.load("recipe stage", "dino")


def test_timm_names_are_read_without_importing_timm() -> None:
    assert {"resnet50", "vit_base_patch16_224", "tf_efficientnet_lite0"} <= catalog.timm_names()
    assert len(catalog.timm_names()) > 1000


def test_a_name_that_stands_for_others_has_code_where_they_have() -> None:
    assert catalog.has_code("dataset", "SAMRS")
