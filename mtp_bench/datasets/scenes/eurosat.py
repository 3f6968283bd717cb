"""EuroSAT's ten classes as scenes of 640 m, to be seen at 10 m a pixel."""

from collections.abc import Callable
from math import cos, pi, sin

import numpy as np

from mtp_bench.datasets.scenes.geometry import (
    Array,
    Rows,
    Scene,
    Thing,
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
    hedges,
    motorway,
    paths,
    pick,
    quarter,
    scattered,
    tinted,
    traffic,
    trees,
    waterway,
    without,
    woods,
)
from mtp_bench.datasets.scenes.sensor import satellite

EXTENT = 640.0
GSD = 10.0


def _annual_crop(s: Sketch) -> None:
    s.ground(pick(s.rng, ("grass", "soil", "stubble")), tinted(s.rng, 0.15))
    plots = parcels(s.rng, EXTENT, float(s.rng.uniform(30e3, 110e3)), 2.2)
    mix = pick(s.rng, (("soil",), ("soil", "crop"), ("crop",), ("soil", "crop", "stubble"),
                       ("crop", "crop", "soil"), ("soil", "stubble", "grass")))
    crops(s, plots, mix, float(s.rng.uniform(3, 9)), Rows(0.0, 26.0, 0.035))
    if s.rng.random() < 0.5:
        paths(s, 1, "gravel", 5.0)


def _permanent_crop(s: Sketch) -> None:
    s.ground(pick(s.rng, ("soil", "grass", "stubble")), tinted(s.rng, 0.15))
    plots = parcels(s.rng, EXTENT, float(s.rng.uniform(6e3, 22e3)), float(s.rng.uniform(2.5, 5)), 0.12)
    mix = pick(s.rng, (("soil", "crop", "grass"), ("soil", "stubble", "grass"),
                       ("grass", "crop", "soil"), ("soil", "soil", "grass")))
    crops(s, plots, mix, float(s.rng.uniform(5, 12)), Rows(0.0, float(s.rng.uniform(24, 40)), 0.16))
    woods(s, int(s.rng.integers(0, 4)), 18.0)
    if s.rng.random() < 0.6:
        paths(s, 1, "gravel", 7.0)


def _pasture(s: Sketch) -> None:
    tint = tinted(s.rng, 0.15, 0.06)
    s.ground("grass", tint)
    plots = parcels(s.rng, EXTENT, float(s.rng.uniform(18e3, 60e3)), 1.8, 0.2)
    crops(s, plots, pick(s.rng, (("grass",), ("grass", "grass", "grass", "stubble"))), 0.0, None)
    hedges(s, plots, float(s.rng.uniform(9, 16)), float(s.rng.uniform(0.3, 0.6)))
    woods(s, int(s.rng.integers(1, 8)), 28.0)
    trees(s, s.rng.random((int(s.rng.integers(5, 40)), 2)) * EXTENT, 11.0)


def _herbaceous(s: Sketch) -> None:
    s.ground("scrub", tinted(s.rng, 0.25, 0.09))
    for _ in range(int(s.rng.integers(0, 3))):
        x, y = s.rng.random(2) * EXTENT
        cover = pick(s.rng, ("forest", "grass", "scrub"))
        s.area(cover, blob(s.rng, (x, y), float(s.rng.uniform(60, 220)), 0.7), tinted(s.rng, 0.2))
    paths(s, int(s.rng.integers(0, 4)), pick(s.rng, ("sand", "soil", "gravel")), 8.0)


def _forest(s: Sketch) -> None:
    s.ground("forest", tinted(s.rng, 0.15, 0.08))
    for _ in range(int(s.rng.integers(0, 5))):
        x, y = s.rng.random(2) * EXTENT
        patch = blob(s.rng, (x, y), float(s.rng.uniform(50, 180)), 0.5)
        s.area("forest", patch, tinted(s.rng, 0.15, 0.08))
    if s.rng.random() < 0.4:
        paths(s, int(s.rng.integers(1, 3)), "grass", 6.0)


def _residential(s: Sketch) -> None:
    s.ground("asphalt", tinted(s.rng, 0.15))
    size, loose = float(s.rng.uniform(10, 17)), float(s.rng.uniform(1.05, 1.8))
    town = Town(street=float(s.rng.uniform(9, 16)), lot=size * loose, house=(size, size * 0.8),
                gap=0.3 * float(s.rng.random()), green=float(s.rng.uniform(0.2, 1.3)), mixed=0.3)
    blocks = parcels(s.rng, EXTENT, float(s.rng.uniform(3000, 9000)), 2.0, 0.12)
    quarter(s, blocks, town, ("garden", "garden", "garden", "garden", "grass"))
    for _ in range(int(s.rng.integers(0, 5))):
        park = inset(blocks[int(s.rng.integers(len(blocks)))], town.street / 2)
        if len(park):
            without(s, park)
            s.area(pick(s.rng, ("forest", "grass", "gravel", "garden")), park, tinted(s.rng, 0.15))
    if s.rng.random() < 0.6:
        line, width = curve(s.rng, EXTENT, 0.1, 0.4), float(s.rng.uniform(12, 18))
        without(s, ribbon(line, width + size))
        s.road("asphalt", line, width, tinted(s.rng, 0.15))


