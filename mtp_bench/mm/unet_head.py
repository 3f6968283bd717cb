"""The UNet head of MTP's change detection, which mmseg lacks.

A config names it, in any scope, with its loss's type prefixed:

    "decode_head": {"type": "mtp_bench.mm.unet_head.UNetHead", "in_channels": [64, 128, 256, 512],
                    "num_classes": 2, "norm_cfg": {"type": "SyncBN"},
                    "loss_decode": {"type": "mmseg.CrossEntropyLoss"}}
"""

from collections.abc import Sequence
from typing import Any

import torch
from mmcv.cnn import ConvModule
from mmseg.models.decode_heads.decode_head import BaseDecodeHead
from torch import Tensor, nn
from torch.nn.functional import interpolate


class UNetHead(BaseDecodeHead):
    """As ``opencd/models/decode_heads/unet_head.py`` in MTP's release, as its configs use it.

    ``in_channels`` are of the maps, finest first; ``decoder_channels`` of the blocks, one a map.
    Other options are mmseg's; softmax over the classes, even over two.
    """

    def __init__(
        self,
        in_channels: Sequence[int],
        num_classes: int,
        decoder_channels: Sequence[int] = (512, 256, 128, 64),
        **options: Any,
    ) -> None:
        super().__init__(
            in_channels,
            decoder_channels[-1],
            num_classes=num_classes,
            out_channels=num_classes,
            in_index=list(range(len(in_channels))),
            input_transform="multiple_select",
            **options,
        )
        deepest, *skips = reversed(in_channels)
        below = (deepest, *decoder_channels[:-1])
        sizes = zip(below, (*skips, 0), decoder_channels, strict=True)
        self.blocks = nn.ModuleList(self._block(x + skip, wide) for x, skip, wide in sizes)

    def _block(self, inside: int, wide: int) -> nn.Sequential:
        options = {"padding": 1, "norm_cfg": self.norm_cfg, "act_cfg": self.act_cfg}
        layers = [ConvModule(channels, wide, 3, **options) for channels in (inside, wide)]
        for layer in layers:
            layer.conv.reset_parameters()  # published with torch's own start, not with mmcv's
        return nn.Sequential(*layers)

    def forward(self, inputs: Sequence[Tensor]) -> Tensor:
        """Maps (B, C, H, W), finest first → logits (B, classes, 32 H, 32 W) of the last one's H, W.

        Of maps of strides 4 to 32 that is the picture's size, of stride 16 alone twice that.
        """
        x, *skips = reversed(self._transform_inputs(inputs))
        for block, skip in zip(self.blocks, (*skips, None), strict=True):
            x = interpolate(x, scale_factor=2, mode="nearest")
            if skip is not None:
                x = torch.cat([x, self._resized(skip, size=x.shape[2:])], dim=1)
            x = block(x)
        logits: Tensor = self.cls_seg(self._resized(x, scale_factor=2))
        return logits

    def _resized(self, x: Tensor, **to: Any) -> Tensor:
        return interpolate(x, **to, mode="bilinear", align_corners=self.align_corners)
