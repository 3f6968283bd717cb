"""Random scenes that detectors do neither well nor badly in."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mtp_bench.metrics.boxes import Detections, Truths, corners

Array = NDArray[np.float64]
Scene = tuple[Truths, Detections]
CLASSES = ("plane", "ship", "bridge")


def rectangles(rng: np.random.Generator, count: int, side: float = 400.0) -> Array:
    """(count, 5), a tenth of them thinner than a pixel."""
    sizes = rng.uniform(8, 60, (count, 2))
    sizes[rng.random(count) < 0.1, 1] = rng.uniform(0.01, 1)
    places, angles = rng.uniform(0, side, (count, 2)), rng.uniform(-np.pi / 2, np.pi / 2, count)
    return np.column_stack([places, sizes, angles])


def quads(rng: np.random.Generator, count: int) -> Array:
    """(count, 8) as people click them: skewed, some crossed or concave, in either sense."""
    made = corners(rectangles(rng, count)) + rng.normal(0, 1.5, (count, 4, 2))
    crossed = rng.random(count) < 0.15
    made[crossed] = made[crossed][:, [0, 2, 1, 3]]
    dented = rng.random(count) < 0.1
    made[dented, 2] = made[dented].mean(axis=1) * 0.8 + made[dented, 0] * 0.2
    backwards = rng.random(count) < 0.3
    made[backwards] = made[backwards, ::-1]
    return made.reshape(-1, 8)


def scene(rng: np.random.Generator, kind: str, objects: int = 15) -> Scene:
    """Boxes of ``kind`` "quads", "rotated" or "upright"; several detections of most objects."""
    boxes = quads(rng, objects) if kind == "quads" else corners(rectangles(rng, objects))
    boxes = boxes.reshape(-1, 8)
    labels = rng.integers(0, len(CLASSES), objects)
    difficult = rng.choice([0, 0, 0, 1, 2, -1], objects)
    again = rng.integers(0, objects, 3 * objects)
    spread = rng.choice([0.3, 2.0, 6.0], (len(again), 1))
    found = boxes[again] + rng.normal(0, 1, (len(again), 8)) * spread
    if kind == "rotated":
        found = near(rng, boxes[again])
    if kind == "upright":
        boxes, found = upright(boxes), upright(found)
    named = np.where(rng.random(len(again)) < 0.85, labels[again], (labels[again] + 1) % 3)
    truths = Truths(boxes, labels.astype(np.int64), difficult.astype(np.int64))
    return truths, Detections(found, named.astype(np.int64), rng.random(len(again)))


def near(rng: np.random.Generator, boxes: Array) -> Array:
    """(n, 5) around the middles of (n, 8) rectangles, about as large and as turned."""
    points = boxes.reshape(-1, 4, 2)
    along, across = points[:, 0] - points[:, 3], points[:, 0] - points[:, 1]
    sizes = np.column_stack([np.hypot(*along.T), np.hypot(*across.T)])
    made = np.column_stack([points.mean(axis=1), sizes, np.arctan2(along[:, 1], along[:, 0])])
    made[:, :4] += rng.normal(0, 1, (len(made), 4)) * rng.choice([0.3, 2.0], (len(made), 1))
    made[:, 2:4] = np.abs(made[:, 2:4]) + 0.01
    made[:, 4] += rng.normal(0, 0.05, len(made))
    return made


def upright(boxes: Array) -> Array:
    points = boxes.reshape(-1, 4, 2)
    return np.concatenate([points.min(axis=1), points.max(axis=1)], axis=1)


def scenes(seed: int, kind: str, count: int = 6) -> list[Scene]:
    """With one scene without objects, one without detections, one without either."""
    rng = np.random.default_rng(seed)
    made = [scene(rng, kind) for _ in range(count + 3)]
    (bare, found), (true, unfound), (neither, nor) = made[count:]
    none = np.arange(0)
    made[count:] = [(bare.take(none), found), (true, unfound.take(none))]
    return [*made, (neither.take(none), nor.take(none))]
