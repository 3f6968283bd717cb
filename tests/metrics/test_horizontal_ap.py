"""COCO's figures against pycocotools, VOC's against mmdet, and what of nothing becomes."""

from __future__ import annotations

import contextlib
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from mtp_bench.metrics.ap import figures
from mtp_bench.metrics.boxes import Detections, Truths
from mtp_bench.metrics.horizontal_ap import (
    FIGURES,
    MOST,
    CocoFigures,
    coco_figures,
    coco_scene,
    voc_scene,
)
from tests.metrics.making import CLASSES, Scene, scenes

Array = NDArray[np.float64]


def coco(made: list[Scene]) -> CocoFigures:
    return coco_figures((coco_scene(*scene) for scene in made), CLASSES)


def rows(boxes: Array, labels: NDArray[np.int64], image: int) -> list[dict[str, Any]]:
    sizes = boxes[:, 2:] - boxes[:, :2]
    written = np.concatenate([boxes[:, :2], sizes], axis=1).tolist()
    return [
        {"image_id": image, "category_id": label, "bbox": box, "area": box[2] * box[3]}
        for box, label in zip(written, labels.tolist(), strict=True)
    ]


def pycocotools(made: list[Scene], folder: Path, classes: list[int]) -> list[float]:
    """The first nine of its figures, in percent, by way of JSON files."""
    true: list[dict[str, Any]] = []
    found: list[dict[str, Any]] = []
    for image, (truths, detections) in enumerate(made, 1):
        for row, flag in zip(
            rows(truths.boxes, truths.labels, image), truths.difficult.tolist(), strict=True
        ):
            true.append({**row, "id": len(true) + 1, "iscrowd": int(flag == -1)})
        for row, score in zip(
            rows(detections.boxes, detections.labels, image),
            detections.scores.tolist(),
            strict=True,
        ):
            found.append({**row, "score": score})
    images = [{"id": image} for image in range(1, len(made) + 1)]
    categories = [{"id": label, "name": name} for label, name in enumerate(CLASSES)]
    whole = {"images": images, "categories": categories, "annotations": true}
    (folder / "true.json").write_text(json.dumps(whole))
    (folder / "found.json").write_text(json.dumps(found))
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(str(folder / "true.json"))
        judge = COCOeval(truth, truth.loadRes(str(folder / "found.json")), "bbox")
        judge.params.catIds = classes
        judge.evaluate()
        judge.accumulate()
        judge.summarize()
    return [np.nan if value < 0 else 100 * value for value in judge.stats[: len(FIGURES)]]


def crowded(seed: int) -> list[Scene]:
    """Upright scenes, in one of them more detections of a class than COCO looks at."""
    made = scenes(seed, "upright", 8)
    rng = np.random.default_rng([seed, 1])
    truths, found = made[0]
    more = found.take(rng.integers(0, len(found), 500))
    boxes = more.boxes + rng.normal(0, 1, more.boxes.shape) * [1, 1, 0, 0]
    made[0] = truths, Detections(boxes, more.labels, rng.random(500))
    assert np.bincount(more.labels).max() > MOST
    return made


@pytest.mark.parametrize("seed", range(4))
def test_pycocotools(seed: int, tmp_path: Path) -> None:
    made = crowded(seed)
    ours = coco(made)
    expected = pycocotools(made, tmp_path, [0, 1, 2])
    assert 5 < expected[0] < 95
    told = [ours.mean[name] for name in FIGURES]
    np.testing.assert_allclose(told, expected, rtol=0, atol=1e-9)
    for label in range(3):
        told = [ours.per_class[name][label] for name in FIGURES]
        alone = pycocotools(made, tmp_path, [label])
        np.testing.assert_allclose(told, alone, rtol=0, atol=1e-9)


def test_every_order_gives_the_same() -> None:
    rng = np.random.default_rng(1)
    made = [(t, Detections(d.boxes, d.labels, d.scores.round(1))) for t, d in crowded(1)]
    expected = coco(made)
    for _ in range(3):
        mixed = [made[i] for i in rng.permutation(len(made))]
        mixed = [
            (t.take(rng.permutation(len(t.labels))), d.take(rng.permutation(len(d))))
            for t, d in mixed
        ]
        np.testing.assert_equal(coco(mixed).mean, expected.mean)


