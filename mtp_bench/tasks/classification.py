"""Scene classification: a linear head on the backbone's mean last map, and its accuracy."""

from collections.abc import Sequence

import numpy as np

from mtp_bench.datasets.cards.card import Card
from mtp_bench.metrics.classification import figures
from mtp_bench.tasks.task import Config, Context, Judged, Task

Prediction = tuple[int, int, int]
"""Index of the image in its split, true class, predicted class."""


def model(context: Context) -> Config:
    """The classifier's config."""
    return {
        "type": "mtp_bench.mm.classifier.Classifier",
        "backbone": context.backbone,
        "classes": len(context.card.classes),
        "head_seed": context.seeds["head"],
        "frozen": context.spec.settings.frozen == "backbone",
    }


def dataset(context: Context, split: str) -> Config:
    """One split's config."""
    roots = context.roots
    return {
        "type": "mtp_bench.datasets.images.LabelledImages",
        "source": {
            "name": context.spec.dataset,
            "variant": context.spec.data,
            "data": roots.data,
            "cache": roots.cache,
        },
        "split": split,
        "protocol": context.spec.settings.model_dump(mode="json"),
        "normalisation": context.normalisation.model_dump(mode="json"),
        "fraction_seed": context.seeds["fraction"],
    }


def judge(card: Card, predictions: Sequence[Prediction]) -> Judged:
    """Top-1 over all images, the mean over classes, each class's recall, the confusion matrix."""
    table = np.asarray(sorted(predictions), dtype=np.int64)
    found = figures(table[:, 1], table[:, 2], card.classes)
    absent = [name for name, value in found.per_class.items() if value is None]
    return Judged(
        metrics={
            "accuracy": (found.accuracy, "%", True),
            "mean_class_accuracy": (found.mean_class_accuracy, "%", True),
        },
        details={
            "per_class_accuracy": found.per_class,
            "confusion": found.confusion,
            "classes": list(card.classes),
            "classes_without_test_images": absent,
            "predictions": table[:, 2].tolist(),
            "labels": table[:, 1].tolist(),
        },
    )


TASK = Task(model, dataset, judge, collate="default_collate", scope="mmengine")
