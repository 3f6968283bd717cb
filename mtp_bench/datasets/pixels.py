"""Image files, of 64 pixels or of 30,000: what their headers say, and their pixels as RGB."""

import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import rasterio
from PIL import Image
from rasterio.errors import NotGeoreferencedWarning, RasterioError

from mtp_bench.datasets.defects import Defect
from mtp_bench.errors import UserError

Image.MAX_IMAGE_PIXELS = None  # scenes are large, and are never decoded whole unless they fit
Pixels = npt.NDArray[np.uint8]
RASTERS = (".tif", ".tiff")
WHOLE = 64_000_000
"""Pixels up to which a picture is decoded at once; a larger one is read in strips, or in small."""
CACHE = 64
"""MiB of decoded blocks that GDAL may keep; by itself it takes a twentieth of the memory."""


@dataclass(frozen=True)
class Picture:
    """What an image file's header says."""

    size: tuple[int, int]
    """Width and height."""
    bands: int
    dtype: str
    crs: str | None = None
    transform: tuple[float, ...] | None = None


@contextmanager
def opened(path: Path, **options: str) -> Iterator[Any]:
    """A raster through rasterio; pictures without georeference are none to warn of."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        with rasterio.Env(GDAL_CACHEMAX=CACHE), rasterio.open(path, **options) as raster:
            yield raster


def header(path: Path) -> Picture:
    """Size, bands and type of an image. ``OSError`` or ``ValueError`` where it is none."""
    if path.suffix.lower() in RASTERS:
        try:
            with opened(path) as raster:
                placed = raster.crs is not None
                return Picture(
                    (raster.width, raster.height),
                    raster.count,
                    raster.dtypes[0],
                    raster.crs.to_string() if placed else None,
                    tuple(raster.transform)[:6] if placed else None,
                )
        except RasterioError as error:
            raise OSError(str(error)) from error
    with Image.open(path) as image:
        # Pillow opens 16-bit RGB as 8-bit: only the name of the raw mode tells.
        deep = image.mode.startswith(("I", "F")) or any(";16B" in str(t.args) for t in image.tile)
        return Picture(image.size, len(image.getbands()), "uint16" if deep else "uint8")


def look(path: Path) -> tuple[Picture | None, list[Defect]]:
    """An image's header and what is wrong with it."""
    try:
        picture = header(path)
    except (OSError, ValueError, SyntaxError) as error:
        if _absent(path):
            return None, [Defect("image-missing", path, "not there")]
        why = f"cannot be opened ({first_line(error)})"
        return None, [Defect("image-unreadable", path, why)]
    found = []
    if picture.dtype not in ("uint8", "bool"):
        found.append(Defect("sixteen-bit", path, f"{picture.dtype} pixels where 8 bits are meant"))
    elif picture.bands in (2, 4):
        found.append(Defect("alpha", path, f"{picture.bands} channels"))
    return picture, found


def _absent(path: Path) -> bool:
    """Not so of what lies in a folder that may not be entered."""
    try:
        path.stat()
    except OSError as error:
        return isinstance(error, FileNotFoundError | NotADirectoryError)
    except ValueError:  # no name that a file can have
        return True
    return False


def first_line(error: Exception) -> str:
    """What an error says, without what a library adds."""
    return (str(error).splitlines() or [type(error).__name__])[0]


def rgb(path: Path) -> Pixels:
    """A whole image as (height, width, 3) RGB of 8 bits. ``UserError`` names a file that is none.

    Gray becomes three equal channels; of four channels the first three are read.
    """
    try:
        if path.suffix.lower() in RASTERS:
            with opened(path) as raster:
                if raster.dtypes[0] != "uint8":
                    raise ValueError(f"{raster.dtypes[0]} pixels where 8 bits are meant")
                planes = raster.read([1, 2, 3] if raster.count >= 3 else [1, 1, 1])
                return np.ascontiguousarray(planes.transpose(1, 2, 0))
        with Image.open(path) as image:
            return np.asarray(image.convert("RGB"))  # alpha is left out, and never blended
    except (OSError, ValueError, SyntaxError, RasterioError) as error:
        why = f"cannot be read as an image ({first_line(error)}): restore it from the release"
        raise UserError(f"{path}: {why}") from None


def check_png(path: Path) -> None:
    """Compare a PNG's checksums: decoding all at once, GDAL leaves black what is missing."""
    data, at, kind = memoryview(path.read_bytes()), 8, b""
    while at + 12 <= len(data) and kind != b"IEND":
        end = at + 8 + int.from_bytes(data[at : at + 4])
        kind = bytes(data[at + 4 : at + 8])
        if zlib.crc32(data[at + 4 : end]) != int.from_bytes(data[end : end + 4]):
            break
        at = end + 4
    else:
        if kind == b"IEND":
            return
    raise ValueError(f"a broken PNG, of which {at:,} of {len(data):,} bytes are sound")
