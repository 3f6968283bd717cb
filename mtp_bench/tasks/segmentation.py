"""Semantic segmentation: UperNet on windows that slide over whole pictures, judged by mean IoU."""

from collections.abc import Sequence
from functools import partial

from mtp_bench.datasets import loading
from mtp_bench.datasets.cards.card import IGNORE, Card
from mtp_bench.metrics.confusion import Ints, figures
from mtp_bench.suite.schema import JobSpec
from mtp_bench.tasks import judging, masks
from mtp_bench.tasks.common import augmentation
from mtp_bench.tasks.task import Config, Context, Judged, Role, Task


def dataset(context: Context, role: Role) -> Config:
    settings = context.spec.settings
    if role != "train":
        side = settings.test.image_size
        resize = {"type": "mmseg.Resize", "scale": (side, side), "keep_ratio": False}
        return masks.dataset(context, role, [] if settings.test.stride else [resize], dates=1)
    return masks.dataset(context, role, _augmentation(context), dates=1)


def _augmentation(context: Context) -> list[Config]:
    side = context.spec.settings.image_size
    resize = {"type": "mmseg.Resize", "scale": (side, side), "keep_ratio": False}
    flips = ["horizontal", "vertical", "diagonal"]
    known: dict[str, list[Config]] = {
        "none": [resize],
        "flips": [resize, {"type": "RandomFlip", "prob": 0.75, "direction": flips}],
        "scale_crop": [
            {
                "type": "RandomResize",
                "resize_type": "mmseg.Resize",
                "scale": (side, side),
                "ratio_range": (0.5, 2.0),
                "keep_ratio": True,
            },
            {
                "type": "mmseg.RandomCrop",
                "crop_size": (side, side),
                "cat_max_ratio": 0.75,
                "ignore_index": IGNORE,
            },
            {"type": "RandomFlip", "prob": 0.5, "direction": "horizontal"},
            # It takes blue for red here, which only turns the sign of a hue drawn from both signs.
            {"type": "mmseg.PhotoMetricDistortion"},
        ],
    }
    return augmentation(context, known, "segmentation")


def judge(spec: JobSpec, card: Card, matrices: Sequence[Ints]) -> Judged:
    """Mean IoU, and what goes with it; of validation pictures that were trained on, called so."""
    roles = loading.roles(card, spec.settings.train_on_val)
    seen = "_val_seen" if roles.seen else "_val" if card.judged_here else ""
    found = figures(matrices, len(card.classes))
    here = (card.judged_here or card.primary).name
    means = {"mIoU": found.mean_iou, "mF1": found.mean_f1, "pixel_accuracy": found.accuracy}
    iou = judging.per_class(found.iou, card.classes)
    return Judged(
        metrics=judging.known(card, {f"{name}{seen}": v for name, v in means.items()}, here),
        details={
            "pictures": len(matrices),
            f"per_class_IoU{seen}": iou,
            f"per_class_F1{seen}": judging.per_class(found.f1, card.classes),
            "confusion": found.matrix.tolist(),
        },
        primary=card.primary.name if roles.server else here,
        awaiting=card.server if roles.server else None,
        warnings=judging.warnings(card, [name for name, value in iou.items() if value is None]),
    )


TASK = Task(
    partial(masks.model, kind="upernet"),
    dataset,
    judge,
    masks.DATA,
    collate="pseudo_collate",
    scope="mmseg",
    settle=masks.settle,
    units="mtp_bench.mm.masks.Maps",
    held_back=judging.held_back,
    least_batch=lambda _: 2,
)
