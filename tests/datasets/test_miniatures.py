"""Miniatures: labels agree with the pictures, and read without a defect in the official layouts."""

import json
import re
from collections import Counter
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pytest
import shapely

from mtp_bench import catalog
from mtp_bench.datasets.reading import examine, reader_of
from mtp_bench.datasets.scenes import RENDERER_VERSION, boxes
from mtp_bench.datasets.scenes.boxes import labelled
from mtp_bench.datasets.scenes.dates import changed, later, rebuilt, renewed
from mtp_bench.datasets.scenes.geometry import Region, Scene, Thing, View, slab, unit
from mtp_bench.datasets.scenes.labels import Frame, hulls, land_mask, paint, quads, settled
from mtp_bench.datasets.scenes.masks import CITIES, dates
from mtp_bench.datasets.scenes.miniature import MINIATURES, scene_of, write_miniature
from mtp_bench.datasets.scenes.worlds import LAND, WORLDS, Shot

NAMES = [
    *("EuroSAT", "RESISC45", "xView", "DIOR", "DIOR-R", "FAIR1M-2.0", "DOTA-v1.0", "DOTA-v2.0"),
    *("SpaceNet-v1", "LoveDA", "OSCD", "WHU-CD", "LEVIR-CD", "SVCD"),
    *("SOTA-RBB", "SIOR", "FAST", "Million-AID"),
]
BOXED = sorted(name for name, world in WORLDS.items() if world.classes)
FRAME = Frame(100, 100)
VIEW = View(1, 0.0, 1.0, (1.0, 1.0, 1.0), (0.0, 0.0, 0.0), 0.0, 0.3, 0.0)


def few(monkeypatch: pytest.MonkeyPatch, name: str, count: int) -> None:
    """Leave a miniature so many pictures a split, or a class."""
    whole = MINIATURES[name]
    splits = {split: min(n, count) for split, n in whole.splits.items()}
    fewer = whole._replace(images_per_class=whole.images_per_class and count, splits=splits)
    monkeypatch.setitem(MINIATURES, name, fewer)


def files(root: Path) -> dict[str, bytes]:
    there = sorted(path for path in root.rglob("*") if path.is_file())
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in there}


def still(scene: Scene) -> Scene:
    """The scene on a clear day, through an instrument without noise."""
    return replace(scene, view=replace(scene.view, noise=0.0, haze=0.0))


def differs(one: Scene, two: Scene, frame: Frame) -> npt.NDArray[np.bool_]:
    shown = (paint(scene, frame).astype(int) for scene in (one, two))
    return np.asarray(np.abs(next(shown) - next(shown)).max(axis=-1) > 2)


def plain(*things: Thing, regions: tuple[Region, ...] = ()) -> Scene:
    """A meadow of 100 m, a pixel a metre, with these things."""
    meadow = Region("grass", tuple(slab(50 + 50j, 0.0, 200, 200).tolist()), (1.0, 1.0, 1.0))
    return Scene(100.0, 1.0, 3, (meadow, *regions), things, VIEW)


def thing(kind: str, at: complex, length: float = 12.0, width: float = 8.0) -> Thing:
    return Thing(kind, at, length, width, 0.3, 3.0, (0.9, 0.1, 0.1))


def test_there_is_a_miniature_of_every_dataset() -> None:
    assert list(MINIATURES) == NAMES
    for name, miniature in MINIATURES.items():
        assert set(miniature.classes) <= set(catalog.load("dataset", name).classes)
    assert {path.rpartition("/")[2] for path in LAND} == set(MINIATURES["Million-AID"].classes)


def test_type_ids_of_xview_are_those_of_its_card() -> None:
    card = catalog.load("dataset", "xView")
    assert set(boxes.XVIEW_IDS) == set(MINIATURES["xView"].classes)
    for name, number in boxes.XVIEW_IDS.items():
        assert card.classes[card.coding.values[number]] == name


