"""Areas that quadrangles share: by hand, by shapely, by the kit read to the letter, and laws."""

from __future__ import annotations

import numpy as np
import pytest
import shapely
from numpy.typing import NDArray

from mtp_bench.metrics import pairs
from mtp_bench.metrics.boxes import corners
from mtp_bench.metrics.quads import shapes, shared
from tests.metrics import literal_kit, making

Array = NDArray[np.float64]
UNIT = [0, 0, 10, 0, 10, 10, 0, 10]


def ious(first: Array, second: Array) -> Array:
    """Of (n, 8) with (n, 8), one by one."""
    one, two = shapes(corners(first)), shapes(corners(second))
    both = shared(one, two)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(both / (one.areas + two.areas - both))


def couples(seed: int, count: int = 400) -> tuple[Array, Array]:
    """Quads of all sorts, each with a moved and bent one of itself or a stranger beside it."""
    rng = np.random.default_rng(seed)
    first = making.quads(rng, count)
    second = first + rng.normal(0, 5, (count, 8))
    return first, second


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        (UNIT, [5, 0, 15, 0, 15, 10, 5, 10], 50 / 150),
        (UNIT, [2, 2, 4, 2, 4, 4, 2, 4], 4 / 100),
        (UNIT, [0, 0, 10, 0, 10, 5, 0, 5], 0.5),
        (UNIT, [10, 0, 20, 0, 20, 10, 10, 10], 0),  # they touch
        (UNIT, [5, -5, 15, 5, 5, 15, -5, 5], 100 / 200),  # a diamond around it
        # A bow tie with wings of 25 and net area 0: it shares 25 - 25 with the square.
        (UNIT, [0, 0, 10, 10, 10, 0, 0, 10], 0),
        # With the right half of the square, one wing of 25 of it; 50 + 0 - 25 are left below.
        ([5, 0, 10, 0, 10, 10, 5, 10], [0, 0, 10, 10, 10, 0, 0, 10], -25 / 75),
        # With itself 25 + 25, of 0 + 0 - 50.
        ([0, 0, 10, 10, 10, 0, 0, 10], [0, 0, 10, 10, 10, 0, 0, 10], -1),
        # A dart of 50, its dent at (5, 5), and the triangle of 25 in its dent.
        ([0, 0, 10, 0, 5, 5, 10, 10], [10, 0, 10, 10, 5, 5, 5, 5], 0),
    ],
)
def test_by_hand(first: list[float], second: list[float], expected: float) -> None:
    one, two = np.array([first], dtype=np.float64), np.array([second], dtype=np.float64)
    assert ious(one, two)[0] == pytest.approx(expected, abs=1e-15)
    assert literal_kit.iou(first, second) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("seed", range(3))
def test_the_kit_to_the_letter(seed: int) -> None:
    first, second = couples(seed)
    expected = [literal_kit.iou(p, q) for p, q in zip(first.tolist(), second.tolist(), strict=True)]
    np.testing.assert_allclose(ious(first, second), expected, rtol=1e-7, atol=1e-7)


def test_shapely_on_plain_quads() -> None:
    rng = np.random.default_rng(5)
    boxes = making.rectangles(rng, 2000)
    first = corners(boxes)
    second = corners(boxes + rng.normal(0, 1, (2000, 5)) * [4, 4, 0, 0, 0.3])
    one, two = shapely.polygons(first), shapely.polygons(second)
    expected = shapely.area(shapely.intersection(one, two))
    np.testing.assert_allclose(shared(shapes(first), shapes(second)), expected, atol=1e-9)


def test_laws() -> None:
    """Symmetric; the same from any corner, in any sense, and anywhere; 1 with itself."""
    first, second = couples(7)
    convex = shapes(corners(first)).convex & shapes(corners(second)).convex
    first, second = first[convex], second[convex]
    expected = ious(first, second)
    assert ((expected >= 0) & (expected < 1)).all()
    assert (expected > 0.3).any()
    np.testing.assert_allclose(ious(second, first), expected, rtol=0, atol=1e-12)
    np.testing.assert_array_equal(ious(first, first), 1)
    for step in range(4):
        turned = np.roll(first.reshape(-1, 4, 2), step, axis=1)
        for way in (turned, turned[:, ::-1]):
            np.testing.assert_allclose(ious(way.reshape(-1, 8), second), expected, atol=1e-12)
            np.testing.assert_allclose(ious(way.reshape(-1, 8), first), 1, atol=1e-12)
    move = np.tile([20_000.0, -7_000.0], 4)
    np.testing.assert_allclose(ious(first + move, second + move), expected, atol=1e-9)


def test_no_area_is_no_overlap() -> None:
    """A point, a line, and a line folded back, on a square and on themselves."""
    none = [[3, 3] * 4, [0, 0, 10, 10, 10, 10, 0, 0], [1, 1, 9, 1, 5, 1, 7, 1]]
    flat = np.array(none, dtype=np.float64)
    square = np.array([UNIT] * 3, dtype=np.float64)
    np.testing.assert_array_equal(ious(flat, square), 0)
    np.testing.assert_array_equal(ious(square, flat), 0)
    assert np.isnan(ious(flat, flat)).all()


@pytest.mark.parametrize("room", [1, 50, pairs.ROOM])
def test_no_pair_is_overlooked(room: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Looked up in batches and gated, the same pairs as all with all."""
    monkeypatch.setattr(pairs, "ROOM", room)
    rng = np.random.default_rng(3)
    first, second = couples(4, 150)
    stray = rng.permutation(150)
    one, two = shapes(corners(first)), shapes(corners(second[stray]))
    where = pairs.places(two.hulls)
    found: dict[tuple[int, int], float] = {}
    for rows in where.batches(one.hulls, 70):
        i, j = where.meeting(one.hulls[rows])
        got = pairs.overlaps(one, two, (i + rows.start, j), 0.2)
        found |= {(a, b): v for a, b, v in zip(*(c.tolist() for c in got), strict=True)}
    every = np.indices((150, 150)).reshape(2, -1)
    values = ious(first[every[0]], second[stray][every[1]])
    kept = ~(values < 0.2)
    expected = list(zip(*every[:, kept].tolist(), strict=True))
    assert sorted(found) == expected
    np.testing.assert_allclose([found[pair] for pair in expected], values[kept].tolist())
