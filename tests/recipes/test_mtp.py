"""The joint stage: what it refuses, what it asks of its data, and figures that sets lack."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mtp_bench.datasets.access import card_of
from mtp_bench.errors import UserError
from mtp_bench.metrics.instances import MaskScene
from mtp_bench.mm.configs import context_of
from mtp_bench.recipes import mtp
from mtp_bench.suite.load import load_suite
from mtp_bench.suite.plan import make_plan
from mtp_bench.suite.protocol import Decoder, Detector, Mtp
from mtp_bench.suite.schema import JobFile, JobSpec, Resources, Roots
from mtp_bench.tasks.task import Context

pytestmark = pytest.mark.mm
SUITE = """\
name: joint
protocol: demo
data: miniature
backbones: {vit_t_rvsa: [own]}
recipes: {own: {chain: mae+mtp}}
weights: {vit_t_rvsa: {mae: none.pth}}
datasets: [EuroSAT]
overrides: [{where: {stage: mtp}, set: {batch_size: 12, mtp: {held_out: 5}}}]
"""


@pytest.fixture
def spec(tmp_path: Path) -> JobSpec:
    path = tmp_path / "joint.yaml"
    path.write_text(SUITE)
    return next(j.spec for j in make_plan(load_suite(path)).jobs if j.spec.stage == "mtp")


def changed(spec: JobSpec, **changes: Any) -> JobSpec:
    return spec.model_copy(update={"protocol": spec.settings.model_copy(update=changes)})


def context(spec: JobSpec) -> Context:
    roots = Roots(runs="r", results="r", data="d", weights=None, cache="c")
    return context_of(JobFile(id="j", spec=spec, resources=Resources(), roots=roots), None)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"mtp": None}, "vit_t_rvsa, mae+mtp: its protocol has no 'mtp'"),
        ({"decoder": None}, "vit_t_rvsa, mae+mtp: needs a decoder of kind upernet"),
        ({"decoder": Decoder(kind="unet")}, "vit_t_rvsa, mae+mtp: needs a decoder of kind upernet"),
        ({"detector": None}, "vit_t_rvsa, mae+mtp: needs a detector of kind oriented_rcnn"),
        (
            {"detector": Detector(kind="retinanet")},
            "vit_t_rvsa, mae+mtp: needs a detector of kind oriented_rcnn",
        ),
        ({"frozen": "backbone"}, "mae+mtp: 'frozen' leaves nothing to pretrain"),
    ],
)
def test_settings_of_another_stage_are_refused(
    spec: JobSpec, changes: dict[str, Any], told: str
) -> None:
    mtp.model(context(spec))
    with pytest.raises(UserError) as error:
        mtp.model(context(changed(spec, **changes)))
    assert error.value.lines == (told,)


def test_data_are_those_of_the_chosen_sets_at_the_size_of_their_role(spec: JobSpec) -> None:
    few = Mtp(heads=("rotated",), subsets=("FAST", "SIOR"), held_out=7, exclude="val")
    test = spec.settings.test.model_copy(update={"image_size": 96})
    small = context(changed(spec, mtp=few, image_size=64, test=test))
    roles = {role: mtp.dataset(small, role) for role in ("train", "test")}
    for role, found in roles.items():
        assert found["role"] == role
        assert [source["name"] for source in found["sources"]] == ["FAST", "SIOR"]
        assert {source["cache"] for source in found["sources"]} == {"c"}
        assert found["heads"] == ["rotated"]
        assert found["parts"] == {"held_out": 7, "exclude": "val"}
    assert [roles[role]["transform"]["image_size"] for role in roles] == [64, 96]
    with pytest.raises(UserError, match="augmentation 'flips' is not for mtp"):
        mtp.dataset(context(changed(spec, augmentation="flips")), "train")


def test_sizes_and_weights_reach_the_model(spec: JobSpec) -> None:
    """SOTA has 18 classes; a look every 5 steps is one every 20 micro-batches."""
    settings = Mtp(mask_size=9, mask_convs=3, loss_weights={"rotated": 0.5}, conflict_every=5)
    changes = {"mtp": settings, "decoder": Decoder(kind="upernet", channels=48)}
    config = mtp.model(replace(context(changed(spec, **changes)), accumulation=4))
    head = config["heads"]["semantic"]["SOTA-RBB"]["decode_head"]
    assert (head["channels"], head["num_classes"], head["norm_cfg"]["type"]) == (48, 19, "BN")
    masked = config["heads"]["instance"]["SOTA-RBB"]
    assert masked["roi_head"]["mask_head"]["num_convs"] == 3
    assert masked["roi_head"]["mask_roi_extractor"]["roi_layer"]["output_size"] == 9
    assert masked["train_cfg"]["rcnn"]["mask_size"] == 18
    assert config["joint"] == {"loss_weights": {"rotated": 0.5}, "conflict_every": 20}


@pytest.mark.parametrize(
    ("heads", "subsets", "expected"),
    [
        (("semantic", "rotated"), ("SIOR", "FAST"), (2, 2)),
        (("instance",), ("SOTA-RBB", "SIOR", "FAST"), (3, 1)),
    ],
)
def test_batch_norm_needs_two_pictures_of_each_set(
    spec: JobSpec, heads: Any, subsets: Any, expected: tuple[int, int]
) -> None:
    protocol = changed(spec, mtp=Mtp(heads=heads, subsets=subsets)).settings
    assert (mtp.TASK.parts(protocol), mtp.TASK.least_batch(protocol)) == expected


def picture(subset: str, label: int | None) -> dict[str, Any]:
    """Statistics: half of the background is taken for class 0; perhaps an object that is missed."""
    classes = len(card_of(subset).classes)
    matrix = np.zeros((classes + 1, classes + 1), np.int64)
    matrix[0, :2] = 50
    labels = np.array([] if label is None else [label], np.int64)
    rle = {"size": [2, 2], "counts": b"04"}
    nothing = np.zeros(0)
    scene = MaskScene(
        subset, (2, 2), labels, (rle,) * len(labels), nothing.astype(np.int64), nothing, ()
    )
    return {"subset": subset, "semantic": matrix, "instance": scene}


def test_a_set_without_objects_says_nothing_of_masks(spec: JobSpec) -> None:
    """Background has an IoU of 50/100, class 0 of 0/50: a mean of 25, in both sets."""
    both = changed(spec, mtp=Mtp(heads=("semantic", "instance"), subsets=("SIOR", "FAST")))
    card = card_of("SAMRS")
    found = mtp.judge(both, card, [picture("SIOR", 3), picture("FAST", None)])
    assert found.metrics == {"mask_AP50": (0.0, "%", True), "mIoU": (25.0, "%", True)}
    assert found.primary == "mask_AP50"
    assert (found.details["mask_AP50 SIOR"], found.details["mask_AP50 FAST"]) == (0.0, None)
    assert found.details["per_class_mIoU FAST"]["background"] == 50.0
    absent = mtp.judge(both, card, [picture("SIOR", None), picture("FAST", None)])
    assert (absent.primary, list(absent.metrics)) == ("mIoU", ["mIoU"])


def test_figures_of_nothing_at_all_are_refused(spec: JobSpec) -> None:
    alone = changed(spec, mtp=Mtp(heads=("instance",), subsets=("FAST",)))
    with pytest.raises(UserError, match="nothing to judge"):
        mtp.judge(alone, card_of("SAMRS"), [picture("FAST", None)])
