"""Scenes: same seed same bytes, things where they belong, miniatures in their official layout."""

import hashlib
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from mtp_bench.datasets import access
from mtp_bench.datasets.scenes.geometry import Scene, Thing, corners, inside, parcels
from mtp_bench.datasets.scenes.miniature import (
    MINIATURES,
    Miniature,
    picture,
    scene_of,
    write_miniature,
)
from mtp_bench.datasets.scenes.render import COVERS, SHAPES, footprints, render
from mtp_bench.errors import UserError

OFFICIAL_EUROSAT = (
    "AnnualCrop Forest HerbaceousVegetation Highway Industrial Pasture PermanentCrop Residential "
    "River SeaLake"
)
OFFICIAL_RESISC45 = (
    "airplane airport baseball_diamond basketball_court beach bridge chaparral church "
    "circular_farmland cloud commercial_area dense_residential desert forest freeway golf_course "
    "ground_track_field harbor industrial_area intersection island lake meadow medium_residential "
    "mobile_home_park mountain overpass palace parking_lot railway railway_station "
    "rectangular_farmland river roundabout runway sea_ice ship snowberg sparse_residential stadium "
    "storage_tank tennis_court terrace thermal_power_station wetland"
)
EVERY = [(dataset, c) for dataset in ("EuroSAT", "RESISC45") for c in MINIATURES[dataset].classes]


def cover_at(scene: Scene, place: complex) -> str:
    """The land cover that is seen at a place, things left aside."""
    for region in reversed(scene.regions):
        if inside(region.outline, [place])[0]:
            return region.cover
    raise ValueError(f"{place} lies on no region")


def seen(scene: Scene, place: complex) -> bool:
    return min(place.real, place.imag) >= 0 and max(place.real, place.imag) < scene.extent


def inner(scene: Scene, kind: str) -> list[Thing]:
    """Objects of a kind whose centre is seen."""
    return [t for t in scene.things if t.kind == kind and seen(scene, t.at)]


def read(path: Path) -> npt.NDArray[np.uint8]:
    with Image.open(path) as picture_file:
        return np.asarray(picture_file.convert("RGB"))


def digests() -> list[str]:
    shown = [
        picture("EuroSAT", "Residential", 1),
        picture("EuroSAT", "River", 2, seed=3),
        picture("RESISC45", "airplane", 1),
    ]
    return [hashlib.sha256(p.tobytes()).hexdigest() for p in shown]


