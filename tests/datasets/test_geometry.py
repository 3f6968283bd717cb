"""Equal objects, whichever corner they start from and whichever way they wind."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from mtp_bench.datasets.geometry import faults
from mtp_bench.datasets.samples import objects

CLASSES = ("plane", "ship")
QUAD = np.array([[10.0, 5.0], [40.0, 12.0], [33.0, 30.0], [4.0, 22.0]])


def duplicates(*rows: tuple[npt.NDArray[np.float64], int]) -> list[int | None]:
    found = objects([(box.ravel().tolist(), label, 0, 0) for box, label in rows])
    told = faults(found, (100, 100), Path("a.txt"), CLASSES)
    return [defect.at for defect in told if defect.kind == "duplicate"]


@pytest.mark.parametrize("start", range(4))
@pytest.mark.parametrize("step", [1, -1])
def test_a_quadrangle_is_the_same_from_every_corner_and_either_way(start: int, step: int) -> None:
    again = QUAD[(start + step * np.arange(4)) % 4]
    assert duplicates((QUAD, 0), (again, 0)) == [1]
    assert duplicates((QUAD, 0), (again, 1)) == []
    assert duplicates((QUAD, 0), (again + 0.5, 0)) == []


def test_other_orders_of_the_same_corners_are_other_shapes() -> None:
    assert duplicates((QUAD, 0), (QUAD[[0, 2, 1, 3]], 0)) == []


@pytest.mark.parametrize("quad", [np.full((4, 2), 7.0), QUAD[[0, 0, 1, 2]]])
def test_repeated_corners_are_no_trouble(quad: npt.NDArray[np.float64]) -> None:
    assert duplicates((quad, 0), (quad, 0)) == [1]
