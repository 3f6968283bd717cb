"""Label images: values in a file → classes, as the card's coding has it. Shared by readers."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image
from rasterio.errors import RasterioError
from rasterio.windows import Window

from mtp_bench.datasets.cards.card import IGNORE, Card, Coding
from mtp_bench.datasets.defects import Defect
from mtp_bench.datasets.pixels import RASTERS, opened
from mtp_bench.datasets.samples import Item, Parsed

Mask = npt.NDArray[np.uint8]
GRAY = (64, 192)
"""Of a label of two values that went through JPEG hardly a pixel lies between these."""
GRAY_SHARE = 0.05
TINT = 8
"""Channels of a gray picture that went through JPEG differ by no more."""


def decode(values: npt.NDArray[Any], coding: Coding) -> tuple[Mask, Counter[int]]:
    """Classes, ``IGNORE`` for values that stand for none, and how many pixels have such a value.

    Works on windows of a label as well; ``ValueError`` for pixels that are no small integers.
    """
    if values.dtype.kind not in "ub" or values.dtype.itemsize > 2:
        raise ValueError(f"{values.dtype} pixels where 8 bits are meant")
    if coding.threshold is not None:
        return (values >= coding.threshold).astype(np.uint8), Counter()
    counts = np.bincount(values.ravel(), minlength=256)
    table = np.full(len(counts), IGNORE, dtype=np.uint8)
    for value, label in coding.values.items():
        table[value] = label
    met = (int(value) for value in np.flatnonzero(counts))
    wrong = Counter({value: int(counts[value]) for value in met if value not in coding.values})
    return table[values.astype(np.intp, copy=False)], wrong


def label_window(
    raster: Any, coding: Coding, left: int, top: int, wide: int, high: int
) -> tuple[Mask, Counter[int]]:
    """A part, within its bounds, of a label that is open through ``pixels.opened``, decoded."""
    return decode(raster.read(1, window=Window(left, top, wide, high)), coding)


def values_of(path: Path) -> npt.NDArray[Any]:
    """(height, width) or (height, width, channels) of a label image.

    ``OSError`` or ``ValueError`` where it is none or is cut off.
    """
    if path.suffix.lower() not in RASTERS:
        with Image.open(path) as image:
            return np.asarray(image)
    try:
        with opened(path) as raster:
            planes = raster.read()
    except RasterioError as error:
        raise OSError(str(error)) from error
    return np.asarray(planes[0] if len(planes) == 1 else planes.transpose(1, 2, 0))


def parse_label(item: Item, card: Card, coding: Coding | None = None) -> Parsed:
    """The mask of an item's label image; ``coding`` where it is not the card's."""
    coding = coding or card.coding
    if item.label is None or coding is None:
        split = card.splits.get(item.split)
        unlabelled = coding is None or (split is not None and not split.labelled)
        missing = Defect("label-missing", item.images[0], "has no label image")
        return Parsed(defects=() if unlabelled else (missing,))
    found: list[Defect] = []
    try:
        values = values_of(item.label)
        if values.ndim == 3:
            what = f"{values.shape[2]} channels where one is meant: the first is read"
            found.append(Defect("alpha", item.label, what))
            if values.shape[2] > 2 and np.ptp(values[..., :3], axis=2).max() > TINT:
                raise ValueError("its channels differ: a picture of the label, not the label")
            values = values[..., 0]
        mask, wrong = decode(values, coding)
    except (OSError, ValueError, SyntaxError, MemoryError) as error:
        why = str(error).partition("\n")[0] or type(error).__name__
        return Parsed(defects=(*found, Defect("label-unreadable", item.label, why)))
    found += wrong_values(item.label, wrong)
    if coding.threshold is not None:
        found += _grayish(item.label, values)
    return Parsed(mask=mask, defects=tuple(found))


def wrong_values(place: Path, wrong: Counter[int]) -> Iterator[Defect]:
    """One defect that names the most frequent of the values that stand for no class."""
    if wrong:
        told = ", ".join(f"value {v} in {n:,} pixels" for v, n in wrong.most_common(5))
        more = f" and {len(wrong) - 5} more values" if len(wrong) > 5 else ""
        yield Defect("label-value", place, told + more)


def _grayish(place: Path, values: npt.NDArray[Any]) -> Iterator[Defect]:
    """What a threshold would hide: a label that is gray, or of zeros and ones."""
    share = float(((values >= GRAY[0]) & (values < GRAY[1])).mean())
    if share > GRAY_SHARE:
        what = f"{share:.0%} of its pixels lie from {GRAY[0]} to {GRAY[1] - 1}: not of two values"
        yield Defect("label-value", place, what)
    elif values.max() == 1:
        yield Defect("label-value", place, "value 1 where the release has 255: nothing is changed")