def test_the_same_seed_gives_the_same_bytes_in_another_process() -> None:
    code = (
        "import importlib.util, cv2; cv2.setNumThreads(1);"
        f"spec = importlib.util.spec_from_file_location('scenes_test', {__file__!r});"
        "m = importlib.util.module_from_spec(spec); spec.loader.exec_module(m);"
        "print(*m.digests())"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.split() == digests() == digests()


def test_seeds_numbers_and_classes_give_different_scenes() -> None:
    scenes = {
        scene_of("EuroSAT", name, number, seed)
        for name in ("Forest", "SeaLake")
        for number in (1, 2)
        for seed in (0, 1)
    }
    assert len(scenes) == 8


@pytest.mark.parametrize(("dataset", "name"), EVERY)
def test_every_class_gives_a_picture_with_something_in_it(dataset: str, name: str) -> None:
    scene = scene_of(dataset, name, 1)
    shown = render(scene, 64)
    assert shown.shape == (64, 64, 3)
    assert shown.dtype == np.uint8
    assert shown.std() > 1.5
    assert {region.cover for region in scene.regions} <= set(COVERS)
    assert {t.kind for t in scene.things} <= set(SHAPES)
    assert all(t.length > 0 and t.width > 0 for t in scene.things)


def test_a_larger_picture_shows_the_same_place() -> None:
    scene = scene_of("RESISC45", "freeway", 1)
    small, large = render(scene, 128), render(scene, 256)
    again = cv2.resize(large, (128, 128), interpolation=cv2.INTER_AREA)
    other = render(scene_of("RESISC45", "freeway", 2), 128)
    assert np.abs(small - again.astype(float)).mean() < 8
    assert np.abs(small - other.astype(float)).mean() > 16


def test_ships_are_on_water_and_apart() -> None:
    quays = 0
    for number in range(1, 161):
        scene = scene_of("RESISC45", "ship", number)
        quays += any(region.cover == "concrete" for region in scene.regions)
        ships = inner(scene, "ship")
        assert ships
        for i, ship in enumerate(ships):
            around = [place for place in (ship.at, *corners(ship)) if seen(scene, place)]
            assert {cover_at(scene, place) for place in around} <= {"water", "foam"}
            assert not inside(corners(ship), [other.at for other in ships[:i]]).any()
    assert quays > 20


@pytest.mark.parametrize(
    ("name", "kind", "covers"),
    [
        ("airplane", "airplane", {"concrete", "asphalt", "yellow"}),
        ("harbor", "boat", {"water"}),
        ("freeway", "car", {"asphalt", "paint"}),
        ("freeway", "truck", {"asphalt", "paint"}),
        ("parking_lot", "car", {"asphalt", "paint"}),
    ],
)
def test_objects_stand_where_they_belong(name: str, kind: str, covers: set[str]) -> None:
    found: Counter[str] = Counter()
    for number in range(1, 6):
        scene = scene_of("RESISC45", name, number)
        found.update(cover_at(scene, t.at) for t in inner(scene, kind)[:8])
    assert found.total() > 4
    assert set(found) <= covers


def test_no_house_stands_in_a_river_or_on_a_motorway() -> None:
    built = {"house", "hall", "storage_tank"}
    checked = 0
    for name in ("River", "Highway"):
        for number in range(1, 25):
            scene = scene_of("EuroSAT", name, number)
            homes = [t.at for t in scene.things if t.kind in built]
            taken = [r.outline for r in scene.regions if r.cover == "water"]
            if name == "Highway":
                taken += [r.outline for r in scene.regions if r.width > 10]
            checked += len(homes)
            assert not any(inside(outline, homes).any() for outline in taken)
    assert checked > 1000


def test_an_object_changes_its_own_place_and_its_shadow_only() -> None:
    scene = scene_of("RESISC45", "ship", 1)
    scene = replace(scene, view=replace(scene.view, noise=0.0))
    ship = inner(scene, "ship")[0]
    size = 128
    with_it = render(replace(scene, things=(ship,)), size).astype(int)
    changed = np.abs(with_it - render(replace(scene, things=()), size)).max(axis=-1) > 2
    at = ((np.argwhere(changed) + 0.5) @ np.array([1j, 1])) * scene.extent / size
    reach = 3 * scene.extent / size + ship.height / np.tan(scene.view.elevation)
    hull = replace(ship, length=ship.length + 2 * reach, width=ship.width + 2 * reach)
    assert inside(corners(hull), at).all()
    assert inside(corners(ship), at).sum() > 0.5 * ship.length * ship.width * (
        (size / scene.extent) ** 2
    )


@pytest.mark.parametrize("kind", sorted(SHAPES))
def test_a_shape_lies_in_the_rotated_box(kind: str) -> None:
    thing = Thing(kind, 20 + 30j, 12.0, 5.0, 0.7, 3.0, (0.5, 0.5, 0.5))
    box = corners(replace(thing, length=12.0 + 1e-6, width=5.0 + 1e-6))
    for _, places in footprints([thing], sun=0.7):
        assert inside(box, places[0]).all()


def test_another_view_of_a_scene_keeps_its_geometry() -> None:
    scene = scene_of("EuroSAT", "Pasture", 1)
    other = replace(scene, view=scene_of("EuroSAT", "Pasture", 2).view)
    first, second = (render(s, 64)[..., 1].astype(float).ravel() for s in (scene, other))
    strange = render(scene_of("EuroSAT", "Pasture", 2), 64)[..., 1].astype(float).ravel()
    assert np.corrcoef(first, second)[0, 1] > 0.8
    assert np.corrcoef(first, strange)[0, 1] < 0.4


@pytest.mark.parametrize("seed", range(4))
def test_parcels_divide_the_picture_without_gap_or_overlap(seed: int) -> None:
    rng = np.random.default_rng(seed)
    plots = parcels(rng, 100.0, 150.0, 2.0, 0.2)
    places = rng.random((400, 2)) @ np.array([1, 1j]) * 100.0
    assert (np.array([inside(plot, places) for plot in plots]).sum(axis=0) == 1).all()


def test_the_miniatures_are_what_the_cards_expect() -> None:
    eurosat, resisc = MINIATURES["EuroSAT"], MINIATURES["RESISC45"]
    assert list(eurosat.classes) == OFFICIAL_EUROSAT.split()
    assert int(eurosat.images_per_class * 0.6) * len(eurosat.classes) == 1000
    assert set(resisc.classes) < set(OFFICIAL_RESISC45.split())
    assert list(resisc.classes) == sorted(resisc.classes)


@pytest.mark.parametrize(
    ("dataset", "names", "first", "size"),
    [
        ("EuroSAT", ("Forest", "SeaLake"), "2750/Forest/Forest_1.jpg", 64),
        ("RESISC45", ("river",), "NWPU-RESISC45/river/river_001.jpg", 256),
    ],
)
def test_a_miniature_has_the_official_layout(
    dataset: str,
    names: tuple[str, ...],
    first: str,
    size: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(MINIATURES, dataset, Miniature(names, 2))
    heard: list[tuple[int, int]] = []
    write_miniature(dataset, tmp_path / "a", progress=lambda done, of: heard.append((done, of)))
    total, folder = 2 * len(names), first.split("/")[0]
    assert heard == [(i + 1, total) for i in range(total)]
    assert sorted(p.name for p in (tmp_path / "a").iterdir()) == [folder, "miniature.json"]
    assert sorted(p.name for p in (tmp_path / "a" / folder).iterdir()) == sorted(names)
    files = sorted((tmp_path / "a" / folder).rglob("*.jpg"))
    assert len(files) == total
    assert tmp_path / "a" / first in files
    assert all(read(f).shape == (size, size, 3) for f in files)
    write_miniature(dataset, tmp_path / "b")
    twins = sorted((tmp_path / "b" / folder).rglob("*.jpg"))
    assert [f.read_bytes() for f in files] == [f.read_bytes() for f in twins]


def test_the_jpeg_is_the_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(MINIATURES, "EuroSAT", Miniature(("Pasture",), 1))
    write_miniature("EuroSAT", tmp_path, seed=5)
    drawn = picture("EuroSAT", "Pasture", 1, seed=5)
    written = read(tmp_path / "2750/Pasture/Pasture_1.jpg")
    assert np.abs(written.astype(int) - drawn).mean() < 4


def test_an_interrupted_miniature_leaves_nothing(tmp_path: Path) -> None:
    def interrupt(done: int, total: int) -> None:
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        access.render("EuroSAT", tmp_path / "EuroSAT", interrupt)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_appears_meanwhile_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(MINIATURES, "EuroSAT", Miniature(("Forest",), 1))
    root = tmp_path / "EuroSAT"
    access.render("EuroSAT", root, lambda done, total: access.render("EuroSAT", root))
    assert [str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*.jpg")] == [
        "EuroSAT/2750/Forest/Forest_1.jpg"
    ]


def test_an_unknown_miniature_is_told_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError) as unknown:
        write_miniature("eurosta", tmp_path)
    assert str(unknown.value) == "no miniature of 'eurosta': did you mean 'EuroSAT'?"
