"""Lays out pieces of landscape on a sketch: fields, hedges, woods, quarters of buildings."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from math import atan2, cos, hypot, pi, sin
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from mtp_bench.datasets.scenes.geometry import (
    RGB,
    Array,
    Region,
    Road,
    Rows,
    Scene,
    Thing,
    View,
    blob,
    inset,
    inside,
    outline_of,
    rgb,
    square,
)

T = TypeVar("T")


def palette(codes: str) -> tuple[RGB, ...]:
    return tuple(rgb(code) for code in codes.split())


ROOFS = palette("b36145 c78061 8f5947 7a7573 c2ad94 ebe0d1 5c5757")
HALLS = palette("fffffc f5f5f5 ebedf0 fffaf2 b3b3b5 7a7a7d f2ede0 946657 8594a8")
LEAVES = palette("1f301a 29381f 333821")


@dataclass
class Sketch:
    """A scene while it is laid out. A tint is a colour, or how far a random one may stray."""

    rng: np.random.Generator
    extent: float
    regions: list[Region] = field(default_factory=list)
    roads: list[Road] = field(default_factory=list)
    things: list[Thing] = field(default_factory=list)

    def ground(self, covers: Sequence[str], tint: RGB | float = 0.15) -> None:
        self.area(pick(self.rng, covers), square(self.extent, 0.0), tint)

    def area(
        self, cover: str, polygon: Array, tint: RGB | float = 0.1, rows: Rows | None = None
    ) -> None:
        if len(polygon) >= 3:
            self.regions.append(Region(cover, outline_of(polygon), self._tint(tint), rows))

    def road(self, cover: str, line: Array, width: float, tint: RGB | float = 0.0) -> None:
        self.roads.append(Road(cover, outline_of(line), width, self._tint(tint)))

    def put(
        self, kind: str, at: Array, shape: tuple[float, float, float], heading: float,
        colours: Sequence[RGB],
    ) -> None:  # fmt: skip
        """An object of this length, width and height, in a variation of one of the colours."""
        x, y = at.tolist()
        length, width, height = shape
        colour = painted(self.rng, colours, 1)[0]
        self.things.append(Thing(kind, x, y, length, width, heading, height, colour))

    def count(self, low: int, high: int) -> int:
        """A whole number from `low` up to, not including, `high`."""
        return int(self.rng.integers(low, high))

    def anywhere(self, spread: float = 0.5) -> Array:
        """A place within `spread` (of the side) of the middle."""
        return self.extent * (0.5 + self.rng.uniform(-spread, spread, 2))

    def scene(self, gsd: float, view: View) -> Scene:
        parts = tuple(self.regions), tuple(self.roads), tuple(self.things)
        return Scene(self.extent, gsd, int(self.rng.integers(2**31)), *parts, view)

    def _tint(self, tint: RGB | float) -> RGB:
        return tint if isinstance(tint, tuple) else tinted(self.rng, tint)


def pick(rng: np.random.Generator, options: Sequence[T]) -> T:
    return options[int(rng.integers(len(options)))]


def tinted(rng: np.random.Generator, spread: float, hue: float | None = None) -> RGB:
    """A multiplier near 1: brightness strays by `spread`, each channel by `hue`."""
    hue = spread / 5 if hue is None else hue
    r, g, b = np.exp(rng.normal(0.0, spread) + rng.normal(0.0, hue, 3)).tolist()
    return (r, g, b)


def painted(
    rng: np.random.Generator, colours: Sequence[RGB], count: int, spread: float = 0.08
) -> list[RGB]:
    """Colours of `count` objects: one of those given each, lighter or darker."""
    base = np.array(colours)[rng.integers(len(colours), size=count)]
    base *= np.exp(rng.normal(0.0, spread, (count, 1)) + rng.normal(0.0, 0.02, (count, 3)))
    return [(r, g, b) for r, g, b in base.tolist()]


def frame(origin: Array, heading: float, x: npt.ArrayLike, y: npt.ArrayLike) -> Array:
    """Points given along and across a heading, as places in the scene."""
    along, across = np.broadcast_arrays(np.asarray(x, np.float64), np.asarray(y, np.float64))
    c, s = cos(heading), sin(heading)
    places = (origin[0] + along * c - across * s, origin[1] + along * s + across * c)
    return np.stack(places, axis=-1)


def slab(origin: Array, heading: float, length: float, width: float) -> Array:
    """A rectangle about its middle."""
    half = length / 2 * np.array([1, 1, -1, -1]), width / 2 * np.array([-1, 1, 1, -1])
    return frame(origin, heading, *half)


def scattered(rng: np.random.Generator, polygon: Array, count: int) -> Array:
    """Places in a polygon, as many of `count` tries as fall inside."""
    low, high = polygon.min(axis=0), polygon.max(axis=0)
    points = np.asarray(low + rng.random((count, 2)) * (high - low), dtype=np.float64)
    return points[inside(polygon, points)]


def trees(sketch: Sketch, places: Array, size: float = 7.0) -> None:
    count = len(places)
    spans = (size * sketch.rng.uniform(0.55, 1.45, count)).tolist()
    colours = painted(sketch.rng, LEAVES, count, 0.15)
    for (x, y), d, colour in zip(places.tolist(), spans, colours, strict=True):
        sketch.things.append(Thing("tree", x, y, d, d, 10.0 * x, 0.9 * d, colour))


def crops(
    sketch: Sketch, plots: list[Array], covers: Sequence[str], border: float, rows: Rows | None
) -> None:
    """Fields with one crop each; `rows` gives the spacing and strength, the heading is theirs."""
    rng = sketch.rng
    spreads = {"soil": 0.18, "stubble": 0.12, "crop": 0.22}
    for plot in plots:
        cover, own = pick(rng, covers), None
        if rows is not None:
            heading = _along(plot) + (pi / 2 if rng.random() < 0.2 else 0.0)
            spacing = rows.spacing * rng.uniform(0.8, 1.25)
            own = Rows(heading, spacing, rows.strength * rng.uniform(0.4, 1.3))
        sketch.area(
            cover, inset(plot, border / 2), tinted(rng, spreads.get(cover, 0.18), 0.025), own
        )


def _along(polygon: Array) -> float:
    edges = np.concatenate([polygon[1:], polygon[:1]]) - polygon
    x, y = edges[np.argmax((edges**2).sum(axis=1))]
    return atan2(y, x)


def hedges(sketch: Sketch, plots: list[Array], width: float, share: float) -> None:
    """Lines of trees along some of the borders, not all of their way."""
    rng = sketch.rng
    for plot in plots:
        for a, b in zip(plot, np.concatenate([plot[1:], plot[:1]]), strict=True):
            if rng.random() > share:
                continue
            t = np.linspace(0.0, 1.0, max(3, int(hypot(*(b - a)) / 25)))[:, None]
            line = a + (b - a) * t + rng.normal(0.0, width * 0.25, (len(t), 2))
            stop = len(line) - int(rng.integers(0, 1 + len(line) // 3))
            sketch.road("forest", line[:stop], width * rng.uniform(0.6, 1.4))


def woods(sketch: Sketch, count: int, radius: float) -> None:
    """Copses where nothing else is left standing."""
    for _ in range(count):
        patch = blob(sketch.rng, sketch.anywhere(), radius * sketch.rng.uniform(0.4, 1.3), 0.5)
        without(sketch, patch)
        sketch.area("forest", patch)


def without(sketch: Sketch, polygon: Array) -> None:
    """Clears objects off a polygon that roads or water are to take."""
    if sketch.things:
        at = np.array([(t.x, t.y) for t in sketch.things])
        gone = inside(polygon, at).tolist()
        sketch.things[:] = [t for t, off in zip(sketch.things, gone, strict=True) if not off]


@dataclass(frozen=True)
class Town:
    """How a quarter is built, in metres."""

    street: float
    lot: float
    house: tuple[float, float]
    kind: str = "house"
    height: float = 6.0
    roofs: tuple[RGB, ...] = ROOFS
    gap: float = 0.08
    """Share of lots that stay empty."""
    green: float = 0.3
    """Trees per lot."""
    yard: float = 12.0
    """Depth between a row of buildings and the next one behind it."""
    mixed: float = 0.15
    """How much blocks differ in the size of their buildings."""


def quarter(sketch: Sketch, blocks: list[Array], town: Town, yards: Sequence[str]) -> None:
    """Blocks between streets, rows of buildings along the sides of each block."""
    rng = sketch.rng
    mood, tint = painted(rng, town.roofs, 3), tinted(rng, 0.12, 0.015)
    for block in blocks:
        lot = inset(block, town.street / 2)
        if len(lot) < 3:
            continue
        first, size = len(sketch.things), float(np.exp(rng.normal(0.0, town.mixed)))
        r, g, b = tinted(rng, 0.1)
        sketch.area(pick(rng, yards), lot, (tint[0] * r, tint[1] * g, tint[2] * b))
        own = replace(
            town,
            lot=town.lot * size,
            house=(town.house[0] * size, town.house[1] * size),
            roofs=(*mood, *painted(rng, town.roofs, 2)),
            gap=town.gap * rng.uniform(0.2, 2.5),
        )
        setback = own.house[1] * 0.5 + town.street * 0.3
        while len(line := inset(lot, setback)):
            _row(sketch, line, own)
            setback += own.house[1] + town.yard
        if town.kind != "house" and len(sketch.things) == first:
            _single(sketch, lot, own)
        lots = 1 + np.hypot(*np.diff(lot, axis=0).T).sum() / own.lot
        around = scattered(rng, lot, int(town.green * lots * rng.uniform(0.5, 2.0)))
        trees(sketch, _clear(sketch.things[first:], around))


def _single(sketch: Sketch, lot: Array, town: Town) -> None:
    """One building that fills most of a lot too small for a row."""
    rng, heading = sketch.rng, _along(lot)
    turned = frame(np.zeros(2), -heading, *lot.T)
    length, width = (np.ptp(turned, axis=0) * rng.uniform(0.5, 0.8, 2)).tolist()
    shape = (length, width, town.height * rng.uniform(0.7, 1.4))
    sketch.put(town.kind, lot.mean(axis=0), shape, heading, town.roofs)


def _row(sketch: Sketch, line: Array, town: Town) -> None:
    """Buildings along the sides of a polygon, clear of each other at its corners."""
    rng = sketch.rng
    sides = np.concatenate([line[1:], line[:1]]) - line
    ways = np.hypot(*sides.T)
    counts = np.maximum((ways - town.house[1] * 0.5) / town.lot, 0).astype(int)
    side, total = np.repeat(np.arange(len(line)), counts), int(counts.sum())
    rank = np.arange(total) - np.repeat(np.cumsum(counts) - counts, counts)
    share = (rank + 0.5 + rng.normal(0.0, 0.06, total)) / counts[side]
    places = line[side] + sides[side] * share[:, None]
    sizes = np.array(town.house) * np.exp(rng.normal(0.0, 0.16, (total, 2)))
    sizes[:, 0] = np.minimum(sizes[:, 0], 0.94 * ways[side] / counts[side])
    turns = np.arctan2(sides[side, 1], sides[side, 0]) + rng.normal(0.0, 0.03, total)
    if town.kind == "house":
        turns += np.where(rng.random(total) < 0.25, pi / 2, 0.0)
    heights = town.height * rng.uniform(0.7, 1.4, total)
    apart = np.hypot(*(places[:, None] - places).transpose(2, 0, 1))
    close = apart < 0.55 * (sizes[:, None, 1] + sizes[:, 1])
    built = (rng.random(total) >= town.gap) & ~np.tril(close, -1).any(axis=1)
    table = np.column_stack([places, sizes, turns, heights])[built].tolist()
    for shape, colour in zip(table, painted(rng, town.roofs, len(table)), strict=True):
        x, y, length, width, turn, height = shape
        sketch.things.append(Thing(town.kind, x, y, length, width, turn, height, colour))


def _clear(things: Sequence[Thing], places: Array) -> Array:
    """Places that lie on none of the objects."""
    if not len(places) or not things:
        return places
    boxes = np.array([(t.x, t.y, max(t.length, t.width)) for t in things])
    gap = np.hypot(*(places[:, None] - boxes[None, :, :2]).transpose(2, 0, 1))
    free = (gap > boxes[None, :, 2] * 0.6 + 1.5).all(axis=1)
    return np.asarray(places[free], dtype=np.float64)
