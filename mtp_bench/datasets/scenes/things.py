"""Draws objects and their shadows from shapes that are data.

A shape is a list of convex parts in the object's own box (x forward, y to the right, both from
-0.5 to 0.5), painted in order. Parts that stand up throw the shadow and make the silhouette.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import cos, pi, sin, tan

import cv2
import numpy as np
import numpy.typing as npt

from mtp_bench.datasets.scenes.geometry import RGB, Array, Outline, Point, Scene, Thing
from mtp_bench.datasets.scenes.terrain import SUBPIXEL, Pixels, to_canvas


@dataclass(frozen=True)
class Part:
    outline: Outline
    tone: float = 1.0
    """Brightness against the object's colour."""
    colour: RGB | None = None
    """Its own colour instead of the object's."""
    slope: float | None = None
    """The heading, within the object, that a sloping roof looks to."""
    solid: bool = True
    """Belongs to the silhouette and throws a shadow."""
    sunward: bool = False
    """Laid out towards the sun instead of the object's heading: light on a round body."""


def _box(left: float, top: float, right: float, bottom: float) -> Outline:
    return ((left, top), (right, top), (right, bottom), (left, bottom))


def _round(radius: float, x: float = 0.0, y: float = 0.0, corners: int = 14) -> Outline:
    turns = [2 * pi * i / corners for i in range(corners)]
    return tuple((x + radius * cos(t), y + radius * sin(t)) for t in turns)


def _pair(right: Outline) -> tuple[Outline, Outline]:
    """A part on either side."""
    return right, tuple((x, -y) for x, y in right)


def _hull(*right: Point) -> Outline:
    """A body from its right half, front to back."""
    return (*right, *_pair(right)[1][::-1])


BAYS = (-0.5, -0.25, 0.0, 0.25)
GLASS: RGB = (0.10, 0.12, 0.15)
WHITE: RGB = (0.88, 0.88, 0.85)
WING: Outline = ((0.12, 0.04), (0.0, 0.04), (-0.17, 0.5), (-0.09, 0.5))
TAIL: Outline = ((-0.36, 0.02), (-0.45, 0.02), (-0.5, 0.19), (-0.44, 0.19))


def _line(left: float, top: float, right: float, bottom: float, colour: RGB = WHITE) -> Part:
    return Part(_box(left, top, right, bottom), colour=colour, solid=False)


SHAPES: dict[str, tuple[Part, ...]] = {
    "tennis_court": (
        Part(_box(-0.5, -0.5, 0.5, 0.5), solid=False),
        Part(_box(-0.33, -0.33, 0.33, 0.33), 1.3, solid=False),
        *(_line(x - 0.004, -0.3, x + 0.004, 0.3) for x in (-0.325, -0.175, 0.175, 0.325)),
        *(_line(-0.325, y - 0.009, 0.325, y + 0.009) for y in (-0.3, -0.225, 0.225, 0.3)),
        _line(-0.175, -0.008, 0.175, 0.008),
        _line(-0.006, -0.36, 0.006, 0.36, GLASS),
    ),
    "car": (
        Part(_box(-0.5, -0.45, 0.5, 0.45)),
        Part(_box(0.05, -0.4, 0.24, 0.4), colour=GLASS),
        Part(_box(-0.42, -0.36, -0.3, 0.36), colour=GLASS),
    ),
    "truck": (
        Part(_box(-0.5, -0.5, 0.3, 0.5)),
        Part(_box(0.33, -0.45, 0.5, 0.45), 0.7),
    ),
    "ship": (
        Part(_hull((0.5, 0.02), (0.46, 0.22), (0.34, 0.46), (-0.42, 0.5), (-0.5, 0.4)), 0.7),
        Part(_hull((0.47, 0.02), (0.44, 0.16), (0.33, 0.36), (-0.4, 0.4), (-0.47, 0.3)), 1.15),
        *(Part(_box(x, -0.24, x + 0.12, 0.24), 0.65, solid=False) for x in (-0.2, -0.04, 0.12)),
        Part(_box(-0.42, -0.34, -0.26, 0.34), colour=WHITE),
    ),
    "boat": (
        Part(_hull((0.5, 0.02), (0.2, 0.42), (-0.5, 0.42))),
        Part(_box(-0.4, -0.25, -0.12, 0.25), 0.6, solid=False),
        Part(_box(-0.08, -0.28, 0.14, 0.28), colour=GLASS, solid=False),
    ),
    "airplane": (
        *(Part(wing, 0.92) for wing in (*_pair(WING), *_pair(TAIL))),
        *(Part(engine, 0.6) for engine in _pair(_box(0.0, 0.15, 0.11, 0.195))),
        Part(_hull((0.5, 0.005), (0.44, 0.042), (-0.3, 0.047), (-0.49, 0.012))),
        Part(_hull((0.46, 0.005), (0.42, 0.02)), colour=GLASS, solid=False),
        Part(_box(-0.5, -0.012, -0.32, 0.012), 0.7, solid=False),
    ),
    "storage_tank": (
        Part(_round(0.5), 0.72),
        Part(_round(0.47, 0.025), sunward=True),
        Part(_round(0.3, 0.03), 0.94, solid=False),
        Part(_box(-0.46, -0.02, 0.1, 0.02), 0.8, solid=False),
    ),
    "house": (
        Part(_box(-0.5, -0.5, 0.5, 0.02), slope=-pi / 2),
        Part(_box(-0.5, 0.0, 0.5, 0.5), slope=pi / 2),
    ),
    "block": (
        Part(_box(-0.5, -0.5, 0.5, 0.5), 0.8),
        Part(_box(-0.47, -0.46, 0.47, 0.46)),
        Part(_box(-0.3, -0.25, -0.1, 0.1), 0.75, solid=False),
        Part(_box(0.12, -0.05, 0.3, 0.22), 1.15, solid=False),
    ),
    "hall": (
        Part(_box(-0.5, -0.5, 0.5, 0.5)),
        *(Part(_box(x, -0.5, x + 0.125, 0.5), slope=pi, solid=False) for x in BAYS),
        *(Part(_box(x + 0.125, -0.5, x + 0.25, 0.5), slope=0.0, solid=False) for x in BAYS),
        *(Part(_box(x, -0.3, x + 0.02, 0.3), 0.6, solid=False) for x in (-0.26, -0.01, 0.24)),
    ),
    "tree": (
        Part(_round(0.36, 0.14, 0.0, 8), 0.75),
        Part(_round(0.33, -0.08, 0.16, 8), 0.8),
        Part(_round(0.34, -0.06, -0.15, 8), 0.7),
        Part(_round(0.3, 0.1, 0.03, 7), solid=False, sunward=True),
        Part(_round(0.17, 0.08, -0.12, 6), 1.15, solid=False),
        Part(_round(0.13, 0.2, 0.08, 5), 1.25, solid=False, sunward=True),
    ),
}


