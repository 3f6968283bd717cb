"""Twelve of RESISC45's classes as scenes, to be seen at 0.2 to 5 m a pixel in 256 pixels."""

from collections.abc import Callable
from math import atan2, cos, hypot, pi, sin

import numpy as np

from mtp_bench.datasets.scenes.geometry import (
    Array,
    Point,
    Rows,
    Scene,
    Thing,
    blob,
    curve,
    inset,
    inside,
    parcels,
    ribbon,
)
from mtp_bench.datasets.scenes.layout import (
    HALLS,
    ROOFS,
    Sketch,
    Town,
    crops,
    hedges,
    motorway,
    painted,
    paths,
    pick,
    quarter,
    tinted,
    traffic,
    trees,
    vehicle,
    waterway,
    woods,
)
from mtp_bench.datasets.scenes.sensor import aerial

PIXELS = 256
HULLS = ((0.75, 0.75, 0.73), (0.50, 0.25, 0.20), (0.25, 0.28, 0.33), (0.45, 0.47, 0.50),
         (0.30, 0.42, 0.38))


def _frame(origin: Array, heading: float, x: Array | float, y: Array | float) -> Array:
    """Points given along and across a heading, as places in the scene."""
    x, y = np.broadcast_arrays(np.asarray(x, dtype=float), np.asarray(y, dtype=float))
    c, s = cos(heading), sin(heading)
    return np.stack([origin[0] + x * c - y * s, origin[1] + x * s + y * c], axis=-1)


def _slab(origin: Array, heading: float, length: float, width: float) -> Array:
    half = np.array([0.5, 0.5, -0.5, -0.5]) * length, np.array([-0.5, 0.5, 0.5, -0.5]) * width
    return _frame(origin, heading, *half)


def _middle(s: Sketch, spread: float) -> Array:
    return np.asarray(s.extent * (0.5 + s.rng.uniform(-spread, spread, 2)))


def _airplane(s: Sketch) -> None:
    rng, heading = s.rng, float(s.rng.uniform(0, 2 * pi))
    s.ground("grass", tinted(rng, 0.15))
    at, span = _middle(s, 0.05), float(rng.uniform(28, 48))
    edge = _frame(at, heading, -s.extent * rng.uniform(0.35, 0.6), 0.0)
    apron = _slab(_frame(edge, heading, s.extent * 0.9, 0.0), heading, s.extent * 1.8,
                  s.extent * 3)
    s.area(pick(rng, ("concrete", "concrete", "asphalt")), apron, tinted(rng, 0.1, 0.02))
    for k in np.arange(0.0, 1.8 * s.extent, float(rng.uniform(8, 16))).tolist():
        seam = _frame(edge, heading, k, np.array([-1.5, 1.5]) * s.extent)
        s.road("asphalt", seam, 0.3, (1.35, 1.35, 1.35))
    row = _frame(at, heading, 0.0, np.array([-1.5, 1.5]) * s.extent)
    s.road("paint", row, 0.5, (0.95, 0.75, 0.3))
    if rng.random() < 0.5:
        hall = _frame(edge, heading, -18.0, 0.0)
        s.things.append(Thing("hall", *hall.tolist(), s.extent * float(rng.uniform(0.4, 1.2)), 26.0,
                              heading + pi / 2, 14.0, painted(rng, HALLS, 1)[0]))
    colours = ((0.93, 0.93, 0.92), (0.85, 0.86, 0.88), (0.75, 0.76, 0.78))
    shift = float(rng.uniform(-0.5, 0.5))
    for k in range(-4, 5):
        place = _frame(at, heading, float(rng.normal(0, 1.5)), (k + shift) * span * 1.3)
        if rng.random() < 0.75 or k == 0:
            length = span * float(rng.uniform(0.95, 1.15))
            s.things.append(Thing("airplane", *place.tolist(), length, span, heading, 5.0,
                                  painted(rng, colours, 1, 0.04)[0]))
            s.road("paint", _frame(place, heading, np.array([span * 0.3, span * 1.2]), 0.0), 0.4,
                   (0.95, 0.75, 0.3))
            for _ in range(int(rng.integers(0, 4))):
                by = _frame(place, heading, float(rng.uniform(-0.4, 0.5)) * span,
                            float(rng.choice((-0.58, 0.58))) * span)
                s.things.append(vehicle(rng, (float(by[0]), float(by[1])), heading, 0.4))


