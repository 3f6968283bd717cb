"""Steps by which many landscapes are made: fields, woods, quarters, tracks, rivers, motorways."""

from math import pi

import numpy as np

from mtp_bench.datasets.scenes import geometry as geo
from mtp_bench.datasets.scenes.geometry import Array, Line, beside, inset, ribbon
from mtp_bench.datasets.scenes.layout import STOCK, Range, Sketch


def ground(s: Sketch, covers: str, spread: float = 0.15, hue: float = 0.03) -> None:
    whole = geo.slab(s.extent * (0.5 + 0.5j), 0.0, 2 * s.extent, 2 * s.extent)
    s.area(covers, whole, s.tint(spread, hue))


def patches(s: Sketch, most: int, covers: str, radius: Range) -> None:
    """Copses, clearings: irregular spots of one cover each, on which nothing else stands."""
    for at in s.anywhere(s.count(0, most)):
        patch = geo.blob(s.rng, at, s.between(radius), 0.4)
        s.area(covers, patch, s.tint(0.15, 0.06))
        s.clear(patch)


def grow(s: Sketch, places: Line, size: float) -> None:
    """Trees, a crown of about this diameter each."""
    s.put("tree", places, 10.0 * places.real, size * s.rng.uniform(0.55, 1.45, len(places)))


def trees(s: Sketch, per_hectare: Range, size: Range = (7, 7)) -> None:
    grow(s, s.anywhere(int(s.between(per_hectare) * s.extent**2 / 1e4)), s.between(size))


def plots(s: Sketch, size: Range, aspect: Range, skew: float = 0.08) -> None:
    """Divides the ground into plots, at least four in sight, for fields or blocks."""
    area = min(s.between(size), s.extent**2 / 4)
    s.plots = geo.parcels(s.rng, s.extent, area, s.between(aspect), skew)


def crops(s: Sketch, mixes: str, border: Range = (0, 4), spacing: Range = (0, 0)) -> None:
    """Fields of one crop each from one of the mixes, with or without rows."""
    margin, apart, mix = s.between(border), s.between(spacing), s.pick(mixes).replace("+", " ")
    for plot in s.plots:
        way = plot[1] - plot[0] if s.chance(0.2) else plot[2] - plot[1]
        rows = way / abs(way) / apart if apart else 0
        s.area(mix, inset(plot, margin / 2), s.tint(0.2), rows)


def hedges(s: Sketch, width: Range, share: Range) -> None:
    """Lines of trees along some of the borders, not all of their way."""
    wide, odds = s.between(width), s.between(share)
    for plot in s.plots:
        for a, b in zip(plot, np.roll(plot, -1), strict=True):
            if s.chance(odds):
                line = np.linspace(a, b, max(4, int(abs(b - a) / 25)))[: -s.count(1, 2)]
                stray = s.rng.normal(0.0, wide * 0.25, (len(line), 2)) @ np.array([1, 1j])
                s.road("forest", line + stray, wide * s.between((0.6, 1.4)))


def town(s: Sketch, kind: str, size: Range, street: Range, yard: Range, covers: str) -> None:
    """Blocks between streets: rows of buildings, and yards where trees grow behind them."""
    usual, wide, deep, yards = s.between(size), s.between(street), s.between(yard), s.pick(covers)
    pace, gap, green = s.between((1.1, 1.4)), s.between((0, 0.2)), s.between((0.1, 1.2))
    for plot in s.plots:
        block, long = inset(plot, wide / 2), usual * s.between((0.75, 1.25))
        s.area(yards.replace("+", " "), block, s.tint())
        if not len(block) or s.chance(0.03):  # now and then a park
            continue
        front, side = block[1] - block[0], block[2] - block[1]
        columns = int(abs(front) / (pace * long)) or 1
        rows = int(abs(side) / (STOCK[kind].width[1] * long + deep)) or 1
        i, j = np.divmod(np.flatnonzero(s.rng.random(columns * rows) > gap), rows)
        length = min(abs(front) / columns / pace, abs(side)) * s.rng.uniform(0.8, 1.1, len(i))
        spots = _across(block, (i + s.rng.uniform(0.45, 0.55, len(i))) / columns, (j + 0.5) / rows)
        s.put(kind, spots, float(np.angle(front)), length)
        behind = s.rng.integers(0, rows + 1, int(green * len(i))) / rows
        grow(s, _across(block, s.rng.random(len(behind)), behind), 7.0)


