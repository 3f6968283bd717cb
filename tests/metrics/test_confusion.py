"""Figures of label maps against scikit-learn's, and what a confusion matrix must not do."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.metrics import (
    accuracy_score,
    confusion_matrix,
    f1_score,
    jaccard_score,
    precision_score,
    recall_score,
)

from mtp_bench.metrics.confusion import confusion, figures

IGNORE = 255
Map = NDArray[Any]


def maps(seed: int, classes: int, shape: tuple[int, int] = (37, 53)) -> tuple[Map, Map]:
    """Truth with a tenth ignored, and a prediction that is often right."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, classes, shape).astype(np.uint8)
    found = np.where(rng.random(shape) < 0.6, truth, rng.integers(0, classes, shape))
    truth[rng.random(shape) < 0.1] = IGNORE
    return truth, found.astype(np.uint8)


@pytest.mark.parametrize("classes", [2, 7, 16])
def test_figures_are_those_of_scikit_learn(classes: int) -> None:
    pairs = [maps(seed, classes) for seed in range(3)]
    found = figures((confusion(*pair, classes, IGNORE) for pair in pairs), classes)
    true, predicted = (np.concatenate([pair[i].ravel() for pair in pairs]) for i in (0, 1))
    counts = true != IGNORE
    both, words = (true[counts], predicted[counts]), {"average": None}
    assert found.matrix.dtype == np.int64
    assert (found.matrix == confusion_matrix(*both)).all()
    for ours, theirs in (
        (found.iou, jaccard_score),
        (found.f1, f1_score),
        (found.precision, precision_score),
        (found.recall, recall_score),
    ):
        assert ours == pytest.approx(100 * theirs(*both, **words), rel=1e-12)
    assert found.accuracy == pytest.approx(100 * accuracy_score(*both), rel=1e-12)
    assert found.mean_iou == pytest.approx(100 * jaccard_score(*both, average="macro"), rel=1e-12)
    assert found.mean_f1 == pytest.approx(100 * f1_score(*both, average="macro"), rel=1e-12)


def test_one_figure_of_all_pixels_is_no_mean_over_pictures() -> None:
    """By hand: IoU of class 1 is 1/1 in one map, 0/3 in the other, 1/4 of both."""
    first = confusion(np.array([[1, 0]]), np.array([[1, 0]]), 2, IGNORE)
    second = confusion(np.array([[1, 1, 1]]), np.array([[0, 0, 0]]), 2, IGNORE)
    assert figures([first, second], 2).iou == pytest.approx([25, 25])
    assert (figures([first, second], 2).matrix == [[1, 0], [3, 1]]).all()
    assert (first == [[1, 0], [0, 1]]).all()  # a sum changes no part of it


def test_counts_are_exact_where_single_precision_stands_still() -> None:
    limit = 2**24
    assert np.float32(limit) + np.float32(1) == limit
    full = np.array([[limit, 0], [0, 1]])
    whole = figures([full, *[np.array([[1, 2], [0, 0]])] * 3], 2).matrix
    assert whole.tolist() == [[limit + 3, 6], [0, 1]]
    huge = figures([np.array([[10**12, 1], [0, 1]])], 2)
    assert huge.precision[1] == 50
    assert huge.accuracy == pytest.approx(100 * (1 - 1 / (10**12 + 2)), rel=1e-15)


def test_a_large_map_is_counted_to_the_last_pixel() -> None:
    truth = np.zeros((4097, 4097), dtype=np.uint8)
    truth[0, 0] = 1
    matrix = confusion(truth, np.zeros_like(truth), 2, IGNORE)
    assert matrix.tolist() == [[4097**2 - 1, 0], [1, 0]]


def test_a_class_that_never_occurs_has_no_figure_and_no_part_in_the_mean() -> None:
    found = figures([confusion(np.array([0, 0, 1, 2]), np.array([0, 0, 1, 1]), 4, IGNORE)], 4)
    assert found.iou == pytest.approx([100, 50, 0, np.nan], nan_ok=True)
    assert found.precision == pytest.approx([100, 50, np.nan, np.nan], nan_ok=True)
    assert found.recall == pytest.approx([100, 100, 0, np.nan], nan_ok=True)
    assert found.mean_iou == pytest.approx(50)  # class 2 is in the truth: it counts, with 0
    assert found.mean_f1 == pytest.approx((100 + 200 / 3 + 0) / 3)


def test_of_nothing_there_is_no_figure() -> None:
    ignored = np.full((2, 2), IGNORE)
    for matrices in ([], [confusion(ignored, np.zeros((2, 2), dtype=int), 2, IGNORE)]):
        found = figures(matrices, 2)
        assert not found.matrix.any()
        assert np.isnan([found.mean_iou, found.mean_f1, found.accuracy, *found.iou]).all()


@pytest.mark.parametrize(
    ("truth", "found", "message"),
    [
        ([[0, 1]], [[0], [1]], r"a prediction of \(2, 1\) for a label of \(1, 2\)"),
        ([0, 1], [0, 2], "a value of 2 among 2 classes"),
        ([0, 3], [0, 1], "a value of 3 among 2 classes"),
        ([0, 1], [0, IGNORE], "a value of 255 among 2 classes"),
        ([1, 1], [0, -1], "a value of -1 among 2 classes"),
        ([-1, 1], [1, 1], "a value of -1 among 2 classes"),
    ],
)
def test_what_is_no_class_or_another_size_is_refused(
    truth: list[Any], found: list[Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        confusion(np.array(truth), np.array(found), 2, IGNORE)


def test_what_is_predicted_where_nothing_counts_is_not_looked_at() -> None:
    matrix = confusion(np.array([IGNORE, 1]), np.array([77, 1]), 2, IGNORE)
    assert matrix.tolist() == [[0, 0], [0, 1]]
