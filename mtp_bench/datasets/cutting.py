"""From one picture of a release to the samples made of it: pixels cut, padded, written as PNG.

Memory stays at about width x side x 3 bytes, for scenes of a gigapixel too: what is too large to
be decoded whole is read downwards in strips, since PNG and striped TIFF have no cheap way back.
Measured by ``benchmarks/data.py``.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from rasterio.enums import ColorInterp
from rasterio.windows import Window as Part

from mtp_bench.datasets import png
from mtp_bench.datasets.cards.card import IGNORE, Card, Coding
from mtp_bench.datasets.formats.label_images import decode
from mtp_bench.datasets.manifest import Sample, instances_text
from mtp_bench.datasets.pixels import RASTERS, WHOLE, Pixels, check_png, opened, rgb
from mtp_bench.datasets.reading import Examined
from mtp_bench.datasets.samples import Item
from mtp_bench.datasets.tiling import Window, cut, file_name, tile_name, windows
from mtp_bench.errors import UserError


def samples_of(seen: Examined, card: Card, folder: Path) -> list[Sample]:
    """The samples of a picture, or pair; what they need besides the release goes to ``folder``."""
    item, picture = seen.item, seen.pictures[0]
    if picture is None:
        raise ValueError("cannot be opened")
    place = folder / item.split
    for kind in (*kinds(item), "masks", "instances"):
        (place / kind).mkdir(parents=True, exist_ok=True)
    if card.tiles is not None:
        return _tiled(seen, card, place, windows(picture.size, card.tiles))
    return [_untiled(seen, place, picture.size)]


def kinds(item: Item) -> tuple[str, ...]:
    """Names of the folders for an item's images."""
    return ("images",) if len(item.images) == 1 else ("before", "after")


def _tiled(seen: Examined, card: Card, place: Path, found: list[Window]) -> list[Sample]:
    item, parsed, tiles = seen.item, seen.parsed, card.tiles
    assert tiles is not None
    names = {window: f"{tile_name(item.key, window)}.png" for window in found}
    for kind, path in zip(kinds(item), item.images, strict=True):
        for window, pixels in picture_tiles(path, found, tiles.fill):
            save(place / kind / names[window], pixels)
    labels: Iterable[tuple[Window, Pixels]] = ()
    if parsed.mask is not None:
        labels = mask_tiles(parsed.mask, found)
    elif parsed.objects is None and item.label is not None and card.coding is not None:
        labels = label_tiles(item.label, found, card.coding)  # too large to be parsed whole
    masked = set()
    for window, pixels in labels:
        save(place / "masks" / names[window], pixels)
        masked.add(window)
    return [
        Sample(
            images=tuple(place / kind / names[window] for kind in kinds(item)),
            scene=item.key,
            size=(window.side, window.side),
            window=window,
            objects=None if seen.objects is None else cut(seen.objects, window, tiles),
            mask=place / "masks" / names[window] if window in masked else None,
            target=item.target,
        )
        for window in found
    ]


def _untiled(seen: Examined, place: Path, size: tuple[int, int]) -> Sample:
    """Pictures stay where they lie, but for TIFF, which is slow to read and is no picture."""
    item, parsed, name = seen.item, seen.parsed, file_name(seen.item.key)
    images = []
    for kind, path in zip(kinds(item), item.images, strict=True):
        if path.suffix.lower() in RASTERS:
            save(place / kind / f"{name}.png", rgb(path))
            path = place / kind / f"{name}.png"
        images.append(path)
    mask = instances = None
    if parsed.mask is not None:
        mask = place / "masks" / f"{name}.png"
        save(mask, parsed.mask)
    if parsed.instances:
        instances = place / "instances" / f"{name}.json"
        instances.write_text(instances_text(parsed.instances))
    return Sample(
        images=tuple(images),
        scene=item.key,
        size=size,
        objects=seen.objects,
        mask=mask,
        instances=instances,
        target=item.target,
    )


