"""Accuracy figures against scikit-learn and by hand."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn import metrics

from mtp_bench.metrics.classification import confusion_matrix, figures


@pytest.mark.parametrize("seed", range(5))
def test_figures_equal_scikit_learns(seed: int) -> None:
    rng = np.random.default_rng(seed)
    labels, predictions = rng.integers(0, 6, 500), rng.integers(0, 6, 500)
    found = figures(labels, predictions, list("abcdef"))
    assert found.accuracy == pytest.approx(100 * metrics.accuracy_score(labels, predictions))
    balanced = 100 * metrics.balanced_accuracy_score(labels, predictions)
    assert found.mean_class_accuracy == pytest.approx(balanced)
    assert found.confusion == metrics.confusion_matrix(labels, predictions).tolist()


def test_a_class_without_images_is_left_out_and_named() -> None:
    """3 of 4 right; class a 1/2, class b 2/2, class c absent."""
    found = figures(np.array([0, 0, 1, 1]), np.array([0, 2, 1, 1]), ["a", "b", "c"])
    assert found.accuracy == 75
    assert found.per_class == {"a": 50, "b": 100, "c": None}
    assert found.mean_class_accuracy == 75


def test_counts_are_exact_beyond_float32() -> None:
    labels = np.zeros(20_000_000, dtype=np.int64)
    assert confusion_matrix(labels, labels, 2).tolist() == [[20_000_000, 0], [0, 0]]


def test_nothing_to_judge_is_an_error() -> None:
    with pytest.raises(ValueError, match="no image"):
        figures(np.array([], dtype=np.int64), np.array([], dtype=np.int64), ["a"])