def _circular_farmland(s: Sketch) -> None:
    rng = s.rng
    s.ground(pick(rng, ("soil", "scrub", "stubble")), tinted(rng, 0.15))
    radius, turn = s.extent * float(rng.uniform(0.2, 0.42)), float(rng.uniform(0, 0.4))
    step, at = 2.06 * radius, _middle(s, 0.2)
    for i in range(-2, 3):
        for j in range(-2, 3):
            if rng.random() < 0.1 and (i or j):
                continue
            x, y = _frame(at, turn, i * step, j * step).tolist()
            _pivot(s, (x, y), radius)
    for k in (-1.5, -0.5, 0.5, 1.5):
        for line in (_frame(at, turn, k * step, np.array([-3.0, 3.0]) * step),
                     _frame(at, turn, np.array([-3.0, 3.0]) * step, k * step)):
            if rng.random() < 0.6:
                s.road("gravel", line, 7.0)


def _pivot(s: Sketch, at: Point, radius: float) -> None:
    rng, start = s.rng, float(s.rng.uniform(0, 2 * pi))
    sectors = int(rng.integers(1, 4))
    for k in range(sectors):
        turn = np.linspace(start + 2 * pi * k / sectors, start + 2 * pi * (k + 1) / sectors, 40)
        rim = np.stack([at[0] + radius * np.cos(turn), at[1] + radius * np.sin(turn)], axis=1)
        wedge = rim if sectors == 1 else np.concatenate([rim, [at]])
        cover = pick(rng, ("crop", "crop", "grass", "soil", "stubble"))
        s.area(cover, wedge, tinted(rng, 0.25, 0.03), Rows(start, s.extent / 28, 0.05))
    arm = np.array([at, (at[0] + radius * cos(start), at[1] + radius * sin(start))])
    s.road("gravel", arm, s.extent / 220)


def _dense_residential(s: Sketch) -> None:
    rng = s.rng
    s.ground("asphalt", tinted(rng, 0.15))
    size = float(rng.uniform(9, 13))
    town = Town(street=float(rng.uniform(8, 11)), lot=size * float(rng.uniform(1.06, 1.25)),
                house=(size * 1.05, size * 0.9), gap=0.03, green=float(rng.uniform(0.2, 1.0)),
                yard=float(rng.uniform(2, 7)), mixed=0.08)
    blocks = parcels(rng, s.extent, float(rng.uniform(1800, 3400)), 2.2, 0.02)
    quarter(s, blocks, town, ("garden", "garden", "grass", "concrete"))
    for block in blocks:
        kerb = inset(block, town.street * 0.3)
        if len(kerb) >= 3:
            _parked(s, kerb)


def _parked(s: Sketch, kerb: Array) -> None:
    rng = s.rng
    for a, b in zip(kerb, np.roll(kerb, -1, axis=0), strict=True):
        way = hypot(*(b - a))
        for k in range(int(way / 7.0)):
            if rng.random() < 0.35:
                x, y = (a + (b - a) * ((k + 0.5) * 7.0 / way)).tolist()
                s.things.append(vehicle(rng, (x, y), atan2(b[1] - a[1], b[0] - a[0]), 0.05))


def _forest(s: Sketch) -> None:
    rng = s.rng
    s.ground("forest", tinted(rng, 0.15, 0.04))
    for _ in range(int(rng.integers(0, 4))):
        x, y = (rng.random(2) * s.extent).tolist()
        patch = blob(rng, (x, y), s.extent * float(rng.uniform(0.08, 0.3)), 0.6)
        s.area(pick(rng, ("forest", "forest", "scrub")), patch, tinted(rng, 0.15, 0.06))
    size = max(float(rng.uniform(6, 10)), s.extent / 42)
    trees(s, rng.random((int(s.extent**2 / size**2 * float(rng.uniform(0.3, 1.1))), 2)) * s.extent,
          size)
    if rng.random() < 0.3:
        paths(s, 1, "gravel", 4.0)