def one(boxes: list[list[float]], label: int = 0, flag: int = 0) -> Truths:
    count = len(boxes)
    array = np.array(boxes, dtype=np.float64).reshape(-1, 4)
    return Truths(array, np.full(count, label), np.full(count, flag))


def sure(boxes: list[list[float]], label: int = 0) -> Detections:
    array = np.array(boxes, dtype=np.float64).reshape(-1, 4)
    scores = 0.9 - 0.1 * np.arange(len(boxes), dtype=np.float64)
    return Detections(array, np.full(len(boxes), label), scores)


BOX = [0.0, 0.0, 40.0, 40.0]


def test_coco_by_hand() -> None:
    """An IoU of 0.75 reaches six of ten thresholds; the box is neither small nor large."""
    found = coco([(one([BOX]), sure([[0, 0, 40, 30]]))])
    assert found.mean["AP"] == pytest.approx(60)
    assert found.mean["AP75"] == found.mean["AP_medium"] / 0.6 == pytest.approx(100)
    assert np.isnan(found.mean["AP_small"])
    assert np.isnan(found.per_class["AP"]).tolist() == [False, True, True]


def test_of_nothing() -> None:
    """No prediction is 0; no object, or only crowds, is no figure."""
    for judge in (lambda t, d: coco([(t, d)]).mean["AP"], voc):
        assert judge(one([BOX]), sure([])) == 0
        assert judge(one([BOX]), sure([BOX], label=1)) == 0
        assert judge(one([BOX]), sure([[100, 100, 120, 120]])) == 0
        assert np.isnan(judge(one([]), sure([])))
        assert np.isnan(judge(one([]), sure([BOX])))
        assert np.isnan(judge(one([BOX], flag=-1), sure([BOX])))
    assert np.isnan(coco([]).mean["AR@100"])


def voc(truths: Truths, detections: Detections) -> float:
    return figures([voc_scene(truths, detections, 3)], CLASSES).mean


def test_voc_by_hand() -> None:
    """Half is enough; a width is right - left, with which 5 of 10 columns are half."""
    assert voc(one([[0, 0, 10, 10]]), sure([[0, 0, 10, 5]])) == 100
    assert voc(one([[0, 0, 10, 10]]), sure([[0, 0, 10, 4.9]])) == 0
    # Right, wrong, right: precision 1 up to recall 1/2, then 2/3; 6 and 5 of eleven recalls.
    scene = one([BOX, [100, 0, 140, 40]]), sure([BOX, [200, 0, 240, 40], [100, 0, 140, 40]])
    assert voc(*scene) == pytest.approx(100 * (6 + 5 * 2 / 3) / 11)
    area = figures([voc_scene(*scene, 3)], CLASSES, eleven_points=False)
    assert area.mean == pytest.approx(100 * (0.5 + 0.5 * 2 / 3))


@pytest.mark.mm
@pytest.mark.parametrize("mode", ["11points", "area"])
def test_voc_is_mmdets(mode: str) -> None:
    evaluation = pytest.importorskip("mmdet.evaluation")
    made = crowded(5)
    found, annotations = [], []
    for t, d in made:
        table = np.column_stack([d.boxes, d.scores])
        found.append([table[d.labels == label] for label in range(3)])
        counts = t.difficult == 0
        annotations.append(
            {
                "bboxes": t.boxes[counts],
                "labels": t.labels[counts],
                "bboxes_ignore": t.boxes[~counts],
                "labels_ignore": t.labels[~counts],
            }
        )
    options = {"logger": "silent", "nproc": 1, "eval_mode": mode}
    mean, classes = evaluation.eval_map(found, annotations, **options)
    stats = (voc_scene(t, d, 3) for t, d in made)
    ours = figures(stats, CLASSES, eleven_points=mode == "11points")
    np.testing.assert_allclose(ours.ap, [100 * row["ap"] for row in classes], atol=1e-4)
    assert ours.mean == pytest.approx(100 * mean, abs=1e-4)
