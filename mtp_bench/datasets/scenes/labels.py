"""From a scene to its labels: which thing is seen where, boxes, and masks of land cover."""

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt
import shapely

from mtp_bench.datasets.scenes.geometry import Array, Region, Scene, corners
from mtp_bench.datasets.scenes.render import (
    SHAPES,
    SUBPIXEL,
    footprints,
    ground_ids,
    render,
    to_canvas,
)

Numbers = npt.NDArray[np.intp]
BUILDINGS = ("house", "hall")
LEAST_SIDE = 4.0
"""Of the square of an object's area, in pixels; smaller ones are not shown at all."""


class Frame(NamedTuple):
    """The picture's size: the upper left part of a scene's square."""

    wide: int
    high: int

    def scale(self, scene: Scene) -> float:
        """Pixels in a metre."""
        return max(self) / scene.extent


def paint(scene: Scene, frame: Frame) -> npt.NDArray[np.uint8]:
    """What is seen of the scene, as RGB."""
    return np.ascontiguousarray(render(scene, max(frame))[: frame.high, : frame.wide])


def things_seen(scene: Scene, frame: Frame) -> tuple[Numbers, Numbers]:
    """The number of the thing that is seen in each pixel, or -1; how many pixels each covers.

    Things are drawn as `render` draws them, kind by kind: crowns hide what stands below.
    """
    seen: Numbers = np.full((frame.high, frame.wide), -1)
    covers: Numbers = np.zeros(len(scene.things), dtype=np.intp)
    for kind in SHAPES:
        which = [i for i, thing in enumerate(scene.things) if thing.kind == kind]
        layer = np.full(seen.shape, -1, dtype=np.int32)
        parts = footprints([scene.things[i] for i in which], scene.view.sun) if which else ()
        for _, foot in parts:
            for number, points in zip(which, to_canvas(foot, frame.scale(scene)), strict=True):
                cv2.fillConvexPoly(layer, points, number, cv2.LINE_8, SUBPIXEL)
        covers += np.bincount(layer[layer >= 0], minlength=len(covers))
        seen = np.where(layer >= 0, layer, seen)
    return seen, covers


def quads(scene: Scene, frame: Frame) -> Array:
    """(n, 4, 2) rotated boxes of the things in pixels, from the front left, clockwise."""
    places = np.array([corners(thing) for thing in scene.things], dtype=complex).reshape(-1, 4)
    return np.asarray(np.stack([places.real, places.imag], axis=-1) * frame.scale(scene))


def hulls(scene: Scene, frame: Frame) -> Array:
    """(n, 4) left, top, right and bottom of what is drawn of each thing, within the picture."""
    found = np.zeros((len(scene.things), 4))
    for kind in SHAPES:
        which = [i for i, thing in enumerate(scene.things) if thing.kind == kind]
        if which:
            parts = footprints([scene.things[i] for i in which], scene.view.sun)
            feet = np.concatenate([foot for _, foot in parts], axis=1)
            low = feet.real.min(axis=1), feet.imag.min(axis=1)
            found[which] = np.stack([*low, feet.real.max(axis=1), feet.imag.max(axis=1)], axis=1)
    return np.clip(found * frame.scale(scene), 0, [frame.wide, frame.high] * 2)


def settled(scene: Scene, frame: Frame, kinds: Collection[str]) -> Scene:
    """The scene without things of the kinds that are too small, cut or covered to be labelled.

    So that whatever is seen of these kinds is labelled: at least half of it lies in the picture,
    and of this at least half is not hidden.
    """
    seen, covers = things_seen(scene, frame)
    shown = np.bincount(seen[seen >= 0], minlength=len(covers))
    boxes = shapely.polygons(quads(scene, frame))
    area, picture = shapely.area(boxes), shapely.box(0, 0, *frame)
    fit = (area >= LEAST_SIDE**2) & (shown > 0) & (shown >= covers / 2)
    fit &= shapely.area(shapely.intersection(boxes, picture)) >= area / 2
    at = np.array([thing.at for thing in scene.things], dtype=complex) * frame.scale(scene)
    fit &= (at.real > 0) & (at.imag > 0) & (at.real < frame.wide) & (at.imag < frame.high)
    kept = (t for t, good in zip(scene.things, fit, strict=True) if good or t.kind not in kinds)
    return replace(scene, things=tuple(kept))


_LAND: Mapping[str, int] = (
    dict.fromkeys(("asphalt", "paint", "yellow"), 3)
    | dict.fromkeys(("water", "shallows", "foam"), 4)
    | dict.fromkeys(("soil", "sand", "gravel"), 5)
    | dict.fromkeys(("forest",), 6)
    | dict.fromkeys(("crop", "stubble"), 7)
)


def _land(region: Region) -> int:
    """A cover's number, but what grows in rows is a field, and a ribbon of concrete a road."""
    if region.rows:
        return 7
    return 3 if region.cover == "concrete" and region.width else _LAND.get(region.cover, 1)


def land_mask(scene: Scene, frame: Frame) -> npt.NDArray[np.uint8]:
    """Land cover in LoveDA's numbers. Crowns are forest; a car on a road is road.

    1 background, 2 building, 3 road, 4 water, 5 barren, 6 forest, 7 agriculture.
    """
    ground = ground_ids(scene, max(frame))[: frame.high, : frame.wide]
    mask = np.array([_land(region) for region in scene.regions])[ground]
    named = dict.fromkeys(BUILDINGS, 2) | {"storage_tank": 2, "tree": 6}
    kinds = np.array([named.get(thing.kind, 0) for thing in scene.things] + [0])
    above = kinds[things_seen(scene, frame)[0]]  # -1, no thing, is the last
    return np.where(above > 0, above, mask).astype(np.uint8)