def _freeway(s: Sketch) -> None:
    rng = s.rng
    cover = pick(rng, ("grass", "scrub", "garden", "forest"))
    s.ground(cover, tinted(rng, 0.15))
    trees(s, rng.random((int(rng.integers(20, 160)), 2)) * s.extent)
    line, lane = curve(rng, s.extent, float(rng.uniform(0.0, 0.12)), 0.12), 3.6
    lanes = int(rng.integers(2, 5))
    for side in motorway(s, line, lane, lanes, True):
        traffic(s, side, [(k + 0.5 - lanes / 2) * lane for k in range(lanes)],
                float(rng.uniform(25, 90)))


def _harbor(s: Sketch) -> None:
    rng, heading = s.rng, float(s.rng.uniform(0, 2 * pi))
    s.ground("water", tinted(rng, 0.25, 0.08))
    quay = _frame(_middle(s, 0.02), heading, -s.extent * rng.uniform(0.2, 0.45), 0.0)
    s.area("concrete", _slab(_frame(quay, heading, -s.extent, 0.0), heading, 2 * s.extent,
                             3 * s.extent), tinted(rng, 0.1))
    for k in range(-5, 6):
        by = _frame(quay, heading, -12.0, k * float(rng.uniform(18, 30)))
        s.things.append(vehicle(rng, (float(by[0]), float(by[1])), heading + pi / 2, 0.2))
    boat = float(rng.uniform(8, 15))
    step, reach = boat * 3.1, s.extent * float(rng.uniform(0.35, 0.8))
    for k in range(-int(s.extent / step), int(s.extent / step) + 1):
        pier = _frame(quay, heading, np.array([0.0, reach]), k * step)
        s.road("concrete", pier, 2.2, (0.95, 0.92, 0.86))
        for berth in np.arange(boat * 0.5, reach, boat * 0.42).tolist():
            for side in (-1.0, 1.0):
                if rng.random() < 0.8:
                    size = boat * float(rng.uniform(0.75, 1.0))
                    at = _frame(quay, heading, berth, k * step + side * (size * 0.5 + 1.6))
                    turn = heading + side * pi / 2 * (1 if rng.random() < 0.5 else -1)
                    s.things.append(Thing("boat", *at.tolist(), size, size * 0.3, turn, 2.0,
                                          painted(rng, ((0.92, 0.92, 0.92), (0.8, 0.8, 0.78)), 1)[0]))


def _parking_lot(s: Sketch) -> None:
    rng, heading = s.rng, float(s.rng.uniform(0, 2 * pi))
    s.ground("asphalt", tinted(rng, 0.2, 0.02))
    at, full = _middle(s, 0.1), float(rng.uniform(0.4, 0.95))
    stall, depth, aisle = 2.6, 5.2, 6.5
    for k in range(-int(s.extent / 17), int(s.extent / 17) + 1):
        y = k * (2 * depth + aisle)
        for side in (-0.5, 0.5):
            spots = np.arange(-s.extent * 0.75, s.extent * 0.75, stall)
            places = _frame(at, heading, spots, y + side * depth)
            for x0, x1 in zip(_frame(at, heading, spots + stall / 2, y).tolist(),
                              _frame(at, heading, spots + stall / 2, y + 2 * side * depth).tolist(),
                              strict=True):
                s.road("paint", np.array([x0, x1]), 0.16)
            taken = places[rng.random(len(places)) < full]
            seen = ((taken > -6) & (taken < s.extent + 6)).all(axis=1)
            for x, y2 in taken[seen].tolist():
                turn = heading + pi / 2 * (1 if rng.random() < 0.5 else -1)
                s.things.append(vehicle(rng, (x, y2), turn + float(rng.normal(0, 0.02)), 0.0))
        if rng.random() < 0.3:
            strip = _frame(at, heading, np.array([-1.0, 1.0]) * s.extent, y)
            s.road("grass", strip, 1.8)
            trees(s, _frame(at, heading, np.arange(-s.extent, s.extent, 11.0), y), 4.5)


