"""Pictures without labels: every file of a folder, odd ones included, and what is drawn of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from mtp_bench.datasets.unlabelled import UnlabelledImages, facts, pictures
from mtp_bench.errors import UserError
from mtp_bench.mm.draws import seeded

NORM = {"mean": [100.0, 110.0, 120.0], "std": [50.0, 60.0, 70.0]}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A gray, a CMYK, a transparent and a huge picture, and files that are none."""
    here = tmp_path / "mine" / "deeper"
    here.mkdir(parents=True)
    for number, mode in enumerate(("L", "CMYK", "RGBA", "RGB")):
        color: Any = 90 if mode == "L" else (90, 100, 110, 120)[: len(mode)]
        side = 4000 if mode == "RGB" else 50
        Image.new(mode, (side, side - 10), color).save(
            here / f"{number}.{'tif' if mode == 'CMYK' else 'png' if mode == 'RGBA' else 'jpg'}"
        )
    (here / "notes.txt").write_text("no picture")
    (here / "._0.jpg").write_bytes(b"AppleDouble")
    return tmp_path


def data(root: Path, role: str = "train", augment: bool = True, **norm: Any) -> UnlabelledImages:
    source = {"name": "Million-AID", "variant": "release", "data": str(root), "cache": str(root)}
    mae = {"image_size": 32, "patch": 16, "crop": [0.2, 1.0], "augment": augment}
    return UnlabelledImages(source, "mine", role, mae, {**NORM, **norm})


def test_every_picture_of_a_folder_becomes_rgb(folder: Path) -> None:
    found = data(folder)
    assert [path.name for path in found.samples] == ["0.jpg", "1.tif", "2.png", "3.jpg"]
    for index in range(4):
        item = found[index]
        assert item["inputs"].shape == (3, 32, 32)
        assert sorted(item["orders"].tolist()) == [0, 1, 2, 3]
    gray = data(folder, augment=False)[0]["inputs"]
    wanted = [(90 - m) / s for m, s in zip(NORM["mean"], NORM["std"], strict=True)]
    assert gray.mean(dim=(1, 2)).tolist() == pytest.approx(wanted, abs=0.05)
    told = facts({"data": str(folder)}, "mine")
    assert told.counts == {"train": 4, "test": 4}


def test_a_crop_is_that_of_the_picture(tmp_path: Path) -> None:
    """Not augmented: the middle square, whichever way the file is decoded."""
    (tmp_path / "mine").mkdir()
    ramp = np.tile(np.linspace(0, 255, 800, dtype=np.uint8)[None, :, None], (400, 1, 3))
    for name in ("a.png", "b.jpg"):
        Image.fromarray(ramp).save(tmp_path / "mine" / name, quality=95)
    found = data(tmp_path, augment=False)
    for index in range(2):
        red = found[index]["inputs"][0] * 50 + 100
        assert float(red[:, 0].mean()) == pytest.approx(255 * 206 / 800, abs=3)
        assert float(red[:, -1].mean()) == pytest.approx(255 * 594 / 800, abs=3)


def test_judged_pictures_hide_the_same_patches_each_time(folder: Path) -> None:
    first, again = (data(folder, "test")[2] for _ in range(2))
    assert all(torch.equal(first[key], again[key]) for key in first)


def test_what_a_draw_hides_depends_on_the_draw_alone(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    Image.new("RGB", (64, 64)).save(tmp_path / "mine" / "a.png")
    source = {"name": "Million-AID", "variant": "release", "data": str(tmp_path), "cache": ""}
    mae = {"image_size": 64, "patch": 8, "crop": [0.2, 1.0], "augment": True}
    found = UnlabelledImages(source, "mine", "train", mae, NORM)
    orders = []
    for draw in (5, 5, 6):
        with seeded(1, draw):
            orders.append(found[0]["orders"])
    assert torch.equal(orders[0], orders[1])
    assert not torch.equal(orders[0], orders[2])


def test_channels_turn_round_where_weights_take_them_so(folder: Path) -> None:
    rgb, bgr = (data(folder, "test", channel_order=order)[1]["inputs"] for order in ("rgb", "bgr"))
    assert torch.equal(rgb.flip(0), bgr)


def test_a_file_that_is_no_picture_is_named(folder: Path) -> None:
    (folder / "mine" / "broken.jpg").write_bytes(b"nothing of the kind")
    found = data(folder)
    with pytest.raises(UserError, match=r"broken\.jpg: cannot be read \(.*\): mend it, or take"):
        found[len(found) - 5]


def test_colours_survive_every_mode(folder: Path) -> None:
    """CMYK 90, 100, 110, 120 is no colour of its own here; alpha is left out."""
    found = data(folder, augment=False)
    rgba = found[2]["inputs"].mean(dim=(1, 2)).tolist()
    wanted = [(v - m) / s for v, m, s in zip((90, 100, 110), *NORM.values(), strict=True)]
    assert rgba == pytest.approx(wanted, abs=0.02)


def test_what_has_more_than_eight_bits_is_refused(folder: Path) -> None:
    Image.fromarray(np.full((40, 40), 500, np.uint16)).save(folder / "mine" / "deep.png")
    found = data(folder)
    index = next(i for i, path in enumerate(found.samples) if path.name == "deep.png")
    with pytest.raises(UserError, match=r"deep\.png: cannot be read \(more than 8 bits"):
        found[index]


def test_judged_pictures_are_spread_over_all(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    for number in range(400):
        (tmp_path / "mine" / f"{number:03d}.jpg").touch()
    chosen = [int(path.stem) for path in data(tmp_path, "test").samples]
    assert len(chosen) == 256
    assert chosen[-1] > 390
    assert chosen == sorted(set(chosen))


@pytest.mark.parametrize(("name", "told"), [("none", "no such folder"), ("empty", "no picture")])
def test_a_folder_without_pictures_is_refused(name: str, told: str, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=told):
        pictures({"data": str(tmp_path)}, name)
