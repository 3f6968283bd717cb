"""Miniatures with label images or footprints: SpaceNet, LoveDA and those of changes."""

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import shapely

from mtp_bench.datasets.scenes.dates import changed, later, rebuilt, renewed
from mtp_bench.datasets.scenes.files import save, text
from mtp_bench.datasets.scenes.geometry import Scene
from mtp_bench.datasets.scenes.labels import BUILDINGS, Frame, land_mask, paint, quads
from mtp_bench.datasets.scenes.worlds import WORLDS, Shot, composed

DEGREE = 4.49e-6
"""A pixel of SpaceNet's chips: 0.5 m."""


def spacenet(shot: Shot) -> None:
    """Georeferenced chips of two sizes and their footprints in longitude and latitude."""
    wide, high = WORLDS["SpaceNet-v1"].frame
    frame, (row, column) = Frame(wide + (shot.number + 1) % 2, high), divmod(shot.number - 1, 20)
    scene = composed(WORLDS["SpaceNet-v1"], shot.number, shot.rng, frame)
    west, north = -43.70 + DEGREE * 440 * column, -22.90 - DEGREE * 410 * row
    place: dict[str, Any] = {
        "transform": (DEGREE, 0.0, west, 0.0, -DEGREE, north),
        "crs": "EPSG:4326",
    }
    folder = shot.root / shot.split
    save(folder / f"3band/3band_AOI_1_RIO_img{shot.number}.tif", paint(scene, frame), **place)
    if shot.split == "test":
        return
    homes = replace(scene, things=tuple(t for t in scene.things if t.kind in BUILDINGS))
    seen: npt.NDArray[np.object_] = np.asarray(
        shapely.intersection(shapely.polygons(quads(homes, frame)), shapely.box(0, 0, *frame))
    )
    features = []
    for shape in seen[shapely.area(seen) > 1]:
        x, y = shapely.get_coordinates(shape).T
        ring = [[a, b, 0.0] for a, b in zip(west + DEGREE * x, north - DEGREE * y, strict=True)]
        outline = {"type": "Polygon", "coordinates": [ring]}
        features.append({"type": "Feature", "properties": {}, "geometry": outline})
    name = f"Geo_AOI_1_RIO_img{shot.number}.geojson"
    text(
        folder / "geojson" / name,
        json.dumps({"type": "FeatureCollection", "features": features}),
    )


LOVEDA_FIRST = {
    "train": {"Rural": 0, "Urban": 1366},
    "val": {"Rural": 2522, "Urban": 3514},
    "test": {"Rural": 4191, "Urban": 5167},
}
"""The first number of each folder: numbers run on through all."""


def loveda(shot: Shot) -> None:
    """Rural and urban pictures by turns; one in seven has a strip without data."""
    index, urban = divmod(shot.number - 1, 2)
    domain = "Urban" if urban else "Rural"
    world, rng = WORLDS[f"LoveDA/{domain}"], shot.rng
    frame, scene = world.frame, composed(world, index + 1, rng, world.frame)
    shown, mask = paint(scene, frame), land_mask(scene, frame)
    if index % 7 == 6:
        strip = int(rng.integers(8, 60))
        shown[:, :strip] = mask[:, :strip] = 0
    name = f"{LOVEDA_FIRST[shot.split][domain] + index}.png"
    folder = shot.root / shot.split.capitalize() / domain
    save(folder / "images_png" / name, shown)
    if shot.split != "test":
        save(folder / "masks_png" / name, mask)


def dates(shot: Shot, season: float = 0.08) -> tuple[Scene, Scene]:
    """A place on two dates; every seventh has not changed."""
    world, rng = WORLDS[shot.dataset], shot.rng
    scene = composed(world, shot.number, rng, world.frame)
    kinds: tuple[str, ...] = (*BUILDINGS, "storage_tank")
    share = 0.0 if shot.number % 7 == 0 else float(rng.uniform(0.2, 0.6))
    if shot.dataset == "SVCD":
        kinds, season = (*kinds, "car", "truck"), 0.16
    before, after = renewed(scene, rng, share, kinds)
    return before, replace(after, view=later(rng, scene.view, season))


