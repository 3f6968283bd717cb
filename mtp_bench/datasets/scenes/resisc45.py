"""Twelve of RESISC45's classes as scenes, to be seen at 0.2 to 6 m a pixel in 256 pixels."""

from collections.abc import Callable
from math import atan2, exp, hypot, log, pi

import numpy as np

from mtp_bench.datasets.scenes.geometry import (
    Array,
    Rows,
    Scene,
    blob,
    corners,
    curve,
    inset,
    inside,
    parcels,
)
from mtp_bench.datasets.scenes.layout import (
    HALLS,
    ROOFS,
    Sketch,
    Town,
    crops,
    frame,
    hedges,
    palette,
    pick,
    quarter,
    slab,
    tinted,
    trees,
    woods,
)
from mtp_bench.datasets.scenes.sensor import aerial
from mtp_bench.datasets.scenes.ways import motorway, paths, traffic, vehicle, waterway

PIXELS = 256
BOTH = np.array([-1.0, 1.0])
YELLOW = (0.95, 0.75, 0.3)
HULLS = palette("bfbfba 804033 404754 73787f 4d6b61")
JETS = palette("edede9 d9dbe0 bfc2c7")
BOATS = palette("ebebeb ccccc7 dfe3e8")
TANKS = palette("edede8 ccc9bd 9e9485")
COURTS = palette("295c47 335480 8c4d38 476b40")


def _airplane(s: Sketch) -> None:
    rng, heading = s.rng, s.rng.uniform(0, 2 * pi)
    s.ground(("grass",))
    at, span = s.anywhere(0.05), rng.uniform(28, 48)
    edge = frame(at, heading, -s.extent * rng.uniform(0.35, 0.6), 0.0)
    middle = frame(edge, heading, s.extent * 0.9, 0.0)
    apron = slab(middle, heading, s.extent * 1.8, s.extent * 3)
    s.area(pick(rng, ("concrete", "concrete", "asphalt")), apron)
    for seam in np.arange(0.0, 1.8 * s.extent, rng.uniform(8, 16)):
        s.road(
            "asphalt", frame(edge, heading, seam, BOTH * 1.5 * s.extent), 0.3, (1.35, 1.35, 1.35)
        )
    s.road("paint", frame(at, heading, 0.0, BOTH * 1.5 * s.extent), 0.5, YELLOW)
    if rng.random() < 0.5:
        shape = (s.extent * rng.uniform(0.4, 1.2), 26.0, 14.0)
        s.put("hall", frame(edge, heading, -18.0, 0.0), shape, heading + pi / 2, HALLS)
    shift = rng.uniform(-0.5, 0.5)
    for k in range(-4, 5):
        if rng.random() > 0.75 and k:
            continue
        place = frame(at, heading, rng.normal(0, 1.5), (k + shift) * span * 1.3)
        s.put("airplane", place, (span * rng.uniform(0.95, 1.15), span, 5.0), heading, JETS)
        s.road("paint", frame(place, heading, (span * 0.3, span * 1.2), 0.0), 0.4, YELLOW)
        for _ in range(s.count(0, 4)):
            aside = span * pick(rng, (-0.58, 0.58))
            by = frame(place, heading, span * rng.uniform(-0.35, 0.5), aside)
            vehicle(s, by, heading, 0.4)


def _circular_farmland(s: Sketch) -> None:
    rng, turn = s.rng, s.rng.uniform(0, 0.4)
    s.ground(("soil", "scrub", "stubble"))
    radius, at = s.extent * rng.uniform(0.2, 0.42), s.anywhere(0.2)
    step = 2.06 * radius
    for i in range(-2, 3):
        for j in range(-2, 3):
            if rng.random() > 0.1 or i == j == 0:
                _pivot(s, frame(at, turn, i * step, j * step), radius)
    for k in (-1.5, -0.5, 0.5, 1.5):
        for aim in (turn, turn + pi / 2):
            if rng.random() < 0.6:
                s.road("gravel", frame(at, aim, BOTH * 3 * step, k * step), 7.0)


def _pivot(s: Sketch, at: Array, radius: float) -> None:
    rng, start, sectors = s.rng, s.rng.uniform(0, 2 * pi), s.count(1, 4)
    for k in range(sectors):
        turn = start + 2 * pi / sectors * np.linspace(k, k + 1, 40)
        rim = frame(at, 0.0, radius * np.cos(turn), radius * np.sin(turn))
        wedge = rim if sectors == 1 else np.concatenate([rim, [at]])
        cover = pick(rng, ("crop", "crop", "grass", "soil", "stubble"))
        s.area(cover, wedge, tinted(rng, 0.25, 0.03), Rows(start, s.extent / 28, 0.05))
    s.road("gravel", frame(at, start, (0.0, radius), 0.0), s.extent / 220)


