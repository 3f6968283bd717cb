"""Which scenes each miniature shows, at which sampling, and what its classes call the things."""

import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mtp_bench.datasets.scenes.classes import compose
from mtp_bench.datasets.scenes.geometry import Scene
from mtp_bench.datasets.scenes.labels import Frame
from mtp_bench.datasets.scenes.layout import Range


class World(NamedTuple):
    """What the pictures of a data set show."""

    themes: tuple[str, ...]
    """Taken in turns."""
    classes: Mapping[str, str] = {}
    """Kind of thing → class, as the card has it."""
    frame: Frame = Frame(256, 256)
    sampling: Range | None = None
    """Metres a pixel; None: as in the set that has the theme."""


@dataclass(frozen=True)
class Shot:
    """One picture, or pair, that is to be written; its seed depends on nothing but these."""

    dataset: str
    root: Path
    split: str
    number: int
    """From 1."""
    seed: int

    @property
    def rng(self) -> np.random.Generator:
        key = zlib.crc32(f"{self.dataset}/{self.split}".encode())
        return np.random.default_rng([self.seed, key, self.number])


_TRAFFIC = ("airplane", "harbor", "ship", "parking_lot", "freeway", "dense_residential")
_SCENES = (*_TRAFFIC, "storage_tank", "tennis_court")
_DOTA = {
    "airplane": "plane",
    "boat": "ship",
    "car": "small-vehicle",
    "ship": "ship",
    "storage_tank": "storage-tank",
    "tennis_court": "tennis-court",
    "truck": "large-vehicle",
}
_DIOR = {
    "airplane": "airplane",
    "boat": "ship",
    "car": "vehicle",
    "ship": "ship",
    "storage_tank": "storagetank",
    "tennis_court": "tenniscourt",
    "truck": "vehicle",
}
_FAIR1M = {
    "airplane": "other-airplane",
    "boat": "Motorboat",
    "car": "Small Car",
    "ship": "Dry Cargo Ship",
    "tennis_court": "Tennis Court",
    "truck": "Cargo Truck",
}
_XVIEW = {
    "airplane": "Passenger/Cargo Plane",
    "boat": "Motorboat",
    "car": "Small Car",
    "hall": "Building",
    "house": "Building",
    "ship": "Maritime Vessel",
    "storage_tank": "Storage Tank",
    "truck": "Truck",
}
_TOWN = ("dense_residential", "dense_residential", "Industrial")
WORLDS: Mapping[str, World] = {
    "xView": World((*_TRAFFIC, "storage_tank", "Industrial"), _XVIEW, sampling=(0.3, 0.45)),
    "DIOR": World(_SCENES, _DIOR),
    "FAIR1M-2.0": World((*_TRAFFIC, "tennis_court"), _FAIR1M),
    "DOTA-v1.0": World(_SCENES, _DOTA, Frame(512, 512)),
    "DOTA-v2.0": World(_SCENES, _DOTA, Frame(512, 512)),
    "SOTA-RBB": World(_SCENES, _DOTA),
    "SIOR": World(_SCENES, _DIOR),
    "FAST": World(
        (*_TRAFFIC, "tennis_court"),
        {kind: name.replace(" ", "-") for kind, name in _FAIR1M.items()},
    ),
    "SpaceNet-v1": World((*_TOWN, "freeway", "forest"), frame=Frame(438, 406), sampling=(0.5, 0.5)),
    "LoveDA/Rural": World(
        ("rectangular_farmland", "river", "forest", "PermanentCrop", "Pasture", "Residential"),
        sampling=(0.7, 1.2),
    ),
    "LoveDA/Urban": World((*_TOWN, "freeway", "Highway"), sampling=(0.5, 0.9)),
    "OSCD": World(("Residential", "Industrial"), sampling=(10.0, 10.0)),
    "WHU-CD": World(("dense_residential",), frame=Frame(1300, 900), sampling=(0.3, 0.3)),
    "LEVIR-CD": World(_TOWN, sampling=(0.5, 0.8)),
    "SVCD": World((*_TOWN, "storage_tank", "freeway"), sampling=(0.4, 0.8)),
}
LAND: Mapping[str, str] = {
    "agriculture_land/arable_land/dry_field": "rectangular_farmland AnnualCrop circular_farmland",
    "agriculture_land/grassland/meadow": "Pasture",
    "agriculture_land/woodland/forest": "forest Forest",
    "agriculture_land/woodland/orchard": "PermanentCrop",
    "industrial_land/factory_area/works": "Industrial",
    "industrial_land/factory_area/storage_tank": "storage_tank",
    "public_service_land/sports_land/tennis_court": "tennis_court",
    "residential_land/detached_house": "dense_residential Residential",
    "transportation_land/airport_area/apron": "airplane",
    "transportation_land/highway_area/parking_lot": "parking_lot",
    "transportation_land/highway_area/road": "freeway Highway",
    "transportation_land/port_area/pier": "harbor ship",
    "unutilized_land/sparse_shrub_land": "HerbaceousVegetation",
    "water_area/lake": "SeaLake",
    "water_area/river": "river River",
}
"""Million-AID: folder of a class → the scenes that are shown of it."""


def composed(world: World, number: int, rng: np.random.Generator, frame: Frame) -> Scene:
    """The scene of a picture of this number and size."""
    theme = world.themes[(number - 1) % len(world.themes)]
    return compose(theme, rng, max(frame), world.sampling)
