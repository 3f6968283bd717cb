"""``mtp``: multi-task pretraining on SAMRS, one encoder with three decoders (MTP, JSTARS 2024)."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from mtp_bench.datasets import loading, samrs_parts
from mtp_bench.datasets.access import Progress, card_of
from mtp_bench.datasets.cards.card import IGNORE, Card
from mtp_bench.datasets.loading import Loaded, Source
from mtp_bench.datasets.samples import DataFacts
from mtp_bench.datasets.samrs_parts import Parts
from mtp_bench.errors import UserError
from mtp_bench.metrics import ap, confusion
from mtp_bench.metrics.instances import MaskScene, mask_figures
from mtp_bench.metrics.rotated_ap import mmrotate_scene
from mtp_bench.suite.protocol import Decoder, Detector, Mtp, Protocol
from mtp_bench.suite.schema import JobSpec, Roots
from mtp_bench.tasks.common import augmentation, input_statistics
from mtp_bench.tasks.detectors import mask_rcnn, oriented_rcnn
from mtp_bench.tasks.judging import per_class
from mtp_bench.tasks.task import Config, Context, Data, Judged, Role, Task

STEPS: dict[str, list[Config]] = {"none": [], "joint": []}
BACKGROUND = "background"
FIGURES = {"rotated": "mAP_mmrotate", "instance": "mask_AP50", "semantic": "mIoU"}
"""Of each head; the first that is there is the primary one."""


class Settings(NamedTuple):
    """What of a protocol the stage needs."""

    mtp: Mtp
    decoder: Decoder
    detector: Detector


def _settings(spec: JobSpec) -> Settings:
    protocol, cell = spec.settings, f"{spec.backbone}, {spec.recipe}"
    decoder, detector = protocol.decoder, protocol.detector
    if protocol.mtp is None:
        raise UserError(f"{cell}: its protocol has no 'mtp'")
    if decoder is None or decoder.kind != "upernet":
        raise UserError(f"{cell}: needs a decoder of kind upernet")
    if detector is None or detector.kind != "oriented_rcnn":
        raise UserError(f"{cell}: needs a detector of kind oriented_rcnn")
    return Settings(protocol.mtp, decoder, detector)


def model(context: Context) -> Config:
    """The joint model's config, for ``mm.joint.build``."""
    settings, protocol = _settings(context.spec), context.spec.settings
    if protocol.frozen != "none":
        raise UserError(f"{context.spec.recipe}: 'frozen' leaves nothing to pretrain")
    norm = {"type": "SyncBN" if context.sync_norm else "BN", "requires_grad": True}
    kinds: dict[str, Callable[[int], Config]] = {
        "semantic": lambda count: upernet(settings.decoder, count + 1, norm),
        "instance": lambda count: mask_rcnn(
            settings.detector, count, settings.mtp.mask_size, settings.mtp.mask_convs
        ),
        "rotated": lambda count: oriented_rcnn(settings.detector, count),
    }
    counts = {name: len(card_of(name).classes) for name in settings.mtp.subsets}
    return {
        "type": "mtp_bench.mm.joint.build",
        "backbone": context.backbone,
        "head_seed": context.seeds["head"],
        "heads": {
            head: {name: kinds[head](count) for name, count in counts.items()}
            for head in settings.mtp.heads
        },
        "preprocessor": {
            **{
                k: v
                for k, v in input_statistics(context.normalisation).items()
                if k != "rgb_to_bgr"
            },
            "bgr_to_rgb": context.normalisation.channel_order == "bgr",
            "pad_size_divisor": 32,
            "boxtype2tensor": False,
        },
        "joint": {
            "loss_weights": dict(settings.mtp.loss_weights),
            "conflict_every": (settings.mtp.conflict_every or 0) * context.accumulation,
        },
    }


def upernet(decoder: Decoder, outputs: int, norm: Config) -> Config:
    """The semantic head's config; the published one is half as wide as in fine-tuning."""
    return {
        "type": "mmseg.EncoderDecoder",
        "decode_head": {
            "type": "mmseg.UPerHead",
            "in_index": [0, 1, 2, 3],
            "pool_scales": (1, 2, 3, 6),
            "channels": decoder.channels,
            "num_classes": outputs,
            "dropout_ratio": decoder.dropout,
            "norm_cfg": norm,
            "align_corners": False,
            "loss_decode": {"type": "mmseg.CrossEntropyLoss", "loss_weight": 1.0},
        },
        "train_cfg": {},
        "test_cfg": {"mode": "whole"},
    }


def dataset(context: Context, role: Role) -> Config:
    """One role's config."""
    augmentation(context, STEPS, "mtp")
    settings, mtp = context.spec.settings, _settings(context.spec).mtp
    side = settings.image_size if role == "train" else settings.test.image_size
    return {
        "type": "mtp_bench.mm.samrs.JointImages",
        "sources": [vars(source) for source in _sources(context.spec, context.roots)],
        "role": role,
        "heads": list(mtp.heads),
        "parts": {"held_out": mtp.held_out, "exclude": mtp.exclude},
        "transform": {
            "image_size": side,
            "scale": list(mtp.scale),
            "augment": settings.augmentation == "joint",
        },
    }


