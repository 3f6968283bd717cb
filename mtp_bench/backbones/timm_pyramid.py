"""``timm/<name>``: any timm model as a feature pyramid, by ``forward_intermediates``.

The state dict keeps timm's keys, so that timm's weights load by name; what only serves timm's
classifier is cut off.
"""

from __future__ import annotations

import inspect
from typing import Any

import torch
from torch import nn

from mtp_bench.backbones import torchvision_shim
from mtp_bench.errors import UserError

torchvision_shim.apply()

import timm  # noqa: E402
from timm.models._manipulate import group_with_matcher  # noqa: E402

RGB = tuple[float, float, float]
IMAGENET_MEAN = (123.675, 116.28, 103.53)
IMAGENET_STD = (58.395, 57.12, 57.375)


class TimmPyramid(nn.Module):
    """A timm model that gives its feature maps. ``inner`` is timm's module, with timm's keys."""

    def __init__(self, inner: nn.Module, indices: list[int]) -> None:
        super().__init__()
        self.inner = inner
        info: Any = inner.feature_info
        stages = [dict(stage) for stage in (info if isinstance(info, list) else info.get_dicts())]
        self._indices = indices
        self.channels = tuple(int(stages[i]["num_chs"]) for i in indices)
        self.strides = tuple(int(stages[i]["reduction"]) for i in indices)
        self._layer_of = _layers(inner)
        self.layers = max(self._layer_of.values(), default=0)
        """Number of the last layer; the head comes after it."""
        self._channels_last = any(isinstance(m, nn.BatchNorm2d) for m in inner.modules())
        if self._channels_last:
            inner.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, images: torch.Tensor) -> list[torch.Tensor]:
        """Images (B, 3, H, W) to contiguous maps; mmcv's ops misread other layouts."""
        if self._channels_last:
            images = images.contiguous(memory_format=torch.channels_last)
        inner: Any = self.inner
        maps = inner.forward_intermediates(
            images, indices=self._indices, norm=False, output_fmt="NCHW", intermediates_only=True
        )
        return [m.contiguous() for m in maps]

    def layer_id(self, parameter: str) -> int:
        """Depth of a parameter, 0 for the stem; names as ``named_parameters`` gives them."""
        return self._layer_of[parameter.removeprefix("inner.")]


def statistics(name: str) -> tuple[RGB, RGB]:
    """Mean and standard deviation (RGB, 0..255) that timm's weights of a model were made with."""
    cfg: Any = timm.get_pretrained_cfg(name.removeprefix("timm/"), allow_unregistered=True)
    if cfg is None or not cfg.mean or not cfg.std:
        return IMAGENET_MEAN, IMAGENET_STD
    return _scaled(cfg.mean), _scaled(cfg.std)


def _scaled(values: Any) -> RGB:
    red, green, blue = (round(255 * float(value), 4) for value in values)
    return red, green, blue


def _layers(inner: Any) -> dict[str, int]:
    named = list(inner.named_parameters())
    if not hasattr(inner, "group_matcher"):
        return {name: 0 for name, _ in named}
    found = group_with_matcher(iter(named), inner.group_matcher(coarse=False), reverse=True)
    return {str(name): int(layer) for name, layer in found.items()}


def _last_of_each_stride(inner: Any, name: str) -> list[int]:
    """Stages of strides 4 to 32; a plain transformer has one stride and gives four taps of it."""
    info = inner.feature_info
    stages = list(info if isinstance(info, list) else info.get_dicts())
    by_stride = {int(stage["reduction"]): i for i, stage in enumerate(stages)}
    if len(by_stride) > 1:
        return sorted(i for stride, i in by_stride.items() if stride >= 4)
    depth = len(stages)
    if depth < 4:
        raise UserError(
            f"backbone '{name}': timm gives {depth} feature maps of it, too few for a pyramid"
        )
    return [depth * part // 4 - 1 for part in (1, 2, 3, 4)]


def create(
    name: str, *, image_size: int, drop_path: float = 0.0, checkpointing: bool = False
) -> TimmPyramid:
    """Build ``timm/<model>`` without weights.

    Raises:
        UserError: for a model that timm cannot take feature maps of, or that lacks what is asked
        of it.
    """
    plain = name.removeprefix("timm/")
    wanted: dict[str, Any] = {**_sized(plain, image_size)}
    if drop_path:
        wanted["drop_path_rate"] = drop_path
    try:
        inner: Any = timm.create_model(plain, num_classes=0, **wanted)
    except (RuntimeError, ValueError, TypeError, AssertionError) as error:
        raise UserError(f"backbone '{name}': timm cannot build it ({error})") from None
    if not hasattr(inner, "forward_intermediates") or not hasattr(
        inner, "prune_intermediate_layers"
    ):
        raise UserError(f"backbone '{name}': timm offers no feature maps of this model")
    indices = _last_of_each_stride(inner, name)
    inner.prune_intermediate_layers(indices, prune_norm=True, prune_head=True)
    if checkpointing:
        inner.set_grad_checkpointing(True)
    return TimmPyramid(inner, indices)


def _sized(plain: str, image_size: int) -> dict[str, int]:
    """``img_size`` for the models that are built for one size."""
    entry = timm.model_entrypoint(plain.partition(".")[0])
    module = inspect.getmodule(entry)
    source = inspect.getsource(module) if module else ""
    return {"img_size": image_size} if "img_size" in source else {}
