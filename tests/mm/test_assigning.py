"""The assigner in chunks gives what mmdet's gives with all overlaps at once."""

from __future__ import annotations

import itertools
import weakref
from typing import Any

import pytest
import torch
from mmengine.registry import DefaultScope
from mmengine.structures import InstanceData
from torch import Tensor

from mtp_bench.backbones import torchvision_shim

torchvision_shim.apply()

from mmdet.registry import TASK_UTILS  # noqa: E402
from mmdet.structures.bbox import HorizontalBoxes  # noqa: E402
from mmrotate.structures.bbox import RotatedBoxes  # noqa: E402

from mtp_bench.mm import assigning  # noqa: E402

pytestmark = pytest.mark.mm

RPN = {"pos_iou_thr": 0.7, "neg_iou_thr": 0.3, "min_pos_iou": 0.3}
RCNN = {"pos_iou_thr": 0.5, "neg_iou_thr": 0.5, "min_pos_iou": 0.5, "match_low_quality": False}


def build(name: str, **options: Any) -> Any:
    with DefaultScope.overwrite_default_scope("mmdet"):
        return TASK_UTILS.build({"type": name, **options})


def horizontal(count: int, seed: int) -> Tensor:
    """Boxes on a grid of whole pixels, so that overlaps tie and boxes repeat."""
    rng = torch.Generator().manual_seed(seed)
    corner = torch.randint(0, 6, (count, 2), generator=rng) * 4.0
    return torch.cat([corner, corner + torch.randint(1, 4, (count, 2), generator=rng) * 4.0], 1)


def rotated(count: int, seed: int) -> RotatedBoxes:
    boxes = horizontal(count, seed)
    angle = (torch.arange(count) % 5)[:, None] * 0.3
    size = boxes[:, 2:] - boxes[:, :2]
    return RotatedBoxes(torch.cat([(boxes[:, :2] + boxes[:, 2:]) / 2, size, angle], 1))


CASES: dict[str, tuple[str, Any, Any]] = {
    "horizontal": ("BboxOverlaps2D", horizontal, horizontal),
    "oriented anchors": (
        "mmrotate.RBbox2HBboxOverlaps2D",
        rotated,
        lambda count, seed: HorizontalBoxes(horizontal(count, seed)),
    ),
    "rotated": ("mmrotate.RBboxOverlaps2D", rotated, rotated),
}


def assign(assigner: Any, truths: Any, priors: Any, ignored: Any = None) -> Any:
    labels = torch.arange(len(truths)) % 4
    return assigner.assign(
        InstanceData(priors=priors),
        InstanceData(bboxes=truths, labels=labels),
        None if ignored is None else InstanceData(bboxes=ignored),
    )


def assert_equal(ours: Any, theirs: Any) -> None:
    assert ours.num_gts == theirs.num_gts
    for name in ("gt_inds", "max_overlaps", "labels"):
        mine, other = getattr(ours, name), getattr(theirs, name)
        assert mine.dtype == other.dtype
        assert torch.equal(mine, other), name


