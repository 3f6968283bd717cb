"""Architectures with a name and a feature pyramid, and the loading of their weights."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from mtp_bench import catalog

if TYPE_CHECKING:
    from torch import nn


def create(
    name: str,
    *,
    image_size: int,
    drop_path: float = 0.0,
    checkpointing: bool = False,
    **options: Any,
) -> nn.Module:
    """A backbone by its name, with ``channels``, ``strides``, ``layers``, ``layer_id(name)``.

    ``forward(images)`` gives one feature map a stride, (B, C, H, W), finest first.
    """
    module: nn.Module = catalog.load("backbone", name)(
        name, image_size=image_size, drop_path=drop_path, checkpointing=checkpointing, **options
    )
    return module


def statistics(name: str) -> tuple[tuple[float, float, float], tuple[float, float, float]]:
    """Mean and deviation (RGB, 0..255) of the input that a backbone's usual weights expect."""
    target = catalog.find("backbone", name).target
    if target is None:
        raise ValueError(f"backbone '{name}' is not part of this version")
    module = importlib.import_module(target.partition(":")[0])
    mean, std = module.statistics(name)
    return mean, std
