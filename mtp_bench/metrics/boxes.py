"""Boxes as they are judged: truths, detections, and the ways to write a box."""

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Truths:
    """The annotated objects of one scene, in pixels."""

    boxes: Array
    """(n, 4): left, top, right, bottom. (n, 8): x and y of four corners in turn, as annotated."""
    labels: Ints
    """(n,) class of each."""
    difficult: Ints
    """(n,) 0, or the release's flag; -1: ignored."""

    def __post_init__(self) -> None:
        _check(self.boxes, (4, 8), self.labels, self.difficult)

    def take(self, which: NDArray[Any]) -> "Truths":
        return Truths(self.boxes[which], self.labels[which], self.difficult[which])


@dataclass(frozen=True, eq=False)
class Detections:
    """What a detector found in one scene, in pixels."""

    boxes: Array
    """(n, 4) or (n, 8) as of Truths, or (n, 5): centre, width, height, angle from x to y (rad)."""
    labels: Ints
    """(n,) class of each."""
    scores: Array
    """(n,) the higher, the surer."""

    def __post_init__(self) -> None:
        _check(self.boxes, (4, 5, 8), self.labels, self.scores)

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, which: NDArray[Any]) -> "Detections":
        return Detections(self.boxes[which], self.labels[which], self.scores[which])

    def sorted(self) -> "Detections":
        """By falling score, then by class and coordinates; what that leaves open is the same."""
        return self.take(np.lexsort((*self.boxes.T[::-1], self.labels, -self.scores)))


def _check(boxes: Array, columns: tuple[int, ...], *others: NDArray[Any]) -> None:
    if boxes.ndim != 2 or boxes.shape[1] not in columns or boxes.dtype != np.float64:
        raise ValueError(f"boxes {boxes.shape} of {boxes.dtype}, not (n, {columns}) of float64")
    if any(other.shape != (len(boxes),) for other in others):
        raise ValueError(f"{len(boxes)} boxes with {[other.shape for other in others]}")
    if not all(np.isfinite(array).all() for array in (boxes, *others)):
        raise ValueError("a box or score is not finite")


def corners(boxes: Array) -> Array:
    """Boxes of any kind → (n, 4, 2) corners in turn, as mmrotate's ``rbox2qbox``."""
    if boxes.shape[1] == 8:
        return boxes.reshape(-1, 4, 2)
    if boxes.shape[1] == 4:
        return boxes[:, [0, 1, 2, 1, 2, 3, 0, 3]].reshape(-1, 4, 2)
    centre, half, angle = boxes[:, None, :2], boxes[:, 2:4] / 2, boxes[:, 4]
    turn = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    along = turn * half[:, :1]
    across = turn[:, ::-1] * [-1, 1] * half[:, 1:]
    return np.asarray(
        centre + np.stack([along + across, along - across, -along - across, across - along], 1)
    )


def rotated(quads: Array) -> Array:
    """(n, 4, 2) corners → (n, 5) least rectangles around them, the angle in [-90, 90) degrees.

    As mmrotate's ``qbox2rbox`` with its ``le90``: OpenCV's ``minAreaRect``, which counts in
    float32; hence about the first corner, so that far from the origin no digits are lost.
    """
    found = np.empty((len(quads), 5))
    for row, quad in zip(found, (quads - quads[:, :1]).astype(np.float32), strict=True):
        (row[0], row[1]), (row[2], row[3]), row[4] = cv2.minAreaRect(quad)
    found[:, :2] += quads[:, 0]
    upright = found[:, 2] <= found[:, 3]
    found[upright, 2:4] = found[upright, 3:1:-1]
    angle = np.deg2rad(found[:, 4]) + np.where(upright, np.pi / 2, 0)
    found[:, 4] = (angle + np.pi / 2) % np.pi - np.pi / 2
    return found