def _pair(shot: Shot) -> tuple[npt.NDArray[np.uint8], ...]:
    """The earlier and the later picture, and what changed, as 0 and 255."""
    (before, after), frame = dates(shot), WORLDS[shot.dataset].frame
    return paint(before, frame), paint(after, frame), 255 * changed(before, after, frame)


def levir(shot: Shot) -> None:
    for folder, pixels in zip(("A", "B", "label"), _pair(shot), strict=True):
        save(shot.root / shot.split / folder / f"{shot.split}_{shot.number}.png", pixels)


def svcd(shot: Shot) -> None:
    """Labels are JPEG, as the pictures."""
    home = shot.root / "ChangeDetectionDataset/Real/subset" / shot.split
    for folder, pixels in zip(("A", "B", "OUT"), _pair(shot), strict=True):
        save(home / folder / f"{shot.number - 1:05d}.jpg", pixels)


def whu(shot: Shot) -> None:
    for name, pixels in zip(("before", "after", "change label"), _pair(shot), strict=True):
        save(shot.root / name / f"{name.replace(' ', '_')}.tif", pixels)


OSCD = "Onera Satellite Change Detection dataset - {}"
CITIES = {
    "train": "aguasclaras bercy bordeaux nantes paris rennes saclay_e abudhabi cupertino pisa "
    "beihai hongkong beirut mumbai",
    "test": "brasilia montpellier norcia rio saclay_w valencia dubai lasvegas milano chongqing",
}
"""Of these the first ones are rendered."""
BANDS: dict[str, tuple[int, tuple[int, int, int]]] = {
    "B01": (60, (0, 1, 14)),
    "B02": (10, (0, 0, 14)),
    "B03": (10, (0, 14, 0)),
    "B04": (10, (14, 0, 0)),
    "B05": (20, (10, 11, -4)),
    "B06": (20, (3, 31, -13)),
    "B07": (20, (1, 36, -15)),
    "B08": (10, (0, 39, -17)),
    "B8A": (20, (1, 39, -17)),
    "B09": (60, (0, 14, -6)),
    "B10": (60, (1, 0, 0)),
    "B11": (20, (22, 8, -8)),
    "B12": (20, (24, 0, -6)),
}
"""Metres a pixel, and shares of red, green and blue that stand in for the band's reflectance."""


def oscd(shot: Shot) -> str:
    """A city on two dates; returns its name."""
    city, rng = CITIES[shot.split].split()[shot.number - 1], shot.rng
    frame = Frame(*(12 * rng.integers(11, 19, 2)).tolist())  # a whole number of 60 m cells
    scene = composed(WORLDS["OSCD"], shot.number, rng, frame)
    before, after = rebuilt(scene, rng, 0.15)
    images = shot.root / OSCD.format("Images") / city
    for date, seen in enumerate((before, replace(after, view=later(rng, scene.view, 0.06))), 1):
        shown = paint(seen, frame)
        save(images / "pair" / f"img{date}.png", shown)
        for band, (metres, mix) in BANDS.items():
            n = metres // 10
            cells = (shown @ np.array(mix)).reshape(frame.high // n, n, frame.wide // n, n)
            stored = np.clip(400 + cells.sum(axis=(1, 3)) // n**2, 1, 10_000).astype(np.uint16)
            long = f"S2A_OPER_MSI_L1C_TL_EPA__201{5 + 3 * (date > 1)}0307T112745_A000731_T23LKC"
            save(images / f"imgs_{date}" / f"{long}_{band}.tif", stored)
            fine = np.kron(stored, np.ones((n, n), dtype=np.uint16))
            save(images / f"imgs_{date}_rect" / f"{band}.tif", fine)
    text(images / "dates.txt", "date_1: 20150307\ndate_2: 20180307\n")
    mask = changed(before, after, frame)
    labels = shot.root / OSCD.format(f"{shot.split.capitalize()} Labels") / city / "cm"
    save(labels / "cm.png", 255 * mask)
    save(labels / f"{city}-cm.tif", mask + 1)
    return city


def oscd_lists(noted: Sequence[tuple[Shot, str]]) -> None:
    for split in CITIES:
        names = ",".join(city for shot, city in noted if shot.split == split)
        text(noted[0][0].root / OSCD.format("Images") / f"{split}.txt", names)