def _dense_residential(s: Sketch) -> None:
    rng, size = s.rng, s.rng.uniform(9, 13)
    s.ground(("asphalt",))
    town = Town(
        street=rng.uniform(8, 11),
        lot=size * rng.uniform(1.06, 1.25),
        house=(size * 1.05, size * 0.9),
        gap=0.03,
        green=rng.uniform(0.2, 1.0),
        yard=rng.uniform(2, 7),
        mixed=0.08,
    )
    blocks = parcels(rng, s.extent, rng.uniform(1800, 3400), 2.2, 0.02)
    quarter(s, blocks, town, ("garden", "garden", "grass", "concrete"))
    for block in blocks:
        kerb = inset(block, town.street * 0.3)
        for a, b in zip(kerb, np.roll(kerb, -1, axis=0), strict=True):
            for k in range(int(hypot(*(b - a)) / 7.0)):
                if rng.random() < 0.35:
                    at = a + (b - a) * (k + 0.5) * 7.0 / hypot(*(b - a))
                    vehicle(s, at, atan2(b[1] - a[1], b[0] - a[0]), 0.05)


def _forest(s: Sketch) -> None:
    rng = s.rng
    s.ground(("forest",))
    for _ in range(s.count(0, 4)):
        patch = blob(rng, s.anywhere(), s.extent * rng.uniform(0.08, 0.3), 0.6)
        s.area(pick(rng, ("forest", "forest", "scrub")), patch, 0.15)
    size = max(rng.uniform(6, 10), s.extent / 42)
    count = int((s.extent / size) ** 2 * rng.uniform(0.3, 1.1))
    trees(s, rng.random((count, 2)) * s.extent, size)


def _freeway(s: Sketch) -> None:
    rng, lane, lanes = s.rng, 3.6, s.count(2, 5)
    s.ground(("grass", "scrub", "garden", "forest"))
    trees(s, rng.random((s.count(20, 160), 2)) * s.extent)
    line = curve(rng, s.extent, rng.uniform(0.0, 0.12), 0.12)
    for side in motorway(s, line, lane, lanes, marked=True):
        middles = [(k + 0.5 - lanes / 2) * lane for k in range(lanes)]
        traffic(s, side, middles, rng.uniform(25, 90))


def _harbor(s: Sketch) -> None:
    rng, heading = s.rng, s.rng.uniform(0, 2 * pi)
    s.ground(("water",), 0.25)
    quay = frame(s.anywhere(0.02), heading, -s.extent * rng.uniform(0.2, 0.45), 0.0)
    land = slab(frame(quay, heading, -s.extent, 0.0), heading, 2 * s.extent, 3 * s.extent)
    s.area("concrete", land)
    for k in range(-5, 6):
        vehicle(s, frame(quay, heading, -12.0, k * rng.uniform(18, 30)), heading + pi / 2, 0.2)
    boat, reach = rng.uniform(8, 15), s.extent * rng.uniform(0.35, 0.8)
    for k in range(-int(s.extent / boat / 3.1), int(s.extent / boat / 3.1) + 1):
        y = k * boat * 3.1
        s.road("concrete", frame(quay, heading, (0.0, reach), y), 2.2, (0.95, 0.92, 0.86))
        for berth in np.arange(boat * 0.5, reach, boat * 0.42):
            for side in (-1.0, 1.0):
                size = boat * rng.uniform(0.75, 1.0)
                at = frame(quay, heading, berth, y + side * (size * 0.5 + 1.6))
                if rng.random() < 0.8:
                    turn = heading + pick(rng, (-pi / 2, pi / 2))
                    s.put("boat", at, (size, size * 0.3, 2.0), turn, BOATS)


def _parking_lot(s: Sketch) -> None:
    rng, heading, at = s.rng, s.rng.uniform(0, 2 * pi), s.anywhere(0.1)
    s.ground(("asphalt",), 0.2)
    full, stall, depth, aisle = rng.uniform(0.4, 0.95), 2.6, 5.2, 6.5
    spots = np.arange(-s.extent * 0.75, s.extent * 0.75, stall)
    for k in range(-int(s.extent / 17), int(s.extent / 17) + 1):
        y = k * (2 * depth + aisle)
        for x in spots + stall / 2:
            s.road("paint", frame(at, heading, x, y + BOTH * depth), 0.16)
        for place in frame(at, heading, np.tile(spots, 2), y + np.repeat(BOTH, len(spots)) * 2.6):
            if rng.random() < full and min(place) > -6 and max(place) < s.extent + 6:
                turn = heading + pick(rng, (-pi / 2, pi / 2)) + rng.normal(0, 0.02)
                vehicle(s, place, turn, 0.0)
        if rng.random() < 0.3:
            s.road("grass", frame(at, heading, BOTH * s.extent, y), 1.8)
            trees(s, frame(at, heading, np.arange(-s.extent, s.extent, 11.0), y), 4.5)


def _rectangular_farmland(s: Sketch) -> None:
    rng = s.rng
    s.ground(("grass", "soil", "stubble"))
    plots = parcels(rng, s.extent, s.extent**2 / rng.uniform(6, 30), 2.0, 0.01)
    kinds, rows = ("crop", "crop", "soil", "stubble", "grass"), Rows(0.0, s.extent / 40, 0.07)
    crops(s, plots, kinds, s.extent / 70, rows)
    hedges(s, plots, s.extent / 60, rng.uniform(0, 0.2))
    paths(s, s.count(0, 2), "gravel", s.extent / 90)


