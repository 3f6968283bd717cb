"""OSCD as downloaded: a folder a city with two dates, and labels in two folders of their own."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
from rasterio.errors import RasterioError

from mtp_bench.datasets.cards.card import Card, Coding
from mtp_bench.datasets.defects import Defect
from mtp_bench.datasets.formats.label_images import parse_label
from mtp_bench.datasets.formats.reader import Reader, entries, nothing_found
from mtp_bench.datasets.pixels import header, opened
from mtp_bench.datasets.samples import Found, Item, Parsed
from mtp_bench.errors import UserError

PREFIX = "Onera Satellite Change Detection dataset - "
LISTS = {
    "train": "aguasclaras bercy bordeaux nantes paris rennes saclay_e abudhabi cupertino pisa "
    "beihai hongkong beirut mumbai",
    "test": "brasilia montpellier norcia rio saclay_w valencia dubai lasvegas milano chongqing",
}
"""What train.txt and test.txt of the release say, for copies without them."""
BANDS = (*(f"B0{n}" for n in range(1, 9)), "B8A", "B09", "B10", "B11", "B12")
"""In order of wavelength, but for B08, which is wider than its neighbours."""
TIF = Coding({1: 0, 2: 1})
"""Of ``<city>-cm.tif``, where a copy has no cm.png."""


def find(root: Path, card: Card) -> Found:
    """The cities of the two lists."""
    for layout in card.layouts:
        images = _part(root / layout, "Images")
        if images is not None:
            break
    else:
        raise nothing_found(card, root, f"'{PREFIX}Images'/")
    folder = root / layout
    lists = {split: _list(images, folder, split) for split in card.splits}
    items, found = [], []
    for split, cities in lists.items():
        labels = _part(folder, f"{split.capitalize()} Labels")
        for city in cities:
            items.append(_item(split, images / city, labels and labels / city / "cm"))
            if not (images / city).is_dir():
                what = f"{split}.txt names this city, and it is not there"
                found.append(Defect("image-missing", images / city, what))
    known = {city for cities in lists.values() for city in cities}
    found += (
        Defect("unexpected", path, "a city in neither list")
        for path in entries(images)
        if path.is_dir() and path.name not in known
    )
    there = tuple(item for item in items if item.images[0].parents[1].is_dir())
    return Found(folder, there, tuple(found))


def _part(folder: Path, part: str) -> Path | None:
    """One of the three folders; many unpack each zip into a folder that is named shorter."""
    short = part.lower().replace(" ", "_")
    names = (PREFIX + part, f"{short}/{PREFIX}{part}", f"{part}/{PREFIX}{part}", part, short)
    return next((folder / name for name in names if (folder / name).is_dir()), None)


def _list(images: Path, folder: Path, split: str) -> tuple[str, ...]:
    """Cities of a list: one line with commas in the release, which copies break up."""
    for place in (images, folder):
        path = place / f"{split}.txt"
        if path.is_file():
            words = re.split(r"[,\s]+", path.read_text("utf-8-sig", "replace"))
            return tuple(dict.fromkeys(word for word in words if re.fullmatch(r"\w+", word)))
    return tuple(LISTS[split].split())


def _item(split: str, city: Path, labels: Path | None) -> Item:
    masks = () if labels is None else (labels / "cm.png", labels / f"{city.name}-cm.tif")
    bands = {
        f"{date}/{band}": city / f"imgs_{date}_rect" / f"{band}.tif"
        for date in (1, 2)
        for band in BANDS
    }
    return Item(
        split,
        city.name,
        (city / "pair" / "img1.png", city / "pair" / "img2.png"),
        next((path for path in masks if path.is_file()), None),
        extra={name: path for name, path in bands.items() if path.is_file()},
    )


def parse(item: Item, card: Card) -> Parsed:
    """The change mask; what is wrong with the bands, which only other protocols read."""
    tif = item.label is not None and item.label.suffix == ".tif"
    parsed = parse_label(item, card, TIF if tif else None)
    found = _band_faults(item, None if parsed.mask is None else parsed.mask.shape)
    return Parsed(mask=parsed.mask, defects=(*parsed.defects, *found))


def _band_faults(item: Item, shape: tuple[int, ...] | None) -> Iterator[Defect]:
    for date in (1, 2):
        missing = [band for band in BANDS if f"{date}/{band}" not in item.extra]
        if missing:
            place = item.images[0].parents[1] / f"imgs_{date}_rect"
            yield Defect("bands", place, f"{', '.join(missing)} not there")
    for path in item.extra.values():
        try:
            wide, high = header(path).size
        except (OSError, ValueError) as error:
            yield Defect("bands", path, f"cannot be opened ({str(error).partition(chr(10))[0]})")
            continue
        if shape is not None and (high, wide) != shape:
            what = f"{wide}x{high} px, the label has {shape[1]}x{shape[0]}"
            yield Defect("size", path, what)


def bands(item: Item, date: int) -> npt.NDArray[np.float32]:
    """(13, height, width) reflectance x 10,000 of date 1 or 2, in the order of ``BANDS``.

    Raises:
        UserError: a band is missing, cannot be read or differs in size from the others.
    """
    extra: Mapping[str, Path] = item.extra
    planes = []
    for band in BANDS:
        path = extra.get(f"{date}/{band}")
        if path is None:
            raise UserError(f"{item.key}: date {date} has no band {band}: restore imgs_{date}_rect")
        try:
            with opened(path) as raster:
                planes.append(raster.read(1).astype(np.float32))
        except RasterioError as error:
            raise UserError(f"{path}: cannot be read ({error})") from None
        if planes[-1].shape != planes[0].shape:
            raise UserError(f"{path}: differs in size from {BANDS[0]}")
    return np.stack(planes)


READER = Reader(find, parse)