def _industrial(s: Sketch) -> None:
    s.ground("asphalt", tinted(s.rng, 0.2))
    hall = float(s.rng.uniform(26, 65))
    town = Town(street=float(s.rng.uniform(12, 22)), lot=hall * 1.1, house=(hall, hall * 0.65),
                kind="hall", height=12.0, roofs=HALLS, gap=0.08, green=0.4,
                yard=float(s.rng.uniform(5, 16)), mixed=0.4)
    blocks = parcels(s.rng, EXTENT, float(s.rng.uniform(5e3, 20e3)), 1.8, 0.05)
    yards = pick(s.rng, (("asphalt", "gravel"), ("asphalt", "concrete", "grass"), ("gravel",),
                         ("asphalt", "asphalt", "garden"), ("soil", "gravel")))
    quarter(s, blocks, town, yards)
    if s.rng.random() < 0.25:
        _tank_farm(s, blocks)
    woods(s, int(s.rng.integers(0, 3)), 30.0)
    for wood in s.regions[-2:]:
        if wood.cover == "forest":
            without(s, np.array(wood.outline))


def _tank_farm(s: Sketch, blocks: list[Array]) -> None:
    block = inset(blocks[int(s.rng.integers(len(blocks)))], 12.0)
    if len(block) < 3:
        return
    without(s, block)
    s.area("gravel", block, tinted(s.rng, 0.1))
    d = float(s.rng.uniform(22, 42))
    for x, y in scattered(s.rng, block, 1).tolist() + scattered(s.rng, block, 9)[:4].tolist():
        if all((t.x - x) ** 2 + (t.y - y) ** 2 > (1.2 * d) ** 2 for t in s.things):
            s.things.append(Thing("storage_tank", x, y, d, d, 0.0, 12.0, (0.9, 0.9, 0.88)))


def _surroundings(s: Sketch) -> None:
    """What a road or a river leads through."""
    around = (_annual_crop, _pasture, _permanent_crop, _residential, _industrial, _forest,
              _herbaceous, _pasture, _annual_crop)
    pick(s.rng, around)(s)


def _highway(s: Sketch) -> None:
    rng = s.rng
    _surroundings(s)
    line = curve(rng, EXTENT, float(rng.uniform(0.02, 0.14)), 0.2)
    if rng.random() < 0.5:
        crossing = curve(rng, EXTENT, 0.1, 0.3)
        without(s, ribbon(crossing, 26.0))
        s.road("asphalt", crossing, float(rng.uniform(9, 14)), (1.3, 1.3, 1.28))
    sides = motorway(s, line, float(rng.uniform(4.6, 6.0)), int(rng.integers(2, 4)), False)
    for side in sides:
        traffic(s, side, (-2.5, 2.5), 60.0)
    if rng.random() < 0.5:
        _interchange(s, line[int(rng.integers(12, 29))])


def _interchange(s: Sketch, at: Array) -> None:
    rng, start = s.rng, float(s.rng.uniform(0, 2 * pi))
    for k in range(int(rng.integers(2, 5))):
        turn, r = np.linspace(0, 2 * pi, 30), float(rng.uniform(35, 60))
        middle = at + 1.15 * r * np.array([cos(start + k * pi / 2), sin(start + k * pi / 2)])
        loop = middle + r * np.stack([np.cos(turn), np.sin(turn)], axis=1)
        without(s, loop)
        s.area("grass", loop, tinted(rng, 0.1))
        s.road("asphalt", loop, 9.0, (1.25, 1.25, 1.23))


def _river(s: Sketch) -> None:
    _surroundings(s)
    banks = ("forest", "forest", "grass", "sand", "gravel", "garden")
    waterway(s, float(s.rng.uniform(0.05, 0.35)), float(s.rng.uniform(45, 190)), banks)


def _sea_lake(s: Sketch) -> None:
    depth = float(s.rng.random())
    tint = tinted(s.rng, 0.35, 0.12)
    s.ground("water", tint if depth < 0.6 else (tint[0] * 2.5, tint[1] * 2.2, tint[2] * 1.6))
    if s.rng.random() < 0.3:
        heading = float(s.rng.uniform(0, 2 * np.pi))
        far = np.array([np.cos(heading), np.sin(heading)]) * EXTENT * s.rng.uniform(1.2, 1.45)
        x, y = far + EXTENT / 2
        for cover, radius in (("sand", 0.93), (pick(s.rng, ("forest", "grass", "scrub")), 0.89)):
            s.area(cover, blob(s.rng, (x, y), EXTENT * radius, 0.08), tinted(s.rng, 0.1))


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
