"""Where windows lie in a scene, and what becomes of its objects in each. No pixels, no files."""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import shapely

from mtp_bench.datasets import geometry
from mtp_bench.datasets.cards.card import Tiles
from mtp_bench.datasets.samples import Objects

CUT, IGNORED = 2, -1
"""Values of ``difficult`` for objects that the edge of a tile cuts: trained on; left out of the
loss of training. ``Tiles.cut`` says which."""
WHOLE = 1 - 1e-9
"""An object of which a larger share lies in a window is whole, beyond what rounding takes."""
SAME_SHARE = 0.01
"""Windows that hold so nearly the largest share of a small scene are all kept, as published."""


class Window(NamedTuple):
    """A square of a scene, in pixels of the scene."""

    left: int
    top: int
    side: int
    scale: float = 1.0


def windows(size: tuple[int, int], tiles: Tiles) -> list[Window]:
    """The windows of a scene of this width and height: scale by scale, row by row.

    ``inside`` is the rule of mmrotate's ``img_split.py``, that of DOTA's published tiles.
    """
    found = []
    for scale in tiles.scales:
        side, gap = int(tiles.size / scale), int(tiles.gap / scale)
        lefts, tops = (_starts(length, side, gap, tiles.place) for length in size)
        found += [Window(left, top, side, scale) for top in tops for left in lefts]
    if tiles.place != "inside":
        return found
    shares = np.array([_share_of_scene(window, size) for window in found])
    if not (shares > tiles.least).any():
        return [found[i] for i in np.flatnonzero(shares.max() - shares < SAME_SHARE)]
    return [found[i] for i in np.flatnonzero(shares > tiles.least)]


def _starts(length: int, side: int, gap: int, place: str) -> list[int]:
    if length <= side:
        return [0]
    step, room = side - gap, length - side
    last = -(-room // step)
    if place == "even":
        return [i * room // last for i in range(last + 1)]
    starts = [i * step for i in range(last + 1)]
    return [*starts[:-1], min(starts[-1], room)] if place == "inside" else starts


def _share_of_scene(window: Window, size: tuple[int, int]) -> float:
    wide = min(window.left + window.side, size[0]) - window.left
    high = min(window.top + window.side, size[1]) - window.top
    return wide * high / window.side**2


def cut(objects: Objects, window: Window, tiles: Tiles) -> Objects:
    """The objects of a tile, in its own pixels.

    Quads are moved, never clipped: their corners may lie beyond the tile, as in published tiles.
    """
    quads = geometry.corners(objects.boxes) - np.array(window[:2], dtype=np.float64)
    shares = _shares(quads, window.side)
    if tiles.keep is None:
        middle = geometry.centres(quads)
        inside = ((middle >= 0) & (middle < window.side)).all(axis=1) & (shares > 0)
    else:
        inside = (shares >= tiles.keep) & (shares > 0)
    kept, partly = objects.take(inside), shares[inside] < WHOLE
    offset = np.tile(np.array(window[:2], dtype=np.float64), objects.boxes.shape[1] // 2)
    boxes, difficult = kept.boxes - offset, kept.difficult
    if tiles.cut == "clip":
        return _clipped(Objects(boxes, kept.labels, difficult, kept.lines), window.side)
    value = CUT if tiles.cut == "difficult" else IGNORED
    return Objects(boxes, kept.labels, np.where(partly, value, difficult), kept.lines)


def _clipped(objects: Objects, side: int) -> Objects:
    """Horizontal boxes clipped to the last pixel of the tile, as MTP cuts xView."""
    if objects.boxes.shape[1] != 4:
        raise ValueError("only horizontal boxes can be clipped")
    boxes = np.clip(objects.boxes, 0, side - 1)
    left = (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])
    return Objects(boxes, objects.labels, objects.difficult, objects.lines).take(left)


def _shares(quads: npt.NDArray[np.float64], side: int) -> npt.NDArray[np.float64]:
    """(n,) share of each object's area that lies in the tile; 0 where it has no area."""
    low, high = quads.min(axis=1), quads.max(axis=1)
    within = ((low >= 0) & (high <= side)).all(axis=1)
    near = ((high > 0) & (low < side)).all(axis=1)
    whole = within & (geometry.areas(quads) > 0)
    shares = np.asarray(whole, dtype=np.float64)
    partly = np.flatnonzero(near & ~whole)
    if len(partly):
        shapes: npt.NDArray[Any] = np.asarray(shapely.polygons(quads[partly]))
        crossed = ~shapely.is_valid(shapes)
        shapes[crossed] = shapely.make_valid(shapes[crossed])
        areas = shapely.area(shapes)
        inner = shapely.area(shapely.intersection(shapes, shapely.box(0, 0, side, side)))
        shares[partly] = np.divide(inner, areas, out=np.zeros_like(areas), where=areas > 0)
    return shares


def tile_name(key: str, window: Window) -> str:
    """As mmrotate writes it: ``P0004__1024__0___0`` is name, side, left and top.

    Different keys give different names: see ``file_name``.
    """
    return f"{file_name(key)}__{window.side}__{window.left}___{window.top}"


def file_name(key: str) -> str:
    """A key as one file name: ``/`` becomes ``%2F``, as in URLs, and so ``%`` becomes ``%25``."""
    return key.replace("%", "%25").replace("/", "%2F")
