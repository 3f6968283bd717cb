"""Scene classification: a linear head on the backbone's mean last map, and its accuracy."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mtp_bench.datasets.access import Progress, read_data, render_missing
from mtp_bench.datasets.cards.card import Card
from mtp_bench.datasets.fingerprint import fingerprint
from mtp_bench.datasets.samples import DataFacts, ReadData, fraction
from mtp_bench.metrics.classification import figures
from mtp_bench.suite.schema import JobSpec, Roots
from mtp_bench.tasks.task import Config, Context, Data, Judged, Role, Task

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


def dataset(context: Context, role: Role) -> Config:
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
        "split": role,
        "protocol": context.spec.settings.model_dump(mode="json"),
        "normalisation": context.normalisation.model_dump(mode="json"),
        "fraction_seed": context.seeds["fraction"],
    }


def read(spec: JobSpec, roots: Roots) -> ReadData:
    """The pictures by split; a miniature that is not there is rendered."""
    data = Path(roots.data) if roots.data else None
    return read_data(spec.dataset, spec.data, data, Path(roots.cache))


def prepare(spec: JobSpec, roots: Roots, workers: int, progress: Progress | None) -> None:
    """Pictures are used as they lie; only miniatures are made."""
    del workers
    if spec.data == "miniature":
        render_missing(spec.dataset, Path(roots.cache), progress)
    read(spec, roots)


def check(spec: JobSpec, roots: Roots) -> None:
    """Refuse data that a job cannot use."""
    read(spec, roots)


def facts(context: Context) -> DataFacts:
    """For the record."""
    data, share = read(context.spec, context.roots), context.spec.settings.train_fraction
    train = fraction(data.splits["train"], share, context.seeds["fraction"])
    counts = {**data.counts(), "train": len(train)}
    return DataFacts(counts, data.split_source, data.defects, fingerprint(data), len(train))


def judge(spec: JobSpec, card: Card, predictions: Sequence[Prediction]) -> Judged:
    """Top-1 over all images, the mean over classes, each class's recall, the confusion matrix."""
    del spec
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
        primary=card.primary.name,
    )


DATA = Data(prepare, check, facts)
TASK = Task(model, dataset, judge, DATA, collate="default_collate", scope="mmengine")
