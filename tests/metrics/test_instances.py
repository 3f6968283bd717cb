"""Figures of masks: those of pycocotools, whatever the order of the pictures."""

from __future__ import annotations

import contextlib
import io
from typing import Any

import numpy as np
import pytest
from pycocotools import mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from mtp_bench.metrics.instances import MaskScene, mask_figures

CLASSES = ("a", "b", "c")
SIDE = 64


def blob(rng: np.random.Generator) -> Any:
    """A box of random place and size."""
    top, left = rng.integers(0, SIDE - 24, 2)
    high, wide = rng.integers(4, 24, 2)
    drawn = np.zeros((SIDE, SIDE), np.uint8, order="F")
    drawn[top : top + high, left : left + wide] = 1
    return drawn


def scene(number: int) -> MaskScene:
    rng = np.random.default_rng(number)
    true = [blob(rng) for _ in range(6)]
    found = [np.roll(m, rng.integers(0, 4), axis=1) for m in true] + [blob(rng) for _ in range(4)]
    labels = rng.integers(0, 2, 6)  # of the third class there is nothing
    guesses = np.concatenate([labels, rng.integers(0, 3, 4)])
    return MaskScene(
        key=f"{number:03d}",
        size=(SIDE, SIDE),
        labels=labels,
        masks=tuple(mask.encode(np.asfortranarray(m)) for m in true),
        found_labels=guesses,
        scores=rng.permutation(10) / 10,  # the same ones in every picture
        found=tuple(mask.encode(np.asfortranarray(m)) for m in found),
    )


def by_pycocotools(scenes: list[MaskScene]) -> list[float]:
    """AP and AP50 over the classes that occur, in percent."""
    true: list[dict[str, Any]] = []
    found: list[dict[str, Any]] = []
    for number, each in enumerate(scenes, 1):
        for label, rle in zip(each.labels.tolist(), each.masks, strict=True):
            row = {"id": len(true) + 1, "image_id": number, "category_id": label + 1, "iscrowd": 0}
            box = mask.toBbox(rle).tolist()
            true.append({**row, "segmentation": rle, "area": float(mask.area(rle)), "bbox": box})
        told = zip(each.found_labels.tolist(), each.found, each.scores.tolist(), strict=True)
        for label, rle, score in told:
            row = {"image_id": number, "category_id": label + 1, "score": score}
            found.append({**row, "segmentation": rle})
    with contextlib.redirect_stdout(io.StringIO()):
        data = COCO()
        ids = [{"id": n, "height": SIDE, "width": SIDE} for n in range(1, len(scenes) + 1)]
        data.dataset = {"images": ids, "annotations": true, "info": {}}
        data.dataset["categories"] = [{"id": n + 1, "name": c} for n, c in enumerate(CLASSES)]
        data.createIndex()
        judge = COCOeval(data, data.loadRes(found), "segm")
        judge.evaluate()
        judge.accumulate()
        judge.summarize()
    return [100 * float(value) for value in judge.stats[:2]]


def test_figures_are_those_of_pycocotools() -> None:
    scenes = [scene(number) for number in range(8)]
    found = mask_figures(reversed(scenes), CLASSES)
    means = [float(np.nanmean(found[name])) for name in ("AP", "AP50")]
    assert means == pytest.approx(by_pycocotools(scenes), abs=1e-9)
    assert 20 < means[0] < means[1] < 95
    assert np.isnan(found["AP50"][2])


def test_masks_found_as_they_are_score_full() -> None:
    each = scene(1)
    perfect = MaskScene(
        each.key, each.size, each.labels, each.masks, each.labels, np.ones(6), each.masks
    )
    found = mask_figures([perfect], CLASSES)["AP"]
    assert found[:2] == pytest.approx([100, 100])
