"""``mae``: masked-autoencoder pretraining on Million-AID, or on any folder of pictures."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from mtp_bench.datasets import loading
from mtp_bench.datasets.access import Progress
from mtp_bench.datasets.cards.card import Card
from mtp_bench.datasets.samples import DataFacts
from mtp_bench.datasets.unlabelled import facts as facts_of
from mtp_bench.datasets.unlabelled import pictures
from mtp_bench.errors import UserError
from mtp_bench.suite.protocol import Mae
from mtp_bench.suite.schema import JobSpec, Roots
from mtp_bench.tasks.common import augmentation
from mtp_bench.tasks.task import Config, Context, Data, Judged, Role, Task

STEPS: dict[str, list[Config]] = {"none": [], "crop_flip": []}


def _settings(spec: JobSpec) -> Mae:
    if spec.settings.mae is None:
        raise UserError(f"{spec.backbone}, {spec.recipe}: its protocol has no 'mae'")
    return spec.settings.mae


def model(context: Context) -> Config:
    """The config of encoder and decoder."""
    return {
        "type": "mtp_bench.mm.mae.Mae",
        "backbone": context.backbone,
        "head_seed": context.seeds["head"],
        "mae": _settings(context.spec).model_dump(mode="json"),
    }


def dataset(context: Context, role: Role) -> Config:
    """One role's config."""
    import torch

    from mtp_bench.mm.mae import plain

    augmentation(context, STEPS, "mae")
    settings, mae = context.spec.settings, _settings(context.spec)
    side = settings.image_size
    with torch.device("meta"):  # for its patches' size alone
        patch = plain(context.spec.backbone, side).patch_embed.patch_size[0]
    return {
        "type": "mtp_bench.datasets.unlabelled.UnlabelledImages",
        "source": _source(context.spec, context.roots),
        "folder": mae.folder,
        "role": role,
        "mae": {
            "image_size": side,
            "patch": patch,
            "crop": list(mae.crop),
            "augment": settings.augmentation == "crop_flip",
        },
        "normalisation": context.normalisation.model_dump(mode="json"),
    }


def _source(spec: JobSpec, roots: Roots) -> dict[str, Any]:
    return vars(loading.source_of(spec, roots))


def prepare(spec: JobSpec, roots: Roots, workers: int, progress: Progress | None) -> None:
    """A folder of the user's is read as it lies."""
    if _settings(spec).folder is None:
        loading.source_of(spec, roots).prepare(workers=workers, progress=progress)
    check(spec, roots)


def check(spec: JobSpec, roots: Roots) -> None:
    """Refuse what is not there."""
    pictures(_source(spec, roots), _settings(spec).folder)


def facts(context: Context) -> DataFacts:
    """For the record."""
    return facts_of(_source(context.spec, context.roots), _settings(context.spec).folder)


def judge(spec: JobSpec, card: Card, results: Sequence[tuple[int, float]]) -> Judged:
    """The mean loss over some training pictures, each masked by a seed of its own."""
    del card
    losses = dict(results)
    what = "patches of mean 0 and deviation 1" if _settings(spec).normalise_patches else "pixels"
    return Judged(
        metrics={"reconstruction_loss": (float(np.mean(list(losses.values()))), "", False)},
        details={
            "metric_definition": f"mean squared error of hidden {what}, normalised as the input, "
            f"on {len(losses)} training pictures, masked by fixed seeds",
        },
        primary="reconstruction_loss",
    )


def export(model: Any) -> dict[str, Any]:
    """The plain transformer by timm's names, which are MAE's own."""
    state: dict[str, Any] = model.backbone.vit.state_dict()
    return state


TASK = Task(
    model,
    dataset,
    judge,
    Data(prepare, check, facts),
    collate="default_collate",
    scope="mmengine",
    export=export,
)
