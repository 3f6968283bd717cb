"""The classes that are rendered of each data set: what only one of them has, and the table."""

from math import exp, log, pi

import numpy as np

from mtp_bench.datasets.scenes import geometry as geo
from mtp_bench.datasets.scenes import landscape as land
from mtp_bench.datasets.scenes.geometry import Line, Scene, View, inset
from mtp_bench.datasets.scenes.layout import STOCK, Range, Sketch, Step, lay, one_of, sometimes


def _half(s: Sketch, edge: float) -> Line:
    """All of the ground that lies beyond `edge` along the scene's heading."""
    return geo.slab(s.spot(edge + 2 * s.extent), s.heading, 4 * s.extent, 4 * s.extent)


def tanks(s: Sketch, size: Range, covers: str) -> None:
    """A tank farm in one of the plots, or as far as the picture reaches where there are none."""
    d, colour = s.between(size), s.pick(STOCK["storage_tank"].colours)
    yard = inset(s.plots[s.count(0, len(s.plots) - 1)], 12.0) if s.plots else _half(s, -s.extent)
    pitch, room = d * s.between((1.25, 1.7)), inset(yard, d / 2) if len(yard) else yard
    s.clear(yard)
    s.area(covers, yard)
    spots = s.grid(pitch, pitch, 0.75)
    spots = spots[geo.inside(room, spots)]
    sizes = np.where(s.rng.random(len(spots)) < 0.4, s.rng.uniform(0.45, 0.8, len(spots)), 1.0)
    s.put("storage_tank", spots, 0.0, d * sizes, colour)
    for at in spots[s.rng.random(len(spots)) < 0.4]:
        s.road("concrete soil", at - s.middle + s.line([0, pitch]), 1.0, 1.3)


def pivots(s: Sketch) -> None:
    """Irrigated circles, side by side, in sectors of one crop each."""
    radius = s.extent * s.between((0.2, 0.42))
    step = 2.06 * radius
    for way in (step, -step, step * 1j, -step * 1j):
        s.road("gravel", s.line([way * (0.5 - 3j), way * (0.5 + 3j)]), 7.0)
    for at in s.grid(step, step, 0.9):
        start, sectors = s.rng.uniform(0, 2 * pi), s.count(1, 3)
        for k in range(sectors):
            turn = start + 2 * pi / sectors * np.linspace(k, k + 1, 40)
            wedge = np.append(at + radius * np.exp(1j * turn), [at] if sectors > 1 else [])
            rows = np.exp(1j * start) / s.between((8, 16))
            s.area("crop crop grass soil stubble", wedge, s.tint(0.25), rows)
        s.road("gravel", at + np.array([0, radius]) * np.exp(1j * start), s.extent / 220)


def apron(s: Sketch) -> None:
    """Aeroplanes in a row, with what serves them, before a hall or a lawn."""
    span, far = s.between(STOCK["airplane"].length), 2j * s.extent
    edge = -s.extent * s.between((0.35, 0.6))
    s.area("concrete concrete asphalt", _half(s, edge))
    for seam in np.arange(edge, 2 * s.extent, s.between((8, 16))).tolist():
        s.road("asphalt", s.line([seam - far, seam + far]), 0.3, 1.35)
    s.road("yellow", s.line([-far, far]), 0.5)
    if s.chance(0.5):
        hall = s.extent * s.between((0.4, 1.2))
        s.put("hall", s.spot(edge - 0.4 * hall), s.heading + pi / 2, hall)
    for k in range(-4, 5):
        if k == 0 or s.chance(0.75):
            stand = s.rng.normal(0, 1.5) + k * span * 1.3j
            s.put("airplane", s.spot(stand), s.heading, span)
            s.road("yellow", s.line([stand + 0.3 * span, stand + 1.2 * span]), 0.4)
            for _ in range(s.count(0, 3)):
                near = span * (s.between((-0.35, 0.5)) + complex(s.pick("-0.58j 0.58j")))
                s.put(s.pick("car truck"), s.spot(stand + near), s.heading)


def kerbs(s: Sketch) -> None:
    """Cars along the streets."""
    for kerb in (inset(plot, 2.8) for plot in s.plots):
        if len(kerb):
            land.vehicles(s, np.append(kerb, kerb[0]), 7.0, 0.35, 0.05)


def piers(s: Sketch) -> None:
    """Boats on both sides of piers that reach out from a quay."""
    quay, boat = s.extent * s.between((0.2, 0.45)), s.between(STOCK["boat"].length)
    berths = np.arange(quay - s.extent * s.between((0.35, 0.8)), quay - boat / 2, boat * 0.42)
    s.area("concrete", _half(s, quay))
    for y in np.arange(-s.extent, s.extent, 3.1 * boat).tolist():
        s.put(s.pick("car car truck"), s.spot(quay + 12 + y * 1j), s.heading + pi / 2)
        s.road("concrete", s.line([berths[0] + y * 1j, quay + y * 1j]), 2.2, 0.92)
        for side in (-1j, 1j):
            taken = berths[s.rng.random(len(berths)) < 0.8]
            long = boat * s.rng.uniform(0.75, 1.0, len(taken))
            at = taken + y * 1j + side * (long / 2 + 1.6)
            turn = s.heading + pi * (s.rng.integers(0, 2, len(at)) - 0.5)
            s.put("boat", s.line(at), turn, long)


