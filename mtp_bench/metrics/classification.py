"""Accuracy figures of scene classification, from an exact confusion matrix."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class ClassificationFigures:
    """In percent; ``per_class`` is each class's recall, None where the split has no such image."""

    accuracy: float
    mean_class_accuracy: float
    per_class: dict[str, float | None]
    confusion: list[list[int]]
    """Rows: true classes, columns: predicted ones."""


def confusion_matrix(labels: Ints, predictions: Ints, classes: int) -> Ints:
    """(classes, classes) counts in int64, rows true, columns predicted."""
    flat = np.bincount(labels * classes + predictions, minlength=classes * classes)
    return flat.reshape(classes, classes).astype(np.int64)


def figures(labels: Ints, predictions: Ints, names: Sequence[str]) -> ClassificationFigures:
    """Overall accuracy, the mean over the classes that occur, and each class's own."""
    matrix = confusion_matrix(labels, predictions, len(names))
    totals = matrix.sum(axis=1)
    hits = np.diagonal(matrix)
    recall = [
        100 * h / t if t else None for h, t in zip(hits.tolist(), totals.tolist(), strict=True)
    ]
    known = [value for value in recall if value is not None]
    if not known:
        raise ValueError("no image to judge")
    return ClassificationFigures(
        accuracy=100 * int(hits.sum()) / int(totals.sum()),
        mean_class_accuracy=sum(known) / len(known),
        per_class=dict(zip(names, recall, strict=True)),
        confusion=matrix.tolist(),
    )
