"""The model of multi-task pretraining: one encoder, three decoders, output layers of each set.

Each (head, set) is a plain model of a library, whose decoder is the very module of the other sets'
but for its last layers; its backbone hands on the maps that the encoder made of all pictures at
once. Source: ``Multi-Task_Pretrain/models.py`` of ViTAE-Transformer/MTP.
"""

import copy
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from mmdet.models.data_preprocessors import DetDataPreprocessor
from mmdet.registry import MODELS
from mmengine.config import ConfigDict
from mmengine.logging import MessageHub
from mmengine.model import BaseModel
from mmseg.structures import SegDataSample
from pycocotools import mask as coco
from torch import Tensor, nn

from mtp_bench.metrics.boxes import Detections, Truths
from mtp_bench.metrics.instances import MaskScene
from mtp_bench.mm import conflict
from mtp_bench.mm.backbone import build_backbone

OWN = {
    "semantic": ("decode_head.conv_seg", "decode_head.dropout"),
    "instance": (
        "roi_head.bbox_head.fc_cls",
        "roi_head.bbox_head.fc_reg",
        "roi_head.mask_head.conv_logits",
    ),
    "rotated": ("roi_head.bbox_head.fc_cls", "roi_head.bbox_head.fc_reg"),
}
"""What each set has of its own; all else is shared."""
Maps = tuple[Tensor, ...]


def build(
    backbone: dict[str, Any],
    head_seed: int,
    heads: dict[str, dict[str, dict[str, Any]]],
    preprocessor: dict[str, Any],
    joint: dict[str, Any],
) -> "Joint":
    """``heads``: head → set → a library's config without backbone and without its channels.

    ``joint``: ``loss_weights`` and ``conflict_every``, in mmengine's iterations; 0: never.
    """
    body, report = build_backbone(**backbone)
    channels: Any = body.channels
    built: dict[str, nn.ModuleDict] = {}
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Default ``avg_non_ignore``")  # meant so: as published
        torch.manual_seed(head_seed)
        for head, sets in heads.items():
            models = {name: _headed(head, config, channels) for name, config in sets.items()}
            first, *others = models.values()
            for other in others:
                _share(first, other, OWN[head])
            built[head] = nn.ModuleDict(models)
    return Joint(body, report, built, preprocessor, joint)


def _headed(head: str, config: dict[str, Any], channels: Sequence[int]) -> Any:
    given = ConfigDict(copy.deepcopy(config))
    part = given.decode_head if head == "semantic" else given.neck
    part.in_channels = list(channels)
    given.backbone = {"type": "torch.nn.Identity"}
    model: Any = MODELS.build(given)
    model.init_weights()
    model.init_weights = lambda: None  # mmengine would draw anew
    return model


def _share(first: nn.Module, other: nn.Module, own: Sequence[str], path: str = "") -> None:
    """Put the modules of ``first`` in the place of the ``other``'s, but for its own."""
    for name, module in list(first.named_children()):
        place = f"{path}{name}"
        if place in own:
            continue
        if any(each.startswith(f"{place}.") for each in own):
            _share(module, getattr(other, name), own, f"{place}.")
        else:
            setattr(other, name, module)