def stalls(s: Sketch) -> None:
    """Parked cars in double rows, some of them with trees between."""
    full, x = s.between((0.4, 0.95)), np.arange(-0.75 * s.extent, 0.75 * s.extent, 2.6)
    for y in np.arange(-0.8 * s.extent, 0.8 * s.extent, 17.0).tolist():
        for left in (x - 1.3 + y * 1j).tolist():
            s.road("paint", s.line([left - 5.2j, left + 5.2j]), 0.16)
        for aside in (-2.6j, 2.6j):
            at = x[s.rng.random(len(x)) < full] + y * 1j + aside
            s.put("car", s.line(at), s.heading + pi * (s.rng.integers(0, 2, len(at)) - 0.5))
        if s.chance(0.3):
            s.road("grass", s.line([y * 1j - s.extent, y * 1j + s.extent]), 1.8)
            land.grow(s, s.line(x[::4] + y * 1j), 4.5)


def ships(s: Sketch) -> None:
    """Ships on about one course, with their wakes, and at times a quay."""
    course, longest = s.rng.uniform(0, 2 * pi), s.extent * s.between((0.25, 0.6))
    for at in (s.middle, *s.anywhere(s.count(0, 3)).tolist()):
        size, turn = longest * s.between((0.5, 1.0)), course + s.rng.normal(0, 0.3)
        if all(abs(t.at - at) > 0.55 * (t.length + size) for t in s.things):
            s.put("ship", at, turn, size)
            tail = s.between((0.0, 1.8))
            for reach, wide, light in ((tail, 0.16, 0.75), (tail * 0.45, 0.075, 1.25)):
                side = np.array([0.42 + 0.03j, -0.5 + 0.085j, -0.5 - reach + wide * 1j])
                wake = np.concatenate([side, side[::-1].conj()]) * size * np.exp(1j * turn)
                s.area("foam", at + wake, (light, light, light))
    quay = _half(s, 0.35 * s.extent)
    if s.chance(0.5) and not any(geo.inside(quay, geo.corners(ship)).any() for ship in s.things):
        s.area("concrete", quay)


def courts(s: Sketch) -> None:
    """Tennis courts side by side on one paved ground."""
    columns, rows, colour = s.count(1, 2), s.count(1, 3), s.pick(STOCK["tennis_court"].colours)
    long, wide = columns * 37.0, rows * 18.5
    s.clear(geo.slab(s.middle, s.heading, long + 22, wide + 22))
    s.area("asphalt concrete clay", geo.slab(s.middle, s.heading, long + 6, wide + 6))
    x = (np.arange(columns) + 0.5) * 37.0 - long / 2
    y = (np.arange(rows) + 0.5) * 18.5 - wide / 2
    s.put("tennis_court", s.line(np.add.outer(x, y * 1j).ravel()), s.heading, None, colour)


Table = dict[str, tuple[Step, ...]]
ANNUAL = "soil soil+crop crop soil+crop+stubble crop+crop+soil soil+stubble+grass"
PERMANENT = "soil+crop+grass soil+stubble+grass grass+crop+soil soil+soil+grass"
WORKS = "asphalt+gravel asphalt+concrete+grass gravel asphalt+garden soil+gravel"
BANKS = "forest forest grass sand gravel garden"
YARDS = "gravel soil concrete grass"

