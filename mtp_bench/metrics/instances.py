"""COCO's figures of instance masks, by faster-coco-eval."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from pycocotools import mask

from mtp_bench.metrics.boxes import Array, Ints
from mtp_bench.metrics.horizontal_ap import FIGURES, judged

Rle = Mapping[str, Any]


@dataclass(frozen=True, eq=False)
class MaskScene:
    """What is true and what was found in one picture; masks as COCO's run lengths."""

    key: str
    """Orders the pictures: COCO takes equal scores in their order."""
    size: tuple[int, int]
    """Height and width."""
    labels: Ints
    masks: tuple[Rle, ...]
    found_labels: Ints
    scores: Array
    found: tuple[Rle, ...]


def mask_figures(scenes: Iterable[MaskScene], names: Sequence[str]) -> dict[str, Array]:
    """By each of ``horizontal_ap.FIGURES`` (classes,) in percent; nan where nothing is true."""
    ordered = sorted(scenes, key=lambda scene: scene.key)
    rows = [_of_class(ordered, label) for label in range(len(names))]
    table = np.array(rows).reshape(len(names), len(FIGURES)).T
    return dict(zip(FIGURES, table, strict=True))


def _of_class(scenes: Sequence[MaskScene], label: int) -> list[float]:
    images: list[dict[str, Any]] = []
    true: list[dict[str, Any]] = []
    found: list[dict[str, Any]] = []
    for number, scene in enumerate(scenes, 1):
        images.append({"id": number, "height": scene.size[0], "width": scene.size[1]})
        for i in np.flatnonzero(scene.labels == label):
            place = {"id": len(true) + 1, "image_id": number, "iscrowd": 0}
            true.append({**_written(scene.masks[i]), **place})
        for i in np.flatnonzero(scene.found_labels == label):
            row = {**_written(scene.found[i]), "id": len(found) + 1, "image_id": number}
            found.append({**row, "score": float(scene.scores[i])})
    return judged(images, true, found, "segm")


def _written(rle: Rle) -> dict[str, Any]:
    box = [float(value) for value in mask.toBbox(rle)]
    return {"category_id": 1, "segmentation": rle, "area": float(mask.area(rle)), "bbox": box}