@dataclass(frozen=True)
class _Bodies:
    """All objects of one kind, as arrays."""

    kind: str
    size: Array
    place: Array
    heading: Array
    height: Array
    colour: Array

    def part(self, part: Part, sun: float) -> Array:
        """One part of every body, in metres: (bodies, corners, 2)."""
        heading = np.full_like(self.heading, sun) if part.sunward else self.heading
        points = np.array(part.outline)[None] * self.size[:, None]
        c, s = np.cos(heading)[:, None], np.sin(heading)[:, None]
        x, y = points[..., 0], points[..., 1]
        return np.stack([x * c - y * s, x * s + y * c], axis=-1) + self.place[:, None]


def _bodies(kind: str, things: Sequence[Thing]) -> _Bodies:
    table = np.array(
        [(t.length, t.width, t.x, t.y, t.heading, t.height, *t.colour) for t in things]
    )
    return _Bodies(kind, table[:, :2], table[:, 2:4], table[:, 4], table[:, 5], table[:, 6:])


def draw_things(scene: Scene, ground: Pixels) -> npt.NDArray[np.uint8]:
    """Objects with their shadows on the painted ground; from planes to RGB (side, side, 3)."""
    side = ground.shape[1]
    seen = [t for t in scene.things if _seen(t, scene.extent)]
    groups = [
        _bodies(kind, kept) for kind in SHAPES if (kept := [t for t in seen if t.kind == kind])
    ]
    shade = np.zeros((side, side), dtype=np.uint8)
    for bodies in groups:
        _cast(scene, bodies, shade)
    if groups:
        lost = shade.astype(np.float32) * np.float32(0.52 / 255)
        ground = np.stack(
            [p * (1 - lost * np.float32(k)) for p, k in zip(ground, (1.0, 0.95, 0.85), strict=True)]
        )  # the sky lights shadows blue
    planes = np.rint(np.clip(ground, 0.0, 1.0) * np.float32(255)).astype(np.uint8)
    canvas = np.ascontiguousarray(planes.transpose(1, 2, 0))
    for bodies in groups:
        _draw(scene, bodies, canvas)
    return canvas


def _seen(thing: Thing, extent: float) -> bool:
    reach = thing.length + thing.width + 3 * thing.height
    return -reach < thing.x < extent + reach and -reach < thing.y < extent + reach


def _cast(scene: Scene, bodies: _Bodies, shade: npt.NDArray[np.uint8]) -> None:
    throw = bodies.height / tan(scene.view.elevation)
    away = -np.array([cos(scene.view.sun), sin(scene.view.sun)])
    for part in SHAPES[bodies.kind]:
        if part.solid:
            foot = bodies.part(part, scene.view.sun)
            both = np.concatenate([foot, foot + throw[:, None, None] * away], axis=1)
            for points in to_canvas(both, len(shade) / scene.extent):
                cv2.fillConvexPoly(shade, cv2.convexHull(points), 255, cv2.LINE_8, SUBPIXEL)


def _draw(scene: Scene, bodies: _Bodies, canvas: npt.NDArray[np.uint8]) -> None:
    for part in SHAPES[bodies.kind]:
        tone = np.full(len(bodies.heading), part.tone)
        if part.slope is not None:
            tone *= 1.0 + 0.22 * np.cos(bodies.heading + part.slope - scene.view.sun)
        base = bodies.colour if part.colour is None else np.array([part.colour])
        colours = np.clip(base * tone[:, None] * 255, 0, 255).tolist()
        shapes = to_canvas(bodies.part(part, scene.view.sun), len(canvas) / scene.extent)
        for points, colour in zip(shapes, colours, strict=True):
            cv2.fillConvexPoly(canvas, points, colour, cv2.LINE_8, SUBPIXEL)
