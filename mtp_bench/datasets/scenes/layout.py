"""Lays out pieces of landscape on a sketch: fields, woods, streets with houses, water, roads."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from math import atan2, hypot, pi
from typing import TypeVar

import numpy as np

from mtp_bench.datasets.scenes.geometry import (
    RGB,
    Array,
    Point,
    Region,
    Road,
    Rows,
    Scene,
    Thing,
    View,
    blob,
    curve,
    in_sight,
    inset,
    inside,
    outline_of,
    perimeter,
    ribbon,
    square,
)

T = TypeVar("T")

ROOFS: tuple[RGB, ...] = (
    (0.70, 0.38, 0.27), (0.78, 0.50, 0.38), (0.56, 0.35, 0.28), (0.48, 0.46, 0.45),
    (0.76, 0.68, 0.58), (0.92, 0.88, 0.82), (0.36, 0.34, 0.34),
)
HALLS: tuple[RGB, ...] = (
    (1.00, 1.00, 0.99), (0.96, 0.96, 0.96), (0.92, 0.93, 0.94), (1.00, 0.98, 0.95),
    (0.70, 0.70, 0.71), (0.48, 0.48, 0.49), (0.95, 0.93, 0.88), (0.58, 0.40, 0.34), (0.52, 0.58, 0.66),
)
CARS: tuple[RGB, ...] = (
    (0.88, 0.88, 0.87), (0.74, 0.75, 0.76), (0.88, 0.88, 0.87), (0.55, 0.56, 0.57),
    (0.18, 0.18, 0.19), (0.10, 0.10, 0.11), (0.30, 0.31, 0.33), (0.45, 0.14, 0.13),
    (0.18, 0.24, 0.38), (0.45, 0.42, 0.36),
)
LEAVES: tuple[RGB, ...] = ((0.12, 0.19, 0.10), (0.16, 0.22, 0.12), (0.20, 0.22, 0.13))


@dataclass
class Sketch:
    """A scene while it is laid out."""

    rng: np.random.Generator
    extent: float
    regions: list[Region] = field(default_factory=list)
    roads: list[Road] = field(default_factory=list)
    things: list[Thing] = field(default_factory=list)

    def ground(self, cover: str, tint: RGB = (1.0, 1.0, 1.0)) -> None:
        self.area(cover, square(self.extent, 0.0), tint)

    def area(self, cover: str, polygon: Array, tint: RGB, rows: Rows | None = None) -> None:
        if len(polygon) >= 3:
            self.regions.append(Region(cover, outline_of(polygon), tint, rows))

    def road(self, cover: str, line: Array, width: float, tint: RGB = (1.0, 1.0, 1.0)) -> None:
        self.roads.append(Road(cover, outline_of(line), width, tint))

    def scene(self, gsd: float, view: View) -> Scene:
        parts = tuple(self.regions), tuple(self.roads), tuple(self.things)
        return Scene(self.extent, gsd, int(self.rng.integers(2**31)), *parts, view)


def pick(rng: np.random.Generator, options: Sequence[T]) -> T:
    return options[int(rng.integers(len(options)))]


def tinted(rng: np.random.Generator, spread: float, hue: float = 0.04) -> RGB:
    """A multiplier near 1: brightness varies by `spread`, each channel by `hue`."""
    values = np.exp(rng.normal(0.0, spread) + rng.normal(0.0, hue, 3))
    return (float(values[0]), float(values[1]), float(values[2]))


def painted(
    rng: np.random.Generator, colours: Sequence[RGB], count: int, spread: float = 0.08
) -> list[RGB]:
    """Colours of `count` objects: one of those given each, lighter or darker."""
    base = np.array(colours)[rng.integers(len(colours), size=count)]
    base *= np.exp(rng.normal(0.0, spread, (count, 1)) + rng.normal(0.0, 0.02, (count, 3)))
    return [(r, g, b) for r, g, b in base.tolist()]


def scattered(rng: np.random.Generator, polygon: Array, count: int) -> Array:
    """Places in a polygon, as many of `count` tries as fall inside."""
    low, high = polygon.min(axis=0), polygon.max(axis=0)
    points = low + rng.random((count, 2)) * (high - low)
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
    spreads = {"soil": 0.18, "stubble": 0.12, "crop": 0.22, "grass": 0.18}
    for plot in plots:
        cover = pick(rng, covers)
        own = None
        if rows is not None:
            heading = _along(plot) + (pi / 2 if rng.random() < 0.2 else 0.0)
            strength = rows.strength * float(rng.uniform(0.4, 1.3))
            own = Rows(heading, rows.spacing * float(rng.uniform(0.8, 1.25)), strength)
        tint = tinted(rng, spreads.get(cover, 0.1), 0.025)
        sketch.area(cover, inset(plot, border / 2), tint, own)


def _along(polygon: Array) -> float:
    edges = np.roll(polygon, -1, axis=0) - polygon
    x, y = edges[np.argmax((edges**2).sum(axis=1))]
    return atan2(y, x)


def hedges(sketch: Sketch, plots: list[Array], width: float, share: float) -> None:
    """Lines of trees along some of the borders, some of them with gaps."""
    rng = sketch.rng
    for plot in plots:
        for a, b in zip(plot, np.roll(plot, -1, axis=0), strict=True):
            if rng.random() > share:
                continue
            t = np.linspace(0.0, 1.0, max(3, int(hypot(*(b - a)) / 25)))[:, None]
            line = a + (b - a) * t + rng.normal(0.0, width * 0.25, (len(t), 2))
            stop = len(line) - int(rng.integers(0, 1 + len(line) // 3))
            sketch.road("forest", line[:stop], width * float(rng.uniform(0.6, 1.4)))


def woods(sketch: Sketch, count: int, radius: float) -> None:
    rng = sketch.rng
    for _ in range(count):
        x, y = rng.random(2) * sketch.extent
        patch = blob(rng, (x, y), radius * float(rng.uniform(0.4, 1.3)), 0.5)
        sketch.area("forest", patch, tinted(rng, 0.1))


def paths(sketch: Sketch, count: int, cover: str, width: float) -> None:
    """Wandering tracks that follow nothing."""
    rng, t = sketch.rng, sketch.extent / 30
    for _ in range(count):
        turns = rng.uniform(0, 2 * pi) + np.cumsum(rng.normal(0.0, 0.35, 45))
        steps = np.stack([np.cos(turns), np.sin(turns)], axis=1) * t
        line = rng.random(2) * sketch.extent + np.cumsum(steps, axis=0)
        sketch.road(cover, line, width * float(rng.uniform(0.6, 1.5)), tinted(rng, 0.1))


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
    """Blocks between streets, a row of buildings along each side of a block."""
    rng = sketch.rng
    mood, tint = painted(rng, town.roofs, 3), tinted(rng, 0.12, 0.015)
    for block in blocks:
        lot = inset(block, town.street / 2)
        if len(lot) < 3:
            continue
        first, size = len(sketch.things), float(np.exp(rng.normal(0.0, town.mixed)))
        lit = tinted(rng, 0.1, 0.02)
        sketch.area(pick(rng, yards), lot, (tint[0] * lit[0], tint[1] * lit[1], tint[2] * lit[2]))
        own = replace(town, lot=town.lot * size, house=(town.house[0] * size, town.house[1] * size),
                      roofs=(*mood, *painted(rng, town.roofs, 2)),
                      gap=town.gap * float(rng.uniform(0.2, 2.5)))
        setback = own.house[1] * 0.5 + town.street * 0.3
        while len(line := inset(lot, setback)):
            _row(sketch, line, own)
            setback += own.house[1] + town.yard
        if town.kind != "house" and len(sketch.things) == first:
            _single(sketch, lot, own)
        around = int(town.green * (1 + perimeter(lot) / own.lot) * float(rng.uniform(0.5, 2.0)))
        trees(sketch, _clear(sketch.things[first:], scattered(rng, lot, around)))


def _single(sketch: Sketch, lot: Array, town: Town) -> None:
    """One building that fills most of a lot too small for a row."""
    rng, heading = sketch.rng, _along(lot)
    turned = lot @ np.array([[np.cos(heading), -np.sin(heading)], [np.sin(heading), np.cos(heading)]])
    length, width = (np.ptp(turned, axis=0) * rng.uniform(0.5, 0.8, 2)).tolist()
    x, y = lot.mean(axis=0).tolist()
    height = town.height * float(rng.uniform(0.7, 1.4))
    colour = painted(rng, town.roofs, 1)[0]
    sketch.things.append(Thing(town.kind, x, y, length, width, heading, height, colour))


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
    table = np.column_stack([places, sizes, turns, heights]).tolist()
    colours = painted(rng, town.roofs, total)
    for shape, colour, there in zip(table, colours, built.tolist(), strict=True):
        if there:
            sketch.things.append(Thing(town.kind, *shape, colour))


def _clear(things: Sequence[Thing], places: Array) -> Array:
    """Places that lie on none of the objects."""
    if not len(places) or not things:
        return places
    boxes = np.array([(t.x, t.y, max(t.length, t.width)) for t in things])
    gap = np.hypot(*(places[:, None] - boxes[None, :, :2]).transpose(2, 0, 1))
    return places[(gap > boxes[None, :, 2] * 0.6 + 1.5).all(axis=1)]


def without(sketch: Sketch, polygon: Array) -> None:
    """Clears objects off a polygon that roads or water are to take."""
    if sketch.things:
        at = np.array([(t.x, t.y) for t in sketch.things])
        off = ~inside(polygon, at)
        sketch.things[:] = [t for t, keep in zip(sketch.things, off.tolist(), strict=True) if keep]


def waterway(sketch: Sketch, bend: float, width: float, banks: Sequence[str]) -> None:
    """A river across the picture, its banks, and nothing left standing in it."""
    rng, line = sketch.rng, curve(sketch.rng, sketch.extent, bend, 0.2)
    wide = width * (1 + 0.12 * np.cumsum(rng.normal(0, 0.3, len(line))))
    wide = np.clip(wide, width * 0.6, width * 1.7)
    without(sketch, ribbon(line, wide * 1.1 + 16))
    strips = rng.gamma(1.2, 0.15, 9)
    bank = ribbon(line, wide * (1 + np.interp(np.arange(len(line)), np.arange(9) * 5, strips)))
    bank += rng.normal(0.0, width * 0.015, bank.shape)
    sketch.roads[:] = [r for r in sketch.roads if r.width > 8 and rng.random() < 0.3]
    sketch.area(pick(rng, banks), bank, tinted(rng, 0.12))
    sketch.area("water", ribbon(line, wide), tinted(rng, 0.25, 0.08))


def motorway(sketch: Sketch, line: Array, lane: float, lanes: int, marked: bool) -> list[Road]:
    """Two carriageways with verges; returns them in the sense of their traffic."""
    rng, way = sketch.rng, lane * lanes + 2 * lane / 3
    apart = way + float(rng.uniform(1.2, 2.6)) * lane
    verge = ribbon(line, apart + way + 4 * lane)
    without(sketch, verge)
    sketch.area("grass", verge, tinted(rng, 0.15))
    light = float(rng.uniform(1.0, 1.7))
    sides = []
    for sense in (-1.0, 1.0):
        centre = ribbon(line, apart)[: len(line)] if sense > 0 else ribbon(line, apart)[len(line):]
        side = Road("asphalt", outline_of(centre), way, (light, light, light * 0.98))
        sketch.roads.append(side)
        sides.append(side)
        if marked:
            for k in range(lanes + 1):
                lane_line(sketch, centre, (k - lanes / 2) * lane, 0 < k < lanes)
    return sides


def shifted(line: Array, aside: float) -> Array:
    """A line beside a line."""
    return ribbon(line, 2 * abs(aside) + 1e-6)[: len(line)] if aside >= 0 else (
        ribbon(line, 2 * abs(aside) + 1e-6)[len(line):][::-1])


def lane_line(sketch: Sketch, line: Array, aside: float, dashed: bool) -> None:
    """Paint along a road, solid or in dashes of 4 m."""
    mark = shifted(line, aside)
    if not dashed:
        sketch.road("paint", mark, 0.25)
        return
    for at, heading in stations(mark, 10.0, 0.0):
        step = np.array([np.cos(heading), np.sin(heading)]) * 2.0
        if in_sight([tuple(at)], sketch.extent):
            sketch.road("paint", np.stack([at - step, at + step]), 0.3)


def stations(line: Array, spacing: float, start: float) -> list[tuple[Array, float]]:
    """Points every so many metres along a line, with its heading there."""
    steps = np.hypot(*np.diff(line, axis=0).T)
    way = np.concatenate([[0.0], np.cumsum(steps)])
    at = np.arange(start, way[-1], spacing)
    x, y = np.interp(at, way, line[:, 0]), np.interp(at, way, line[:, 1])
    turn = np.gradient(line, axis=0)
    heading = np.arctan2(np.interp(at, way, turn[:, 1]), np.interp(at, way, turn[:, 0]))
    return [(np.array(p[:2]), float(p[2])) for p in np.stack([x, y, heading], axis=1)]


def traffic(sketch: Sketch, road: Road, lanes: Sequence[float], gap: float) -> None:
    """Cars and lorries along a road, at random distances of `gap` metres on average."""
    rng = sketch.rng
    for aside in lanes:
        lane = shifted(np.array(road.line), aside)
        for at, heading in stations(lane, gap / 3, float(rng.uniform(0, gap))):
            if rng.random() < 1 / 3:
                x, y = float(at[0]), float(at[1])
                sketch.things.append(vehicle(rng, (x, y), heading, 0.18))


def vehicle(rng: np.random.Generator, at: Point, heading: float, lorries: float) -> Thing:
    if rng.random() < lorries:
        colour = painted(rng, HALLS, 1)[0]
        return Thing("truck", *at, float(rng.uniform(8, 15)), 2.5, heading, 3.5, colour)
    length, width = float(rng.uniform(4.0, 5.0)), float(rng.uniform(1.75, 2.0))
    return Thing("car", *at, length, width, heading, 1.5, painted(rng, CARS, 1)[0])