def both(**options: Any) -> tuple[Any, Any]:
    chunked = build("mtp_bench.mm.assigning.ChunkedAssigner", **options)
    return chunked, build("MaxIoUAssigner", **options)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize(
    "thresholds",
    [
        RPN,
        RCNN,
        {"pos_iou_thr": 0.6, "neg_iou_thr": (0.1, 0.4)},
        RPN | {"gt_max_assign_all": False},
    ],
)
def test_chunks_equal_the_whole(
    case: str, thresholds: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    calculator, truths, priors = CASES[case]
    ours, theirs = both(iou_calculator={"type": calculator}, **thresholds)
    ties = 0
    for seed, limit in itertools.product(range(8), (1, 100, 1000)):
        monkeypatch.setattr(assigning, "LIMIT", limit)
        some, many = truths(5 + seed, seed), priors(150, 100 + seed)
        expected = assign(theirs, some, many)
        assert_equal(assign(ours, some, many), expected)
        ties += len(expected.max_overlaps) - len(expected.max_overlaps.unique())
    assert ties > 400


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize(("truth_count", "prior_count"), [(0, 20), (7, 0), (0, 0), (1, 1), (40, 3)])
def test_few_or_none(
    case: str, truth_count: int, prior_count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(assigning, "LIMIT", 0)
    calculator, truths, priors = CASES[case]
    ours, theirs = both(iou_calculator={"type": calculator}, **RPN)
    some, many = truths(truth_count, 1), priors(prior_count, 2)
    assert_equal(assign(ours, some, many), assign(theirs, some, many))


def test_the_last_truth_overrules_and_the_first_prior_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    """By hand: truths 1 and 2 are one box, priors 2 and 4 its equals, 3 a half of it.

    Truth 3 has its best, 3/9, in prior 1; prior 5 lies apart.
    """
    monkeypatch.setattr(assigning, "LIMIT", 3)
    truths = torch.tensor([[0.0, 0, 4, 4], [0, 0, 4, 4], [20, 0, 24, 4]])
    priors = torch.tensor(
        [[22.0, 0, 28, 4], [0, 0, 4, 4], [0, 0, 4, 2], [0, 0, 4, 4], [50, 50, 60, 60]]
    )
    every, _ = both(pos_iou_thr=0.7, neg_iou_thr=0.3, min_pos_iou=0.2)
    assert assign(every, truths, priors).gt_inds.tolist() == [3, 2, -1, 2, 0]
    one, _ = both(pos_iou_thr=0.7, neg_iou_thr=0.3, min_pos_iou=0.2, gt_max_assign_all=False)
    assert assign(one, truths, priors).gt_inds.tolist() == [3, 2, -1, 1, 0]


def test_a_truth_that_no_prior_meets_takes_them_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """So mmdet's rule has it where ``min_pos_iou`` is 0: the best overlap, 0, is everyone's."""
    monkeypatch.setattr(assigning, "LIMIT", 4)
    ours, theirs = both(pos_iou_thr=0.7, neg_iou_thr=0.3)
    truths = torch.tensor([[0.0, 0, 4, 4], [90, 90, 95, 95]])
    result = assign(ours, truths, horizontal(9, 0))
    assert_equal(result, assign(theirs, truths, horizontal(9, 0)))
    assert (result.gt_inds == 2).all()


@pytest.mark.parametrize("ignored", [0, 4])
@pytest.mark.parametrize("candidates", [True, False])
def test_ignored_truths(ignored: int, candidates: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(assigning, "LIMIT", 10)
    ours, theirs = both(ignore_iof_thr=0.5, ignore_wrt_candidates=candidates, **RPN)
    args = horizontal(6, 1), horizontal(80, 2), horizontal(ignored, 3)
    assert_equal(assign(ours, *args), assign(theirs, *args))


class Recorder:
    """A calculator that counts the overlaps alive after each call."""

    def __init__(self, inner: Any) -> None:
        self.inner, self.peak = inner, 0
        self.made: list[weakref.ref[Tensor]] = []

    def __call__(self, truths: Any, priors: Any) -> Tensor:
        overlaps: Tensor = self.inner(truths, priors)
        self.made.append(weakref.ref(overlaps))
        alive = [made() for made in self.made]
        self.peak = max(self.peak, sum(kept.numel() for kept in alive if kept is not None))
        return overlaps


@pytest.mark.parametrize("all_best", [True, False])
def test_overlaps_held_at_once_stay_below_the_limit(
    all_best: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(assigning, "LIMIT", 1000)
    ours, _ = both(gt_max_assign_all=all_best, **RPN)
    ours.iou_calculator = recorder = Recorder(ours.iou_calculator)
    assign(ours, horizontal(30, 1), horizontal(2000, 2))
    assert recorder.peak == 990  # 33 priors with 30 truths


def test_below_the_limit_it_is_mmdets() -> None:
    ours, theirs = both(**RPN)
    ours.iou_calculator = recorder = Recorder(ours.iou_calculator)
    some, many = horizontal(30, 1), horizontal(2000, 2)
    assert_equal(assign(ours, some, many), assign(theirs, some, many))
    assert recorder.peak == 60_000
