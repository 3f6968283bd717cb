"""Pairs of pictures through one encoder, and their preprocessing, for mmseg's EncoderDecoder."""

from collections.abc import Sequence
from typing import Any

import torch
from mmseg.models.data_preprocessor import SegDataPreProcessor
from torch import Tensor, nn


class Siamese(nn.Module):
    """One of our backbones for pairs: how far the maps of the two dates differ.

    ``encoder`` is the backbone of one picture; ``channels``, ``strides``, ``layers`` and
    ``layer_id`` are its own. MTP's way: absolute differences, level by level (Open-CD's
    ``FeatureFusionNeck``).
    """

    def __init__(self, encoder: Any) -> None:
        super().__init__()
        self.encoder = encoder
        self.channels, self.strides = encoder.channels, encoder.strides
        self.layers: int = encoder.layers

    def forward(self, pairs: Tensor) -> list[Tensor]:
        """Pairs (B, 6, H, W) to contiguous maps (B, C, h, w), finest first.

        Both dates are one batch of the encoder: batch norm takes its statistics of them together.
        """
        maps = self.encoder(torch.cat(pairs.chunk(2, dim=1)))
        dates = (each.chunk(2) for each in maps)
        return [(first - second).abs().contiguous() for first, second in dates]

    def layer_id(self, parameter: str) -> int:
        """Depth of a parameter, as the encoder counts."""
        layer: int = self.encoder.layer_id(parameter.removeprefix("encoder."))
        return layer


class PairPreprocessor(SegDataPreProcessor):
    """mmseg's for pairs (6, H, W): each date by the same statistics, its channels turned alone.

    ``mean`` and ``std`` are of three channels, in the order after turning them; ``options`` are
    mmseg's, ``bgr_to_rgb`` or ``rgb_to_bgr``, and ``size`` or ``size_divisor``, among them.
    """

    def __init__(self, mean: Sequence[float], std: Sequence[float], **options: Any) -> None:
        super().__init__(mean, std, **options)
        for name in ("mean", "std"):
            setattr(self, name, getattr(self, name).repeat(2, 1, 1))

    def forward(self, data: dict[str, Any], training: bool = False) -> dict[str, Any]:
        """``inputs``, uint8 (6, H, W) each, become one batch (B, 6, H', W') on the device."""
        if self._channel_conversion:
            data = data | {"inputs": [pair[[2, 1, 0, 5, 4, 3]] for pair in data["inputs"]]}
        batch: dict[str, Any] = super().forward(data, training)
        return batch
