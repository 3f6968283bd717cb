"""Merging tiles: the same as comparing all with all, in whatever order they come."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from mtp_bench.metrics import merging
from mtp_bench.metrics.boxes import Detections, corners
from mtp_bench.metrics.merging import merge
from tests.metrics import literal_kit
from tests.metrics.making import rectangles, upright


def tiled(rng: np.random.Generator, kind: str, count: int = 40) -> Detections:
    """Objects found one to four times, now and then with one score."""
    boxes = np.repeat(rectangles(rng, count, 150), rng.integers(1, 5, count), axis=0)
    boxes = boxes + rng.normal(0, 1, boxes.shape) * [2, 2, 2, 2, 0.05]
    boxes[:, 2:4] = np.abs(boxes[:, 2:4])
    if kind == "quads":
        boxes = corners(boxes).reshape(-1, 8)
    if kind == "upright":
        boxes = upright(corners(boxes).reshape(-1, 8))
    labels = rng.integers(0, 2, len(boxes))
    return Detections(boxes, labels, rng.random(len(boxes)).round(2))


def brute(detections: Detections, iou: float) -> Detections:
    """From the surest on, against each one kept."""
    ordered = detections.sorted()
    quads = corners(ordered.boxes).reshape(-1, 8).tolist()
    kept: list[int] = []
    for i in range(len(ordered)):
        rivals = [k for k in kept if ordered.labels[k] == ordered.labels[i]]
        if all(not literal_kit.iou(quads[k], quads[i]) > iou for k in rivals):
            kept.append(i)
    return ordered.take(np.array(kept, dtype=np.int64))


def equal(first: Detections, second: Detections) -> bool:
    columns: list[tuple[NDArray[np.generic], NDArray[np.generic]]] = [
        (first.boxes, second.boxes),
        (first.labels, second.labels),
        (first.scores, second.scores),
    ]
    return all(np.array_equal(a, b) for a, b in columns)


@pytest.mark.parametrize("kind", ["rotated", "quads", "upright"])
@pytest.mark.parametrize("iou", [0.1, 0.5])
@pytest.mark.parametrize("step", [3, merging.STEP])
def test_all_with_all(kind: str, iou: float, step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(merging, "STEP", step)
    rng = np.random.default_rng(4)
    detections = tiled(rng, kind)
    merged = merge(detections, iou)
    assert len(merged) < 0.8 * len(detections)
    assert equal(merged, brute(detections, iou))
    for _ in range(3):
        assert equal(merge(detections.take(rng.permutation(len(detections))), iou), merged)


def test_by_hand() -> None:
    """A third of overlap; the surest takes away its neighbour, which takes nobody away then."""
    row = [[0.0, 0, 10, 10], [5, 0, 15, 10], [10, 0, 20, 10], [5, 0, 15, 10]]
    labels = np.array([0, 0, 0, 1])
    detections = Detections(np.array(row), labels, np.array([0.9, 0.8, 0.7, 0.6]))
    assert merge(detections, 0.3).scores.tolist() == [0.9, 0.7, 0.6]
    assert merge(detections, 0.34).scores.tolist() == [0.9, 0.8, 0.7, 0.6]
    # Exactly the threshold is not above it.
    half = Detections(np.array([[0.0, 0, 10, 10], [0, 0, 10, 5]]), labels[:2], labels[:2] + 0.5)
    assert len(merge(half, 0.5)) == 2


def test_nothing_one_and_many_of_the_same() -> None:
    none = Detections(np.zeros((0, 5)), np.zeros(0, dtype=np.int64), np.zeros(0))
    assert len(merge(none, 0.1)) == 0
    same = np.tile([50.0, 50, 20, 10, 0.3], (3000, 1))
    one = merge(Detections(same, np.zeros(3000, dtype=np.int64), np.full(3000, 0.5)), 0.1)
    assert len(one) == 1
    flat = np.tile([50.0, 50, 0, 0, 0.3], (3, 1))  # without area nothing overlaps
    assert len(merge(Detections(flat, np.zeros(3, dtype=np.int64), np.full(3, 0.5)), 0.1)) == 3


@pytest.mark.mm
def test_mmcv_keeps_the_same() -> None:
    torch = pytest.importorskip("torch")
    ops = pytest.importorskip("mmcv.ops")
    rng = np.random.default_rng(9)
    detections = tiled(rng, "rotated")
    detections = Detections(detections.boxes, detections.labels, rng.random(len(detections)))
    kept = []
    for label in range(2):  # nms_rotated does not look at labels on the CPU
        mine = np.flatnonzero(detections.labels == label)
        boxes, scores = (torch.from_numpy(a[mine]) for a in (detections.boxes, detections.scores))
        _, which = ops.nms_rotated(boxes.float(), scores.float(), 0.1)
        kept.append(mine[which.numpy()])
    expected = detections.take(np.concatenate(kept)).sorted()
    assert equal(merge(detections, 0.1), expected)