def _across(block: Line, u: Array, v: Array) -> Line:
    """Places in a quadrangle, by their shares of the way along it and across."""
    a, b, c, d = block
    return np.asarray((a * (1 - u) + b * u) * (1 - v) + (d * (1 - u) + c * u) * v)


def paths(s: Sketch, most: int, covers: str, width: float) -> None:
    """Wandering tracks that follow nothing."""
    for start in s.anywhere(s.count(0, most)):
        turns = s.rng.uniform(0, 2 * pi) + np.cumsum(s.rng.normal(0.0, 0.35, 45))
        line = start + np.cumsum(np.exp(1j * turns)) * s.extent / 30
        s.road(covers, line, width * s.between((0.6, 1.5)))


def avenue(s: Sketch, width: Range) -> None:
    """A main road through whatever stands there."""
    line, wide = geo.curve(s.rng, s.extent, 0.1, 0.35), s.between(width)
    s.clear(ribbon(line, wide + 16))
    s.road("asphalt", line, wide, s.between((0.9, 1.4)))


def waterway(s: Sketch, bend: Range, width: Range, banks: str) -> None:
    """A river across the picture, `width` shares of it wide, with banks and few bridges."""
    line, usual = geo.curve(s.rng, s.extent, s.between(bend), 0.2), s.between(width)
    wide = 1 + np.cumsum(s.rng.normal(0, 0.04, len(line)))
    wide = s.extent * usual * np.clip(wide, 0.6, 1.7)
    s.clear(ribbon(line, wide * 1.1 + 16))
    strips = np.interp(np.arange(len(line)), np.arange(9) * 5, s.rng.gamma(1.2, 0.15, 9))
    s.roads[:] = [r for r in s.roads if r.width > 8 and s.chance(0.3)]
    s.area(banks, ribbon(line, wide * (1 + strips)))
    s.area("water", ribbon(line, wide), s.tint(0.25))


def motorway(s: Sketch, lane: Range, most: int) -> None:
    """Two carriageways with their traffic, between verges."""
    count, broad, line = s.count(2, most), s.between(lane), geo.curve(s.rng, s.extent, 0.1, 0.15)
    way, gap, light = broad * (count + 2 / 3), s.between((10, 30)), s.between((1.2, 1.8))
    apart = way + broad * s.between((1.2, 2.6))
    verge = ribbon(line, apart + way + 4 * broad)
    s.clear(verge)
    s.area("grass", verge)
    for aside in (-apart / 2, apart / 2):
        centre = beside(line, aside)
        s.road("asphalt", centre, way, light)
        for k in range(count + 1 if s.extent < 300 else 0):  # too fine to be seen from afar
            _lane_line(s, beside(centre, (k - count / 2) * broad), 0 < k < count)
        for k in range(count):
            vehicles(s, beside(centre, (k + 0.5 - count / 2) * broad), gap, 1 / 3, 0.18)


def _lane_line(s: Sketch, line: Line, dashed: bool) -> None:
    """Paint along a road, solid or in dashes of 4 m."""
    if not dashed:
        s.road("paint", line, 0.25)
        return
    for at, turn in zip(*stations(line, 10.0, 0.0), strict=True):
        dash = at + np.array([-2.0, 2.0]) * geo.unit(turn)
        if geo.in_sight(dash, s.extent):
            s.road("paint", dash, 0.3)


def stations(line: Line, spacing: float, start: float) -> tuple[Line, Array]:
    """Places every so many metres along a line, with the headings there."""
    steps = np.diff(line)
    way = np.concatenate([[0.0], np.cumsum(abs(steps))])
    at = np.arange(start, way[-1], spacing)
    which = np.searchsorted(way, at, side="right") - 1
    return np.interp(at, way, line), np.angle(steps[np.minimum(which, len(steps) - 1)])


def vehicles(s: Sketch, line: Line, gap: float, share: float, lorries: float) -> None:
    """Cars, and lorries for some share of them, along a line on a share of the places."""
    places, turns = stations(line, gap, gap / 2)
    chosen = s.rng.random(len(places)) / share
    for kind, kept in (("truck", chosen < lorries), ("car", (chosen > lorries) & (chosen < 1))):
        s.put(kind, places[kept], turns[kept])
