"""The joint model against the libraries' own, and what of it is shared, judged and handed on."""

from __future__ import annotations

import copy
import hashlib
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmdet.structures.mask import BitmapMasks
from mmengine.config import ConfigDict
from mmengine.logging import MessageHub
from mmengine.structures import InstanceData, PixelData
from mmrotate.structures.bbox import RotatedBoxes
from torch import Tensor

from mtp_bench.backbones import create, for_task
from mtp_bench.datasets.access import card_of
from mtp_bench.mm.configs import context_of
from mtp_bench.mm.joint import OWN, VIEWS, Joint, Pictures
from mtp_bench.recipes import mtp
from mtp_bench.suite.load import load_suite
from mtp_bench.suite.plan import make_plan
from mtp_bench.suite.schema import JobFile, JobSpec, Resources, Roots

pytestmark = pytest.mark.filterwarnings("ignore:Default ``avg_non_ignore``")
SETS = ("SOTA-RBB", "SIOR", "FAST")
SIDE = 128
SUITE = """\
name: joint
protocol: demo
data: miniature
backbones: {{{backbone}: [own]}}
recipes: {{own: {{chain: mae+mtp}}}}
weights: {{{backbone}: {{mae: none.pth}}}}
datasets: [EuroSAT]
overrides: [{{where: {{stage: mtp}}, set: {{batch_size: 12, mtp: {{{settings}}}}}}}]
"""


def spec_of(folder: Path, settings: str = "", backbone: str = "vit_t_rvsa") -> JobSpec:
    path = folder / "joint.yaml"
    path.write_text(SUITE.format(settings=settings or "held_out: 5", backbone=backbone))
    return next(j.spec for j in make_plan(load_suite(path)).jobs if j.spec.stage == "mtp")


def joint(folder: Path, settings: str = "", backbone: str = "vit_t_rvsa") -> Joint:
    spec = spec_of(folder, settings, backbone)
    roots = Roots(runs="r", results="r", data=None, weights=None, cache="c")
    context = context_of(JobFile(id="j", spec=spec, resources=Resources(), roots=roots), None)
    model: Joint = MODELS.build(mtp.model(context))
    return model


