"""Detection as downloaded: packagings, lists and cards of the releases, and what is known wrong."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from mtp_bench.datasets.cards import dior, dior_r, dota_v1, dota_v2, fair1m, xview
from mtp_bench.datasets.cards.card import Card, Split
from mtp_bench.datasets.counts import count_faults
from mtp_bench.datasets.defects import KINDS, POLICY, Defect, why_known
from mtp_bench.datasets.reading import reader_of
from mtp_bench.datasets.samples import deal
from mtp_bench.errors import UserError
from tests.datasets.dialects import DIALECTS, QUAD, check, picture, save, told, write


@pytest.mark.parametrize(
    "label",
    [
        "labelTxt-v2.0/labelTxt",
        "labelTxt-v2.0/DOTA-v2.0_train",
        "labelTxt-v2.0",
        "annotations/version2.0",
        "labelTxt",
    ],
)
@pytest.mark.parametrize("images", ["images", "images/part1", "images/part1/images"])
def test_packagings_of_dota(label: str, images: str, tmp_path: Path) -> None:
    picture(tmp_path / "train" / images / "P0001.png")
    save(tmp_path / "train" / label / "P0001.txt", f"{' '.join(QUAD)} helipad 0")
    save(tmp_path / "train/labelTxt-v1.0/labelTxt/P0002.txt", "of another version")
    _, examined, defects = check(tmp_path, dota_v2.CARD)
    assert not defects
    assert [len(each.objects or ()) for each in examined] == [1]


def test_labels_of_another_version_of_dota_and_horizontal_ones(tmp_path: Path) -> None:
    dialect = DIALECTS["DOTA-v1.0"]
    write(tmp_path, dialect, dialect.good.replace("ship", "container-crane"))
    assert "came with DOTA-v1.5" in check(tmp_path, dialect.card)[2][0].what
    folder = tmp_path / "train" / "labelTxt-v1.0"
    folder.mkdir()
    (tmp_path / "train" / "labelTxt").rename(folder / "trainset_reclabelTxt")
    defects = check(tmp_path, dialect.card)[2]
    assert told(defects[:1], tmp_path) == [("layout", "train", None)]
    assert [d.kind for d in defects[1:]] == ["label-missing"]


def test_the_package_of_dota_v2_lacks_images(tmp_path: Path) -> None:
    save(tmp_path / "train/labelTxt-v2.0/P0001.txt", "")
    defects = check(tmp_path, dota_v2.CARD)[2]
    assert told(defects[:1], tmp_path) == [("image-missing", "train/images", None)]
    assert "lacks the images of v1.0" in defects[0].what


@pytest.mark.parametrize(
    ("card", "place", "name"),
    [
        (dota_v1.CARD, "test/images", "P0004__1__0___0.png"),
        (dota_v1.CARD, "test/images", "P0004__1024__824___0.png"),
        (dota_v1.CARD, "test/images", "P4__0.5__0___9.png"),
        (fair1m.CARD, "test/images", "12__1024__0___824.tif"),
        (xview.CARD, "train_images", "5__416__416___0.tif"),
    ],
)
def test_tiles_are_no_scenes(card: Card, place: str, name: str, tmp_path: Path) -> None:
    picture(tmp_path / place / name)
    tiles = [defect for defect in check(tmp_path, card)[2] if defect.kind == "tiled"]
    assert told(tiles, tmp_path) == [("tiled", place, None)]


def test_an_image_that_the_release_lacks_is_not_counted(tmp_path: Path) -> None:
    dialect = DIALECTS["xView"]
    write(tmp_path, dialect, dialect.good.replace("100.tif", "1395.tif"))
    splits = {"train": Split(images=1, confirmed=False)}
    card = dataclasses.replace(dialect.card, splits={**dialect.card.splits, **splits})
    found = reader_of(card).find(tmp_path, card)
    assert [defect.what.split(":")[0] for defect in count_faults(card, found)] == ["val"]
    picture(tmp_path / "train_images/1395.tif")
    assert [defect.what.split(":")[0] for defect in count_faults(card, found)] == ["train", "val"]


def test_a_split_that_is_not_there_is_no_other_count(tmp_path: Path) -> None:
    picture(tmp_path / "val/images/P0001.png")
    found = reader_of(dota_v1.CARD).find(tmp_path, dota_v1.CARD)
    told_of = {d.what.split(":")[0]: d.kind for d in count_faults(dota_v1.CARD, found)}
    assert told_of == {"train": "count", "val": "expected-count", "test": "expected-count"}


@pytest.mark.parametrize("card", [dialect.card for dialect in DIALECTS.values()], ids=DIALECTS)
def test_nothing_of_the_release_is_the_users_error(card: Card, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    with pytest.raises(UserError, match=rf"{card.name}: .*expected .*found: other"):
        reader_of(card).find(tmp_path, card)


def test_lists_of_dior(tmp_path: Path) -> None:
    dialect = DIALECTS["DIOR"]
    write(tmp_path, dialect)
    picture(tmp_path / "JPEGImages-trainval" / "00003.jpg")
    save(tmp_path / "ImageSets/Main/train.txt", "00001\r\n00001\r\n../00002\r\n")
    save(tmp_path / "ImageSets/Main/val.txt", "\n00001\n")
    (tmp_path / "ImageSets/Main/test.txt").unlink()
    found = reader_of(dialect.card).find(tmp_path, dialect.card)
    assert told(list(found.defects), tmp_path) == [
        ("duplicate", "ImageSets/Main/train.txt", 2),
        ("layout", "ImageSets/Main/train.txt", 3),
        ("leak", "ImageSets/Main/val.txt", 2),
        ("layout", "ImageSets/Main/test.txt", None),
        ("unexpected", "JPEGImages-trainval/00003.jpg", None),
    ]
    assert [(item.split, item.key) for item in found.items] == [
        ("train", "00001"),
        ("val", "00001"),
    ]


@pytest.mark.parametrize(("name", "objects"), [("DIOR", 1), ("DIOR-R", 0)])
def test_torchgeos_copy_of_dior_is_read_and_told(name: str, objects: int, tmp_path: Path) -> None:
    dialect = DIALECTS["DIOR"]  # the copy has horizontal boxes only
    write(tmp_path, dialect)
    (tmp_path / "JPEGImages-trainval").rename(tmp_path / "Images")
    (tmp_path / "Images" / "trainval").mkdir()
    (tmp_path / "Images" / "00001.jpg").rename(tmp_path / "Images" / "trainval" / "00001.jpg")
    (tmp_path / dior.BOXES).rename(tmp_path / "Annotations" / "trainval")
    picture(tmp_path / "Images" / "test" / "11726.jpg")
    table = (
        "image_path,label_path,split\nImages/trainval/00001.jpg,,val\nImages/test/11726.jpg,,test\n"
    )
    save(tmp_path / "sample_df.csv", table)
    for path in (tmp_path / "ImageSets" / "Main").iterdir():
        path.unlink()
    (tmp_path / "ImageSets" / "Main").rmdir()
    (tmp_path / "ImageSets").rmdir()
    _, examined, defects = check(tmp_path, DIALECTS[name].card)
    counts = [(each.item.split, len(each.objects or ())) for each in examined]
    assert counts == [("val", objects), ("test", 0)]
    assert [d.kind for d in defects] == ["layout"] + ["label-missing"] * (2 - objects)


@pytest.mark.parametrize("folder", ["labelXml", "labelXmls"])
def test_parts_of_fair1m_share_numbers(folder: str, tmp_path: Path) -> None:
    dialect = DIALECTS["FAIR1M-2.0"]
    text = dialect.head + dialect.good + dialect.foot
    for place in ("train/part1", "train/part2", "validation", "test"):
        picture(tmp_path / place / "images" / "2.tif")
        picture(tmp_path / place / "images" / "10.tif")
        if place != "test":
            save(tmp_path / place / folder / "2.xml", text)
            save(tmp_path / place / folder / "10.xml", text)
    found, examined, defects = check(tmp_path, dialect.card)
    assert not defects
    keys = [f"{item.split}:{item.key}" for item in found.items]
    assert keys[:4] == ["train:part1/2", "train:part1/10", "train:part2/2", "train:part2/10"]
    assert keys[4:] == ["val:2", "val:10", "test:2", "test:10"]
    assert [each.objects is None for each in examined] == [False] * 6 + [True] * 2


def test_cards_hold_the_facts_of_the_release() -> None:
    cards = (xview.CARD, dior.CARD, dior_r.CARD, fair1m.CARD, dota_v1.CARD, dota_v2.CARD)
    assert [len(card.classes) for card in cards] == [60, 20, 20, 37, 15, 18]
    assert fair1m.CARD.classes == tuple(sorted(fair1m.CARD.classes, key=str.lower))
    assert sum(split.objects or 0 for split in dior.CARD.splits.values()) == 192_518
    draw = xview.CARD.draw
    assert draw is not None
    assert [len(part) for part in deal(draw, 846).values()] == [700, 146]
    assert [[len(part) for part in deal(draw, n).values()] for n in (0, 1, 2, 3)] == [
        [0, 0],
        [1, 0],
        [1, 1],
        [2, 1],
    ]
    for card in cards:
        assert len(set(card.classes)) == len(card.classes)
        assert {known.kind for known in card.known} | card.policy.keys() <= KINDS.keys()
        assert set(card.aliases.values()) <= set(card.classes)
        assert not set(card.aliases) & set(card.classes)
        wanted = set(card.splits) | set(card.draw.shares if card.draw else ())
        assert {split for splits in card.roles.values() for split in splits} <= wanted
        assert all(POLICY.get(kind) != action for kind, action in card.policy.items())


@pytest.mark.parametrize(
    ("card", "kind", "place", "known"),
    [
        (dior.CARD, "zero-area", f"{dior.BOXES}/04137.xml", True),
        (dior.CARD, "zero-area", f"{dior.BOXES}/04138.xml", False),
        (dior_r.CARD, "size", f"{dior_r.BOXES}/12001.xml", True),
        (dior_r.CARD, "zero-area", f"{dior_r.BOXES}/08325.xml", False),
        (fair1m.CARD, "geographic", "train/part2/labelXmls/16088.xml", True),
        (fair1m.CARD, "geographic", "train/part1/labelXml/1088.xml", False),
        (fair1m.CARD, "zero-area", "validation/labelXml/0.xml", False),
        (xview.CARD, "image-missing", "train_images/1395.tif", True),
        (xview.CARD, "image-missing", "train_images/1396.tif", False),
        (xview.CARD, "no-class", "xView_train.geojson", True),
    ],
)
def test_known_defects(card: Card, kind: str, place: str, known: bool, tmp_path: Path) -> None:
    defect = Defect(kind, tmp_path / place, "")
    assert (why_known(defect, card, tmp_path) is not None) == known
