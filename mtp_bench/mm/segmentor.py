"""mmseg's encoder-decoder around one of our backbones, for one picture or for two dates."""

import warnings
from typing import Any

from mmengine.config import ConfigDict
from mmseg.registry import MODELS

from mtp_bench.mm.backbone import build_backbone, built_around
from mtp_bench.mm.siamese import Siamese


def build(
    backbone: dict[str, Any], head_seed: int, frozen: bool, segmentor: dict[str, Any], dates: int
) -> Any:
    """The model; ``segmentor`` is its config without backbone and without the head's channels.

    Of two ``dates`` one encoder sees both. ``load_report`` tells what became of its weights.
    """
    body, report = build_backbone(**backbone)
    config, channels = ConfigDict(segmentor), body.channels
    config.decode_head.in_channels = list(channels)  # type: ignore[arg-type]
    config.backbone = {"type": "torch.nn.Identity"}
    seen = Siamese(body) if dates == 2 else body
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Default ``avg_non_ignore``")  # meant so: as published
        model = built_around(seen, lambda: MODELS.build(config), head_seed, frozen)
    model.load_report = report
    return model