# fmt: off
LAND: Table = {
    "AnnualCrop": (
        (land.ground, "grass soil stubble"), (land.plots, (30e3, 110e3), (1.2, 2.2)),
        (land.crops, ANNUAL, (3, 9), (8, 14)), (land.paths, 1, "gravel", 5.0)),
    "Forest": (
        (land.ground, "forest", 0.15, 0.08), (land.patches, 4, "forest", (50, 180)),
        (land.paths, 1, "grass", 6.0)),
    "HerbaceousVegetation": (
        (land.ground, "scrub", 0.25, 0.09), (land.patches, 2, "forest grass scrub", (60, 220)),
        (land.paths, 3, "sand soil gravel", 8.0)),
    "Industrial": (
        (land.ground, "asphalt", 0.2), (land.plots, (6e3, 32e3), (1.0, 1.8)),
        (land.town, "hall", (28, 85), (12, 22), (5, 16), WORKS),
        (sometimes, 0.25, (tanks, (22, 42), YARDS)), (land.patches, 2, "forest", (12, 39))),
    "Pasture": (
        (land.ground, "grass"), (land.plots, (18e3, 60e3), (1.0, 1.8), 0.2),
        (land.crops, "grass grass+grass+grass+stubble"), (land.hedges, (9, 16), (0.15, 0.3)),
        (land.patches, 7, "forest", (11, 36)), (land.trees, (0.1, 1.0), (11, 11))),
    "PermanentCrop": (
        (land.ground, "soil grass stubble"), (land.plots, (6e3, 22e3), (2.5, 5), 0.12),
        (land.crops, PERMANENT, (5, 12), (24, 40)), (land.patches, 3, "forest", (7, 23)),
        (land.paths, 1, "gravel", 7.0)),
    "Residential": (
        (land.ground, "asphalt"), (land.plots, (3e3, 9e3), (1.2, 2.0), 0.12),
        (land.town, "house", (10, 17), (9, 16), (8, 14), "garden+garden+garden+garden+grass"),
        (sometimes, 0.6, (land.avenue, (12, 18)))),
}
EUROSAT: Table = LAND | {
    "Highway": (
        (one_of, *LAND.values()), (sometimes, 0.5, (land.avenue, (9, 14))),
        (land.motorway, (4.6, 6.0), 3)),
    "River": ((one_of, *LAND.values()), (land.waterway, (0.05, 0.35), (0.07, 0.3), BANKS)),
    "SeaLake": (
        (land.ground, "water water shallows", 0.35, 0.12),
        (sometimes, 0.5, (land.patches, 1, "sand forest grass scrub", (100, 300)))),
}
RESISC45: Table = {
    "airplane": ((land.ground, "grass"), (apron,)),
    "circular_farmland": ((land.ground, "soil scrub stubble"), (pivots,)),
    "dense_residential": (
        (land.ground, "asphalt"), (land.plots, (1800, 3400), (1.2, 2.2), 0.02),
        (land.town, "house", (9, 13), (8, 11), (2, 7), "garden+garden+grass+concrete"), (kerbs,)),
    "forest": (
        (land.ground, "forest"), (land.patches, 3, "forest forest scrub", (12, 60)),
        (land.trees, (50, 170), (6, 10))),
    "freeway": (
        (land.ground, "grass scrub garden forest"), (land.trees, (10, 60)),
        (land.motorway, (3.6, 3.6), 4)),
    "harbor": ((land.ground, "water", 0.25), (piers,)),
    "parking_lot": ((land.ground, "asphalt", 0.2), (stalls,)),
    "rectangular_farmland": (
        (land.ground, "grass soil stubble"), (land.plots, (20e3, 60e3), (1.2, 2.0), 0.01),
        (land.crops, "crop+crop+soil+stubble+grass", (3, 12), (8, 20)),
        (land.hedges, (4, 14), (0.0, 0.1)), (land.paths, 1, "gravel", 6.0)),
    "river": (
        (land.ground, "grass scrub forest"),
        (sometimes, 0.5, (land.plots, (10e3, 40e3), (1.2, 2.0)), (land.crops, "crop+grass+soil")),
        (land.patches, 7, "forest", (30, 110)), (land.waterway, (0.1, 0.4), (0.08, 0.22), BANKS)),
    "ship": ((land.ground, "water", 0.35), (ships,)),
    "storage_tank": ((tanks, (14, 40), YARDS),),
    "tennis_court": ((land.ground, "grass garden grass"), (land.trees, (20, 90)), (courts,)),
}
# Ground sampling distances.
SAMPLING: dict[str, Range] = {
    "airplane": (0.35, 0.8), "circular_farmland": (2.5, 6.0), "dense_residential": (0.4, 0.8),
    "forest": (0.4, 1.2), "freeway": (0.4, 0.9), "harbor": (0.3, 0.7), "parking_lot": (0.2, 0.4),
    "rectangular_farmland": (1.0, 4.0), "river": (1.5, 5.0), "ship": (0.5, 1.5),
    "storage_tank": (0.4, 1.0), "tennis_court": (0.25, 0.45),
} | dict.fromkeys(EUROSAT, (10.0, 10.0))
# fmt: on


def compose(
    name: str, rng: np.random.Generator, side: int = 0, sampling: Range | None = None
) -> Scene:
    """A scene of one class: `side` pixels of a distance between those of `sampling`.

    By default as in the data set that has the class.
    """
    finest, coarsest = sampling or SAMPLING[name]
    satellite, gsd = finest >= 10, exp(rng.uniform(log(finest), log(coarsest)))
    extent = (side or (64 if satellite else 256)) * gsd
    s = Sketch(rng, extent, extent * complex(*rng.uniform(0.4, 0.6, 2)), rng.uniform(0, 2 * pi))
    lay(s, *(EUROSAT | RESISC45)[name])
    (r, g, b), air = s.tint(0.13), s.between((0.75, 1.25))
    red, green, blue = (0.085, 0.13, 0.21) if satellite else (0.05, 0.06, 0.07)  # the air's veil
    view = View(
        seed=s.count(0, 2**31),
        sun=s.between((0.0, 2 * pi)),
        elevation=s.between((0.6, 1.2)),
        gain=(0.85 * r, 0.85 * g, 0.85 * b),
        veil=(air * red, air * green, air * blue),
        haze=s.between((0.05, 0.25)) if s.chance(0.1) else 0.0,
        blur=s.between((0.3, 0.7)),
        noise=s.between((0.003, 0.01)),
    )
    return Scene(extent, gsd, s.count(0, 2**31), (*s.areas, *s.roads), tuple(s.things), view)