@pytest.mark.parametrize("name", NAMES)
def test_a_miniature_reads_without_a_defect(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(WORLDS, "WHU-CD", WORLDS["WHU-CD"]._replace(frame=Frame(300, 200)))
    few(monkeypatch, name, 2)
    write_miniature(name, tmp_path)
    card = catalog.load("dataset", name)
    found = reader_of(card).find(tmp_path, card)
    assert not found.defects
    told = json.loads(next(tmp_path.rglob("miniature.json")).read_text())
    assert Counter(item.split for item in found.items) == told.pop("splits")
    names = ["DIOR", "DIOR-R"] if name.startswith("DIOR") else [name]
    assert told == {
        "synthetic": True,
        "dataset": names,
        "renderer": RENDERER_VERSION,
        "seed": 0,
    }
    for item in found.items:
        examined = examine(item, card)
        assert {defect.kind for defect in examined.defects} <= {"picture-size"}
        if examined.objects is not None and card.splits[item.split].labelled:
            assert len(examined.objects)
            assert {card.classes[i] for i in examined.objects.labels} <= set(
                MINIATURES[name].classes
            )


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("xView", "train_images/1.tif val_images/2001.tif xView_train.geojson"),
        ("DIOR", "JPEGImages-trainval/05863.jpg JPEGImages-test/11726.jpg ImageSets/Main/val.txt"),
        ("FAIR1M-2.0", "train/part1/images/0.tif validation/labelXml/0.xml test/images/0.tif"),
        ("DOTA-v1.0", "train/images/P0004.png val/labelTxt/P0005.txt test/images/P0006.png"),
        ("DOTA-v2.0", "train/labelTxt-v2.0/P0004.txt test-dev/images/P0006.png"),
        (
            "SpaceNet-v1",
            "train/3band/3band_AOI_1_RIO_img1.tif train/geojson/Geo_AOI_1_RIO_img1.geojson",
        ),
        ("LoveDA", "Train/Rural/masks_png/0.png Test/Rural/images_png/4191.png"),
        ("LEVIR-CD", "train/A/train_1.png val/label/val_1.png test/B/test_1.png"),
        ("SVCD", "ChangeDetectionDataset/Real/subset/test/OUT/00000.jpg"),
        (
            "SOTA-RBB",
            "dotav2_1024_rbb/trainval/rhbox_segs_init/ins/P0001__1024__0___0.pkl "
            "dotav2_1024_rbb/miniature.json",
        ),
        ("SIOR", "dior/hbox_segs_trainvaltest_init/gray/00001.png dior/JPEGImages-trainval"),
        ("FAST", "fair1m_1024/trainval/rbbtxts/1__1024__0___0.txt"),
        ("Million-AID", "train/agriculture_land/arable_land/dry_field test/P0000000.jpg"),
    ],
)
def test_files_are_named_as_in_the_release(
    name: str, expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    few(monkeypatch, name, 1)
    (tmp_path / "other part").mkdir()
    write_miniature(name, tmp_path)
    assert not [path for path in expected.split() if not (tmp_path / path).exists()]


def test_oscd_has_13_bands_of_its_first_cities(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(MINIATURES, "OSCD", MINIATURES["OSCD"]._replace(splits={"test": 1}))
    write_miniature("OSCD", tmp_path)
    images = tmp_path / "Onera Satellite Change Detection dataset - Images"
    assert (images / "test.txt").read_text() == CITIES["test"].split()[0] == "brasilia"
    assert len(list(images.glob("brasilia/imgs_2_rect/B*.tif"))) == 13
    assert len(list(images.glob("brasilia/imgs_1/S2A_*_B8A.tif"))) == 1


@pytest.mark.parametrize("name", ["DIOR", "SOTA-RBB"])
def test_workers_and_process_change_no_byte(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    few(monkeypatch, name, 2)
    heard: list[tuple[int, int]] = []
    write_miniature(name, tmp_path / "a")
    write_miniature(name, tmp_path / "b", workers=2, progress=lambda *now: heard.append(now))
    write_miniature(name, tmp_path / "c", seed=1)
    one, two, other = (files(tmp_path / root) for root in "abc")
    assert one == two
    assert heard == [(i + 1, len(heard)) for i in range(2 * len(MINIATURES[name].splits))]
    pictures = [path for path in one if "mages" in path and path.endswith(("jpg", "png"))]
    assert len({one[path] for path in pictures} | {other[path] for path in pictures}) == 2 * len(
        heard
    )


@pytest.mark.parametrize("number", range(1, 9))
def test_a_box_holds_what_vanishes_with_its_object(number: int, tmp_path: Path) -> None:
    frame, classes = WORLDS["DIOR"].frame, WORLDS["DIOR"].classes
    scene = still(labelled(Shot("DIOR", tmp_path, "train", number, 0))[0])
    sizes = shapely.area(shapely.polygons(quads(scene, frame)))
    which = [i for i in np.argsort(sizes) if scene.things[i].kind in classes]
    for i in {which[0], which[len(which) // 2], which[-1]}:
        rest = replace(scene, things=scene.things[:i] + scene.things[i + 1 :])
        gone = differs(scene, rest, frame)
        left, top, right, bottom = np.rint(hulls(scene, frame)[i]).astype(int)
        within = gone[top:bottom, left:right]
        assert within.mean() > 0.15
        assert within.any(axis=1).mean() > 0.8
        assert within.any(axis=0).mean() > 0.8


def test_what_cannot_be_labelled_is_not_shown() -> None:
    good, far = thing("car", 20 + 20j), thing("house", 99 + 20j)
    cut, tiny = thing("car", 99 + 60j, 20.0, 8.0), thing("car", 50 + 80j, 4.0, 2.0)
    outside, corner = thing("car", 103 + 80j, 20.0, 8.0), thing("car", 1 + 1j)
    hidden, hall = thing("truck", 50 + 50j), thing("hall", 50 + 50j, 30.0, 20.0)
    peeping = thing("truck", 50 + 50j + 13 * unit(0.3))
    scene = plain(good, far, cut, tiny, outside, corner, hidden, peeping, hall)
    kept = settled(scene, FRAME, {"car", "truck"})
    assert kept.things == (good, far, cut, hall)
    wider = settled(replace(scene, things=(thing("ship", 99.5 + 50j, 30.0, 6.0),)), FRAME, ["ship"])
    assert len(wider.things) == 1
    beyond = settled(plain(thing("ship", 100.5 + 50j, 30.0, 6.0)), FRAME, ["ship"])
    assert not beyond.things


def test_land_masks_follow_what_is_seen() -> None:
    def ground(cover: str, at: complex, rows: complex = 0) -> Region:
        return Region(cover, tuple(slab(at, 0.0, 20, 20).tolist()), (1.0, 1.0, 1.0), rows)

    scene = plain(
        thing("house", 20 + 20j),
        thing("tree", 50 + 20j),
        thing("car", 80 + 20j),
        regions=(
            ground("asphalt", 80 + 20j),
            ground("water", 20 + 50j),
            ground("soil", 50 + 50j),
            ground("soil", 80 + 50j, 0.1j),
            ground("forest", 20 + 80j),
            ground("crop", 50 + 80j),
        ),
    )
    mask = land_mask(scene, FRAME)
    seen = [int(mask[y, x]) for y in (20, 50, 80) for x in (20, 50, 80)]
    assert seen == [2, 6, 3, 4, 5, 7, 6, 7, 1]


@pytest.mark.parametrize("blocks", [False, True])
def test_dates_differ_where_the_mask_says_but_for_shadows(blocks: bool) -> None:
    frame, rng = Frame(256, 256), np.random.default_rng(4)
    scene = still(scene_of("RESISC45", "dense_residential", 3))
    one, two = rebuilt(scene, rng, 0.3) if blocks else renewed(scene, rng, 0.3, ["house"])
    mask, gone = changed(one, two, frame).astype(np.uint8), differs(one, two, frame)
    assert 0.02 < mask.mean() < 0.6
    assert gone[mask > 0].mean() > 0.9
    tallest = max(t.height for t in {*one.things} ^ {*two.things})
    reach = 2 + int(frame.scale(scene) * tallest / np.tan(scene.view.elevation))
    grown = cv2.dilate(mask, np.ones((2 * reach + 1, 2 * reach + 1), np.uint8))
    assert not gone[grown == 0].any()


def test_buildings_come_and_go_and_some_places_stay() -> None:
    shots = [Shot("LEVIR-CD", Path(), "train", number, 0) for number in range(1, 15)]
    pairs = [dates(shot) for shot in shots]
    kinds = [({*a.things} - {*b.things}, {*b.things} - {*a.things}) for a, b in pairs]
    assert [not gone and not new for gone, new in kinds].count(True) >= 2
    assert sum(len(gone) for gone, _ in kinds) > 10
    assert sum(len(new) for _, new in kinds) > 10
    assert {t.kind for both in kinds for side in both for t in side} <= {"house", "hall"}
    assert all(a.regions == b.regions and a.view != b.view for a, b in pairs)


@pytest.mark.parametrize("theme", ["dense_residential", "storage_tank"])
def test_another_day_changes_the_picture_but_not_the_mask(theme: str) -> None:
    scene, frame = scene_of("RESISC45", theme, 1), Frame(512, 512)
    day = replace(scene, view=later(np.random.default_rng(0), scene.view, 0.1))
    assert not changed(scene, day, frame).any()
    assert differs(scene, day, frame).mean() > 0.3


@pytest.mark.parametrize("name", BOXED)
def test_every_class_of_a_miniature_is_shown_by_one_of_its_scenes(
    name: str, tmp_path: Path
) -> None:
    shown: set[str] = set()
    for number in range(1, 2 * len(WORLDS[name].themes) + 1):
        shown |= {row[0] for row in labelled(Shot(name, tmp_path, "train", number, 0))[1]}
    assert shown == set(WORLDS[name].classes.values())


def test_rotated_boxes_of_dior_begin_left_top_and_go_clockwise(tmp_path: Path) -> None:
    _, labels = labelled(Shot("DIOR", tmp_path, "train", 4, 0))
    xml = boxes.dior_obb("00001.jpg", WORLDS["DIOR"].frame, labels)
    values = [int(v) for v in re.findall(r"<[xy]_\w+>(-?\d+)<", xml)]
    found = np.array(values).reshape(-1, 4, 2)
    assert len(found) == len(labels) > 20
    assert (found.sum(axis=2).argmin(axis=1) == 0).mean() > 0.9  # ties by rounding
    assert shapely.is_ccw(shapely.linearrings(found)).all()  # as y points down