def _river(s: Sketch) -> None:
    rng = s.rng
    s.ground(("grass", "scrub", "forest"))
    if rng.random() < 0.5:
        crops(s, parcels(rng, s.extent, s.extent**2 / 20), ("crop", "grass", "soil"), 4.0, None)
    woods(s, s.count(0, 8), s.extent * 0.1)
    banks = ("sand", "gravel", "forest", "garden", "forest")
    waterway(s, rng.uniform(0.1, 0.4), s.extent * rng.uniform(0.08, 0.22), banks)


def _ship(s: Sketch) -> None:
    rng, course = s.rng, s.rng.uniform(0, 2 * pi)
    s.ground(("water",), 0.35)
    longest = s.extent * rng.uniform(0.25, 0.6)
    for k in range(1 + s.count(0, 4)):
        at, turn = s.anywhere(0.45 if k else 0.15), course + rng.normal(0, 0.3)
        size = longest * (rng.uniform(0.4, 1.0) if k else 1.0)
        if all(hypot(t.x - at[0], t.y - at[1]) > 0.55 * (t.length + size) for t in s.things):
            s.put("ship", at, (size, size * rng.uniform(0.15, 0.22), size * 0.08), turn, HULLS)
            if rng.random() < 0.7:
                _wake(s, at, turn, size)
    heading = rng.uniform(0, 2 * pi)
    middle = frame(s.anywhere(0.0), heading, s.extent * 1.15, 0.0)
    quay = slab(middle, heading, s.extent * 1.5, s.extent * 3)
    footprints = np.concatenate([corners(ship) for ship in s.things])
    if rng.random() < 0.4 and not inside(quay, footprints).any():
        s.area("concrete", quay)


def _wake(s: Sketch, at: Array, heading: float, length: float) -> None:
    """A faint wash that widens, and churned water behind the stern."""
    tail = s.rng.uniform(0.7, 1.8)
    for reach, wide, tint in (
        (tail, 0.16, (0.7, 0.8, 0.8)),
        (tail * 0.45, 0.075, (1.3, 1.25, 1.2)),
    ):
        along = np.array([0.42, -0.5, -0.5 - reach, -0.5 - reach, -0.5, 0.42]) * length
        across = np.array([0.03, 0.085, wide, -wide, -0.085, -0.03]) * length
        s.area("foam", frame(at, heading, along, across), tint)


def _storage_tank(s: Sketch) -> None:
    rng, heading, at = s.rng, s.rng.uniform(0, 2 * pi), s.anywhere(0.1)
    s.ground(("gravel", "soil", "concrete", "grass"))
    d, colour = rng.uniform(14, 40), (pick(rng, TANKS),)
    step = d * rng.uniform(1.25, 1.7)
    many = int(s.extent / step) + 1
    for i in range(-many, many + 1):
        if rng.random() < 0.4:
            berm = frame(at, heading, (i + 0.5) * step, BOTH * s.extent)
            s.road(pick(rng, ("concrete", "asphalt", "soil")), berm, rng.uniform(1.5, 5))
        for j in range(-many, many + 1):
            if rng.random() < 0.72 or i == j == 0:
                size = d * pick(rng, (1.0, 1.0, 1.0, 0.7, 0.45))
                place = frame(at, heading, i * step, j * step)
                s.put("storage_tank", place, (size, size, 0.4 * d), 0.0, colour)
            if rng.random() < 0.5:
                pipe = frame(at, heading, (i * step, i * step + step), j * step)
                s.road("concrete", pipe, 1.0, (0.9, 0.9, 0.9))


def _tennis_court(s: Sketch) -> None:
    rng, heading, at = s.rng, s.rng.uniform(0, 2 * pi), s.anywhere(0.1)
    s.ground(("grass", "garden", "grass"))
    rows, columns, colour = s.count(1, 4), s.count(1, 3), (pick(rng, COURTS),)
    paved = slab(at, heading, columns * 37.0 + 6, rows * 18.5 + 6)
    s.area(pick(rng, ("asphalt", "concrete", "clay")), paved)
    for i in range(rows):
        for j in range(columns):
            x, y = (j - (columns - 1) / 2) * 37.0, (i - (rows - 1) / 2) * 18.5
            s.put("tennis_court", frame(at, heading, x, y), (36.5, 18.2, 0.0), heading, colour)
    places = rng.random((s.count(20, 120), 2)) * s.extent
    kept = slab(at, heading, columns * 37.0 + 22, rows * 18.5 + 22)
    trees(s, places[~inside(kept, places)])
    if rng.random() < 0.6:
        place = frame(at, heading, columns * 18.5 + 20, rng.uniform(-20, 20))
        s.put("block", place, (16.0, 11.0, 6.0), heading, ROOFS)


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
    gsd = exp(rng.uniform(log(finest), log(coarsest)))
    sketch = Sketch(rng, PIXELS * gsd)
    lay_out(sketch)
    return sketch.scene(gsd, aerial(rng))