class Joint(BaseModel):
    """Pictures of one size, of each set equally many, with ``subset`` in their samples."""

    def __init__(
        self,
        backbone: nn.Module,
        report: Any,
        heads: Mapping[str, nn.ModuleDict],
        preprocessor: dict[str, Any],
        joint: dict[str, Any],
    ) -> None:
        super().__init__(DetDataPreprocessor(**preprocessor))
        self.backbone, self.load_report = backbone, report
        self.heads = nn.ModuleDict(heads)
        self._weights, self._every = joint["loss_weights"], joint["conflict_every"]

    def init_weights(self) -> None:
        """Weights are in place once the model is built; mmengine would draw anew."""

    def forward(self, inputs: Tensor, data_samples: list[Any], mode: str = "tensor") -> Any:
        """``loss``: losses by head, set and term; ``predict``: judged parts; ``tensor``: maps."""
        maps = tuple(each.contiguous() for each in self.backbone(inputs))
        if mode == "tensor":
            return maps
        subsets = list(dict.fromkeys(sample.subset for sample in data_samples))
        rows = {s: [i for i, d in enumerate(data_samples) if d.subset == s] for s in subsets}
        parts = {s: (tuple(m[which] for m in maps), which) for s, which in rows.items()}
        if mode == "loss":
            found: dict[str, Any] = {}
            for subset, (cut, which) in parts.items():
                samples = [data_samples[i] for i in which]
                for head in self.heads:
                    found |= self._losses(head, subset, cut, samples)
            return found
        told: list[Any] = [None] * len(data_samples)
        for subset, (cut, which) in parts.items():
            samples = [data_samples[i] for i in which]
            for place, row in zip(which, self._predicted(subset, cut, samples), strict=True):
                told[place] = row
        return told

    def _losses(self, head: str, subset: str, maps: Maps, samples: list[Any]) -> dict[str, Any]:
        model: Any = self.heads[head][subset]  # type: ignore[index]
        weight = self._weights.get(head, 1.0)
        found = model.loss(maps, [VIEWS[head](sample) for sample in samples])
        return {
            f"{head} {subset} {name.removeprefix('decode.')}": _times(weight, value)
            if "loss" in name
            else value
            for name, value in found.items()
        }

    def _predicted(self, subset: str, maps: Maps, samples: list[Any]) -> list[dict[str, Any]]:
        rows = [{"subset": subset, "scene": s.scene, "truth": s} for s in samples]
        for head, models in self.heads.items():
            views = [VIEWS[head](sample) for sample in samples]
            model: Any = models[subset]  # type: ignore[index]
            for row, found in zip(rows, model.predict(maps, views), strict=True):
                row[head] = found
        return rows

    def parse_losses(self, losses: dict[str, Any]) -> tuple[Tensor, dict[str, Tensor]]:
        """The sum, and every term; now and then how the heads' gradients agree."""
        total, told = super().parse_losses(losses)
        done = int(MessageHub.get_current_instance().get_info("iter", 0))
        if self._every and done % self._every == 0:
            sums: dict[str, Any] = {
                head: sum(
                    told[name] for name in told if name.startswith(f"{head} ") and "loss" in name
                )
                for head in self.heads
            }
            told |= conflict.measure(sums, list(self.backbone.parameters()))
        return total, told


def _times(weight: float, value: Any) -> Any:
    return [weight * each for each in value] if isinstance(value, list) else weight * value


def _semantic(sample: Any) -> SegDataSample:
    return SegDataSample(gt_sem_seg=sample.gt_sem_seg, metainfo=sample.metainfo)


def _boxed(sample: Any, truths: Any) -> Any:
    found = type(sample)(metainfo=sample.metainfo)
    found.gt_instances = truths.new()  # mmdet writes into it
    found.ignored_instances = sample.ignored_instances
    return found


VIEWS: dict[str, Any] = {
    "semantic": _semantic,
    "instance": lambda sample: _boxed(sample, sample.gt_instances),
    "rotated": lambda sample: _boxed(sample, sample.gt_rotated),
}
"""A sample as the models of a head take it."""


class Pictures:
    """Predicted pictures → what is judged of them: no mask or map stays in memory."""

    def add(self, sample: dict[str, Any]) -> dict[str, Any]:
        """By head: (truth, prediction) label maps, a ``MaskScene``, (truths, detections)."""
        truth = sample["truth"]
        unit: dict[str, Any] = {"subset": sample["subset"]}
        if "semantic" in sample:
            found = sample["semantic"].pred_sem_seg.data[0]
            unit["semantic"] = (_array(truth.gt_sem_seg.data[0]), _array(found))
        if "instance" in sample:
            unit["instance"] = _masks(sample["scene"], truth, sample["instance"].pred_instances)
        if "rotated" in sample:
            found, true = sample["rotated"].pred_instances, truth.gt_rotated
            unit["rotated"] = (
                Truths(_quads(true.bboxes), _array(true.labels), np.zeros(len(true), np.int64)),
                _detections(found),
            )
        return unit


def _array(tensor: Tensor, kind: Any = np.int64) -> Any:
    return tensor.detach().cpu().numpy().astype(kind)


def _quads(boxes: Any) -> Any:
    return _array(boxes.convert_to("qbox").tensor, np.float64).reshape(-1, 8)


def _detections(found: Any) -> Detections:
    boxes = getattr(found.bboxes, "tensor", found.bboxes)
    numbers, scores = _array(boxes, np.float64).reshape(-1, 5), _array(found.scores, np.float64)
    whole = np.isfinite(numbers).all(axis=1) & np.isfinite(scores)  # of a detector that diverged
    return Detections(numbers[whole], _array(found.labels)[whole], scores[whole])


def _masks(scene: Any, truth: Any, found: Any) -> MaskScene:
    true = truth.gt_instances
    return MaskScene(
        key="/".join(scene),
        size=truth.img_shape,
        labels=_array(true.labels),
        masks=tuple(coco.encode(np.asfortranarray(mask)) for mask in true.masks.masks),
        found_labels=_array(found.labels),
        scores=_array(found.scores, np.float64),
        found=tuple(coco.encode(np.asfortranarray(_array(m, np.uint8))) for m in found.masks),
    )
