"""Pairs of images with a mask of change: LEVIR-CD and SVCD in folders, WHU-CD as whole scenes."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rasterio.errors import RasterioError

from mtp_bench.datasets.cards.card import Card, Coding
from mtp_bench.datasets.defects import Defect
from mtp_bench.datasets.formats.boxes import first_folder, release_folder
from mtp_bench.datasets.formats.label_images import label_window, parse_label, wrong_values
from mtp_bench.datasets.formats.reader import Reader, entries, pictures, strange, unexpected
from mtp_bench.datasets.pixels import RASTERS, WHOLE, look, opened
from mtp_bench.datasets.samples import Found, Item, Parsed

SPLITS = ("train", "val", "test")
LABELS = ("label", "OUT")
DATES = "AB"
STRIP = 512
HALF = ("2012/whole_image/{}/image", "2016/whole_image/{}/image", "change_label/{}")
SCENES_IN = {
    "whole": ("before", "after", "change label"),
    "train": tuple(name.format("train") for name in HALF),
    "test": tuple(name.format("test") for name in HALF),
}
"""Key → folders of the earlier date, the later and the label; those in halves are the release's
other packaging."""


def find(root: Path, card: Card) -> Found:
    """The pairs of every split, by the names that A, B and the label folder share."""
    folder = release_folder(root, card, (*(f"{split}/A" for split in SPLITS), "A"))
    items: list[Item] = []
    found: list[Defect] = []
    if (folder / "A").is_dir():
        what = f"A, B and {LABELS[0]} hold all splits; expected {folder}/train/A and so on"
        found.append(Defect("layout", folder, what))
    for split in SPLITS:
        place = folder / split
        if place.is_dir():
            found += unexpected(place, (*DATES, *LABELS), "no folder of the release")
            items += _pairs(place, split, card)
            found += (d for name in DATES for d in strange(place / name, card.suffixes))
        elif (folder / "A").is_dir():
            flat = _pairs(folder, split, card)
            items += (item for item in flat if item.key.startswith(f"{split}_"))
    return Found(folder, tuple(items), tuple(found))


def _pairs(place: Path, split: str, card: Card) -> Iterator[Item]:
    before, after = (pictures(place / name, card.suffixes) for name in DATES)
    labels = pictures(first_folder(place, LABELS), card.suffixes)
    for stem, path in {**labels, **after, **before}.items():
        images = tuple(
            there.get(stem, place / name / path.name)
            for name, there in zip(DATES, (before, after), strict=True)
        )
        yield Item(split, stem, images, labels.get(stem))


def find_scenes(root: Path, card: Card) -> Found:
    """WHU-CD's scene, whole or in its two halves, in one split; or a copy that is cut already."""
    signs = [folder for three in SCENES_IN.values() for folder in three[:2]]
    folder = release_folder(root, card, (*signs, *(f"{split}/A" for split in SPLITS)))
    items = tuple(
        Item(
            "all", key, (_raster(folder / before), _raster(folder / after)), _label(folder / label)
        )
        for key, (before, after, label) in SCENES_IN.items()
        if (folder / before).is_dir() or (folder / after).is_dir()
    )
    if items:
        return Found(folder, items)
    tiled = find(root, card)
    what = "cut into tiles and split before: the splits are this copy's, not the card's draw"
    return Found(tiled.folder, tiled.items, (Defect("tiled", folder, what), *tiled.defects))


def _raster(folder: Path) -> Path:
    """The one raster of a folder; where there is none, the name that it should have."""
    there = (path for path in entries(folder) if path.suffix.lower() in RASTERS)
    return next(there, folder / f"{folder.name}.tif")


def _label(folder: Path) -> Path | None:
    for name in (folder.name, folder.name.replace(" ", "_")):
        path = _raster(folder.with_name(name))
        if path.is_file():
            return path
    return None


def parse_scene(item: Item, card: Card) -> Parsed:
    """A mask; None for a scene beyond 64 Mpx, which is checked strip by strip.

    Its windows are read through ``label_images.label_window``.
    """
    path, coding = item.label, card.coding
    if path is None or coding is None or path.suffix.lower() not in RASTERS:
        return parse_label(item, card)
    try:
        with opened(path) as raster:
            if raster.width * raster.height <= WHOLE:
                return parse_label(item, card)
            return Parsed(defects=tuple(_strips(raster, coding, item)))
    except (OSError, ValueError, RasterioError) as error:
        why = str(error).partition("\n")[0]
        return Parsed(defects=(Defect("label-unreadable", path, why),))


def _strips(raster: Any, coding: Coding, item: Item) -> Iterator[Defect]:
    wrong = Counter[int]()
    for top in range(0, raster.height, STRIP):
        wrong += label_window(raster, coding, 0, top, raster.width, STRIP)[1]
    place = Path(raster.name)
    yield from wrong_values(place, wrong)
    picture = look(item.images[0])[0]
    if picture is not None and picture.size != (raster.width, raster.height):
        (wide, high), (w, h) = (raster.width, raster.height), picture.size
        yield Defect("pair-size", place, f"{wide}x{high} px, the image has {w}x{h}")


READER = Reader(find, parse_label)
SCENES = Reader(find_scenes, parse_scene)
