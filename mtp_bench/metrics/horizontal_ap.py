"""Figures of horizontal boxes: COCO's, and VOC's mean average precision."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from faster_coco_eval import COCO, COCOeval_faster

from mtp_bench.metrics.ap import SceneStats
from mtp_bench.metrics.boxes import Array, Detections, Truths
from mtp_bench.metrics.rotated_ap import mmrotate_scene

MOST = 100
"""Detections of an image and class that COCO looks at."""
FIGURES = ("AP", "AP50", "AP75", "AP_small", "AP_medium", "AP_large", "AR@1", "AR@10", "AR@100")


def voc_scene(truths: Truths, detections: Detections, classes: int) -> SceneStats:
    """VOC at IoU 0.5 or more, as mmdet's ``eval_map``: a box is right - left wide, without + 1.

    ``ap.figures`` makes the mean over eleven recalls of it, or the area under the curve. To the
    rules of mmrotate's metric an upright box is one as any other.
    """
    return mmrotate_scene(truths, detections, classes)


@dataclass(frozen=True, eq=False)
class CocoScene:
    """What COCO's figures need of one scene: 50 bytes an object and detection."""

    truths: Truths
    detections: Detections


@dataclass(frozen=True, eq=False)
class CocoFigures:
    """In percent, not rounded."""

    per_class: Mapping[str, Array]
    """By each of FIGURES (classes,); nan for a class without such an object."""
    mean: Mapping[str, float]
    """Over the other classes; nan where there are none (COCO's own summary says -1)."""


def coco_scene(truths: Truths, detections: Detections) -> CocoScene:
    """(n, 4) boxes. Keeps the hundred surest detections of each class, in an order of their own."""
    detections = detections.sorted()
    order = np.argsort(detections.labels, kind="stable")
    labels = detections.labels[order]
    rank = np.arange(len(labels)) - np.searchsorted(labels, labels)
    objects = np.lexsort((*truths.boxes.T, truths.difficult, truths.labels))
    return CocoScene(truths.take(objects), detections.take(order[rank < MOST]))


def coco_figures(scenes: Iterable[CocoScene], names: Sequence[str]) -> CocoFigures:
    """COCO's figures by faster-coco-eval, for boxes and 1, 10 and 100 detections.

    Truths with ``difficult`` -1 are crowds, any other flag says nothing. An object's area is that
    of its box. One class at a time, so that no more is ever written out as COCO's dictionaries.
    """
    ordered = sorted(scenes, key=_digest)  # COCO takes equal scores in the order of the images
    rows = [_class_figures(ordered, label) for label in range(len(names))]
    table = np.array(rows).reshape(len(names), len(FIGURES)).T
    known = [row[~np.isnan(row)] for row in table]
    return CocoFigures(
        per_class=dict(zip(FIGURES, table, strict=True)),
        mean={
            name: float(row.mean()) if len(row) else float("nan")
            for name, row in zip(FIGURES, known, strict=True)
        },
    )


def _digest(scene: CocoScene) -> bytes:
    true, found = scene.truths, scene.detections
    columns = (true.boxes, true.labels, true.difficult, found.boxes, found.labels, found.scores)
    return hashlib.sha256(b"".join(column.tobytes() for column in columns)).digest()


def _class_figures(scenes: Sequence[CocoScene], label: int) -> list[float]:
    images: list[dict[str, Any]] = []
    true: list[dict[str, Any]] = []
    found: list[dict[str, Any]] = []
    for number, scene in enumerate(scenes, 1):
        truths = scene.truths.take(scene.truths.labels == label)
        detections = scene.detections.take(scene.detections.labels == label)
        if len(truths.labels) or len(detections):
            images.append({"id": number})
        for row, flag in zip(_written(truths.boxes), truths.difficult.tolist(), strict=True):
            place = {"id": len(true) + 1, "image_id": number}
            true.append({**row, **place, "iscrowd": int(flag == -1)})
        for row, score in zip(_written(detections.boxes), detections.scores.tolist(), strict=True):
            found.append({**row, "id": len(found) + 1, "image_id": number, "score": score})
    return judged(images, true, found, "bbox")


def judged(
    images: list[dict[str, Any]], true: list[dict[str, Any]], found: list[dict[str, Any]], kind: str
) -> list[float]:
    """FIGURES of one class from COCO's own rows, in percent; ``kind``: ``bbox`` or ``segm``."""
    if not true:
        return [float("nan")] * len(FIGURES)
    rest = {"images": images, "categories": [{"id": 1}]}
    judge = COCOeval_faster(
        COCO({**rest, "annotations": true}), COCO({**rest, "annotations": found}), kind
    )
    judge.params.maxDets = [1, 10, MOST]
    judge.evaluate()
    judge.accumulate()
    precision = judge.eval["precision"][:, :, 0]  # IoU, recall, area, most detections
    recall = judge.eval["recall"][:, 0]  # IoU, area, most detections
    areas = [precision[:, :, area, 2] for area in (1, 2, 3)]
    parts = [*(precision[which, :, 0, 2] for which in (slice(None), 0, 5)), *areas]
    means = [float(part.mean()) for part in (*parts, *(recall[:, 0, most] for most in range(3)))]
    return [float("nan") if mean < 0 else 100 * mean for mean in means]


def _written(boxes: Array) -> list[dict[str, Any]]:
    sizes = boxes[:, 2:] - boxes[:, :2]
    rows = np.concatenate([boxes[:, :2], sizes], axis=1).tolist()
    areas = sizes.prod(axis=1).tolist()
    return [
        {"category_id": 1, "bbox": box, "area": area} for box, area in zip(rows, areas, strict=True)
    ]
