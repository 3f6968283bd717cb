"""Which pictures of SAMRS are trained on, held out and left out."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from mtp_bench.datasets.access import card_of
from mtp_bench.datasets.manifest import Sample
from mtp_bench.datasets.samrs_parts import split
from mtp_bench.errors import UserError


def loaded(name: str, scenes: list[str], synthetic: bool = False) -> Any:
    samples = [Sample((Path(f"{s}.png"),), s, mask=Path("m.png")) for s in scenes]
    return SimpleNamespace(
        card=card_of(name),
        prepared=SimpleNamespace(synthetic=synthetic),
        samples=lambda _: [("train", sample) for sample in samples],
    )


SCENES = [f"P{number:04d}__1024__0___0" for number in range(40)]


def test_held_out_pictures_depend_on_names_alone() -> None:
    parts = split(loaded("SOTA-RBB", SCENES), 500, "none", None)
    assert (len(parts.train), len(parts.held_out), parts.excluded) == (36, 4, 0)
    again = split(loaded("SOTA-RBB", SCENES[::-1]), 500, "none", None)
    assert {s.scene for s in again.held_out} == {s.scene for s in parts.held_out}
    fewer = split(loaded("SOTA-RBB", SCENES), 2, "none", None)
    assert {s.scene for s in fewer.held_out} < {s.scene for s in parts.held_out}
    assert not {s.scene for s in parts.train} & {s.scene for s in parts.held_out}


def dota(root: Path, name: str, *stems: str) -> None:
    """A DOTA of which val has these pictures."""
    for part, names in (("train", ("P0900",)), ("val", stems)):
        for folder in ("images", "labelTxt-v1.0"):
            (root / name / part / folder).mkdir(parents=True)
        for stem in names:
            (root / name / part / "images" / f"{stem}.png").write_bytes(b"")
            (root / name / part / "labelTxt-v1.0" / f"{stem}.txt").write_text("")


def test_validation_tiles_are_known_by_the_names_of_their_scenes(tmp_path: Path) -> None:
    dota(tmp_path, "DOTA-v1.0", "P0003", "P0005", "P0777")
    parts = split(loaded("SOTA-RBB", SCENES), 4, "val", str(tmp_path))
    kept = {s.scene[:5] for s in (*parts.train, *parts.held_out)}
    assert not kept & {"P0003", "P0005"}
    assert (parts.excluded, len(kept)) == (2, 38)


def test_renamed_tiles_need_a_list(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="FAST: its files are renamed: 'exclude: val' needs a"):
        split(loaded("FAST", SCENES), 4, "val", str(tmp_path))
    listed = tmp_path / "SAMRS" / "fair1m_1024" / "validation.txt"
    listed.parent.mkdir(parents=True)
    listed.write_text(f"P0001\n{SCENES[2]}\n\n")
    parts = split(loaded("FAST", SCENES), 4, "val", str(tmp_path))
    assert parts.excluded == 2


def test_what_nobody_can_tell_is_refused() -> None:
    with pytest.raises(UserError, match=r"goes by the names of val of DOTA-v2\.0 or DOTA-v1\.0"):
        split(loaded("SOTA-RBB", SCENES), 4, "val", None)


def test_renderings_and_sior_have_nothing_to_leave_out() -> None:
    for each in (loaded("FAST", SCENES, synthetic=True), loaded("SIOR", SCENES)):
        assert split(each, 4, "val", None).excluded == 0
