"""Architectures with a name and a feature pyramid, and the loading of their weights.

>>> from mtp_bench import backbones
>>> backbone = backbones.create("vit_b_rvsa", image_size=224)
>>> report = backbones.load_weights(backbone, "vit-b-checkpoint-1599.pth", "mae")
>>> print(report.summary())
>>> maps = backbone(images)  # one a stride, (B, C, H, W), finest first
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mtp_bench import catalog
from mtp_bench.errors import UserError
from mtp_bench.suite.protocol import Normalisation, Protocol

if TYPE_CHECKING:
    from torch import nn

    from mtp_bench.backbones.weights import LoadReport

IMAGENET = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
"""Mean and deviation (RGB, 0..255) of ImageNet's pictures; MTP and its MAE took them too."""
CLOSE = 0.5
"""Of 255: statistics are given rounded."""


def create(
    name: str,
    *,
    image_size: int,
    drop_path: float = 0.0,
    checkpointing: bool = False,
    **options: Any,
) -> nn.Module:
    """A backbone by its name, with ``channels``, ``strides``, ``layers``, ``layer_id(name)``.

    ``forward(images)`` gives one feature map a stride, (B, C, H, W), finest first. ``options`` are
    those of the backbone's own module; ``for_task`` gives a task's.

    Raises:
        UserError: for an unknown name (with the nearest one), or what the backbone cannot be.
    """
    module: nn.Module = catalog.load("backbone", name)(
        name, image_size=image_size, drop_path=drop_path, checkpointing=checkpointing, **options
    )
    return module


def load_weights(backbone: nn.Module, path: Path | str, recipe: str, **words: Any) -> LoadReport:
    """Load a file into a backbone, as ``weights.load_weights``, and tell what became of it."""
    from mtp_bench.backbones import weights

    return weights.load_weights(backbone, Path(path), recipe, **words)


def for_task(name: str, task: str) -> dict[str, Any]:
    """The options that a task builds a backbone with."""
    options: dict[str, Any] = getattr(_module(name), "for_task", lambda *_: {})(name, task)
    return options


def _module(name: str) -> Any:
    target = catalog.find("backbone", name).target
    if target is None:
        raise ValueError(f"backbone '{name}' is not part of this version")
    return importlib.import_module(target.partition(":")[0])


def statistics(name: str) -> tuple[tuple[float, float, float], tuple[float, float, float]]:
    """Mean and deviation (RGB, 0..255) of the input that a backbone's usual weights expect."""
    mean, std = getattr(_module(name), "statistics", lambda _: IMAGENET)(name)
    return mean, std


def normalisation(
    protocol: Protocol, name: str, made_with: Normalisation | None, *, pretrained: bool
) -> Normalisation:
    """What a job's pictures go through: as the weights were made, else as the protocol says.

    ``made_with``: where nothing is said of the weights, it is the backbone's usual.

    Raises:
        UserError: where the protocol fixes other statistics than pretrained weights expect.
    """
    weights = made_with
    if weights is None:
        mean, std = statistics(name)
        weights = Normalisation(mean=mean, std=std)
    if protocol.mean is None or protocol.std is None:
        return weights
    ours = zip((*weights.mean, *weights.std), (*protocol.mean, *protocol.std), strict=True)
    differ = any(abs(a - b) > CLOSE for a, b in ours)
    if pretrained and differ and not protocol.own_statistics:
        raise UserError(
            f"{name}: its weights expect pictures of mean {weights.mean} and deviation "
            f"{weights.std}, the protocol fixes {protocol.mean} and "
            f"{protocol.std}, which costs accuracy: set mean and std to null, or "
            "own_statistics: true to mean it"
        )
    return weights.model_copy(update={"mean": protocol.mean, "std": protocol.std})
