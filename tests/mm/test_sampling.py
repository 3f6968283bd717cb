"""What a detector samples depends on the picture's number, not on the batch that it is in."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
import torch
from mmengine.config import ConfigDict
from mmengine.registry import DefaultScope
from mmengine.structures import InstanceData
from torch import Tensor

from mtp_bench.backbones import torchvision_shim

torchvision_shim.apply()

from mmdet.models.task_modules import AssignResult, RandomSampler  # noqa: E402
from mmdet.registry import MODELS  # noqa: E402
from mmdet.structures import DetDataSample  # noqa: E402
from mmdet.structures.bbox import HorizontalBoxes  # noqa: E402
from mmdet.utils import register_all_modules  # noqa: E402
from mmrotate.structures.bbox import RotatedBoxes  # noqa: E402

from mtp_bench.mm import assigning  # noqa: E402
from mtp_bench.mm.sampling import SeededSampler  # noqa: E402

pytestmark = pytest.mark.mm

SIDE = 96


def truths(draw: int | None, count: int = 3) -> InstanceData:
    made = InstanceData(metainfo={} if draw is None else {"draw": draw})
    rng = torch.Generator().manual_seed(count)
    corner = torch.rand(count, 2, generator=rng) * 50
    made.bboxes = torch.cat([corner, corner + 10 + torch.rand(count, 2, generator=rng) * 30], 1)
    made.labels = torch.arange(count) % 2
    return made


def sample(sampler: RandomSampler, instances: InstanceData) -> list[int]:
    """The priors sampled among 400, a quarter of them with a truth."""
    inds = torch.arange(400) % 4
    inds[inds > 1] = 0
    assigned = AssignResult(3, inds, torch.zeros(400), torch.zeros(400, dtype=torch.long))
    result = sampler.sample(assigned, InstanceData(priors=torch.zeros(400, 4)), instances)
    found: list[int] = torch.cat([result.pos_inds, result.neg_inds]).tolist()
    return found


@pytest.fixture
def sampler() -> SeededSampler:
    return SeededSampler(num=64, pos_fraction=0.5, context=None)


def test_a_number_gives_one_sample_whatever_went_before(sampler: SeededSampler) -> None:
    torch.manual_seed(1)
    first = sample(sampler, truths(draw=7))
    torch.manual_seed(2)
    assert sample(sampler, truths(draw=7)) == first
    assert sample(sampler, truths(draw=8)) != first
    assert len(first) == 64


def test_the_global_generators_are_left_alone(sampler: SeededSampler) -> None:
    found = []
    for draws in ([], [truths(draw=7)]):
        random.seed(1), np.random.seed(1), torch.manual_seed(1)
        for instances in draws:
            sample(sampler, instances)
        found.append((random.random(), np.random.rand(), torch.rand(()).item()))
    assert found[0] == found[1]


def test_without_a_number_it_is_mmdets(sampler: SeededSampler) -> None:
    torch.manual_seed(1)
    expected = sample(RandomSampler(num=64, pos_fraction=0.5), truths(draw=None))
    torch.manual_seed(1)
    assert sample(sampler, truths(draw=None)) == expected


def test_the_number_survives_what_mmengine_does_to_instances() -> None:
    instances = truths(draw=7)
    for other in (instances[:1], instances[instances.labels == 0], instances.to("cpu")):
        assert other.metainfo == {"draw": 7}


def assigner(positive: float, negative: float, calculator: str) -> dict[str, Any]:
    return {
        "type": "mtp_bench.mm.assigning.ChunkedAssigner",
        "pos_iou_thr": positive,
        "neg_iou_thr": negative,
        "iou_calculator": {"type": calculator},
    }


def seeded_sampler(number: int, with_truths: bool) -> dict[str, Any]:
    return {
        "type": "mtp_bench.mm.sampling.SeededSampler",
        "num": number,
        "pos_fraction": 0.25,
        "add_gt_as_proposals": with_truths,
    }


def detector(oriented: bool) -> dict[str, Any]:
    """A two-stage detector as published, but for its width."""
    proposal = {"nms_pre": 200, "max_per_img": 100, "nms": {"type": "nms", "iou_threshold": 0.8}}
    first = "mmrotate.RBbox2HBboxOverlaps2D" if oriented else "BboxOverlaps2D"
    second = "mmrotate.RBboxOverlaps2D" if oriented else "BboxOverlaps2D"
    return {
        "type": "FasterRCNN",
        "backbone": {"type": "ResNet", "depth": 18, "base_channels": 8, "out_indices": (2,)},
        "rpn_head": rpn_head(oriented),
        "roi_head": roi_head(oriented),
        "train_cfg": {
            "rpn": {
                "assigner": assigner(0.7, 0.3, first) | {"min_pos_iou": 0.3},
                "sampler": seeded_sampler(32, with_truths=False),
                "allowed_border": -1,
                "pos_weight": -1,
            },
            "rpn_proposal": proposal | {"min_bbox_size": 0},
            "rcnn": {
                "assigner": assigner(0.5, 0.5, second) | {"match_low_quality": False},
                "sampler": seeded_sampler(16, with_truths=True),
                "pos_weight": -1,
            },
        },
        "test_cfg": {"rpn": proposal | {"min_bbox_size": 0}, "rcnn": {}},
    }


def rpn_head(oriented: bool) -> dict[str, Any]:
    coder = {"type": "mmrotate.MidpointOffsetCoder", "angle_version": "le90"} if oriented else None
    return {
        "type": "mmrotate.OrientedRPNHead" if oriented else "RPNHead",
        "in_channels": 32,
        "feat_channels": 8,
        "anchor_generator": {
            "type": "AnchorGenerator",
            "scales": [1, 2, 4],
            "ratios": [1.0],
            "strides": [16],
            "use_box_type": oriented,
        },
        "bbox_coder": coder or {"type": "DeltaXYWHBBoxCoder"},
        "loss_cls": {"type": "CrossEntropyLoss", "use_sigmoid": True},
        "loss_bbox": {"type": "L1Loss"},
    }


def roi_head(oriented: bool) -> dict[str, Any]:
    horizontal = {"type": "RoIAlign", "output_size": 3, "sampling_ratio": 2}
    rotated = {"type": "RoIAlignRotated", "output_size": 3, "sampling_ratio": 2, "clockwise": True}
    coder = {"type": "mmrotate.DeltaXYWHTRBBoxCoder", "angle_version": "le90"}
    return {
        "type": "StandardRoIHead",
        "bbox_roi_extractor": {
            "type": "mmrotate.RotatedSingleRoIExtractor" if oriented else "SingleRoIExtractor",
            "roi_layer": rotated if oriented else horizontal,
            "out_channels": 32,
            "featmap_strides": [16],
        },
        "bbox_head": {
            "type": "Shared2FCBBoxHead",
            "predict_box_type": "rbox" if oriented else "hbox",
            "in_channels": 32,
            "fc_out_channels": 16,
            "roi_feat_size": 3,
            "num_classes": 2,
            "reg_class_agnostic": True,
            "bbox_coder": coder if oriented else {"type": "DeltaXYWHBBoxCoder"},
            "loss_cls": {"type": "CrossEntropyLoss"},
            "loss_bbox": {"type": "L1Loss"},
        },
    }


def picture(draw: int | None, count: int, oriented: bool) -> DetDataSample:
    shape = {"img_shape": (SIDE, SIDE), "pad_shape": (SIDE, SIDE), "scale_factor": (1.0, 1.0)}
    instances = truths(draw, count)
    boxes = HorizontalBoxes(instances.bboxes) if oriented else instances.bboxes
    instances.bboxes = boxes.convert_to("rbox") if oriented else boxes
    assert isinstance(instances.bboxes, RotatedBoxes if oriented else Tensor)
    made = DetDataSample(metainfo=shape)
    made.gt_instances = instances
    made.ignored_instances = instances[:0]
    return made


@pytest.mark.parametrize("oriented", [False, True])
def test_a_batch_of_two_is_two_of_one(oriented: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both samplers fill their number in every picture, so losses are means over pictures."""
    register_all_modules(init_default_scope=False)
    torch.manual_seed(0)
    with DefaultScope.overwrite_default_scope("mmdet"):
        model = MODELS.build(ConfigDict(detector(oriented))).eval()
    images = torch.rand(2, 3, SIDE, SIDE)

    def losses(draws: tuple[int | None, int | None], which: slice, seed: int) -> dict[str, float]:
        torch.manual_seed(seed)
        pictures = [picture(draws[i], 3 + i, oriented) for i in range(2)][which]
        with torch.no_grad():
            found = model(images[which], pictures, mode="loss")
        return {
            name: float(sum(value) if isinstance(value, list) else value)
            for name, value in found.items()
        }

    whole = losses((5, 6), slice(None), seed=1)
    first, second = losses((5, 6), slice(1), seed=2), losses((5, 6), slice(1, None), seed=3)
    assert whole.keys() == {"loss_rpn_cls", "loss_rpn_bbox", "loss_cls", "loss_bbox", "acc"}
    assert min(whole.values()) > 0
    assert whole == pytest.approx({k: (first[k] + second[k]) / 2 for k in whole}, rel=1e-5)
    assert losses((5, 7), slice(None), seed=1) != whole
    unseeded = [losses((None, None), slice(None), seed=s) for s in (1, 2)]
    assert unseeded[0] != unseeded[1]
    monkeypatch.setattr(assigning, "LIMIT", 50)
    assert losses((5, 6), slice(None), seed=1) == whole
