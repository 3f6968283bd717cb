"""Windows of scenes of any size, and what becomes of objects at their edges."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from mtp_bench.datasets import geometry
from mtp_bench.datasets.cards.card import Tiles
from mtp_bench.datasets.samples import Objects, objects
from mtp_bench.datasets.tiling import Window, cut, tile_name, windows

RANDOM = [
    Tiles(size=256, gap=50),
    Tiles(size=256, gap=100, scales=(0.5, 1.0, 1.5)),
    Tiles(size=256, gap=50, place="even"),
    Tiles(size=256, gap=0, place="even"),
    Tiles(size=256, place="grid"),
    Tiles(size=256, gap=50, place="grid"),
]
ONE = Tiles(size=100, gap=20)


def quads(rng: np.random.Generator, size: tuple[int, int], longest: float, count: int) -> Objects:
    """Rotated rectangles whose bounds lie in the scene; coordinates in eighths of a pixel."""
    rows: list[tuple[list[float], int, int, int]] = []
    while len(rows) < count:
        angle, wide, high = rng.uniform(0, 6.3), *rng.uniform(2, longest / 1.5, 2)
        cos, sin = np.cos(angle), np.sin(angle)
        unit = np.array([[-wide, -high], [wide, -high], [wide, high], [-wide, high]]) / 2
        shape = unit @ np.array([[cos, sin], [-sin, cos]]) + rng.uniform((0, 0), size)
        shape = (shape * 8).round() / 8
        inside = shape.min() >= 0 and (shape.max(axis=0) <= size).all()
        if inside and (np.ptp(shape, axis=0) <= longest).all():
            rows.append((shape.ravel().tolist(), len(rows) % 15, 0, len(rows) + 1))
    return objects(rows)


def boxes(*rows: tuple[float, float, float, float]) -> Objects:
    return objects([(row, 0, 0, line) for line, row in enumerate(rows, 1)], 4)


# By hand from img_split.py: step = side - gap, count = ceil((length - side) / step + 1), the last
# start moved back to length - side.
@pytest.mark.parametrize(
    ("length", "tiles", "starts"),
    [
        (1024, Tiles(1024, 200), [0]),
        (1025, Tiles(1024, 200), [0, 1]),
        (1848, Tiles(1024, 200), [0, 824]),
        (1849, Tiles(1024, 200), [0, 824, 825]),
        (4000, Tiles(1024, 200), [0, 824, 1648, 2472, 2976]),
        (2049, Tiles(1024, 500, scales=(0.5,)), [0, 1]),  # side 2048, gap 1000
        (1400, Tiles(1024, 500, scales=(1.5,)), [0, 349, 698, 718]),  # side 682, gap 333
        (1000, Tiles(416, place="even"), [0, 292, 584]),
        (1000, Tiles(416, place="grid"), [0, 416, 832]),
        (832, Tiles(416, place="grid"), [0, 416]),
    ],
)
def test_starts_are_those_of_the_published_rules(
    length: int, tiles: Tiles, starts: list[int]
) -> None:
    side = int(tiles.size / tiles.scales[0])
    assert [w.left for w in windows((length, side), tiles)] == starts
    assert [w.top for w in windows((side, length), tiles)] == starts


def test_the_padded_grid_of_whu_cd_has_7620_windows() -> None:
    found = windows((32_507, 15_354), Tiles(256, place="grid"))
    assert len({w.left for w in found}) == 127
    assert len({w.top for w in found}) == 60
    assert len(found) == 7_620


def test_windows_of_little_image_are_left_out_unless_all_are() -> None:
    three = Tiles(1024, 500, scales=(0.5, 1.0, 1.5))
    # 1024 of 2048 squared is a quarter.
    assert {w.side for w in windows((1024, 1024), three)} == {1024, 682}
    assert windows((300, 280), Tiles(1024, 200)) == [Window(0, 0, 1024)]
    assert windows((300, 280), three) == [Window(0, 0, 682, 1.5)]


@pytest.mark.parametrize("tiles", RANDOM)
def test_every_pixel_lies_in_a_window(tiles: Tiles) -> None:
    rng = np.random.default_rng(1)
    for _ in range(30):
        wide, high = (int(n) for n in rng.integers(1, 1500, 2))
        seen = np.zeros((high, wide), dtype=bool)
        for left, top, side, _ in windows((wide, high), replace(tiles, least=0.0)):
            assert tiles.place == "grid" or left + side <= max(wide, side)
            assert left < wide
            assert top < high
            seen[top : top + side, left : left + side] = True
        assert seen.all()


@pytest.mark.parametrize("tiles", RANDOM[:4])
def test_what_fits_the_gap_lies_whole_in_a_tile_and_maps_back_exactly(tiles: Tiles) -> None:
    rng, tiles = np.random.default_rng(2), replace(tiles, least=0.0)
    for _ in range(10):
        size = (int(rng.integers(300, 1500)), int(rng.integers(300, 1500)))
        scene = quads(rng, size, tiles.gap or 9, 40)
        whole = set()
        for window in windows(size, tiles):
            tile = cut(scene, window, tiles)
            number = tile.lines - 1
            back = tile.boxes + np.tile(window[:2], 4)
            assert back.tobytes() == scene.boxes[number].tobytes()
            assert (tile.labels == scene.labels[number]).all()
            bounds = geometry.corners(tile.boxes)
            inside = ((bounds >= 0) & (bounds <= window.side)).all(axis=(1, 2))
            assert (tile.difficult == np.where(inside, 0, 2)).all()
            whole |= set(number[inside].tolist())
        assert tiles.gap == 0 or whole == set(range(40))


def test_shares_decide_what_is_kept_and_marked() -> None:
    # Boxes 20 wide, of which 20, 15, 14, 13 and 0 columns lie in the first 100.
    scene = boxes(*((left, 10, left + 20, 30) for left in (80, 85, 86, 87, 100)))
    window = Window(0, 0, 100)
    tile = cut(scene, window, ONE)
    assert tile.lines.tolist() == [1, 2, 3]
    assert tile.difficult.tolist() == [0, 2, 2]
    assert tile.boxes[1].tolist() == [85, 10, 105, 30]  # moved, not clipped
    assert cut(scene, window, replace(ONE, cut="ignore")).difficult.tolist() == [0, -1, -1]


def test_a_flag_of_the_release_stays_where_nothing_is_cut() -> None:
    scene = objects([((10, 10, 30, 10, 30, 30, 10, 30), 3, 1, 7)])
    tile = cut(scene, Window(5, 5, 100), ONE)
    assert (tile.difficult[0], tile.labels[0], tile.lines[0]) == (1, 3, 7)


def test_the_share_of_a_rotated_object_is_that_of_its_own_area() -> None:
    # A diamond about (100, 50): half of its area is inside, whatever its bounds say.
    diamond = objects([((90, 50, 100, 40, 110, 50, 100, 60), 0, 0, 1)])
    assert len(cut(diamond, Window(0, 0, 100), replace(ONE, keep=0.51))) == 0
    assert len(cut(diamond, Window(0, 0, 100), replace(ONE, keep=0.49))) == 1
    bow = objects([((10, 10, 30, 30, 30, 10, 10, 30), 0, 0, 1)])
    assert len(cut(bow, Window(0, 0, 100), ONE)) == 1
    assert cut(bow, Window(0, 15, 100), replace(ONE, keep=0.5)).difficult.tolist() == [2]


@pytest.mark.parametrize("keep", [0.7, 0.0, None])
def test_what_has_no_area_never_passes(keep: float | None) -> None:
    flat = objects([((50, 50) * 4, 0, 0, 1), ((10, 10, 40, 40, 40, 40, 10, 10), 0, 0, 2)])
    assert len(cut(flat, Window(0, 0, 100), replace(ONE, keep=keep))) == 0


def test_centres_choose_tiles_and_boxes_are_clipped() -> None:
    tiles = Tiles(100, keep=None, cut="clip", place="grid")
    # Centres at 100 (the next tile's), 99.5, and one whose box covers several tiles.
    scene = boxes((90, 10, 110, 30), (89, 10, 110, 30), (-20, 40, 130, 60))
    first, second = (cut(scene, Window(left, 0, 100), tiles) for left in (0, 100))
    assert first.lines.tolist() == [2, 3]
    assert first.boxes.tolist() == [[89, 10, 99, 30], [0, 40, 99, 60]]
    assert second.boxes.tolist() == [[0, 10, 10, 30]]
    # Of a sliver on the last column nothing is left.
    assert len(cut(boxes((99, 0, 99.9, 9)), Window(0, 0, 100), tiles)) == 0
    with pytest.raises(ValueError, match="horizontal"):
        cut(objects([((0, 0, 9, 0, 9, 9, 0, 9), 0, 0, 1)]), Window(0, 0, 100), tiles)


def test_a_scene_without_objects_gives_tiles_without() -> None:
    for numbers in (4, 8):
        tile = cut(objects([], numbers), Window(0, 0, 100), ONE)
        assert tile.boxes.shape == (0, numbers)


def test_names_are_mmrotates_and_tell_keys_apart() -> None:
    assert tile_name("P0004", Window(0, 0, 1024)) == "P0004__1024__0___0"
    assert tile_name("P0004", Window(3, 7, 682, 1.5)) == "P0004__682__3___7"
    keys = ["Rural/1", "Rural_1", "Rural%2F1", "Rural%1"]
    names = {tile_name(key, Window(0, 0, 9)) for key in keys}
    assert len(names) == len(keys)
    assert not any("/" in name for name in names)
