"""What an overhead scene is made of, in metres, and the plane geometry to lay one out.

The origin is the picture's upper left corner, x runs right and y down. Headings are radians from
the x axis towards the y axis. Everything that labels will need follows from these descriptions.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import cos, hypot, pi, sin

import numpy as np
import numpy.typing as npt

Point = tuple[float, float]
Outline = tuple[Point, ...]
RGB = tuple[float, float, float]
Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Rows:
    """Parallel rows of plants or furrows on a region."""

    heading: float
    spacing: float
    strength: float


@dataclass(frozen=True)
class Region:
    """An area of one land cover; of regions that overlap, the later lies on top."""

    cover: str
    outline: Outline
    tint: RGB = (1.0, 1.0, 1.0)
    rows: Rows | None = None


@dataclass(frozen=True)
class Road:
    """A ribbon of one cover along a line: roads and their paint, tracks, hedges, piers."""

    cover: str
    line: Outline
    width: float
    tint: RGB = (1.0, 1.0, 1.0)


@dataclass(frozen=True)
class Thing:
    """An object: `length` runs along its heading, `height` throws its shadow."""

    kind: str
    x: float
    y: float
    length: float
    width: float
    heading: float
    height: float
    colour: RGB


@dataclass(frozen=True)
class View:
    """The moment and the instrument. Two views of one scene are two dates of one place."""

    seed: int
    sun: float
    """Heading towards the sun."""
    elevation: float
    gain: RGB
    veil: RGB
    """What the air adds to each channel."""
    haze: float
    """Strength of thin cloud, uneven over the picture."""
    blur: float
    """Standard deviation of the point spread, in ground sampling distances."""
    noise: float


@dataclass(frozen=True)
class Scene:
    extent: float
    """Length of a side of the square that is seen."""
    gsd: float
    """The instrument's ground sampling distance: a larger picture shows no more than this."""
    seed: int
    regions: tuple[Region, ...]
    roads: tuple[Road, ...]
    things: tuple[Thing, ...]
    view: View


def rgb(code: str) -> RGB:
    """A colour from its hexadecimal form, each channel from 0 to 1."""
    r, g, b = bytes.fromhex(code)
    return (r / 255, g / 255, b / 255)


def outline_of(points: Array) -> Outline:
    return tuple((float(x), float(y)) for x, y in points.tolist())


def corners(thing: Thing) -> Outline:
    """The rotated box: front left, front right, back right, back left as the heading looks."""
    c, s = cos(thing.heading), sin(thing.heading)
    half = ((0.5, -0.5), (0.5, 0.5), (-0.5, 0.5), (-0.5, -0.5))
    sides = [(a * thing.length, b * thing.width) for a, b in half]
    return tuple((thing.x + a * c - b * s, thing.y + a * s + b * c) for a, b in sides)


def ribbon(line: Sequence[Point] | Array, width: float | Array) -> Array:
    """The polygon that a band of this width along the line covers."""
    points = np.asarray(line, dtype=np.float64)
    along = np.gradient(points, axis=0)
    along /= np.maximum(np.hypot(along[:, 0], along[:, 1]), 1e-9)[:, None]
    aside = np.stack([-along[:, 1], along[:, 0]], axis=1) * (np.asarray(width) / 2).reshape(-1, 1)
    return np.concatenate([points + aside, (points - aside)[::-1]])


def inside(outline: Sequence[Point] | Array, points: Array) -> npt.NDArray[np.bool_]:
    """Which points lie in the polygon (even-odd rule)."""
    corner = np.asarray(outline, dtype=np.float64)
    x, y = points[:, 0, None], points[:, 1, None]
    (ax, ay), (bx, by) = corner.T, np.roll(corner, -1, axis=0).T
    rise = np.where(by == ay, 1.0, by - ay)
    crosses = ((ay > y) != (by > y)) & (x < (bx - ax) * (y - ay) / rise + ax)
    return np.asarray(crosses.sum(axis=1) % 2 == 1)


def area(polygon: Sequence[Point]) -> float:
    pairs = zip(polygon, (*polygon[1:], polygon[0]), strict=True)
    return abs(sum(x * v - y * u for (x, y), (u, v) in pairs)) / 2


def _halves(polygon: list[Point], normal: Point, reach: float) -> tuple[list[Point], list[Point]]:
    """Cuts a convex polygon into its parts below and beyond `reach` along the normal.

    Lists of floats, since NumPy takes ten times as long for five corners.
    """
    side = [x * normal[0] + y * normal[1] - reach for x, y in polygon]
    below: list[Point] = []
    beyond: list[Point] = []
    for i, point in enumerate(polygon):
        last, this = side[i - 1], side[i]
        if last * this < 0:
            (x, y), share = polygon[i - 1], last / (last - this)
            cut = (x + (point[0] - x) * share, y + (point[1] - y) * share)
            below.append(cut)
            beyond.append(cut)
        if this <= 0:
            below.append(point)
        if this >= 0:
            beyond.append(point)
    return below, beyond


