"""Readers of label images: SpaceNet, LoveDA, OSCD, pairs of dates, Million-AID; also spoiled."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import rasterio
from PIL import Image
from rasterio import Affine

from mtp_bench.datasets.cards import levir_cd, loveda, million_aid, oscd, spacenet_v1, svcd, whu_cd
from mtp_bench.datasets.cards.card import IGNORE, Card, Coding
from mtp_bench.datasets.check import check
from mtp_bench.datasets.formats import change_pairs
from mtp_bench.datasets.formats.label_images import decode, label_window
from mtp_bench.datasets.formats.oscd import BANDS, bands
from mtp_bench.datasets.pixels import opened
from mtp_bench.datasets.reading import Examined, examine, reader_of
from mtp_bench.errors import UserError

SIDE = 8
Pixels = npt.NDArray[Any]
Spoil = Callable[[Path], object]
COLOUR = np.arange(SIDE * SIDE * 3, dtype=np.uint8).reshape(SIDE, SIDE, 3)


def gray(*values: int) -> Pixels:
    """A label that has these values, one row each, the last for the rest."""
    rows = [*values, *[values[-1]] * (SIDE - len(values))]
    return np.repeat(np.array(rows, dtype=np.uint8)[:, None], SIDE, axis=1)


def save(path: Path, pixels: Pixels, **how: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, **how)
    return path


def save_tif(path: Path, pixels: Pixels, **how: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    planes = pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)
    count, high, wide = planes.shape
    facts = {"driver": "GTiff", "width": wide, "height": high, "count": count, "transform": PLACE}
    with rasterio.open(path, "w", dtype=pixels.dtype, **facts, **how) as raster:
        raster.write(planes)
    return path


def look(root: Path, card: Card) -> tuple[dict[str, Examined], set[tuple[str, str]]]:
    """Every item by split and key; (kind, name of the file) of every defect but of the size."""
    found = reader_of(card).find(root, card)
    seen = {f"{item.split}/{item.key}": examine(item, card) for item in found.items}
    defects = [*found.defects, *(d for one in seen.values() for d in one.defects)]
    return seen, {(d.kind, d.place.name) for d in defects if d.kind != "picture-size"}


def mask(seen: dict[str, Examined], name: str) -> Pixels:
    parsed = seen[name].parsed.mask
    assert parsed is not None
    return parsed


# SpaceNet

STEP, LEFT, TOP = 0.001, -43.5, -22.5
PLACE = Affine(STEP, 0, LEFT, 0, -STEP, TOP)


def square(left: float, top: float, side: float = 2, z: bool = False) -> list[list[Any]]:
    """A ring in degrees from a square in pixels."""
    ring = [(0, 0), (side, 0), (side, side), (0, side), (0, 0)]
    points = [degrees(left + x, top + y) for x, y in ring]
    return [[*point, 0.0] if z else point for point in points]


def degrees(x: float, y: float) -> list[float]:
    return [LEFT + STEP * x, TOP - STEP * y]


def feature(*rings: list[list[Any]], kind: str = "Polygon") -> dict[str, Any]:
    coordinates = [[ring] for ring in rings] if kind == "MultiPolygon" else list(rings)
    return {"type": "Feature", "geometry": {"type": kind, "coordinates": coordinates}}


def collection(*features: Any, **more: Any) -> bytes:
    return json.dumps({"type": "FeatureCollection", "features": features, **more}).encode()


def chip(root: Path, label: bytes | None, name: str = "AOI_1_RIO_img1") -> Path:
    save_tif(root / f"3band/3band_{name}.tif", COLOUR, crs="EPSG:4326")
    if label is not None:
        path = root / f"geojson/Geo_{name}.geojson"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(label)
    return root


def burnt(*places: tuple[slice, slice]) -> Pixels:
    expected = np.zeros((SIDE, SIDE), dtype=np.uint8)
    for rows, columns in places:
        expected[rows, columns] = 1
    return expected


TWO = burnt((slice(1, 3), slice(2, 4)))


@pytest.mark.parametrize(
    ("label", "expected"),
    [
        (collection(feature(square(2, 1))), TWO),
        (collection(feature(square(2, 1, z=True))), TWO),
        (collection(feature(square(2, 1, 4), square(3, 2))), None),
        (
            collection(feature(square(2, 1), square(5, 5), kind="MultiPolygon")),
            burnt((slice(1, 3), slice(2, 4)), (slice(5, 7), slice(5, 7))),
        ),
        (collection(feature(square(-1, 0))), burnt((slice(0, 2), slice(0, 1)))),
        (collection(), burnt()),
        (b"", burnt()),
    ],
    ids=["square", "3d", "hole", "multi", "across the edge", "no features", "no bytes"],
)
def test_footprints_are_burnt_where_they_lie(
    tmp_path: Path, label: bytes, expected: Pixels | None
) -> None:
    seen, defects = look(chip(tmp_path / "train", label).parent, spacenet_v1.CARD)
    if expected is None:
        expected = burnt((slice(1, 5), slice(2, 6)))
        expected[2:4, 3:5] = 0
    np.testing.assert_array_equal(mask(seen, "train/AOI_1_RIO_img1"), expected)
    assert not defects


def test_footprints_of_another_reference_system_are_moved(tmp_path: Path) -> None:
    ring = rasterio.warp.transform(
        "EPSG:4326", "EPSG:32723", *zip(*[p[:2] for p in square(2, 1)], strict=True)
    )
    utm = feature([list(point) for point in zip(*ring, strict=True)])
    crs = {"type": "name", "properties": {"name": "urn:ogc:def:crs:EPSG::32723"}}
    seen, _ = look(chip(tmp_path, collection(utm, crs=crs)), spacenet_v1.CARD)
    np.testing.assert_array_equal(mask(seen, "train/AOI_1_RIO_img1"), TWO)


GEOJSON = "Geo_AOI_1_RIO_img1.geojson"
BOW_TIE = [[degrees(*p) for p in [(2, 1), (6, 5), (6, 1), (2, 5), (2, 1)]]]
WRONG_CRS = {"crs": {"properties": {"name": "EPSG:32723"}}}


@pytest.mark.parametrize(
    ("label", "kind"),
    [
        (collection({"type": "Feature", "geometry": None}, feature(square(2, 1))), "bad-box"),
        (collection(feature([[-43.5, -22.5], [-43.4, -22.4]])), "bad-box"),
        (collection(feature([["a", "b"]] * 4)), "bad-box"),
        (collection({"geometry": {"type": "Point", "coordinates": [-43.5, -22.5]}}), "bad-box"),
        (collection("building"), "bad-box"),
        (collection(feature([[1e9, 9e9], [1, 1], [2, 0], [1e9, 9e9]])), "outside"),
        (collection(feature(square(20, 1))), "outside"),
        (collection(feature(square(2, 1)), **WRONG_CRS), "outside"),
        (collection(feature(*BOW_TIE)), "self-crossing"),
        (b'{"type": "FeatureCollection", "features": [', "label-unreadable"),
        (b"[" * 100_000, "label-unreadable"),
        (b"[1, 2]", "label-unreadable"),
        (collection(crs={"properties": {"name": "Rio"}}), "label-unreadable"),
        (b"\xff\xfe\x00", "label-unreadable"),
    ],
)
def test_spoiled_footprints_are_told(tmp_path: Path, label: bytes, kind: str) -> None:
    _, defects = look(chip(tmp_path, label), spacenet_v1.CARD)
    assert defects == {(kind, GEOJSON)}


def test_a_footprint_that_crosses_itself_is_burnt_mended(tmp_path: Path) -> None:
    seen, _ = look(chip(tmp_path, collection(feature(*BOW_TIE))), spacenet_v1.CARD)
    both = mask(seen, "train/AOI_1_RIO_img1")
    assert both[3, 2] == both[3, 5] == 1
    assert both[1, 4] == both[4, 4] == 0


def test_packagings_of_spacenet_pair_chips_with_footprints(tmp_path: Path) -> None:
    old = "013022223130_Public_img54"
    chip(tmp_path, None, old)
    label = tmp_path / "vectordata" / "geojson" / f"{old}_Geo.geojson"
    label.parent.mkdir(parents=True)
    label.write_bytes(collection(feature(square(2, 1))))
    seen, defects = look(tmp_path, spacenet_v1.CARD)
    np.testing.assert_array_equal(mask(seen, f"train/{old}"), TWO)
    assert set(seen) == {f"train/{old}"}
    assert not defects


def test_masks_of_copies_are_read_and_test_chips_need_no_label(tmp_path: Path) -> None:
    name = "AOI_1_RIO_img1"
    chip(tmp_path / "train", None)
    save_tif(tmp_path / f"train/masks/3band_{name}.tif", TWO * 255)
    chip(tmp_path / "test", None)
    seen, defects = look(tmp_path, spacenet_v1.CARD)
    np.testing.assert_array_equal(mask(seen, f"train/{name}"), TWO)
    assert seen[f"test/{name}"].parsed.mask is None
    assert not defects


def test_chips_without_footprints_and_footprints_without_chips_are_told(tmp_path: Path) -> None:
    chip(tmp_path, None, "AOI_1_RIO_img1")
    chip(tmp_path, collection(), "AOI_1_RIO_img2")
    (tmp_path / "geojson/Geo_AOI_1_RIO_img3.geojson").touch()
    (tmp_path / "3band/notes.txt").touch()
    _, defects = look(tmp_path, spacenet_v1.CARD)
    assert defects == {
        ("label-missing", "3band_AOI_1_RIO_img1.tif"),
        ("image-missing", "3band_AOI_1_RIO_img3.tif"),
        ("unexpected", "notes.txt"),
    }


def test_a_chip_without_georeference_has_no_footprints(tmp_path: Path) -> None:
    chip(tmp_path, collection(feature(square(2, 1))))
    save_tif(tmp_path / "3band/3band_AOI_1_RIO_img1.tif", COLOUR)
    assert look(tmp_path, spacenet_v1.CARD)[1] == {("label-unreadable", GEOJSON)}


# LoveDA


def lands(root: Path, *labels: Pixels, split: str = "Train", domain: str = "Rural") -> Path:
    for number, label in enumerate(labels):
        save(root / split / domain / "images_png" / f"{number}.png", COLOUR)
        save(root / split / domain / "masks_png" / f"{number}.png", label)
    return root


def test_loveda_counts_from_one_and_ignores_zero(tmp_path: Path) -> None:
    seen, defects = look(lands(tmp_path, gray(0, 1, 7)), loveda.CARD)
    np.testing.assert_array_equal(mask(seen, "train/Rural/0"), gray(IGNORE, 0, 6))
    assert not defects


def test_nested_copies_of_loveda_are_read(tmp_path: Path) -> None:
    lands(tmp_path / "Train", gray(1), domain="Urban")
    assert set(look(tmp_path, loveda.CARD)[0]) == {"train/Urban/0"}


@pytest.mark.parametrize(
    ("labels", "told"),
    [
        ([gray(0, 5, 255)], True),
        ([gray(0, 1), gray(0, 6), gray(3, 2), gray(0, 5)], True),
        ([gray(0, 6)], False),  # one mask without class 7 says nothing
        ([gray(0, 7, 255)], False),
        ([gray(0, 1), gray(0, 6), gray(3, 2), gray(0, 7)], False),
        ([gray(0)] * 5, False),
    ],
)
def test_copies_of_loveda_with_classes_from_zero_are_told(
    tmp_path: Path, labels: list[Pixels], told: bool
) -> None:
    found = reader_of(loveda.CARD).find(lands(tmp_path, *labels), loveda.CARD)
    assert [(d.kind, d.place) for d in found.defects] == [("label-value", tmp_path)] * told


def cut_off(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:45])


LAND = Path("Train/Rural")


@pytest.mark.parametrize(
    ("spoil", "kind", "name"),
    [
        (lambda r: save(r / LAND / "masks_png/0.png", gray(1, 9)), "label-value", "0.png"),
        (lambda r: cut_off(r / LAND / "masks_png/0.png"), "label-unreadable", "0.png"),
        (lambda r: (r / LAND / "masks_png/0.png").write_bytes(b""), "label-unreadable", "0.png"),
        (lambda r: (r / LAND / "masks_png/0.png").unlink(), "label-missing", "0.png"),
        (lambda r: save(r / LAND / "masks_png/7.png", gray(1)), "image-missing", "7.png"),
        (lambda r: save(r / LAND / "masks_png/0.png", gray(1)[:4]), "size", "0.png"),
        (lambda r: save(r / LAND / "masks_png/0.png", gray(0)), "all-ignored", "0.png"),
        (lambda r: (r / "Train/Suburban").mkdir(), "unexpected", "Suburban"),
        (
            lambda r: save(r / LAND / "masks_png/0.png", np.dstack([gray(1)] * 3)),
            "alpha",
            "0.png",
        ),
        (lambda r: save(r / LAND / "masks_png/0.png", COLOUR * 9), "label-unreadable", "0.png"),
    ],
)
def test_spoiled_masks_are_told(tmp_path: Path, spoil: Spoil, kind: str, name: str) -> None:
    spoil(lands(tmp_path, gray(1, 7)))
    assert (kind, name) in look(tmp_path, loveda.CARD)[1]


def test_wrong_values_are_named_and_count_nothing(tmp_path: Path) -> None:
    seen, _ = look(lands(tmp_path, gray(9, 8, 8, 1)), loveda.CARD)
    (defect,) = (d for d in seen["train/Rural/0"].defects if d.kind == "label-value")
    assert defect.what == "value 8 in 16 pixels, value 9 in 8 pixels"
    np.testing.assert_array_equal(mask(seen, "train/Rural/0"), gray(*[IGNORE] * 3, 0))


def test_values_become_classes_whatever_their_type() -> None:
    coding = Coding({0: 0, 1: 1})
    for kind in (np.bool_, np.uint8, np.uint16):
        assert decode(np.array([[0, 1]]).astype(kind), coding)[0].tolist() == [[0, 1]]
    assert decode(np.array([[0, 300]], dtype=np.uint16), coding)[1] == {300: 1}
    with pytest.raises(ValueError, match="float32"):
        decode(np.zeros((1, 2), dtype=np.float32), coding)


# OSCD

IMAGES, LABELS = (
    f"Onera Satellite Change Detection dataset - {what}" for what in ("Images", "Train Labels")
)


def city(root: Path, name: str = "paris", label: Pixels | None = None) -> Path:
    place = root / IMAGES / name
    for date in (1, 2):
        save(place / f"pair/img{date}.png", COLOUR)
        for number, band in enumerate(BANDS):
            plane = np.full((SIDE, SIDE), 100 * date + number, dtype=np.uint16)
            save_tif(place / f"imgs_{date}_rect/{band}.tif", plane)
    save(root / LABELS / name / "cm/cm.png", gray(0, 255) if label is None else label)
    (root / IMAGES / "train.txt").write_text(name)
    (root / IMAGES / "test.txt").write_text("")
    return root


def test_oscd_gives_masks_and_thirteen_bands_in_order(tmp_path: Path) -> None:
    seen, defects = look(city(tmp_path), oscd.CARD)
    np.testing.assert_array_equal(mask(seen, "train/paris"), gray(0, 1))
    planes = bands(seen["train/paris"].item, 2)
    assert BANDS[7:10] == ("B08", "B8A", "B09")
    assert planes.shape == (13, SIDE, SIDE)
    assert planes[:, 0, 0].tolist() == [200 + number for number in range(13)]
    assert not defects


@pytest.mark.parametrize("text", ["paris,rio", "paris, rio\r\n", "paris\nrio\n", "\ufeffparis,rio"])
def test_lists_of_cities_are_one_line_or_many(tmp_path: Path, text: str) -> None:
    city(tmp_path)
    (tmp_path / IMAGES / "train.txt").write_text(text, "utf-8")
    seen, defects = look(tmp_path, oscd.CARD)
    assert set(seen) == {"train/paris"}
    assert defects == {("image-missing", "rio")}


def test_without_lists_the_published_ones_hold(tmp_path: Path) -> None:
    city(tmp_path)
    for name in ("train.txt", "test.txt"):
        (tmp_path / IMAGES / name).unlink()
    seen, defects = look(tmp_path, oscd.CARD)
    assert set(seen) == {"train/paris"}
    assert len(defects) == 23


def test_a_list_cannot_name_a_folder_elsewhere(tmp_path: Path) -> None:
    city(tmp_path)
    (tmp_path / IMAGES / "train.txt").write_text("paris,../secret,/etc")
    assert set(look(tmp_path, oscd.CARD)[0]) == {"train/paris"}


def test_cities_unpacked_one_folder_deeper_are_found(tmp_path: Path) -> None:
    city(tmp_path)
    for name, short in ((IMAGES, "images"), (LABELS, "train_labels")):
        (tmp_path / short).mkdir()
        (tmp_path / name).rename(tmp_path / short / name)
    np.testing.assert_array_equal(mask(look(tmp_path, oscd.CARD)[0], "train/paris"), gray(0, 1))


def test_the_tif_of_a_label_counts_from_one(tmp_path: Path) -> None:
    city(tmp_path)
    (tmp_path / LABELS / "paris/cm/cm.png").unlink()
    save_tif(tmp_path / LABELS / "paris/cm/paris-cm.tif", gray(1, 2))
    np.testing.assert_array_equal(mask(look(tmp_path, oscd.CARD)[0], "train/paris"), gray(0, 1))


CITY, CM = Path(IMAGES, "paris"), Path(LABELS, "paris/cm/cm.png")


@pytest.mark.parametrize(
    ("spoil", "kind", "name"),
    [
        (lambda r: (r / CITY / "imgs_1_rect/B8A.tif").unlink(), "bands", "imgs_1_rect"),
        (
            lambda r: (r / CITY / "imgs_2_rect/B02.tif").write_bytes(b"II*"),
            "bands",
            "B02.tif",
        ),
        (lambda r: save_tif(r / CITY / "imgs_2_rect/B02.tif", gray(0)[:6]), "size", "B02.tif"),
        (lambda r: (r / CITY / "pair/img2.png").unlink(), "image-missing", "img2.png"),
        (lambda r: (r / CM).unlink(), "label-missing", "img1.png"),
        (lambda r: save(r / CM, gray(0, 128, 255)), "label-value", "cm.png"),
        (lambda r: save(r / CM, np.dstack([gray(0, 255)] * 4)), "alpha", "cm.png"),
        (lambda r: save(r / CM, gray(0, 255)[:, :6]), "pair-size", "cm.png"),
        (lambda r: (r / IMAGES / "atlantis").mkdir(), "unexpected", "atlantis"),
    ],
)
def test_spoiled_cities_are_told(tmp_path: Path, spoil: Spoil, kind: str, name: str) -> None:
    spoil(city(tmp_path))
    assert (kind, name) in look(tmp_path, oscd.CARD)[1]


def test_a_band_that_breaks_off_is_found(tmp_path: Path) -> None:
    path = city(tmp_path) / CITY / "imgs_2_rect/B02.tif"
    path.write_bytes(path.read_bytes()[:-20])
    places = {f.defect.place: f.defect.kind for f in check("OSCD", tmp_path).findings}
    assert places[path] == "bands"


def test_a_missing_band_is_an_error_where_bands_are_wanted(tmp_path: Path) -> None:
    (city(tmp_path) / CITY / "imgs_1_rect/B8A.tif").unlink()
    (item,) = reader_of(oscd.CARD).find(tmp_path, oscd.CARD).items
    with pytest.raises(UserError, match="B8A"):
        bands(item, 1)


# Pairs of dates


def pairs(root: Path, label: Pixels, folder: str = "label", suffix: str = ".png") -> Path:
    for split in ("train", "val", "test"):
        for name in "AB":
            save(root / split / name / f"{split}_1{suffix}", COLOUR)
        save(root / split / folder / f"{split}_1{suffix}", label)
    return root


def test_levir_has_three_splits_of_pairs(tmp_path: Path) -> None:
    seen, defects = look(pairs(tmp_path, gray(0, 255)), levir_cd.CARD)
    np.testing.assert_array_equal(mask(seen, "val/val_1"), gray(0, 1))
    assert [p.parent.name for p in seen["test/test_1"].item.images] == ["A", "B"]
    assert not defects


def test_svcd_is_cut_between_127_and_128(tmp_path: Path) -> None:
    root = tmp_path / "ChangeDetectionDataset/Real/subset"
    label = gray(0, 0, 0, 0, 0, 0, 0, 255)
    label[0, :2] = 127, 128
    seen, defects = look(pairs(root, label, "OUT", ".bmp").parents[2], svcd.CARD)
    assert mask(seen, "train/train_1")[0, :2].tolist() == [0, 1]
    assert mask(seen, "train/train_1").sum() == 1 + SIDE
    assert not defects


@pytest.mark.parametrize("values", [(0, 100, 255), (0, 1)], ids=["gray", "zeros and ones"])
def test_a_label_that_is_not_of_two_values_is_told(tmp_path: Path, values: Iterable[int]) -> None:
    _, defects = look(pairs(tmp_path, gray(*values), "OUT", ".bmp"), svcd.CARD)
    assert ("label-value", "test_1.bmp") in defects


def test_svcd_reads_labels_through_jpeg(tmp_path: Path) -> None:
    label = np.zeros((256, 256), dtype=np.uint8)
    label[50:90, 30:200] = 255
    save(pairs(tmp_path, gray(0), "OUT", ".jpg") / "test/OUT/test_1.jpg", label, quality=75)
    seen, defects = look(tmp_path, svcd.CARD)
    np.testing.assert_array_equal(mask(seen, "test/test_1"), label // 255)
    assert not {kind for kind, _ in defects} - {"pair-size"}


@pytest.mark.parametrize(
    ("spoil", "kind", "name"),
    [
        (lambda r: save(r / "val/label/val_1.png", gray(0, 1)), "label-value", "val_1.png"),
        (lambda r: save(r / "val/B/val_1.png", COLOUR[:4]), "pair-size", "val_1.png"),
        (lambda r: save(r / "val/label/val_1.png", gray(0)[:4]), "pair-size", "val_1.png"),
        (lambda r: (r / "val/B/val_1.png").unlink(), "image-missing", "val_1.png"),
        (lambda r: (r / "val/A/val_1.png").write_bytes(b"GIF"), "image-unreadable", "val_1.png"),
        (lambda r: (r / "val/label/val_1.png").unlink(), "label-missing", "val_1.png"),
        (lambda r: save(r / "val/label/val_2.png", gray(0)), "image-missing", "val_2.png"),
        (lambda r: (r / "val/C").mkdir(), "unexpected", "C"),
        (lambda r: (r / "val/A/val_1.png").rename(r / "val/A/val_1.tif"), "layout", "A"),
        (
            lambda r: save(r / "val/label/val_1.png", np.dstack([gray(0, 255)] * 3)),
            "alpha",
            "val_1.png",
        ),
        (lambda r: save(r / "val/A/val_1.png", np.dstack([gray(9)] * 4)), "alpha", "val_1.png"),
    ],
)
def test_spoiled_pairs_are_told(tmp_path: Path, spoil: Spoil, kind: str, name: str) -> None:
    spoil(pairs(tmp_path, gray(0, 255)))
    assert (kind, name) in look(tmp_path, levir_cd.CARD)[1]


def test_splits_in_one_folder_are_read_and_told(tmp_path: Path) -> None:
    for name in ("train_0", "val_0", "test_0"):
        for folder in ("A", "B", "label"):
            save(tmp_path / folder / f"{name}.png", gray(0, 255) if folder == "label" else COLOUR)
    seen, defects = look(tmp_path, levir_cd.CARD)
    assert set(seen) == {"train/train_0", "val/val_0", "test/test_0"}
    assert defects == {("layout", tmp_path.name)}


# WHU-CD


def scene(root: Path, label: Pixels, **how: Any) -> Path:
    for name in ("before", "after"):
        save_tif(root / name / f"{name}.tif", COLOUR)
    save_tif(root / "change label" / "change_label.tif", label, **how)
    return root


@pytest.mark.parametrize(("label", "how"), [(gray(0, 1), {"nbits": 1}), (gray(0, 255), {})])
def test_whu_has_labels_of_one_bit_or_eight(
    tmp_path: Path, label: Pixels, how: dict[str, Any]
) -> None:
    seen, defects = look(scene(tmp_path, label, **how), whu_cd.CARD)
    np.testing.assert_array_equal(mask(seen, "all/whole"), gray(0, 1))
    with opened(tmp_path / "change label/change_label.tif") as raster:
        part, _ = label_window(raster, whu_cd.CARD.coding or Coding(), 3, 0, 2, 2)
    assert part.tolist() == [[0, 0], [1, 1]]
    assert not defects


def test_a_large_scene_is_checked_in_strips_and_not_held(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(change_pairs, "WHOLE", 10)
    monkeypatch.setattr(change_pairs, "STRIP", 3)
    seen, defects = look(scene(tmp_path, gray(0, 7, 1)[:7]), whu_cd.CARD)
    assert seen["all/whole"].parsed.mask is None
    assert defects == {("label-value", "change_label.tif"), ("pair-size", "change_label.tif")}
    assert "value 7 in 8 pixels" in {d.what for d in seen["all/whole"].defects}


def test_the_folder_of_labels_has_no_space_in_copies(tmp_path: Path) -> None:
    (scene(tmp_path, gray(0, 1)) / "change label").rename(tmp_path / "change_label")
    np.testing.assert_array_equal(mask(look(tmp_path, whu_cd.CARD)[0], "all/whole"), gray(0, 1))


def test_the_two_halves_of_whu_are_two_scenes(tmp_path: Path) -> None:
    root = tmp_path / "1. The two-period image data"
    for half in ("train", "test"):
        for year in ("2012", "2016"):
            save_tif(root / year / "whole_image" / half / "image" / f"{year}_{half}.tif", COLOUR)
        save_tif(root / "change_label" / half / "change_label.tif", gray(0, 1))
    seen, defects = look(tmp_path, whu_cd.CARD)
    assert set(seen) == {"all/train", "all/test"}
    np.testing.assert_array_equal(mask(seen, "all/test"), gray(0, 1))
    assert not defects


@pytest.mark.parametrize(
    ("spoil", "kind", "name"),
    [
        (lambda r: (r / "after/after.tif").unlink(), "image-missing", "after.tif"),
        (lambda r: save_tif(r / "after/after.tif", COLOUR[:4]), "pair-size", "after.tif"),
        (lambda r: (r / "change label/change_label.tif").unlink(), "label-missing", "before.tif"),
        (
            lambda r: (r / "change label/change_label.tif").write_bytes(b"II*\0" + b"x" * 40),
            "label-unreadable",
            "change_label.tif",
        ),
        (
            lambda r: save_tif(r / "change label/change_label.tif", gray(0, 1).astype(np.float32)),
            "label-unreadable",
            "change_label.tif",
        ),
        (
            lambda r: save_tif(r / "before/before.tif", COLOUR.astype(np.uint16)),
            "sixteen-bit",
            "before.tif",
        ),
    ],
)
def test_spoiled_scenes_are_told(tmp_path: Path, spoil: Spoil, kind: str, name: str) -> None:
    spoil(scene(tmp_path, gray(0, 1)))
    assert (kind, name) in look(tmp_path, whu_cd.CARD)[1]


def test_a_scene_that_is_cut_already_is_told_and_read(tmp_path: Path) -> None:
    seen, defects = look(pairs(tmp_path, gray(0, 255)), whu_cd.CARD)
    assert set(seen) == {"train/train_1", "val/val_1", "test/test_1"}
    assert defects == {("tiled", tmp_path.name)}


# Million-AID


def test_million_aid_has_deep_and_flat_splits(tmp_path: Path) -> None:
    for name in ("water_area/beach/P2", "agriculture_land/grassland/meadow/P1"):
        save(tmp_path / "train" / f"{name}.jpg", COLOUR)
    for number in (3, 1, 2):
        save(tmp_path / f"test/P{number}.jpg", COLOUR)
    (tmp_path / "test/._P1.jpg").touch()
    found = reader_of(million_aid.CARD).find(tmp_path, million_aid.CARD)
    names = [(i.split, i.key, i.target) for i in found.items]
    classes = million_aid.CARD.classes
    assert names == [
        ("train", "agriculture_land/grassland/meadow/P1", classes.index("meadow")),
        ("train", "water_area/beach/P2", classes.index("beach")),
        *(("test", f"P{number}", None) for number in (1, 2, 3)),
    ]
    assert not found.defects


@pytest.mark.parametrize(
    ("spoil", "kind", "name"),
    [
        (lambda r: save(r / "train/water_area/beech/P1.jpg", COLOUR), "unknown-class", "beech"),
        (lambda r: save(r / "train/water_area/beach/P1.png", COLOUR), "unexpected", "P1.png"),
        (lambda r: (r / "test/P9.jpg").write_bytes(b"x"), "image-unreadable", "P9.jpg"),
        (lambda r: (r / "test/P9.jpg").symlink_to(r / "gone.jpg"), "image-missing", "P9.jpg"),
    ],
)
def test_spoiled_images_of_million_aid_are_told(
    tmp_path: Path, spoil: Spoil, kind: str, name: str
) -> None:
    save(tmp_path / "test/P0.jpg", COLOUR)
    spoil(tmp_path)
    assert look(tmp_path, million_aid.CARD)[1] == {(kind, name)}


def test_links_in_a_circle_end(tmp_path: Path) -> None:
    save(tmp_path / "train/water_area/beach/P1.jpg", COLOUR)
    (tmp_path / "train/water_area/beach/beach").symlink_to(tmp_path / "train/water_area/beach")
    assert len(reader_of(million_aid.CARD).find(tmp_path, million_aid.CARD).items) < 5


@pytest.mark.parametrize(
    "card",
    [m.CARD for m in (spacenet_v1, loveda, oscd, whu_cd, levir_cd, svcd, million_aid)],
    ids=lambda card: card.name,
)
def test_a_folder_with_nothing_of_the_release_is_an_error(card: Card, tmp_path: Path) -> None:
    (tmp_path / "holiday").mkdir()
    with pytest.raises(UserError, match="holiday"):
        reader_of(card).find(tmp_path, card)
