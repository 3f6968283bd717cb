"""An mmdet or mmrotate detector around one of our backbones."""

from typing import Any

from mmdet.registry import MODELS
from mmengine.config import ConfigDict
from torch import Tensor, nn

from mtp_bench.mm.backbone import build_backbone, built_around


def build(backbone: dict[str, Any], head_seed: int, frozen: bool, detector: dict[str, Any]) -> Any:
    """The detector; ``detector`` is its config without backbone and without its channels.

    ``load_report`` tells what became of the backbone's weights.
    """
    body, report = build_backbone(**backbone)
    body.register_forward_hook(_contiguous)
    config, channels = ConfigDict(detector), body.channels
    config.neck.in_channels = list(channels)  # type: ignore[arg-type]
    config.backbone = {"type": "torch.nn.Identity"}
    model = built_around(body, lambda: MODELS.build(config), head_seed, frozen)
    model.load_report = report
    return model


def _contiguous(_: nn.Module, __: Any, maps: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """RoIs of channels_last maps are what mmcv reads wrongly on the CPU, without a word."""
    return tuple(each.contiguous() for each in maps)