def _sources(spec: JobSpec, roots: Roots) -> list[Source]:
    mtp = _settings(spec).mtp
    return [Source(name, spec.data, roots.data, roots.cache) for name in mtp.subsets]


def _sets(spec: JobSpec, roots: Roots) -> dict[str, tuple[Loaded, Parts]]:
    mtp = _settings(spec).mtp
    found = {}
    for source in _sources(spec, roots):
        loaded = loading.load(source)
        parts = samrs_parts.split(loaded, mtp.held_out, mtp.exclude, roots.data)
        found[source.name] = (loaded, parts)
    return found


def prepare(spec: JobSpec, roots: Roots, workers: int, progress: Progress | None) -> None:
    """Set by set."""
    for source in _sources(spec, roots):
        source.prepare(workers=workers, progress=progress)
    check(spec, roots)


def check(spec: JobSpec, roots: Roots) -> None:
    """Refuse what is not ready, or cannot be told from validation pictures."""
    _sets(spec, roots)


def facts(context: Context) -> DataFacts:
    """For the record."""
    return samrs_parts.data_facts(_sets(context.spec, context.roots))


def settle(card: Card, unit: dict[str, Any]) -> tuple[dict[str, Any], None]:
    """A predicted picture to what figures need of it."""
    del card  # each picture is of a set of its own
    classes = len(card_of(unit["subset"]).classes)
    stats: dict[str, Any] = {"subset": unit["subset"]}
    if "semantic" in unit:
        truth, found = unit["semantic"]
        stats["semantic"] = confusion.confusion(truth, found, classes + 1, IGNORE)
    if "instance" in unit:
        stats["instance"] = unit["instance"]
    if "rotated" in unit:
        truths, boxes = unit["rotated"]
        stats["rotated"] = mmrotate_scene(truths, boxes, classes)
    return stats, None


def judge(spec: JobSpec, card: Card, pictures: Sequence[dict[str, Any]]) -> Judged:
    """Each head's figure as the mean over the sets; by set and class in the details."""
    del card
    mtp = _settings(spec).mtp
    means: dict[str, list[float]] = {}
    details: dict[str, Any] = {"pictures": len(pictures)}
    for subset in mtp.subsets:
        mine = [each for each in pictures if each["subset"] == subset]
        classes = card_of(subset).classes
        for head in (head for head in FIGURES if head in mtp.heads):
            value, table = JUDGES[head]([each[head] for each in mine], classes)
            name = FIGURES[head]
            means.setdefault(name, []).append(value)
            details[f"{name} {subset}"] = None if np.isnan(value) else value
            details[f"per_class_{name} {subset}"] = table
    known = {name: [v for v in values if not np.isnan(v)] for name, values in means.items()}
    metrics = {name: (float(np.mean(v)), "%", True) for name, v in known.items() if v}
    if not metrics:
        raise UserError(f"{spec.dataset}: no held-out picture has an object: nothing to judge")
    details["metric_definition"] = (
        "means over the sets, on held-out pictures resized to the test size: "
        "mAP_mmrotate, mask_AP50 (COCO) and mIoU with background as a class"
    )
    return Judged(metrics=metrics, details=details, primary=next(iter(metrics)))


Figure = tuple[float, dict[str, float | None]]


def _semantic(matrices: Sequence[Any], classes: tuple[str, ...]) -> Figure:
    found = confusion.figures(matrices, len(classes) + 1)
    return found.mean_iou, per_class(found.iou, (BACKGROUND, *classes))


def _instance(scenes: Sequence[MaskScene], classes: tuple[str, ...]) -> Figure:
    found = mask_figures(scenes, classes)["AP50"]
    known = found[~np.isnan(found)]
    return float(known.mean()) if len(known) else float("nan"), per_class(found, classes)


def _rotated(scenes: Sequence[ap.SceneStats], classes: tuple[str, ...]) -> Figure:
    found = ap.figures(scenes, classes)
    return found.mean, per_class(found.ap, classes)


JUDGES: dict[str, Callable[[Any, tuple[str, ...]], Figure]] = {
    "semantic": _semantic,
    "instance": _instance,
    "rotated": _rotated,
}


def _parts(protocol: Protocol) -> int:
    return len(protocol.mtp.subsets) if protocol.mtp else 1


def _least(protocol: Protocol) -> int:
    """Of each set: the semantic head alone has batch norm of its own."""
    return 2 if protocol.mtp and "semantic" in protocol.mtp.heads else 1


def export(model: Any) -> dict[str, Any]:
    """The encoder, by its own names, which are those of MTP's released files."""
    state: dict[str, Any] = model.backbone.state_dict()
    return state


TASK = Task(
    model,
    dataset,
    judge,
    Data(prepare, check, facts),
    collate="pseudo_collate",
    scope="mmdet",
    settle=settle,
    units="mtp_bench.mm.joint.Pictures",
    least_batch=_least,
    parts=_parts,
    export=export,
)