def _rectangular_farmland(s: Sketch) -> None:
    rng = s.rng
    s.ground(pick(rng, ("grass", "soil", "stubble")), tinted(rng, 0.15))
    plots = parcels(rng, s.extent, s.extent**2 / float(rng.uniform(6, 30)), 2.0, 0.01)
    crops(s, plots, ("crop", "crop", "soil", "stubble", "grass"), s.extent / 70,
          Rows(0.0, s.extent / 40, 0.07))
    hedges(s, plots, s.extent / 60, float(rng.uniform(0, 0.2)))
    if rng.random() < 0.5:
        paths(s, 1, "gravel", s.extent / 90)


def _river(s: Sketch) -> None:
    rng = s.rng
    s.ground(pick(rng, ("grass", "scrub", "forest")), tinted(rng, 0.15))
    if rng.random() < 0.5:
        crops(s, parcels(rng, s.extent, s.extent**2 / 20), ("crop", "grass", "soil"), 4.0, None)
    woods(s, int(rng.integers(0, 8)), s.extent * 0.1)
    waterway(s, float(rng.uniform(0.1, 0.4)), s.extent * float(rng.uniform(0.08, 0.22)),
             ("sand", "gravel", "forest", "garden", "forest"))


def _ship(s: Sketch) -> None:
    rng = s.rng
    s.ground("water", tinted(rng, 0.35, 0.12))
    if rng.random() < 0.25:
        heading = float(rng.uniform(0, 2 * pi))
        land = _frame(np.array([s.extent, s.extent]) / 2, heading, s.extent * 1.15, 0.0)
        s.area("concrete", _slab(land, heading, s.extent * 1.5, s.extent * 3), tinted(rng, 0.1))
    course = float(rng.uniform(0, 2 * pi))
    length = s.extent * float(rng.uniform(0.25, 0.6))
    for at in (_middle(s, 0.15), *(_middle(s, 0.45) for _ in range(int(rng.integers(0, 4))))):
        turn = course + float(rng.normal(0, 0.3))
        size = length * float(rng.uniform(0.4, 1.0)) if s.things else length
        footprint = _slab(at, turn, size * 1.1, size * 0.4)
        land = s.regions[-1]
        ashore = land.cover == "concrete" and inside(land.outline, footprint).any()
        apart = all(hypot(t.x - at[0], t.y - at[1]) > 0.55 * (t.length + size)
                    for t in s.things)
        if apart and not ashore:
            s.things.append(Thing("ship", *at.tolist(), size, size * float(rng.uniform(0.15, 0.22)),
                                  turn, size * 0.08, painted(rng, HULLS, 1)[0]))
            if rng.random() < 0.7:
                _wake(s, at, turn, size)


def _wake(s: Sketch, at: Array, heading: float, length: float) -> None:
    """Churned water behind the stern, and a faint wash that widens; below all that is land."""
    tail = float(s.rng.uniform(0.7, 1.8))
    place = 1 + next(i for i, r in enumerate(s.regions) if r.cover == "water")
    for reach, wide, tint in ((tail * 0.45, 0.075, (1.3, 1.25, 1.2)), (tail, 0.16, (0.7, 0.8, 0.8))):
        along = np.array([0.42, -0.5, -0.5 - reach, -0.5 - reach, -0.5, 0.42]) * length
        across = np.array([0.03, 0.085, wide, -wide, -0.085, -0.03]) * length
        s.area("foam", _frame(at, heading, along, across), tint)
        s.regions.insert(place, s.regions.pop())


