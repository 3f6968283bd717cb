"""What horizontal and rotated detection share: the model's config, the data's, what is kept."""

from typing import Literal

from mtp_bench.datasets import loading
from mtp_bench.datasets.loading import Loaded
from mtp_bench.datasets.samples import DataFacts
from mtp_bench.errors import UserError, nearest
from mtp_bench.metrics.boxes import Truths
from mtp_bench.tasks.common import augmentation, input_statistics, prepared_data
from mtp_bench.tasks.detectors import DETECTORS
from mtp_bench.tasks.task import Config, Context, Role, Scene

Kind = Literal["horizontal", "rotated"]
ROTATE = {
    "type": "mmrotate.RandomRotate",
    # Else the class would be looked for in mmdet, which has another of this name.
    "rotate_type": "mmrotate.Rotate",
    "prob": 0.5,
    "angle_range": 180,
}


def model(context: Context, kind: Kind) -> Config:
    """The detector's config, for ``mm.detector.build``."""
    settings = context.spec.settings
    detector = settings.detector
    allowed = ["oriented_rcnn"] if kind == "rotated" else ["faster_rcnn", "retinanet"]
    if detector is None or detector.kind not in allowed:
        told = "none" if detector is None else detector.kind
        wanted = " or ".join(allowed)
        raise UserError(f"{context.card.name}: its boxes are {kind}: needs {wanted}, not {told}")
    return {
        "type": "mtp_bench.mm.detector.build",
        "backbone": context.backbone,
        "head_seed": context.seeds["head"],
        "frozen": settings.frozen == "backbone",
        "detector": DETECTORS[detector.kind](detector, len(context.card.classes))
        | {
            "data_preprocessor": {
                "type": "mmdet.DetDataPreprocessor",
                **input_statistics(context.normalisation),
                "pad_size_divisor": 32,
                "boxtype2tensor": kind == "horizontal",
            }
        },
    }


def _flip(share: float, *directions: str) -> Config:
    return {"type": "mmdet.RandomFlip", "prob": share, "direction": list(directions)}


def _augmentation(context: Context) -> list[Config]:
    """After resizing, in the published order."""
    settings, classes = context.spec.settings, context.card.classes
    flips = _flip(0.75, "horizontal", "vertical", "diagonal")
    steps: dict[str, list[Config]] = {
        "none": [],
        "flip": [_flip(0.5, "horizontal")],
        "flips": [flips],
        "flips_rotate": [flips],
    }
    chosen = augmentation(context, steps, "boxes")
    if settings.augmentation != "flips_rotate":
        return chosen
    for name in settings.right_angles:
        if name not in classes:
            raise UserError(f"{context.card.name}: right_angles: {nearest(name, list(classes))}")
    turned = [classes.index(name) for name in settings.right_angles]
    return [*chosen, {**ROTATE, "rect_obj_labels": turned or None}]


def dataset(context: Context, role: Role, kind: Kind) -> Config:
    """One role's config."""
    settings = context.spec.settings
    side = settings.image_size if role == "train" else settings.test.image_size
    resize = {"type": "mmdet.Resize", "scale": (side, side), "keep_ratio": True}
    resize["clip_object_border"] = kind == "horizontal"  # rotated boxes cannot be clipped
    return {
        "type": "mtp_bench.mm.boxes.BoxImages",
        "source": vars(loading.source_of(context.spec, context.roots)),
        "role": role,
        "kind": kind,
        "transforms": [resize, *(_augmentation(context) if role == "train" else [])],
        "share": settings.train_fraction,
        "fraction_seed": context.seeds["fraction"],
    }


def _facts(context: Context, loaded: Loaded) -> DataFacts:
    share = context.spec.settings.train_fraction
    return loading.facts(loaded, loading.training(loaded, share, context.seeds["fraction"]))


DATA = prepared_data(lambda *_: None, _facts)


def truths_of(scene: Scene) -> Truths:
    """The scene's objects as metrics take them."""
    objects = scene.truths
    if objects is None:
        raise ValueError(f"{scene.key}: has no truths to be judged by")
    return Truths(objects.boxes, objects.labels, objects.difficult)
