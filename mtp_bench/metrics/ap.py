"""Average precision from small statistics of scenes, in any order of scenes and detections."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mtp_bench.metrics.boxes import Array, Detections, Ints, Truths
from mtp_bench.metrics.pairs import apart, overlaps, places
from mtp_bench.metrics.quads import Shapes

WRONG, RIGHT, IGNORED = 0, 1, -1
ELEVEN = np.arange(0.0, 1.1, 0.1)
"""The recalls of VOC 2007, with the float errors that its code and all that follow it have."""


@dataclass(frozen=True, eq=False)
class SceneStats:
    """What one scene says about a detector: 11 bytes a detection."""

    labels: NDArray[np.int16]
    """(n,)"""
    scores: Array
    """(n,) falling within each class."""
    outcomes: NDArray[np.int8]
    """(n,) right, wrong, or on an object that does not count."""
    truths: Ints
    """(classes,) objects that count."""


@dataclass(frozen=True, eq=False)
class ClassFigures:
    """In percent."""

    ap: Array
    """(classes,) nan for a class without an object that counts."""
    mean: float
    """Over the other classes; nan where there are none."""
    left_out: tuple[str, ...]
    """Names of the classes without an object that counts."""


def judge(
    found: tuple[Detections, Shapes], true: tuple[Truths, Shapes], classes: int, above: bool
) -> SceneStats:
    """Which detections of a scene are right, at an IoU of 0.5.

    A detection goes to the object of its class that it overlaps most (the first of equal ones),
    whether or not another took that already; of those that went to one object the surest is right.
    Which of two equally sure ones it is makes no difference to any figure. ``above``: the IoU must
    be more than 0.5.
    """
    detections, truths = found[0], true[0]
    for labels in (detections.labels, truths.labels):
        if ((labels < 0) | (labels >= classes)).any():
            raise ValueError(f"a label that is not one of {classes} classes: {np.unique(labels)}")
    outcomes = np.full(len(detections), WRONG, dtype=np.int8)
    i, j, iou = _best(found, true)
    reached = iou > 0.5 if above else iou >= 0.5
    i, j = i[reached], j[reached]
    order = np.lexsort((-detections.scores[i], j))
    i, j = i[order], j[order]
    outcomes[i[np.diff(j, prepend=-1) > 0]] = RIGHT
    outcomes[i[truths.difficult[j] != 0]] = IGNORED
    order = np.lexsort((outcomes, -detections.scores, detections.labels))
    return SceneStats(
        detections.labels[order].astype(np.int16),
        detections.scores[order],
        outcomes[order],
        np.bincount(truths.labels[truths.difficult == 0], minlength=classes),
    )


def _best(
    found: tuple[Detections, Shapes], true: tuple[Truths, Shapes]
) -> tuple[Ints, Ints, Array]:
    """(k,) detection, its object and their IoU, of those that may reach 0.5."""
    asked, hulls = apart((found[0].labels, found[1].hulls), (true[0].labels, true[1].hulls))
    objects = places(hulls)
    none = np.empty(0, dtype=np.int64)
    parts: list[tuple[Ints, Ints, Array]] = [(none, none, np.empty(0))]
    for rows in objects.batches(asked, len(asked)):
        i, j = objects.meeting(asked[rows])
        parts.append(overlaps(found[1], true[1], (i + rows.start, j), 0.5))
    i, j, iou = (np.concatenate(column) for column in zip(*parts, strict=True))
    # As numpy's max has it, and so the kit: nan is more than any number, and then reaches nothing.
    order = np.lexsort((j, -np.where(np.isnan(iou), np.inf, iou), i))
    first = order[np.diff(i[order], prepend=-1) > 0]
    return i[first], j[first], iou[first]


def figures(
    stats: Iterable[SceneStats], names: Sequence[str], eleven_points: bool = True
) -> ClassFigures:
    """Of all scenes together; ``names`` of the classes, in the order of the labels.

    ``eleven_points``: VOC 2007's mean over eleven recalls, else the area under the curve.
    """
    none = np.empty(0)
    empty = np.zeros(len(names), dtype=np.int64)
    scenes = [SceneStats(none.astype(np.int16), none, none.astype(np.int8), empty), *stats]
    labels = np.concatenate([scene.labels for scene in scenes])
    scores = np.concatenate([scene.scores for scene in scenes])
    outcomes = np.concatenate([scene.outcomes for scene in scenes])
    truths = np.sum([scene.truths for scene in scenes], axis=0)
    order = np.lexsort((-scores, labels))
    order = order[outcomes[order] != IGNORED]
    parts = np.split(order, np.searchsorted(labels[order], np.arange(1, len(names))))
    ap = np.array(
        [
            100 * _average_precision(scores[part], outcomes[part] == RIGHT, count, eleven_points)
            if count
            else np.nan
            for part, count in zip(parts, truths.tolist(), strict=True)
        ]
    )
    known = ~np.isnan(ap)
    return ClassFigures(
        ap=ap,
        mean=float(ap[known].mean()) if known.any() else float("nan"),
        left_out=tuple(name for name, here in zip(names, known, strict=True) if not here),
    )


def _average_precision(
    scores: Array, right: NDArray[np.bool_], truths: int, eleven_points: bool
) -> float:
    """From (n,) falling scores; detections of equal score enter the curve together."""
    last = np.flatnonzero(np.diff(scores, append=-np.inf))
    hits = np.cumsum(right)[last]
    recall, precision = hits / truths, hits / (last + 1)
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    if eleven_points:
        return float(np.append(envelope, 0)[np.searchsorted(recall, ELEVEN)].sum() / 11)
    return float(np.diff(recall, prepend=0) @ envelope)
