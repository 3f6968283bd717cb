"""EuroSAT's ten classes as scenes of 640 m, to be seen at 10 m a pixel."""

from collections.abc import Callable
from math import cos, pi, sin

import numpy as np

from mtp_bench.datasets.scenes.geometry import (
    Array,
    Rows,
    Scene,
    blob,
    curve,
    inset,
    parcels,
    ribbon,
)
from mtp_bench.datasets.scenes.layout import (
    HALLS,
    Sketch,
    Town,
    crops,
    frame,
    hedges,
    palette,
    pick,
    quarter,
    scattered,
    tinted,
    trees,
    without,
    woods,
)
from mtp_bench.datasets.scenes.sensor import satellite
from mtp_bench.datasets.scenes.ways import motorway, paths, traffic, waterway

PIXELS = 64
GSD = 10.0
EXTENT = PIXELS * GSD

_ANNUAL = ("soil", "soil crop", "crop", "soil crop stubble", "crop crop soil", "soil stubble grass")
_PERMANENT = ("soil crop grass", "soil stubble grass", "grass crop soil", "soil soil grass")
_YARDS = ("asphalt gravel", "asphalt concrete grass", "gravel", "asphalt garden", "soil gravel")


def _annual_crop(s: Sketch) -> None:
    s.ground(("grass", "soil", "stubble"))
    plots = parcels(s.rng, EXTENT, s.rng.uniform(30e3, 110e3), 2.2)
    crops(s, plots, pick(s.rng, _ANNUAL).split(), s.rng.uniform(3, 9), Rows(0.0, 26.0, 0.035))
    paths(s, s.count(0, 2), "gravel", 5.0)


def _permanent_crop(s: Sketch) -> None:
    s.ground(("soil", "grass", "stubble"))
    plots = parcels(s.rng, EXTENT, s.rng.uniform(6e3, 22e3), s.rng.uniform(2.5, 5), 0.12)
    rows = Rows(0.0, s.rng.uniform(24, 40), 0.16)
    crops(s, plots, pick(s.rng, _PERMANENT).split(), s.rng.uniform(5, 12), rows)
    woods(s, s.count(0, 4), 18.0)
    paths(s, s.count(0, 2), "gravel", 7.0)


def _pasture(s: Sketch) -> None:
    s.ground(("grass",))
    plots = parcels(s.rng, EXTENT, s.rng.uniform(18e3, 60e3), 1.8, 0.2)
    crops(s, plots, pick(s.rng, ("grass", "grass grass grass stubble")).split(), 0.0, None)
    hedges(s, plots, s.rng.uniform(9, 16), s.rng.uniform(0.3, 0.6))
    woods(s, s.count(1, 8), 28.0)
    trees(s, s.rng.random((s.count(5, 40), 2)) * EXTENT, 11.0)


def _herbaceous(s: Sketch) -> None:
    s.ground(("scrub",), tinted(s.rng, 0.25, 0.09))
    for _ in range(s.count(0, 3)):
        patch = blob(s.rng, s.anywhere(), s.rng.uniform(60, 220), 0.35)
        s.area(pick(s.rng, ("forest", "grass", "scrub")), patch, 0.2)
    paths(s, s.count(0, 4), pick(s.rng, ("sand", "soil", "gravel")), 8.0)


def _forest(s: Sketch) -> None:
    s.ground(("forest",), tinted(s.rng, 0.15, 0.08))
    for _ in range(s.count(0, 5)):
        patch = blob(s.rng, s.anywhere(), s.rng.uniform(50, 180), 0.5)
        s.area("forest", patch, tinted(s.rng, 0.15, 0.08))
    if s.rng.random() < 0.4:
        paths(s, s.count(1, 3), "grass", 6.0)


def _residential(s: Sketch) -> None:
    rng = s.rng
    s.ground(("asphalt",))
    size = rng.uniform(10, 17)
    town = Town(
        street=rng.uniform(9, 16),
        lot=size * rng.uniform(1.05, 1.8),
        house=(size, size * 0.8),
        gap=0.3 * rng.random(),
        green=rng.uniform(0.2, 1.3),
        mixed=0.3,
    )
    blocks = parcels(rng, EXTENT, rng.uniform(3000, 9000), 2.0, 0.12)
    quarter(s, blocks, town, ("garden", "garden", "garden", "garden", "grass"))
    for _ in range(s.count(0, 5)):
        park = inset(pick(rng, blocks), town.street / 2)
        if len(park):
            without(s, park)
            s.area(pick(rng, ("forest", "grass", "gravel", "garden")), park, 0.15)
    if rng.random() < 0.6:
        line, width = curve(rng, EXTENT, 0.1, 0.4), rng.uniform(12, 18)
        without(s, ribbon(line, width + size))
        s.road("asphalt", line, width, 0.15)


