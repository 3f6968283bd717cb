"""What an overhead scene is made of, and the plane geometry to lay one out.

Places are complex numbers in metres, x to the right and y down from the picture's upper left
corner: a turn is a product, a distance an absolute value. Headings are radians from the x axis
towards the y axis. Everything that labels will need follows from these descriptions.
"""

from cmath import rect
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, partial
from math import pi
from typing import Any

import numpy as np
import numpy.typing as npt

Outline = tuple[complex, ...]
RGB = tuple[float, float, float]
Array = npt.NDArray[np.floating[Any]]
Line = npt.NDArray[np.complexfloating[Any, Any]]  # places in turn, or a polygon's corners
Places = Sequence[complex] | Line
unit = partial(rect, 1.0)  # a heading as a step of one metre


@dataclass(frozen=True)
class Region:
    """An area of one land cover, among them the ribbons along roads, paint, hedges and piers."""

    cover: str
    outline: Outline
    tint: RGB
    rows: complex = 0  # of plants, or furrows: how many in a metre, and the way across them
    line: Outline = ()  # what a ribbon follows
    width: float = 0.0  # of a ribbon


@dataclass(frozen=True)
class Thing:
    """An object: `length` runs along its heading, `height` throws its shadow."""

    kind: str
    at: complex
    length: float
    width: float
    heading: float
    height: float
    colour: RGB


@dataclass(frozen=True)
class View:
    """The moment and the instrument. Two views of one scene are two dates of one place."""

    seed: int
    sun: float  # heading towards the sun
    elevation: float
    gain: RGB
    veil: RGB  # what the air adds to each channel
    haze: float  # strength of thin cloud, uneven over the picture
    blur: float  # standard deviation of the point spread, in ground sampling distances
    noise: float


@dataclass(frozen=True)
class Scene:
    extent: float  # length of a side of the square that is seen
    gsd: float  # the instrument's ground sampling distance: larger pictures show no more than this
    seed: int
    regions: tuple[Region, ...]  # from the lowest to the uppermost, ribbons last
    things: tuple[Thing, ...]
    view: View


@cache
def palette(codes: str) -> Array:
    """Colours from their hexadecimal forms, each channel from 0 to 1."""
    return np.array([list(bytes.fromhex(code)) for code in codes.split()]) / 255


def slab(at: complex, heading: float, length: float, width: float) -> Line:
    """A rectangle about its middle: front left, front right, back right, back left."""
    front = np.array([length - width * 1j, length + width * 1j]) / 2 * unit(heading)
    return np.concatenate([at + front, at - front])


def corners(thing: Thing) -> Outline:
    """The rotated box, from the front left as the heading looks."""
    return tuple(slab(thing.at, thing.heading, thing.length, thing.width).tolist())


def beside(line: Line, aside: float | Array) -> Line:
    """The line that runs beside another, to its right where `aside` is positive."""
    along = np.gradient(line)
    return np.asarray(line + aside * 1j * along / np.maximum(abs(along), 1e-9), np.complex128)


def ribbon(line: Line, width: float | Array) -> Line:
    """The polygon that a band of this width along the line covers."""
    return np.concatenate([beside(line, width / 2), beside(line, -width / 2)[::-1]])


def inside(outline: Places, places: Places) -> npt.NDArray[np.bool_]:
    """Which places lie in the polygon (even-odd rule)."""
    a, p = np.asarray(outline), np.asarray(places, dtype=np.complex128)[:, None]
    b = np.roll(a, -1)
    rise = np.where(a.imag == b.imag, 1.0, (b - a).imag)
    left = p.real < (b - a).real * (p - a).imag / rise + a.real
    crosses = ((a.imag > p.imag) != (b.imag > p.imag)) & left
    return np.asarray(crosses.sum(axis=1) % 2 == 1)


def in_sight(places: Line, extent: float) -> bool:
    """Whether the bounds of these places meet the picture."""
    x, y = places.real, places.imag
    return bool(min(x.max(), y.max()) > 0 and max(x.min(), y.min()) < extent)


def inset(polygon: Line, distance: float) -> Line:
    """A convex polygon of `slab`'s winding without a margin; empty where a side has none left."""
    sides = np.roll(polygon, -1) - polygon
    after = sides / abs(sides)
    before = np.roll(after, 1)
    inner = polygon + distance * (after - before) / (before.conj() * after).imag
    left = (np.roll(inner, -1) - inner) * after.conj()
    return inner if (left.real > 0).all() else inner[:0]


def parcels(
    rng: np.random.Generator, extent: float, size: float, aspect: float, skew: float
) -> list[Line]:
    """Divides the picture's ground into strips, turned at random, and these into parcels.

    Parcels are quadrangles of about this area and shape; `skew` is how far their sides slant.
    """
    done: list[Line] = []
    reach, turn = 0.8 * extent, unit(rng.uniform(0, 2 * pi))
    width, length = (size / aspect) ** 0.5, (size * aspect) ** 0.5
    low, slope = -reach, 0.0
    while low < reach:
        high = low + width * rng.uniform(0.5, 1.5)
        rise, slant = skew * rng.uniform(-0.4, 0.4) * width / reach, skew * rng.normal() * width
        left = -reach - width
        while left < reach + width:
            right = left + length * rng.uniform(0.5, 1.5)
            x = np.array([left, right, right + slant, left + slant])
            y = np.array([low, low, high, high]) + x * (slope, slope, rise, rise)
            parcel = extent * (0.5 + 0.5j) + (x + 1j * y) * turn
            if in_sight(parcel, extent):
                done.append(parcel)
            left = right
        low, slope = high, rise
    return done


def blob(rng: np.random.Generator, centre: complex, radius: float, rough: float) -> Line:
    """A rounded, irregular patch: a copse, a pond, a lake."""
    angle = np.linspace(0.0, 2 * pi, 40, endpoint=False)
    reach = np.ones_like(angle)
    for wave in range(2, 9):
        reach += rough * rng.normal() / wave**1.2 * np.cos(wave * angle + rng.uniform(0, 2 * pi))
    return np.asarray(centre + np.clip(reach, 0.35, 1.8) * radius * np.exp(1j * angle))


def curve(rng: np.random.Generator, extent: float, bend: float, offset: float) -> Line:
    """A smooth line right across the picture, within `offset` (of the side) of its middle."""
    t, wave, phase = np.linspace(-1.0, 1.0, 41), rng.uniform(1.0, 3.0), rng.uniform(0, 6)
    aside = bend * (rng.normal() * t**2 + 0.5 * rng.normal() * np.sin(wave * t + phase))
    line = 0.9 * t + 1j * (aside + rng.uniform(-offset, offset))
    return np.asarray((line * unit(rng.uniform(0, 2 * pi)) + 0.5 + 0.5j) * extent)
