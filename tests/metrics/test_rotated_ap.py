"""The two rotated figures: the kit read to the letter, mmrotate itself, and by hand."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from mtp_bench.metrics.ap import WRONG, ClassFigures, figures
from mtp_bench.metrics.boxes import Detections, Truths, corners, rotated
from mtp_bench.metrics.rotated_ap import kit_scene, mmrotate_scene
from tests.metrics import literal_kit
from tests.metrics.making import CLASSES, Scene, quads, rectangles, scenes

Array = NDArray[np.float64]
SQUARE = [0, 0, 10, 0, 10, 10, 0, 10]
HALF = [0, 0, 10, 0, 10, 5, 0, 5]
BOW = [0, 0, 10, 10, 10, 0, 0, 10]


def truths(*rows: tuple[Sequence[float], int, int]) -> Truths:
    boxes = np.array([row[0] for row in rows], dtype=np.float64).reshape(-1, 8)
    rest = np.array([row[1:] for row in rows], dtype=np.int64).reshape(-1, 2)
    return Truths(boxes, rest[:, 0], rest[:, 1])


def detections(*rows: tuple[Sequence[float], int, float]) -> Detections:
    boxes = np.array([row[0] for row in rows], dtype=np.float64).reshape(-1, 8)
    labels = np.array([row[1] for row in rows], dtype=np.int64)
    return Detections(boxes, labels, np.array([row[2] for row in rows], dtype=np.float64))


def kit(made: list[Scene]) -> ClassFigures:
    return figures((kit_scene(*scene, len(CLASSES)) for scene in made), CLASSES)


def literal(made: list[Scene]) -> list[float]:
    """The figure of each class, in percent."""
    result = []
    for label in range(len(CLASSES)):
        true, found = [], []
        for number, (objects, boxes) in enumerate(made):
            mine = objects.take(objects.labels == label)
            rows = zip(mine.boxes.tolist(), mine.difficult.tolist(), strict=True)
            true.append([literal_kit.Object(*row) for row in rows])
            mine_too = boxes.take(boxes.labels == label)
            quads = corners(mine_too.boxes).reshape(-1, 8).tolist()
            scored = zip(mine_too.scores.tolist(), quads, strict=True)
            found += [literal_kit.Found(number, *row) for row in scored]
        result.append(100 * literal_kit.average_precision(true, found))
    return result


@pytest.mark.parametrize("kind", ["quads", "rotated"])
@pytest.mark.parametrize("seed", range(5))
def test_the_kit_to_the_letter(seed: int, kind: str) -> None:
    made = scenes(seed, kind)
    expected = literal(made)
    assert 5 < min(expected) < max(expected) < 95
    np.testing.assert_allclose(kit(made).ap, expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize(
    ("objects", "found", "expected"),
    [
        ([(SQUARE, 0, 0)], [(SQUARE, 0, 0.9)], 100),
        ([(SQUARE, 0, 0)], [(HALF, 0, 0.9)], 0),  # 0.5 is not enough
        ([(SQUARE, 0, 0)], [(SQUARE, 1, 0.9)], 0),  # of another class
        ([(SQUARE, 0, 0)], [], 0),
        # The second on one object is wrong, the first stays right.
        ([(SQUARE, 0, 0)], [(SQUARE, 0, 0.9), (SQUARE, 0, 0.8)], 100),
        ([(SQUARE, 0, 0)], [([50 + x for x in SQUARE], 0, 0.9), (SQUARE, 0, 0.8)], 50),
        # Two equal objects: both detections go to the first, one of them in vain.
        ([(SQUARE, 0, 0), (SQUARE, 0, 0)], [(SQUARE, 0, 0.9), (SQUARE, 0, 0.8)], 600 / 11),
        # On a flagged object: neither right nor wrong, and the object is not counted.
        ([(SQUARE, 0, 2), ([50 + x for x in SQUARE], 0, 0)], [(SQUARE, 0, 0.9)], 0),
        (
            [(SQUARE, 0, 1), ([50 + x for x in SQUARE], 0, 0)],
            [(SQUARE, 0, 0.9), (SQUARE, 0, 0.8), ([50 + x for x in SQUARE], 0, 0.7)],
            100,
        ),
        # A bow tie with equal wings has no net area: nothing ever reaches it, not even itself.
        ([(BOW, 0, 0)], [(BOW, 0, 0.9)], 0),
        # With wings of 36 and 4 it has 32, shares 40 with itself, and 40 / (64 - 40) is enough.
        ([([0, 0, 12, 8, 12, 0, 0, 4], 0, 0)], [([0, 0, 12, 8, 12, 0, 0, 4], 0, 0.9)], 100),
        # The other sense and another first corner.
        ([(SQUARE, 0, 0)], [([0, 10, 10, 10, 10, 0, 0, 0], 0, 0.9)], 100),
    ],
)
def test_the_kit_by_hand(objects: Any, found: Any, expected: float) -> None:
    made = [(truths(*objects), detections(*found))]
    result = kit(made)
    assert result.ap[0] == pytest.approx(expected, abs=1e-12)
    assert literal(made)[0] == pytest.approx(expected, abs=1e-9)


def test_another_class_is_never_met() -> None:
    """However far to either side it lies, and outside the picture."""
    for away in range(-30, 31):
        moved = [away + x if i % 2 == 0 else x for i, x in enumerate(SQUARE)]
        stats = kit_scene(truths((SQUARE, 0, 0), (SQUARE, 2, 0)), detections((moved, 1, 0.9)), 3)
        assert stats.outcomes.tolist() == [WRONG]


def test_what_mmrotate_sees_otherwise() -> None:
    """Half is enough, and a skew quadrangle counts as the rectangle around it."""
    skew = [0.0, 0, 20, 0, 20, 4, 14, 10]
    made = [
        (truths((SQUARE, 0, 0), (skew, 1, 0)), detections((HALF, 0, 0.9), (skew, 1, 0.9))),
    ]
    whole = Detections(np.array([[10.0, 5, 20, 10, 0]]), np.array([1]), np.array([0.9]))
    result = figures([mmrotate_scene(*made[0], 3)], CLASSES)
    np.testing.assert_array_equal(result.ap, [100, 100, np.nan])
    np.testing.assert_array_equal(kit(made).ap, [0, 100, np.nan])
    around = [(made[0][0], whole)]
    assert figures([mmrotate_scene(*around[0], 3)], CLASSES).ap[1] == 100


def test_every_order_gives_the_same() -> None:
    """Of scenes, of detections, of equal scores and of copies in other processes."""
    rng = np.random.default_rng(8)
    made = scenes(8, "quads")
    made = [(t, Detections(d.boxes, d.labels, d.scores.round(1))) for t, d in made]
    for judge in (kit_scene, mmrotate_scene):
        expected = figures((judge(*scene, 3) for scene in made), CLASSES)
        for _ in range(5):
            mixed = [made[i] for i in rng.permutation(len(made))]
            stats = [judge(t, d.take(rng.permutation(len(d))), 3) for t, d in mixed]
            again = figures(pickle.loads(pickle.dumps(stats)), CLASSES)
            np.testing.assert_array_equal(again.ap, expected.ap)
            assert again.mean == expected.mean


def test_equal_scores_enter_the_curve_together() -> None:
    """One right and one wrong of the same score: never a precision of 1."""
    far = [50.0 + x for x in SQUARE]
    made = [(truths((SQUARE, 0, 0)), detections((SQUARE, 0, 0.5), (far, 0, 0.5)))]
    assert kit(made).ap[0] == pytest.approx(50)


def test_nothing_is_defined_too() -> None:
    """Not one warning, as pytest makes errors of them."""
    empty, none = truths(), detections()
    with np.errstate(all="raise"):
        for judge in (kit_scene, mmrotate_scene):
            result = figures([judge(empty, none, 3)], CLASSES)
            assert np.isnan(result.ap).all()
            assert np.isnan(result.mean)
            assert result.left_out == CLASSES
            wrong = figures([judge(empty, detections((SQUARE, 1, 0.9)), 3)], CLASSES)
            assert np.isnan(wrong.ap).all()
            missed = figures([judge(truths((SQUARE, 1, 0), (BOW, 0, 1)), none, 3)], CLASSES)
            np.testing.assert_array_equal(missed.ap, [np.nan, 0, np.nan])
            assert missed.mean == 0
            assert missed.left_out == ("plane", "bridge")
        assert np.isnan(figures([], CLASSES).mean)


def test_what_makes_no_sense_is_refused() -> None:
    with pytest.raises(ValueError, match="not finite"):
        detections((SQUARE, 0, np.nan))
    with pytest.raises(ValueError, match="float64"):
        Truths(np.zeros((2, 5)), np.zeros(2, dtype=np.int64), np.zeros(2, dtype=np.int64))
    with pytest.raises(ValueError, match="3 classes"):
        kit_scene(truths(), detections((SQUARE, 3, 0.9)), 3)
    with pytest.raises(ValueError, match="2 boxes"):
        Truths(np.zeros((2, 4)), np.zeros(3, dtype=np.int64), np.zeros(2, dtype=np.int64))


@pytest.mark.mm
def test_boxes_are_mmrotates() -> None:
    torch = pytest.importorskip("torch")
    bbox = pytest.importorskip("mmrotate.structures.bbox")
    rng = np.random.default_rng(2)
    boxes = rectangles(rng, 500)
    theirs = bbox.rbox2qbox(torch.from_numpy(boxes)).numpy()
    np.testing.assert_allclose(corners(boxes).reshape(-1, 8), theirs, atol=1e-10)
    clicked = quads(rng, 500).astype(np.float32)
    made = bbox.qbox2rbox(torch.from_numpy(clicked))
    expected = bbox.RotatedBoxes(made).regularize_boxes("le90").numpy()
    ours = rotated(corners(clicked.astype(np.float64)))
    turned = np.angle(np.exp(2j * (ours[:, 4] - expected[:, 4]))) / 2
    assert (ours[:, 2] >= ours[:, 3]).all()
    assert (np.abs(ours[:, 4]) <= np.pi / 2).all()
    same = np.abs(turned) < 1e-3  # of two rectangles equally small either may be taken
    assert same.mean() > 0.99
    np.testing.assert_allclose(ours[same, :4], expected[same, :4], atol=1e-3)
    sizes = ours[:, 2:4].prod(axis=1), expected[:, 2:4].prod(axis=1)
    np.testing.assert_allclose(*sizes, rtol=1e-4, atol=1e-2)


@pytest.mark.mm
def test_mmrotate_itself() -> None:
    """Scenes where no IoU is so near 0.5 or so near another that float32 decides."""
    evaluation = pytest.importorskip("mmrotate.evaluation")
    made = scenes(20, "rotated", 12)[:-2]
    made = [(t, d) for t, d in made if (t.difficult == 0).any()]  # of others it forgets the flagged
    found = [
        [np.column_stack([d.boxes, d.scores])[d.labels == label] for label in range(3)]
        for _, d in made
    ]
    annotations = []
    for t, _ in made:
        boxes, counts = rotated(corners(t.boxes)), t.difficult == 0
        annotations.append(
            {
                "bboxes": boxes[counts],
                "labels": t.labels[counts],
                "bboxes_ignore": boxes[~counts],
                "labels_ignore": t.labels[~counts],
            }
        )
    mean, classes = evaluation.eval_rbbox_map(found, annotations, logger="silent", nproc=1)
    ours = figures((mmrotate_scene(t, d, 3) for t, d in made), CLASSES)
    np.testing.assert_allclose(ours.ap, [100 * row["ap"] for row in classes], atol=1e-4)
    assert ours.mean == pytest.approx(100 * mean, abs=1e-4)
    assert 5 < ours.mean < 95
