"""Which label maps are drawn first, and what is drawn and written of one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from mtp_bench.datasets.cards import levir_cd, loveda
from mtp_bench.datasets.cards.card import IGNORE
from mtp_bench.datasets.draw import CAPTION, colour
from mtp_bench.datasets.loading import load, source_of
from mtp_bench.tasks.map_pictures import draw_worst, drawn, truths_of, write_labels, wrong
from mtp_bench.tasks.masks import labels_of
from tests import tiny_maps
from tests.tiny_maps import SIZE, noise, save

WIDE, HIGH = SIZE


def shown(path: Path) -> NDArray[np.int64]:
    with Image.open(path) as image:
        return np.asarray(image, dtype=np.int64)


def test_what_is_ignored_is_neither_right_nor_wrong() -> None:
    truth = np.array([[0, 1, IGNORE], [2, IGNORE, 2]], dtype=np.uint8)
    assert wrong(truth, np.array([[0, 2, 0], [2, 1, 1]], dtype=np.uint8)) == (2, 4)
    assert wrong(np.full((2, 2), IGNORE, np.uint8), np.zeros((2, 2), np.uint8)) == (0, 0)


def test_the_largest_share_of_wrong_pixels_is_drawn_first(tmp_path: Path) -> None:
    root = tiny_maps.write_loveda(tmp_path / "cache")
    for name, columns in (("2", WIDE), ("3", 20)):  # of the second most counts nothing
        path = next(root.glob(f"Val/*/masks_png/{name}.png"))
        mask = np.zeros((HIGH, WIDE), dtype=np.uint8)
        mask[:, :columns] = 1
        save(path, mask)
    job = tiny_maps.job(tmp_path, "LoveDA", stride=48)
    source_of(job.spec, job.roots).prepare()
    for name, columns in (("Rural%2F2", 30), ("Urban%2F3", 10)):
        labels = np.zeros((HIGH, WIDE), dtype=np.uint8)
        labels[:, :columns] = 3
        save(tmp_path / "test" / f"val__{name}.png", labels)
    folder = tmp_path / "pictures"
    save(folder / "03_9_old.jpg", noise(SIZE, 0))  # of an earlier attempt
    assert draw_worst(job.spec, job.roots, tmp_path / "test", folder) == 2
    names = sorted(path.name for path in folder.iterdir())
    assert names == [f"00_{10 * HIGH}_Urban%2F3.jpg", f"01_{30 * HIGH}_Rural%2F2.jpg"]
    picture = shown(folder / names[1])
    assert picture.shape[1] == 3 * WIDE
    left, *_, right = np.split(picture[:HIGH], 3, axis=1)
    given = shown(root / "Val" / "Rural" / "images_png" / "2.png")
    assert np.abs(left - given).mean() < 8  # JPEG
    assert np.abs(right[:, :26] - (0.55 * given + 0.45 * np.array(colour(3)))[:, :26]).mean() < 8


def test_of_pairs_most_wrong_pixels_come_first(tmp_path: Path) -> None:
    root = tiny_maps.write_levir(tmp_path / "cache")
    job = tiny_maps.job(tmp_path, "LEVIR-CD")
    source_of(job.spec, job.roots).prepare()
    samples = load(source_of(job.spec, job.roots)).by_split("test")["test"]
    counts = [0, 5, 4, 3, 2, 1, 0, 0]  # of four windows of two pairs
    for sample, count in zip(samples, counts, strict=True):
        assert sample.mask is not None
        labels = labels_of(sample).copy()
        labels[:count, 0] = 1 - labels[:count, 0]
        save(tmp_path / "test" / f"test__{sample.mask.name}", labels)
    assert draw_worst(job.spec, job.roots, tmp_path / "test", tmp_path / "pictures") == 4
    names = sorted(path.name for path in (tmp_path / "pictures").iterdir())
    assert [int(name.split("_")[1]) for name in names] == [5, 4, 3, 2]
    assert names[0] == "00_5_test_1__64__64___0.jpg"
    picture = shown(tmp_path / "pictures" / names[0])
    before, after, truth, found = np.split(picture[:64], 4, axis=1)
    for date, panel in (("A", before), ("B", after)):
        given = shown(root / "test" / date / "test_1.png")[:64, 64:]
        assert np.abs(panel[:, : WIDE - 64] - given).mean() < 8
    assert truth[:, :40].max() < 60
    assert found[:2, 0].min() > 90 > found[20:, :40].max()


def test_a_prediction_alone_has_one_panel_and_a_legend() -> None:
    labels = np.full((HIGH, WIDE), 4, dtype=np.uint8)
    picture = Image.fromarray(noise(SIZE, 1))
    alone = drawn([picture], loveda.CARD, labels, None)
    assert alone.size == (WIDE, HIGH + CAPTION + 7 * CAPTION)
    assert alone.getpixel((8, HIGH + CAPTION + 4 * CAPTION + 8)) == colour(4)
    assert drawn([picture] * 2, levir_cd.CARD, labels // 4, labels // 4).width == 4 * WIDE


@pytest.mark.parametrize("name", ["map.png", "map.tif"])
def test_a_label_map_is_classes_and_colours(name: str, tmp_path: Path) -> None:
    labels = (np.arange(HIGH * WIDE) % 7).astype(np.uint8).reshape(HIGH, WIDE)
    like = tmp_path / "like.tif"
    Image.fromarray(noise(SIZE, 1)).save(like)
    write_labels(labels, loveda.CARD, tmp_path / name, like)
    with Image.open(tmp_path / name) as image:
        assert image.mode == "P"
        assert (np.asarray(image) == labels).all()
        assert image.convert("RGB").getpixel((1, 0)) == colour(1)


def test_truths_are_those_of_test_samples(tmp_path: Path) -> None:
    root = tiny_maps.write_loveda(tmp_path / "cache")
    job = tiny_maps.job(tmp_path, "LoveDA", stride=48)
    known = (root / "Val" / "Urban" / "images_png" / "3.png",)
    train = (root / "Train" / "Rural" / "images_png" / "0.png",)
    foreign = (tmp_path / "3.png",)
    foreign[0].write_bytes(known[0].read_bytes())
    assert truths_of(job.spec, job.roots, [known]) == {}  # not prepared
    source_of(job.spec, job.roots).prepare()
    found = truths_of(job.spec, job.roots, [train, known, foreign])
    assert list(found) == [known]
    with Image.open(root / "Val" / "Urban" / "masks_png" / "3.png") as mask:
        assert (found[known] == (np.asarray(mask) - 1)).all()  # 0 becomes 255
