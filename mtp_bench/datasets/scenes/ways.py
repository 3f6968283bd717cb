"""Lays out what runs across a sketch: tracks, rivers, motorways with their paint and traffic."""

from collections.abc import Sequence
from math import cos, pi, sin

import numpy as np

from mtp_bench.datasets.scenes.geometry import Array, Road, curve, in_sight, outline_of, ribbon
from mtp_bench.datasets.scenes.layout import HALLS, Sketch, palette, pick, without

CARS = palette("e0e0de bdbfc2 e0e0de 8c8f91 2e2e30 1a1a1c 4d4f54 732421 2e3d61 736b5c")


def paths(sketch: Sketch, count: int, cover: str, width: float) -> None:
    """Wandering tracks that follow nothing."""
    rng = sketch.rng
    for _ in range(count):
        turns = rng.uniform(0, 2 * pi) + np.cumsum(rng.normal(0.0, 0.35, 45))
        steps = np.stack([np.cos(turns), np.sin(turns)], axis=1) * sketch.extent / 30
        line = sketch.anywhere() + np.cumsum(steps, axis=0)
        sketch.road(cover, line, width * rng.uniform(0.6, 1.5), 0.1)


def waterway(sketch: Sketch, bend: float, width: float, banks: Sequence[str]) -> None:
    """A river across the picture, its banks, and nothing left standing in it."""
    rng, line = sketch.rng, curve(sketch.rng, sketch.extent, bend, 0.2)
    wide = width * (1 + 0.12 * np.cumsum(rng.normal(0, 0.3, len(line))))
    wide = np.clip(wide, width * 0.6, width * 1.7)
    without(sketch, ribbon(line, wide * 1.1 + 16))
    strips = np.interp(np.arange(len(line)), np.arange(9) * 5, rng.gamma(1.2, 0.15, 9))
    bank = ribbon(line, wide * (1 + strips))
    bank += rng.normal(0.0, width * 0.015, bank.shape)
    sketch.roads[:] = [r for r in sketch.roads if r.width > 8 and rng.random() < 0.3]
    sketch.area(pick(rng, banks), bank)
    sketch.area("water", ribbon(line, wide), 0.25)


def motorway(sketch: Sketch, line: Array, lane: float, lanes: int, marked: bool) -> list[Road]:
    """Two carriageways between verges cleared of objects."""
    rng, way = sketch.rng, lane * (lanes + 2 / 3)
    apart = way + rng.uniform(1.2, 2.6) * lane
    verge = ribbon(line, apart + way + 4 * lane)
    without(sketch, verge)
    sketch.area("grass", verge, 0.15)
    light = rng.uniform(1.0, 1.7)
    sides = []
    for aside in (-apart / 2, apart / 2):
        centre = shifted(line, aside)
        side = Road("asphalt", outline_of(centre), way, (light, light, light * 0.98))
        sketch.roads.append(side)
        sides.append(side)
        for k in range(lanes + 1 if marked else 0):
            lane_line(sketch, shifted(centre, (k - lanes / 2) * lane), 0 < k < lanes)
    return sides


def shifted(line: Array, aside: float) -> Array:
    """The line that runs beside another, to its right where `aside` is positive."""
    both = ribbon(line, 2 * abs(aside) + 1e-6)
    return both[: len(line)] if aside >= 0 else both[len(line) :][::-1]


def lane_line(sketch: Sketch, line: Array, dashed: bool) -> None:
    """Paint along a road, solid or in dashes of 4 m."""
    if not dashed:
        sketch.road("paint", line, 0.25)
        return
    for x, y, heading in stations(line, 10.0, 0.0):
        dash = np.array([[x, y]]) + np.array([[-2.0], [2.0]]) * (cos(heading), sin(heading))
        if in_sight(dash, sketch.extent):
            sketch.road("paint", dash, 0.3)


def stations(line: Array, spacing: float, start: float) -> list[tuple[float, float, float]]:
    """Points every so many metres along a line, with the heading there."""
    way = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(line, axis=0).T))])
    at = np.arange(start, way[-1], spacing)
    x, y = np.interp(at, way, line[:, 0]), np.interp(at, way, line[:, 1])
    turn = np.gradient(line, axis=0)
    heading = np.arctan2(np.interp(at, way, turn[:, 1]), np.interp(at, way, turn[:, 0]))
    return list(zip(x.tolist(), y.tolist(), heading.tolist(), strict=True))


def traffic(sketch: Sketch, road: Road, lanes: Sequence[float], gap: float) -> None:
    """Cars and lorries along a road, at random distances of `gap` metres on average."""
    rng = sketch.rng
    for aside in lanes:
        for x, y, heading in stations(shifted(np.array(road.line), aside), gap / 3, gap / 3):
            if rng.random() < 1 / 3:
                vehicle(sketch, np.array([x, y]), heading, 0.18)


def vehicle(sketch: Sketch, at: Array, heading: float, lorries: float) -> None:
    """A car, or a lorry for this share of all."""
    rng = sketch.rng
    if rng.random() < lorries:
        sketch.put("truck", at, (rng.uniform(8, 15), 2.5, 3.5), heading, HALLS)
    else:
        sketch.put("car", at, (rng.uniform(4.0, 5.0), rng.uniform(1.75, 2.0), 1.5), heading, CARS)
