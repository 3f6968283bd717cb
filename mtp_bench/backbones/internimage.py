"""InternImage, the convolutional network of MTP: deformable convolutions (DCNv3) in a pyramid.

Module names give the published state-dict keys. Maps are (B, H, W, C) inside.

Sources: InternImage (CVPR 2023, https://arxiv.org/abs/2211.05778); sizes and names as in
OpenGVLab/InternImage and ViTAE-Transformer/MTP@13cc2b71.
"""

from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from mtp_bench.backbones import torchvision_shim
from mtp_bench.backbones.dcnv3 import Form, Geometry, dcnv3
from mtp_bench.backbones.layers import Mlp, Permuted
from mtp_bench.backbones.lean import recomputed

torchvision_shim.apply()

from timm.layers import DropPath  # noqa: E402

EPS = 1e-6


@dataclass(frozen=True)
class Size:
    """Channels of the first stage, which double; blocks and DCN groups of the four stages.

    ``scale``: of kernel and offsets. ``layer_scale``: its first value, None without. ``post_norm``:
    norms stand after attention and MLP, and no stage ends with one.
    """

    channels: int
    depths: tuple[int, int, int, int]
    groups: tuple[int, int, int, int]
    scale: float
    layer_scale: float | None
    post_norm: bool


SIZES = {
    "internimage_pico": Size(16, (1, 1, 2, 1), (1, 2, 4, 8), 2.0, 1e-5, True),
    "internimage_t": Size(64, (4, 4, 18, 4), (4, 8, 16, 32), 1.0, None, False),
    "internimage_s": Size(80, (4, 4, 21, 4), (5, 10, 20, 40), 1.0, 1e-5, True),
    "internimage_b": Size(112, (4, 4, 21, 4), (7, 14, 28, 56), 1.0, 1e-5, True),
    "internimage_l": Size(160, (5, 5, 22, 5), (10, 20, 40, 80), 2.0, 1e-5, True),
    "internimage_xl": Size(192, (5, 5, 24, 5), (12, 24, 48, 96), 2.0, 1e-5, True),
}


def _norm(channels: int) -> nn.Sequential:
    return nn.Sequential(nn.LayerNorm(channels, EPS))


def _norm_after(channels: int) -> nn.Sequential:
    """After a convolution: (B, C, H, W) to normed (B, H, W, C)."""
    return nn.Sequential(Permuted(0, 2, 3, 1), nn.LayerNorm(channels, EPS))


class DeformableLayer(nn.Module):
    """DCNv3 with its projections, (N, H, W, C) to the same."""

    def __init__(self, channels: int, groups: int, scale: float, form: Form = "auto") -> None:
        super().__init__()
        self._geometry, self._form = Geometry(groups, scale=scale), form
        points = self._geometry.points
        depthwise = nn.Conv2d(channels, channels, 3, padding=1, groups=channels)
        self.dw_conv = nn.Sequential(depthwise, _norm_after(channels), nn.GELU())
        self.offset = nn.Linear(channels, groups * points * 2)
        self.mask = nn.Linear(channels, groups * points)
        self.input_proj = nn.Linear(channels, channels)
        self.output_proj = nn.Linear(channels, channels)

    def forward(self, maps: Tensor) -> Tensor:
        """Values come from the input itself, where to look from the branch."""
        branch = self.dw_conv(maps.permute(0, 3, 1, 2))
        masks = self.mask(branch).unflatten(-1, (self._geometry.groups, -1)).softmax(dim=-1)
        values, offsets = self.input_proj(maps), self.offset(branch)
        sampled = dcnv3(values, offsets, masks.flatten(-2), self._geometry, self._form)
        out: Tensor = self.output_proj(sampled)
        return out


class Block(nn.Module):
    """x + γ₁ DCN, x + γ₂ MLP; the norms before them or, ``post_norm``, after."""

    def __init__(
        self, size: Size, channels: int, groups: int, drop_path: float, form: Form
    ) -> None:
        super().__init__()
        self.norm1, self.norm2 = _norm(channels), _norm(channels)
        self.dcn = DeformableLayer(channels, groups, size.scale, form)
        self.mlp = Mlp(channels)
        self.drop_path = DropPath(drop_path) if drop_path else nn.Identity()
        self._post = size.post_norm
        self._scaled = size.layer_scale is not None
        if size.layer_scale is not None:
            self.gamma1 = nn.Parameter(torch.full((channels,), size.layer_scale))
            self.gamma2 = nn.Parameter(torch.full((channels,), size.layer_scale))

    def forward(self, maps: Tensor) -> Tensor:
        found = self.norm1(self.dcn(maps)) if self._post else self.dcn(self.norm1(maps))
        maps = maps + self.drop_path(self.gamma1 * found if self._scaled else found)
        found = self.norm2(self.mlp(maps)) if self._post else self.mlp(maps, self.norm2[0])
        out: Tensor = maps + self.drop_path(self.gamma2 * found if self._scaled else found)
        return out


