"""How fast detections are merged and judged, on one core.

    python benchmarks/detection_metrics.py merge [--boxes 100000] [--repeats 3]
    python benchmarks/detection_metrics.py judge [--boxes 50000] [--repeats 3]

``merge`` is one scene of 10,000 px with 15 classes, each object found by about four boxes.
``judge`` is the rotated mean average precision of 50 scenes in turns: ours, from boxes to figure,
and mmrotate's ``eval_rbbox_map`` with one process. What it takes for scenes of one box, which is to
start that process, is told too, and the ratio without it.
"""

import argparse
import os
import statistics
import time
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from mtp_bench.metrics.ap import SceneStats, figures
from mtp_bench.metrics.boxes import Detections, Truths, corners
from mtp_bench.metrics.merging import merge
from mtp_bench.metrics.rotated_ap import kit_scene, mmrotate_scene

CLASSES = tuple(f"class {number}" for number in range(15))
SCENES = 50
Array = npt.NDArray[np.float64]
Scene = tuple[Array, Truths, Detections]
"""Rotated boxes of the truths, the truths, the detections."""


def objects(rng: np.random.Generator, count: int, side: float) -> Array:
    """(count, 5), of DOTA's sizes: many vehicles, few stadiums."""
    sizes = rng.lognormal(3.2, 0.6, (count, 1)) * rng.uniform(0.3, 1, (count, 2))
    places, angles = rng.uniform(0, side, (count, 2)), rng.uniform(-1.57, 1.57, count)
    return np.column_stack([places, sizes, angles])


def found(rng: np.random.Generator, boxes: Array, labels: npt.NDArray[np.int64]) -> Detections:
    moved = boxes + rng.normal(0, 1, boxes.shape) * [2, 2, 0, 0, 0.05]
    moved[:, 2:4] *= rng.uniform(0.8, 1.2, (len(boxes), 2))
    return Detections(moved, labels, rng.random(len(boxes)).astype(np.float32).astype(np.float64))


def merging(boxes: int, repeats: int) -> None:
    rng = np.random.default_rng(0)
    again = rng.integers(0, boxes // 4, boxes)
    scene = objects(rng, boxes // 4, 10_000), rng.integers(0, len(CLASSES), boxes // 4)
    detections = found(rng, scene[0][again], scene[1][again])
    took, kept = [], 0
    for _ in range(repeats):
        start = time.perf_counter()
        kept = len(merge(detections, 0.1))
        took.append(time.perf_counter() - start)
    print(f"merge: {boxes:,} boxes to {kept:,} in {told(took)}")


def judging(boxes: int, repeats: int) -> None:
    rng = np.random.default_rng(0)
    scenes = [made(rng, boxes // SCENES) for _ in range(SCENES)]
    single = [made(rng, 1) for _ in range(SCENES)]
    ways: dict[str, Callable[[], float]] = {
        "mAP_mmrotate": lambda: ours(scenes, mmrotate_scene),
        "mAP_kit": lambda: ours(scenes, kit_scene),
        "mmrotate": lambda: theirs(scenes),
        "mmrotate's start": lambda: theirs(single),
    }
    took: dict[str, list[float]] = {name: [] for name in ways}
    told_figures = {}
    for _ in range(repeats):
        for name, work in ways.items():
            start = time.perf_counter()
            told_figures[name] = work()
            took[name].append(time.perf_counter() - start)
    for name, each in took.items():
        print(f"{name}: {told_figures[name]:.3f} %, {boxes:,} boxes in {told(each)}")
    for name in ("mAP_mmrotate", "mAP_kit"):
        turns = list(zip(took[name], took["mmrotate"], took["mmrotate's start"], strict=True))
        whole, rest = [b / a for a, b, _ in turns], [(b - c) / a for a, b, c in turns]
        print(f"{name}: mmrotate takes {told(whole, 'x')} of it, less its start {told(rest, 'x')}")


def made(rng: np.random.Generator, count: int) -> Scene:
    """A scene of ``count`` detections, two of each object."""
    boxes = objects(rng, (count + 1) // 2, 2000)
    labels = rng.integers(0, len(CLASSES), len(boxes))
    again = rng.integers(0, len(boxes), count)
    truths = Truths(corners(boxes).reshape(-1, 8), labels, np.zeros(len(boxes), dtype=np.int64))
    return boxes, truths, found(rng, boxes[again], labels[again])


def ours(scenes: list[Scene], judge: Callable[[Truths, Detections, int], SceneStats]) -> float:
    stats = (judge(truths, detections, len(CLASSES)) for _, truths, detections in scenes)
    return figures(stats, CLASSES).mean


def theirs(scenes: list[Scene]) -> float:
    from mmrotate.evaluation import eval_rbbox_map

    results, annotations = [], []
    for boxes, truths, detections in scenes:
        table = np.column_stack([detections.boxes, detections.scores])
        results.append([table[detections.labels == label] for label in range(len(CLASSES))])
        none = {"bboxes_ignore": boxes[:0], "labels_ignore": truths.labels[:0]}
        annotations.append({"bboxes": boxes, "labels": truths.labels, **none})
    mean, _ = eval_rbbox_map(results, annotations, logger="silent", nproc=1)
    return 100 * float(mean)


def told(values: list[float], unit: str = "s") -> str:
    return f"{statistics.median(values):.2f} {unit} ({min(values):.2f} to {max(values):.2f})"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("part", choices=("merge", "judge"))
    parser.add_argument("--boxes", type=int)
    parser.add_argument("--repeats", type=int, default=3)
    asked = parser.parse_args()
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})  # and whatever it starts
    if asked.part == "merge":
        merging(asked.boxes or 100_000, asked.repeats)
    else:
        import mmrotate.evaluation  # noqa: F401 - not a part of what is timed

        judging(asked.boxes or 50_000, asked.repeats)


if __name__ == "__main__":
    main()
