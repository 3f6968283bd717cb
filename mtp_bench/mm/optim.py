"""Parameter groups: layer-wise decay of the learning rate, weight decay where it belongs."""

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from mmengine.optim import DefaultOptimWrapperConstructor, OptimWrapper
from torch import nn

from mtp_bench.errors import UserError


def parameter_groups(
    model: nn.Module, lr: float, weight_decay: float, layer_decay: float | None
) -> list[dict[str, Any]]:
    """One group for each (layer, decays or not) pair.

    A layer's rate is ``lr * layer_decay ** (layers + 1 - id)``: stem 0, last block ``layers``, all
    else (head) ``layers + 1`` (MTP's ViT rule as it acted). No weight decay on vectors, biases and
    position embeddings.
    """
    backbone: Any = model.backbone
    if layer_decay is not None and backbone.layers == 0:
        raise UserError("this backbone tells no layers apart: set layer_decay to null")
    groups: dict[tuple[int, bool], dict[str, Any]] = {}
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        inside = name.startswith("backbone.")
        layer = backbone.layer_id(name.removeprefix("backbone.")) if inside else backbone.layers + 1
        decays = not (parameter.ndim == 1 or name.endswith(".bias") or "pos_embed" in name)
        scale = 1.0 if layer_decay is None else layer_decay ** (backbone.layers + 1 - layer)
        key = (layer if layer_decay is not None else 0, decays)
        options = {
            "lr": lr * scale,
            "initial_lr": lr * scale,
            "weight_decay": decays * weight_decay,
        }
        groups.setdefault(key, {"params": [], **options})["params"].append(parameter)
    return [groups[key] for key in sorted(groups)]


class LayerDecayConstructor(DefaultOptimWrapperConstructor):
    """mmengine's hook for ``parameter_groups``: ``paramwise_cfg`` holds ``layer_decay``."""

    def add_params(self, params: list[dict[str, Any]], module: nn.Module, **_: Any) -> None:
        decay = self.paramwise_cfg["layer_decay"]
        params += parameter_groups(module, self.base_lr, self.base_wd, decay)


class Bfloat16OptimWrapper(OptimWrapper):
    """Forward passes under bfloat16 autocast, on any device; the weights stay in float32."""

    @contextlib.contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        device = next(model.parameters()).device.type
        with super().optim_context(model), torch.autocast(device, dtype=torch.bfloat16):
            yield