def picture_tiles(
    path: Path, windows: Sequence[Window], fill: tuple[int, int, int]
) -> Iterator[tuple[Window, Pixels]]:
    """Each window of an image as (side, side, 3) RGB, padded with ``fill``.

    Gray becomes three equal channels; of four the first three are read.
    """
    with opened(path) as raster:
        if raster.dtypes[0] != "uint8":
            raise ValueError(f"{raster.dtypes[0]} pixels where 8 bits are meant")
        if raster.driver == "PNG" and raster.width * raster.height <= WHOLE:
            check_png(path)
        palette = _palette(raster)
        bands = [1, 2, 3] if raster.count >= 3 else [1]
        for window, planes in _crops(raster, bands, windows):
            if palette is not None:
                planes = palette[:, planes[0]]
            red, green, blue = planes[0], planes[len(bands) // 2], planes[-1]
            yield window, _padded(cv2.merge([red, green, blue]), window.side, fill)


def label_tiles(
    path: Path, windows: Sequence[Window], coding: Coding
) -> Iterator[tuple[Window, Pixels]]:
    """Each window of a label image as (side, side) classes, padded with ``IGNORE``."""
    with opened(path) as raster:
        for window, planes in _crops(raster, [1], windows):
            yield window, _padded(decode(planes[0], coding)[0], window.side, IGNORE)


def mask_tiles(mask: Pixels, windows: Iterable[Window]) -> Iterator[tuple[Window, Pixels]]:
    """The same of a mask that is read already."""
    for window in windows:
        left, top, side, _ = window
        yield window, _padded(mask[top : top + side, left : left + side], side, IGNORE)


def save(path: Path, pixels: Pixels) -> None:
    """RGB or one channel as PNG. ``UserError`` where it cannot be written."""
    try:
        path.write_bytes(png.encode(pixels))
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror})") from error


def _palette(raster: Any) -> npt.NDArray[np.uint8] | None:
    """(3, 256) colours of an image that holds numbers of colours."""
    if raster.colorinterp[0] != ColorInterp.palette:
        return None
    colours = np.zeros((3, 256), dtype=np.uint8)
    for number, colour in raster.colormap(1).items():
        colours[:, number] = colour[:3]
    return colours


def _crops(
    raster: Any, bands: list[int], windows: Sequence[Window]
) -> Iterator[tuple[Window, npt.NDArray[Any]]]:
    """What lies of each window in the scene, (bands, height, width); one pass a side."""
    whole = raster.read(bands) if raster.width * raster.height <= WHOLE else None
    ordered = sorted(windows, key=lambda window: (window.side, window.top))
    for side, same in groupby(ordered, key=lambda window: window.side):
        rows = [(top, list(row)) for top, row in groupby(same, key=lambda window: window.top)]
        tops = [top for top, _ in rows]
        strips = _strips(raster, bands, tops, side)
        if whole is not None:
            strips = (whole[:, top : top + side] for top in tops)
        for strip, (_, row) in zip(strips, rows, strict=True):
            for window in row:
                yield window, strip[:, :, window.left : window.left + side]


def _strips(
    raster: Any, bands: list[int], tops: list[int], side: int
) -> Iterator[npt.NDArray[Any]]:
    """The rows from each top on; what two strips share is read once."""
    held = np.empty((len(bands), min(side, raster.height), raster.width), raster.dtypes[0])
    first = last = 0
    for top in tops:
        bottom = min(top + side, raster.height)
        kept = max(last - top, 0)
        held[:, :kept] = held[:, top - first : top - first + kept]
        wanted = Part(0, top + kept, raster.width, bottom - top - kept)
        raster.read(bands, window=wanted, out=held[:, kept : bottom - top])
        first, last = top, bottom
        yield held[:, : bottom - top]


def _padded(crop: Pixels, side: int, fill: int | tuple[int, ...]) -> Pixels:
    high, wide = crop.shape[:2]
    if (high, wide) == (side, side):
        return crop
    tile = np.empty((side, side, *crop.shape[2:]), dtype=np.uint8)
    tile[...] = fill
    tile[:high, :wide] = crop
    return tile
