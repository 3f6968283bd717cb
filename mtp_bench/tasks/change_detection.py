"""Change detection: one encoder for both dates, their difference, a UNet; F1 of change."""

from collections.abc import Sequence
from functools import partial

from mtp_bench.datasets.cards.card import Card
from mtp_bench.metrics.confusion import Ints, figures
from mtp_bench.suite.schema import JobSpec
from mtp_bench.tasks import judging, masks
from mtp_bench.tasks.common import augmentation
from mtp_bench.tasks.task import Config, Context, Judged, Role, Task

CHANGED = 1


def dataset(context: Context, role: Role) -> Config:
    settings = context.spec.settings
    side = settings.image_size if role == "train" else settings.test.image_size
    # The label keeps its own size, as published for OSCD: loss and figures are made at it.
    resize = {"type": "mtp_bench.mm.pairs.PairResize", "size": side}
    return masks.dataset(
        context, role, [resize, *(_augmentation(context) if role == "train" else [])], dates=2
    )


def _augmentation(context: Context) -> list[Config]:
    side, pairs = context.spec.settings.image_size, "mtp_bench.mm.pairs"
    known: dict[str, list[Config]] = {
        "none": [],
        "flips": [{"type": f"{pairs}.PairFlips"}],
        "pairs": [
            {"type": f"{pairs}.PairRotateFlip"},
            {"type": f"{pairs}.PairCrop", "size": side},
            {"type": f"{pairs}.PairExchange"},
            {"type": f"{pairs}.PairPhotometry"},
        ],
    }
    return augmentation(context, known, "change detection")


def judge(spec: JobSpec, card: Card, matrices: Sequence[Ints]) -> Judged:
    """F1, IoU, precision and recall of the class 'changed', from all test pixels."""
    found = figures(matrices, len(card.classes))
    primary = card.primary.name
    tiling = spec.settings.tiling
    if tiling is not None and card.tiles is not None and tiling.size != card.tiles.size:
        primary = f"{primary}_{tiling.size}px"  # tested otherwise: another figure
    changed = {
        primary: found.f1[CHANGED],
        "IoU_changed": found.iou[CHANGED],
        "precision_changed": found.precision[CHANGED],
        "recall_changed": found.recall[CHANGED],
        "mIoU": found.mean_iou,
        "pixel_accuracy": found.accuracy,
    }
    return Judged(
        metrics=judging.known(card, changed, primary),
        details={
            "pictures": len(matrices),
            "per_class_IoU": judging.per_class(found.iou, card.classes),
            "confusion": found.matrix.tolist(),
        },
        primary=primary,
    )


TASK = Task(
    partial(masks.model, kind="unet"),
    dataset,
    judge,
    masks.DATA,
    collate="pseudo_collate",
    scope="mmseg",
    settle=masks.settle,
    units="mtp_bench.mm.masks.Maps",
    least_batch=lambda _: 2,
)
