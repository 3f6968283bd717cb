"""An mmdet or mmrotate detector around one of our backbones."""

from functools import partial
from typing import Any

import torch
from mmdet.registry import MODELS
from mmengine.config import ConfigDict
from torch import Tensor, nn

from mtp_bench.mm.backbone import build_backbone


def build(backbone: dict[str, Any], head_seed: int, frozen: bool, detector: dict[str, Any]) -> Any:
    """The detector; ``detector`` is its config without backbone and without its channels.

    Head and neck are drawn from a seed of their own just before they are used, so that every recipe
    gets the same ones. ``load_report`` tells what became of the backbone's weights.
    """
    body, report = build_backbone(**backbone)
    body.register_forward_hook(_contiguous)
    config = ConfigDict(detector)
    channels: Any = body.channels
    config.neck.in_channels = list(channels)
    config.backbone = {"type": "torch.nn.Identity"}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(head_seed)
        model: Any = MODELS.build(config)
        model.init_weights()
    model.backbone, model.load_report = body, report
    model.init_weights = _in_place
    if frozen:
        body.requires_grad_(False)
        # It keeps its statistics too: it stays in evaluation mode, whatever the detector's.
        body.train = partial(_stay, body)  # type: ignore[method-assign]
        body.eval()
    return model


def _contiguous(_: nn.Module, __: Any, maps: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """Mmcv reads RoIs of channels_last maps wrongly on the CPU, and says nothing of it."""
    return tuple(each.contiguous() for each in maps)


def _in_place() -> None:
    """Weights are in place once the model is built; mmengine would draw anew."""


def _stay(body: nn.Module, mode: bool = True) -> nn.Module:
    del mode
    return type(body).train(body, False)