def inset(polygon: Array, distance: float) -> Array:
    """A convex polygon without a margin; empty where nothing is left."""
    points: list[Point] = [(x, y) for x, y in polygon.tolist()]
    left = points
    middle = (sum(x for x, _ in points) / len(points), sum(y for _, y in points) / len(points))
    for (ax, ay), (bx, by) in zip(points, (*points[1:], points[0]), strict=True):
        length = hypot(bx - ax, by - ay)
        if length < 1e-6:
            continue
        nx, ny = (by - ay) / length, (ax - bx) / length
        if nx * (ax - middle[0]) + ny * (ay - middle[1]) < 0:
            nx, ny = -nx, -ny
        left = _halves(left, (nx, ny), nx * ax + ny * ay - distance)[0]
        if len(left) < 3:
            return np.empty((0, 2))
    return np.array(left)


def parcels(
    rng: np.random.Generator, extent: float, size: float, aspect: float = 1.5, skew: float = 0.08
) -> list[Array]:
    """Divides the picture's ground, turned at random, into convex parcels of about this area.

    Parcels longer than `aspect` are cut across; others along or across, askew by up to `skew`.
    """
    done: list[Array] = []
    waiting: list[list[Point]] = [[(x, y) for x, y in square(extent, rng.uniform(0, pi)).tolist()]]
    while waiting:
        polygon = waiting.pop()
        if len(polygon) < 3 or not in_sight(polygon, extent):
            continue
        if area(polygon) < size * rng.uniform(0.8, 2.2):
            done.append(np.array(polygon))
            continue
        pairs = zip(polygon, (*polygon[1:], polygon[0]), strict=True)
        x, y = max(((u - x, v - y) for (x, y), (u, v) in pairs), key=lambda e: hypot(*e))
        along = (x / hypot(x, y), y / hypot(x, y))
        across = (-along[1], along[0])
        long, wide = _span(polygon, along), _span(polygon, across)
        normal = along if long[1] > aspect * wide[1] or rng.random() < 0.3 else across
        turn = float(rng.normal(0.0, skew))
        normal = (
            normal[0] * cos(turn) - normal[1] * sin(turn),
            normal[0] * sin(turn) + normal[1] * cos(turn),
        )
        start, span = _span(polygon, normal)
        waiting.extend(_halves(polygon, normal, start + span * float(rng.uniform(0.35, 0.65))))
    return done


def _span(polygon: list[Point], axis: Point) -> tuple[float, float]:
    reach = [x * axis[0] + y * axis[1] for x, y in polygon]
    return min(reach), max(reach) - min(reach)


def in_sight(polygon: Sequence[Point] | Array, extent: float) -> bool:
    """Whether the polygon's bounds meet the picture."""
    xs, ys = [p[0] for p in polygon], [p[1] for p in polygon]
    return bool(max(xs) > 0 and max(ys) > 0 and min(xs) < extent and min(ys) < extent)


def square(extent: float, heading: float) -> Array:
    """A turned square that covers the whole picture."""
    c, s, r = cos(heading), sin(heading), extent * 0.75
    corner = np.array([[-r, -r], [r, -r], [r, r], [-r, r]])
    return np.asarray(corner @ np.array([[c, s], [-s, c]]) + extent / 2, dtype=np.float64)


def blob(rng: np.random.Generator, centre: Array, radius: float, rough: float = 0.25) -> Array:
    """A rounded, irregular patch: a copse, a pond, a lake."""
    angle = np.linspace(0.0, 2 * np.pi, 40, endpoint=False)
    reach = np.ones_like(angle)
    for wave in range(2, 9):
        reach += rough * rng.normal() / wave**1.2 * np.cos(wave * angle + rng.uniform(0, 2 * np.pi))
    reach = np.clip(reach, 0.35, 1.8) * radius
    return np.stack([centre[0] + reach * np.cos(angle), centre[1] + reach * np.sin(angle)], axis=1)


def curve(rng: np.random.Generator, extent: float, bend: float, offset: float = 0.15) -> Array:
    """A smooth line right across the picture, within `offset` (of the side) of its middle."""
    heading, t = rng.uniform(0, 2 * np.pi), np.linspace(-1.0, 1.0, 41)
    wave = rng.uniform(1.0, 3.0)
    aside = bend * (rng.normal() * t**2 + 0.5 * rng.normal() * np.sin(wave * t + rng.uniform(0, 6)))
    aside += rng.uniform(-offset, offset)
    along = np.stack([np.cos(heading) * t, np.sin(heading) * t], axis=1)
    across = np.stack([-np.sin(heading) * aside, np.cos(heading) * aside], axis=1)
    return np.asarray((along * 0.9 + across + 0.5) * extent, dtype=np.float64)
