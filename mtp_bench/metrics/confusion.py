"""Figures of label maps from confusion matrices, exact in 64-bit integers.

mmseg's own metric counts in float32, which stands still at 16,777,216 pixels.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class MapFigures:
    """In percent; each (classes,), nan where there is nothing to divide by."""

    iou: Array
    f1: Array
    precision: Array
    recall: Array
    accuracy: float
    """Over all pixels that count."""
    mean_iou: float
    """Over the classes that occur, in truth or prediction."""
    mean_f1: float
    """The same."""
    matrix: Ints
    """(classes, classes): rows true, columns predicted."""


def confusion(truth: NDArray[Any], found: NDArray[Any], classes: int, ignore: int) -> Ints:
    """(classes, classes) counts of the pixels of two maps of one shape; ``ignore`` counts nothing.

    Raises:
        ValueError: for maps of different shapes, or a value that is no class.
    """
    if truth.shape != found.shape:
        raise ValueError(f"a prediction of {found.shape} for a label of {truth.shape}")
    counts = truth != ignore
    true, predicted = truth[counts].astype(np.int64), found[counts].astype(np.int64)
    for values in (true, predicted):
        for value in (values.min(initial=0), values.max(initial=0)):
            if not 0 <= value < classes:
                raise ValueError(f"a value of {value} among {classes} classes")
    flat = np.bincount(true * classes + predicted, minlength=classes * classes)
    return flat.reshape(classes, classes).astype(np.int64)


def figures(matrices: Iterable[Ints], classes: int) -> MapFigures:
    """Of all maps together: one matrix, as published figures are made, not means over images."""
    matrix = np.zeros((classes, classes), dtype=np.int64)
    for each in matrices:
        matrix += each
    hits, true, found = np.diagonal(matrix), matrix.sum(axis=1), matrix.sum(axis=0)
    iou, f1 = _share(hits, true + found - hits), _share(2 * hits, true + found)
    known = true + found > 0
    return MapFigures(
        iou=iou,
        f1=f1,
        precision=_share(hits, found),
        recall=_share(hits, true),
        accuracy=float(_share(hits.sum(), matrix.sum())),
        mean_iou=float(iou[known].mean()) if known.any() else float("nan"),
        mean_f1=float(f1[known].mean()) if known.any() else float("nan"),
        matrix=matrix,
    )


def _share(part: Any, whole: Any) -> Any:
    with np.errstate(invalid="ignore"):
        return 100 * np.asarray(part, dtype=np.float64) / np.asarray(whole, dtype=np.float64)