def _stem(channels: int) -> nn.Sequential:
    """Two strided convolutions: images to maps of stride 4."""
    half = channels // 2
    norm1 = nn.Sequential(*_norm_after(half), Permuted(0, 3, 1, 2))
    norm2 = _norm_after(channels)
    conv1, conv2 = nn.Conv2d(3, half, 3, 2, 1), nn.Conv2d(half, channels, 3, 2, 1)
    parts = {"conv1": conv1, "norm1": norm1, "act": nn.GELU(), "conv2": conv2, "norm2": norm2}
    return nn.Sequential(OrderedDict(parts))


def _downsample(channels: int) -> nn.Sequential:
    """Half the sides, twice the channels."""
    conv = nn.Conv2d(channels, 2 * channels, 3, 2, 1, bias=False)
    norm = _norm_after(2 * channels)
    return nn.Sequential(OrderedDict(first=Permuted(0, 3, 1, 2), conv=conv, norm=norm))


class Stage(nn.Module):
    """Blocks at one stride, and the way down to the next."""

    def __init__(self, size: Size, stage: int, rates: list[float], form: Form) -> None:
        super().__init__()
        channels, groups = size.channels * 2**stage, size.groups[stage]
        self.blocks = nn.ModuleList(Block(size, channels, groups, rate, form) for rate in rates)
        self.norm = nn.Identity() if size.post_norm else _norm(channels)
        self.downsample = _downsample(channels) if stage < 3 else None


class InternImage(nn.Module):
    """The backbone. Images (B, 3, H, W) to the four stages' maps, strides 4 to 32."""

    def __init__(
        self,
        size: Size,
        *,
        drop_path: float = 0.0,
        checkpointing: bool = False,
        form: Form = "auto",
    ) -> None:
        super().__init__()
        self._depths, self._checkpointing = size.depths, checkpointing
        self.channels = tuple(size.channels * 2**stage for stage in range(4))
        self.strides = (4, 8, 16, 32)
        self.layers = sum(size.depths)
        self.patch_embed = _stem(size.channels)
        rates = torch.linspace(0, drop_path, self.layers, device="cpu").tolist()
        ends = [sum(size.depths[:stage]) for stage in range(5)]
        self.levels = nn.ModuleList(
            Stage(size, stage, rates[ends[stage] : ends[stage + 1]], form) for stage in range(4)
        )
        self._reset()

    def _reset(self) -> None:
        """As published: sampling starts as a plain mean over the kernel, projections Xavier."""
        for name, module in self.named_modules():
            if not isinstance(module, nn.Linear):
                continue
            nn.init.zeros_(module.bias)
            if name.endswith((".offset", ".mask")):
                nn.init.zeros_(module.weight)
            elif name.endswith("_proj"):
                nn.init.xavier_uniform_(module.weight)
            else:
                nn.init.trunc_normal_(module.weight, std=0.02)

    def forward(self, images: Tensor) -> list[Tensor]:
        """Four contiguous maps, finest first."""
        maps, taken = self.patch_embed(images), []
        for level in self.levels:
            stage: Any = level
            for block in stage.blocks:
                maps = recomputed(block, maps, wanted=self._checkpointing)
            maps = stage.norm(maps)
            taken.append(maps.permute(0, 3, 1, 2).contiguous())
            if stage.downsample is not None:
                maps = stage.downsample(maps)
        return taken

    def layer_id(self, parameter: str) -> int:
        """Stem 0, then block by block; what follows a stage's blocks counts with the next block."""
        parts = parameter.split(".")
        if parts[0] == "patch_embed":
            return 0
        stage = int(parts[1])
        if parts[2] == "blocks":
            return sum(self._depths[:stage]) + int(parts[3]) + 1
        return sum(self._depths[: stage + 1]) + 1


def create(name: str, *, image_size: int, **options: Any) -> InternImage:
    """Build ``internimage_{pico,t,s,b,l,xl}`` without weights, for any ``image_size``."""
    return InternImage(SIZES[name], **options)
