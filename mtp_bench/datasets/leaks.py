"""Finds a picture that stands in two splits by its pixels, whatever its name or file format.

Every picture becomes a small gray one without its mean and contrast; two are the same where these
agree, and agree again at a finer scale. A picture saved anew as JPEG still agrees with itself,
while neighbours, or two of calm water, do not.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image
from rasterio.enums import Resampling
from rasterio.errors import RasterioError

from mtp_bench.datasets.defects import Defect
from mtp_bench.datasets.pixels import RASTERS, WHOLE, check_png, first_line, header, opened

Thumb = npt.NDArray[np.int8]
COARSE, FINE = 16, 32
ALIKE = {COARSE: 0.97, FINE: 0.95}
"""Correlation from which two pictures are one; strong compression costs some of it."""
FLAT = 0.5
"""Standard deviation in gray levels below which a picture shows nothing to compare."""
BLOCK = 2048


def thumb(path: Path, side: int = COARSE) -> Thumb | None:
    """The picture in small, (side²,), decoded to its end; None for one that shows nothing.

    Raises:
        OSError: where it cannot be decoded.
    """
    gray = _gray(path, side)
    gray = gray - gray.mean()
    spread = float(gray.std())
    if spread < FLAT:
        return None
    return np.asarray(np.clip(np.rint(gray / spread * 32), -127, 127).astype(np.int8).ravel())


def _gray(path: Path, side: int) -> npt.NDArray[np.float32]:
    wide, high = (1, 1) if path.suffix.lower() in RASTERS else header(path).size
    try:
        if path.suffix.lower() in RASTERS or wide * high > WHOLE:
            if path.suffix.lower() == ".png":
                check_png(path)
            with opened(path, OVERVIEW_LEVEL="NONE") as raster:  # pixels, not copies in small
                bands = list(range(1, min(raster.count, 3) + 1))
                shape = (len(bands), side, side)
                planes = raster.read(bands, out_shape=shape, resampling=Resampling.average)
                return np.asarray(planes.mean(axis=0), dtype=np.float32)
        with Image.open(path) as image:
            image.draft("L", (4 * side, 4 * side))  # a JPEG is decoded at an eighth of its size
            image.load()
            small = image.convert("F" if image.mode.startswith("I") else "L")
            return np.asarray(small.resize((side, side), Image.Resampling.BOX), dtype=np.float32)
    except (ValueError, SyntaxError, RasterioError) as error:
        raise OSError(first_line(error)) from error


def leaks(pictures: Mapping[str, Sequence[tuple[Path, Thumb]]]) -> list[Defect]:
    """Pictures of a later split that also stand in an earlier one."""
    names = list(pictures)
    found = []
    for later in range(1, len(names)):
        for earlier in range(later):
            for a, b in _alike(pictures[names[earlier]], pictures[names[later]]):
                if _same(a, b):
                    what = f"the same picture as {a.name} of {names[earlier]} ({a})"
                    found.append(Defect("leak", b, what))
    return found


def _alike(
    first: Sequence[tuple[Path, Thumb]], second: Sequence[tuple[Path, Thumb]]
) -> list[tuple[Path, Path]]:
    """Each of the second with the most alike of the first, where that is alike enough."""
    if not first or not second:
        return []
    one, two = (_unit(np.stack([t for _, t in side])) for side in (first, second))
    pairs = []
    for start in range(0, len(two), BLOCK):
        alike = two[start : start + BLOCK] @ one.T
        nearest = alike.argmax(axis=1)
        for j in np.flatnonzero(alike.max(axis=1) > ALIKE[COARSE]):
            pairs.append((first[nearest[j]][0], second[start + j][0]))
    return pairs


def _unit(thumbs: npt.NDArray[np.int8]) -> npt.NDArray[np.float32]:
    plain = thumbs.astype(np.float32)
    return np.asarray(plain / np.linalg.norm(plain, axis=1, keepdims=True))


def _same(a: Path, b: Path) -> bool:
    fine = [thumb(path, FINE) for path in (a, b)]
    there = [t for t in fine if t is not None]
    if len(there) < 2:
        return False
    one, two = _unit(np.stack(there))
    return bool(one @ two > ALIKE[FINE])
