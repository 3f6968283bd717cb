"""Plane geometry of annotations: what is wrong with boxes and polygons, a picture at once."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import shapely

from mtp_bench.datasets.defects import Defect
from mtp_bench.datasets.samples import Objects

Array = npt.NDArray[np.float64]
LEAST_AREA = 1.0
"""Square pixels; a smaller object gives frameworks boxes without width (mmrotate#988)."""


def corners(boxes: Array) -> Array:
    """(n, 4) or (n, 8) → (n, 4, 2): corners in turn."""
    if boxes.shape[1] == 8:
        return boxes.reshape(-1, 4, 2)
    return boxes[:, [0, 1, 2, 1, 2, 3, 0, 3]].reshape(-1, 4, 2)


def areas(quads: Array) -> Array:
    """(n, 4, 2) → (n,) area that the outline winds around; of a crossed one, of its hull."""
    x, y = quads[..., 0], quads[..., 1]
    signed = (x * np.roll(y, -1, axis=1) - y * np.roll(x, -1, axis=1)).sum(axis=1) / 2
    return np.asarray(np.abs(signed))


def centres(quads: Array) -> Array:
    """(n, 4, 2) → (n, 2): the middle of each one's bounds."""
    return np.asarray((quads.min(axis=1) + quads.max(axis=1)) / 2)


def _concave(quads: Array) -> npt.NDArray[np.bool_]:
    sides = np.roll(quads, -1, axis=1) - quads
    after = np.roll(sides, -1, axis=1)
    turns = sides[..., 0] * after[..., 1] - sides[..., 1] * after[..., 0]
    return np.asarray((turns > 1e-9).any(axis=1) & (turns < -1e-9).any(axis=1))


def _crossed(quads: Array) -> npt.NDArray[np.bool_]:
    """Whether two opposite sides cross: of the four corners in turn, the outline is a bow tie."""
    if not len(quads):
        return np.zeros(0, dtype=bool)
    return np.asarray(~shapely.is_simple(shapely.linearrings(quads)))


def _from_first(quads: Array) -> Array:
    """(n, 4, 2) → (n, 8): from the leftmost corner on, towards the lesser of its neighbours."""
    keys = quads[..., 0] * 1e6 + quads[..., 1]
    first = keys.argmin(axis=1)[:, None]
    after, before = ((first + step) % 4 for step in (1, 3))
    backwards = np.take_along_axis(keys, before, 1) < np.take_along_axis(keys, after, 1)
    turn = np.where(backwards, -1, 1) * np.arange(4)
    return np.take_along_axis(quads, ((first + turn) % 4)[..., None], 1).reshape(-1, 8)


def _twice(objects: Objects) -> npt.NDArray[np.bool_]:
    """All but the first of equal objects, whichever corner a quadrangle starts from."""
    quads = objects.boxes.shape[1] == 8
    boxes = _from_first(corners(objects.boxes)) if quads else objects.boxes
    rows = np.column_stack([boxes, objects.labels])
    _, first = np.unique(rows, axis=0, return_index=True)
    again = np.ones(len(rows), dtype=bool)
    again[first] = False
    return again


def faults(
    objects: Objects, size: tuple[int, int] | None, place: Path, classes: tuple[str, ...]
) -> list[Defect]:
    """Every defect of the objects of one picture; ``size`` is its width and height, where known."""
    if not len(objects):
        return []
    quads, flat = corners(objects.boxes), objects.boxes.shape[1] == 4
    small = areas(quads) < LEAST_AREA
    found: dict[str, npt.NDArray[Any]] = {"zero-area": small}
    if flat:
        left, top, right, bottom = objects.boxes.T
        found["inverted"] = (right < left) | (bottom < top)
        found["zero-area"] = small & ~found["inverted"]
    else:
        crossed = _crossed(quads)
        hull = quads.max(axis=1) - quads.min(axis=1)
        small = np.asarray(small & ~(crossed & (hull.min(axis=1) >= LEAST_AREA)))
        found["zero-area"] = small
        found["self-crossing"] = crossed & ~small
        found["non-convex"] = _concave(quads) & ~crossed & ~small
    found["duplicate"] = _twice(objects)
    if size is not None:
        middle, limit = centres(quads), np.array(size, dtype=np.float64)
        found["outside"] = np.any((middle < 0) | (middle > limit), axis=1)
        if flat:
            beyond = (quads < 0).any(axis=(1, 2)) | (quads > limit).any(axis=(1, 2))
            found["beyond-edge"] = beyond & ~found["outside"] & ~found["inverted"]
    return [
        Defect(
            kind,
            place,
            f"{classes[objects.labels[i]]} {_told(objects.boxes[i])}{_of(size, kind)}",
            int(objects.lines[i]) or None,
            int(i),
        )
        for kind, which in found.items()
        for i in np.flatnonzero(which)
    ]


def _told(box: Array) -> str:
    return "(" + ", ".join(f"{value:g}" for value in box) + ")"


def _of(size: tuple[int, int] | None, kind: str) -> str:
    return f" of {size[0]}x{size[1]} px" if size and kind in ("outside", "beyond-edge") else ""