def _storage_tank(s: Sketch) -> None:
    rng, heading = s.rng, float(s.rng.uniform(0, 2 * pi))
    s.ground(pick(rng, ("gravel", "soil", "concrete", "grass")), tinted(rng, 0.15))
    d = float(rng.uniform(14, 40))
    step, at = d * float(rng.uniform(1.25, 1.7)), _middle(s, 0.1)
    many = int(s.extent / step) + 1
    colour = pick(rng, ((0.93, 0.93, 0.91), (0.80, 0.79, 0.74), (0.62, 0.58, 0.52)))
    for i in range(-many, many + 1):
        if rng.random() < 0.4:
            berm = _frame(at, heading, (i + 0.5) * step, np.array([-1.0, 1.0]) * s.extent)
            s.road(pick(rng, ("concrete", "asphalt", "soil")), berm, float(rng.uniform(1.5, 5)))
        for j in range(-many, many + 1):
            x, y = _frame(at, heading, i * step, j * step).tolist()
            if rng.random() < 0.72 or (i, j) == (0, 0):
                size = d * float(pick(rng, (1.0, 1.0, 1.0, 0.7, 0.45)))
                s.things.append(Thing("storage_tank", x, y, size, size, 0.0, 0.4 * d,
                                      painted(rng, (colour,), 1, 0.05)[0]))
            if rng.random() < 0.5:
                pipe = _frame(at, heading, (i + np.array([0.0, 1.0])) * step, j * step)
                s.road("concrete", pipe, 1.0, (0.9, 0.9, 0.9))


def _tennis_court(s: Sketch) -> None:
    rng, heading = s.rng, float(s.rng.uniform(0, 2 * pi))
    s.ground(pick(rng, ("grass", "garden", "grass")), tinted(rng, 0.15))
    at, many = _middle(s, 0.1), (int(rng.integers(1, 4)), int(rng.integers(1, 3)))
    colour = pick(rng, ((0.16, 0.36, 0.28), (0.20, 0.33, 0.50), (0.55, 0.30, 0.22),
                        (0.28, 0.42, 0.25)))
    s.area(pick(rng, ("asphalt", "concrete", "clay")),
           _slab(at, heading, many[1] * 37.0 + 6, many[0] * 18.5 + 6), tinted(rng, 0.1))
    for i in range(many[0]):
        for j in range(many[1]):
            x, y = _frame(at, heading, (j - (many[1] - 1) / 2) * 37.0,
                          (i - (many[0] - 1) / 2) * 18.5).tolist()
            s.things.append(Thing("tennis_court", x, y, 36.5, 18.2, heading, 0.0, colour))
    keep = ribbon(_frame(at, heading, np.array([-0.5, 0.5]) * (many[1] * 37 + 22), 0.0),
                  many[0] * 18.5 + 22)
    places = rng.random((int(rng.integers(20, 120)), 2)) * s.extent
    trees(s, places[~inside(keep, places)])
    if rng.random() < 0.6:
        x, y = _frame(at, heading, many[1] * 18.5 + 20, float(rng.uniform(-20, 20))).tolist()
        s.things.append(Thing("block", x, y, 16.0, 11.0, heading, 6.0, painted(rng, ROOFS, 1)[0]))


CLASSES: dict[str, tuple[Callable[[Sketch], None], float, float]] = {
    "airplane": (_airplane, 0.35, 0.8),
    "circular_farmland": (_circular_farmland, 2.5, 6.0),
    "dense_residential": (_dense_residential, 0.4, 0.8),
    "forest": (_forest, 0.4, 1.2),
    "freeway": (_freeway, 0.4, 0.9),
    "harbor": (_harbor, 0.3, 0.7),
    "parking_lot": (_parking_lot, 0.2, 0.4),
    "rectangular_farmland": (_rectangular_farmland, 1.0, 4.0),
    "river": (_river, 1.5, 5.0),
    "ship": (_ship, 0.5, 1.5),
    "storage_tank": (_storage_tank, 0.4, 1.0),
    "tennis_court": (_tennis_court, 0.25, 0.45),
}
"""How each class is laid out, and the range of its ground sampling distances."""


def compose(name: str, rng: np.random.Generator) -> Scene:
    """A scene of one class."""
    lay_out, finest, coarsest = CLASSES[name]
    gsd = float(np.exp(rng.uniform(np.log(finest), np.log(coarsest))))
    sketch = Sketch(rng, PIXELS * gsd)
    lay_out(sketch)
    return sketch.scene(gsd, aerial(rng))