def picture(subset: str, number: int) -> DetDataSample:
    """Three objects, as a dataset gives them."""
    rng = np.random.default_rng(number)
    boxes, masks = [], []
    semantic = np.zeros((1, SIDE, SIDE), np.int64)
    labels = torch.from_numpy(rng.integers(0, 5, 3))
    for label in labels.tolist():
        left, top = rng.integers(0, SIDE - 40, 2).tolist()
        mask = np.zeros((SIDE, SIDE), np.uint8)
        mask[top : top + 30, left : left + 36] = 1
        boxes.append([left, top, left + 36, top + 30])
        masks.append(mask)
        semantic[0][mask > 0] = label + 1
    shape = (SIDE, SIDE)
    shapes = dict.fromkeys(("img_shape", "ori_shape", "pad_shape", "batch_input_shape"), shape)
    told = {"subset": subset, "scene": (subset, str(number)), "scale_factor": (1.0, 1.0)}
    found: Any = DetDataSample(metainfo={**shapes, **told, "flip": False, "img_id": number})
    found.gt_sem_seg = PixelData(data=torch.from_numpy(semantic))
    flat = torch.tensor(boxes, dtype=torch.float32)
    drawn = BitmapMasks(masks, SIDE, SIDE)
    found.gt_instances = InstanceData(bboxes=flat, labels=labels, masks=drawn)
    turned = torch.cat([(flat[:, :2] + flat[:, 2:]) / 2, flat[:, 2:] - flat[:, :2]], dim=1)
    turned = torch.cat([turned, torch.zeros(3, 1)], dim=1)
    found.gt_rotated = InstanceData(bboxes=RotatedBoxes(turned), labels=labels)
    for name in ("gt_instances", "gt_rotated"):
        getattr(found, name).set_metainfo({"draw": number})
    nothing = {"bboxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.long)}
    found.ignored_instances = InstanceData(**nothing)
    return found


def batch() -> tuple[Tensor, list[DetDataSample]]:
    """Two pictures of each set, in turn."""
    samples = [picture(subset, 3 * turn + i) for turn in range(2) for i, subset in enumerate(SETS)]
    images = torch.randn(6, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    return images, samples


def own_models(model: Joint, folder: Path) -> dict[str, dict[str, Any]]:
    """Stand-alone models of the libraries with the same weights."""
    spec = spec_of(folder)
    roots = Roots(runs="r", results="r", data=None, weights=None, cache="c")
    context = context_of(JobFile(id="j", spec=spec, resources=Resources(), roots=roots), None)
    found: dict[str, dict[str, Any]] = {}
    channels: Any = model.backbone.channels
    for head, sets in mtp.model(context)["heads"].items():
        for subset, config in sets.items():
            given = ConfigDict(copy.deepcopy(config))
            (given.decode_head if head == "semantic" else given.neck).in_channels = list(channels)
            given.backbone = {"type": "torch.nn.Identity"}
            alone: Any = MODELS.build(given)
            alone.load_state_dict(model.heads[head][subset].state_dict())  # type: ignore[index]
            alone.train()
            found.setdefault(head, {})[subset] = alone
    return found


def test_it_is_the_sum_of_the_models_that_it_is_made_of(tmp_path: Path) -> None:
    """Losses, and the encoder's gradient, on the same features."""
    model, (images, samples) = joint(tmp_path), batch()
    alone = own_models(model, tmp_path)
    model.train()
    for each in (model, *(m for sets in alone.values() for m in sets.values())):
        for module in each.modules():
            if "Dropout" in type(module).__name__ or "DropPath" in type(module).__name__:
                module.eval()
    total, told = model.parse_losses(model(images, copy.deepcopy(samples), mode="loss"))
    total.backward()
    together = [p.grad.clone() for p in model.backbone.parameters() if p.grad is not None]
    model.zero_grad()

    maps = [m.contiguous() for m in model.backbone(images)]
    parts = []
    for head, sets in alone.items():
        for subset, each in sets.items():
            rows = [i for i, sample in enumerate(samples) if sample.subset == subset]
            views = [VIEWS[head](copy.deepcopy(samples[i])) for i in rows]
            losses = each.loss(tuple(m[rows] for m in maps), views)
            one, terms = each.parse_losses(losses)
            parts.append(one)
            for name, value in terms.items():
                if "loss" in name and name != "loss":
                    key = f"{head} {subset} {name.removeprefix('decode.')}"
                    assert float(told[key].detach()) == pytest.approx(
                        float(value.detach()), rel=1e-5
                    )
    assert len(parts) == 9
    apart = torch.stack(parts).sum()
    assert float(total.detach()) == pytest.approx(float(apart.detach()), rel=1e-6)
    apart.backward()
    separate = [p.grad for p in model.backbone.parameters() if p.grad is not None]
    assert len(separate) == len(together) > 50
    for one_, other in zip(together, separate, strict=True):
        assert float((one_ - other).norm()) <= 1e-4 * float(one_.norm()) + 1e-7


def test_decoders_are_shared_and_output_layers_are_not(tmp_path: Path) -> None:
    heads: Any = joint(tmp_path).heads
    for head, own in OWN.items():
        one, other = heads[head]["SOTA-RBB"], heads[head]["FAST"]
        modules = dict(one.named_modules(remove_duplicate=False))
        same = {n for n, m in other.named_modules(remove_duplicate=False) if modules.get(n) is m}
        assert not {name for name in own if name in same}
        kept = [n for n, _ in one.named_parameters() if not n.startswith(own)]
        assert kept
        assert all(n.rpartition(".")[0] in same for n in kept)
    classes = [len(card_of(name).classes) for name in SETS]
    assert [heads["semantic"][n].decode_head.conv_seg.out_channels for n in SETS] == [
        count + 1 for count in classes
    ]
    assert [heads["rotated"][n].roi_head.bbox_head.fc_cls.out_features for n in SETS] == [
        count + 1 for count in classes
    ]


@pytest.mark.parametrize("backbone", ["vit_t_rvsa", "timm/test_resnet"])
def test_every_parameter_learns(backbone: str, tmp_path: Path) -> None:
    model = joint(tmp_path, backbone=backbone)
    model.train()
    total, told = model.parse_losses(model(*batch(), mode="loss"))
    total.backward()
    lacking = [n for n, p in model.named_parameters() if p.requires_grad and p.grad is None]
    assert not lacking
    named = {name.partition(" ")[0] for name in told if " " in name}
    assert named == {"semantic", "instance", "rotated"}


def test_weights_count_and_choices_drop_what_they_leave_out(tmp_path: Path) -> None:
    weights = "{semantic: 0.5, rotated: 0.5}"  # a detector's losses are partly lists, by level
    settings = f"heads: [semantic, rotated], subsets: [SIOR, FAST], loss_weights: {weights}"
    images, samples = batch()
    rows = [i for i, sample in enumerate(samples) if sample.subset != "SOTA-RBB"]
    given = (images[rows], [samples[i] for i in rows])
    half = joint(tmp_path, settings)
    whole = joint(tmp_path, settings.replace("0.5", "1.0"))
    assert list(half.heads) == ["semantic", "rotated"]
    assert list(half.heads["semantic"]) == ["SIOR", "FAST"]  # type: ignore[call-overload]
    totals = []
    for model in (half, whole):
        model.eval()
        torch.manual_seed(0)  # detectors draw what they train on
        total, _ = model.parse_losses(model(*copy.deepcopy(given), mode="loss"))
        totals.append(float(total.detach()))
    assert totals[0] == pytest.approx(totals[1] / 2, rel=1e-5)


def test_the_heads_agreement_is_looked_at_now_and_then(tmp_path: Path) -> None:
    """And changes no gradient."""
    hub = MessageHub.get_instance("joint")
    found = []
    for every, step in ((None, 4), (4, 4), (4, 5)):
        settings = f"conflict_every: {every}" if every else ""
        model = joint(tmp_path, settings)
        model.train()
        hub.update_info("iter", step)
        torch.manual_seed(0)
        total, told = model.parse_losses(model(*batch(), mode="loss"))
        total.backward()
        looks = {name: float(v) for name, v in told.items() if "/" in name}
        gradient = torch.cat(
            [p.grad.flatten() for p in model.backbone.parameters() if p.grad is not None]
        )
        found.append((looks, gradient))
    assert not found[0][0]
    assert not found[2][0]
    looks = found[1][0]
    assert len(looks) == 6
    assert all(-1 <= looks[n] <= 1 for n in looks if n.startswith("cosine/"))
    assert torch.equal(found[0][1], found[1][1])


def test_what_is_found_as_it_is_scores_full(tmp_path: Path) -> None:
    """From a prediction to the figures, for each head."""
    units = []
    for number, subset in enumerate(SETS):
        truth = picture(subset, number)
        semantic: Any = DetDataSample()
        semantic.pred_sem_seg = truth.gt_sem_seg
        instance: Any = DetDataSample()
        true: Any = truth.gt_instances
        instance.pred_instances = InstanceData(
            labels=true.labels,
            scores=torch.ones(3),
            masks=torch.from_numpy(true.masks.masks).bool(),
        )
        rotated: Any = DetDataSample()
        turned: Any = truth.gt_rotated
        rotated.pred_instances = InstanceData(
            bboxes=turned.bboxes.tensor, labels=turned.labels, scores=torch.ones(3)
        )
        told = {"semantic": semantic, "instance": instance, "rotated": rotated}
        row = {"subset": subset, "scene": truth.scene, "truth": truth}
        units.append(Pictures().add(row | told))
    card = card_of("SAMRS")
    stats = [mtp.settle(card, unit)[0] for unit in units]
    judged = mtp.judge(spec_of(tmp_path), card, stats)
    assert judged.primary == "mAP_mmrotate"
    assert {name: value for name, (value, _, _) in judged.metrics.items()} == pytest.approx(
        {"mAP_mmrotate": 100.0, "mask_AP50": 100.0, "mIoU": 100.0}
    )
    assert len(judged.details["per_class_mask_AP50 SIOR"]) == 20


def test_predictions_are_those_of_each_picture_s_own_set(tmp_path: Path) -> None:
    model, (images, samples) = joint(tmp_path).eval(), batch()
    with torch.no_grad():
        rows = model(images, samples, mode="predict")
    assert [row["subset"] for row in rows] == [sample.subset for sample in samples]
    classes = {name: len(card_of(name).classes) for name in SETS}
    for row in rows:
        assert row["semantic"].pred_sem_seg.data.shape == (1, SIDE, SIDE)
        assert row["semantic"].seg_logits.data.shape[0] == classes[row["subset"]] + 1
        stats, kept = mtp.settle(card_of("SAMRS"), Pictures().add(row))
        assert kept is None
        assert stats["semantic"].sum() == SIDE * SIDE


@pytest.mark.parametrize(
    ("name", "image_size", "count", "digest"),
    [("vit_b_rvsa", 224, 245, "55011d31ef0efada"), ("vit_l_rvsa", 448, 509, "8c52d5ea90ae00b6")],
)
def test_what_is_handed_on_has_the_names_of_the_released_encoder(
    name: str, image_size: int, count: int, digest: str
) -> None:
    """Number and hash of the sorted names in MTP's pretraining model, its prefix cut off."""
    with torch.device("meta"):
        backbone = create(name, image_size=image_size, **for_task(name, "pretraining"))
    names = sorted(mtp.export(SimpleNamespace(backbone=backbone)))
    found = hashlib.sha256(json.dumps(names).encode()).hexdigest()[:16]
    assert (len(names), found) == (count, digest)