def _industrial(s: Sketch) -> None:
    rng = s.rng
    s.ground(("asphalt",), 0.2)
    hall = rng.uniform(28, 85)
    town = Town(
        street=rng.uniform(12, 22),
        lot=hall * 1.1,
        house=(hall, hall * 0.65),
        kind="hall",
        height=12.0,
        roofs=HALLS,
        green=0.4,
        yard=rng.uniform(5, 16),
        mixed=0.4,
    )
    blocks = parcels(rng, EXTENT, rng.uniform(6e3, 32e3), 1.8, 0.05)
    quarter(s, blocks, town, pick(rng, _YARDS).split())
    if rng.random() < 0.25:
        _tank_farm(s, inset(pick(rng, blocks), 12.0))
    woods(s, s.count(0, 3), 30.0)


def _tank_farm(s: Sketch, block: Array) -> None:
    if len(block) < 3:
        return
    without(s, block)
    s.area("gravel", block)
    d = s.rng.uniform(22, 42)
    for at in scattered(s.rng, inset(block, d / 2), 12) if len(inset(block, d / 2)) else ():
        if all(np.hypot(t.x - at[0], t.y - at[1]) > 1.2 * d for t in s.things):
            s.put("storage_tank", at, (d, d, 12.0), 0.0, palette("e6e6e0"))


def _surroundings(s: Sketch) -> None:
    """What a road or a river leads through."""
    open_land = (_annual_crop, _annual_crop, _pasture, _pasture, _permanent_crop)
    pick(s.rng, (*open_land, _residential, _industrial, _forest, _herbaceous))(s)


def _highway(s: Sketch) -> None:
    rng = s.rng
    _surroundings(s)
    line = curve(rng, EXTENT, rng.uniform(0.02, 0.14), 0.2)
    if rng.random() < 0.5:
        crossing = curve(rng, EXTENT, 0.1, 0.3)
        without(s, ribbon(crossing, 26.0))
        s.road("asphalt", crossing, rng.uniform(9, 14), (1.3, 1.3, 1.28))
    for side in motorway(s, line, rng.uniform(4.6, 6.0), s.count(2, 4), marked=False):
        traffic(s, side, (-2.5, 2.5), 60.0)
    if rng.random() < 0.5:
        _interchange(s, line[s.count(12, 29)])


def _interchange(s: Sketch, at: Array) -> None:
    start, turn = s.rng.uniform(0, 2 * pi), np.linspace(0, 2 * pi, 30)
    for k in range(s.count(2, 5)):
        r, aim = s.rng.uniform(35, 60), start + k * pi / 2
        middle = frame(at, aim, 1.15 * r, 0.0)
        loop = frame(middle, 0.0, r * np.cos(turn), r * np.sin(turn))
        without(s, loop)
        s.area("grass", loop)
        s.road("asphalt", loop, 9.0, (1.25, 1.25, 1.23))


def _river(s: Sketch) -> None:
    _surroundings(s)
    banks = ("forest", "forest", "grass", "sand", "gravel", "garden")
    waterway(s, s.rng.uniform(0.05, 0.35), s.rng.uniform(45, 190), banks)


def _sea_lake(s: Sketch) -> None:
    rng = s.rng
    r, g, b = tinted(rng, 0.35, 0.12)
    shallow = rng.random() < 0.4
    s.ground(("water",), (r * 2.5, g * 2.2, b * 1.6) if shallow else (r, g, b))
    if rng.random() < 0.3:
        aim, far = rng.uniform(0, 2 * pi), EXTENT * rng.uniform(1.2, 1.45)
        middle = EXTENT / 2 + far * np.array([cos(aim), sin(aim)])
        for cover, radius in (("sand", 0.93), (pick(rng, ("forest", "grass", "scrub")), 0.89)):
            s.area(cover, blob(rng, middle, EXTENT * radius, 0.08))


CLASSES: dict[str, Callable[[Sketch], None]] = {
    "AnnualCrop": _annual_crop,
    "Forest": _forest,
    "HerbaceousVegetation": _herbaceous,
    "Highway": _highway,
    "Industrial": _industrial,
    "Pasture": _pasture,
    "PermanentCrop": _permanent_crop,
    "Residential": _residential,
    "River": _river,
    "SeaLake": _sea_lake,
}


def compose(name: str, rng: np.random.Generator) -> Scene:
    """A scene of one class."""
    sketch = Sketch(rng, EXTENT)
    CLASSES[name](sketch)
    return sketch.scene(GSD, satellite(rng))
