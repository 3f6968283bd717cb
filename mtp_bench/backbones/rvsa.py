"""Vision transformers with rotated varied-size window attention (RVSA), as MTP trains them.

One class for what MTP published as ten diverged copies: ``PUBLISHED`` says which switches each
task's copy stands for. Module names give the published state-dict keys.

Sources: RVSA (IEEE TGRS 2022, https://arxiv.org/abs/2208.03987); MTP (IEEE JSTARS 2024), code at
ViTAE-Transformer/MTP@13cc2b71.
"""

import re
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from mtp_bench.backbones import torchvision_shim
from mtp_bench.backbones.files import State
from mtp_bench.backbones.layers import Mlp, Norm2d
from mtp_bench.backbones.lean import norm_linear, recomputed
from mtp_bench.backbones.rvsa_attention import FullAttention, WindowAttention, resize_rows
from mtp_bench.errors import UserError

torchvision_shim.apply()

from timm.layers import DropPath  # noqa: E402

PATCH = 16
ADDED = (r"^fpn\d\.", r"\.sampling_", r"rel_pos_[hw]$", r"relative_position_bias_table$")
"""What a plain transformer has not."""
OLD_TABLE = re.compile(r"(blocks\.\d+\.attn\.)(rel_pos_[hw])$")
EPS = 1e-6
Pyramid = Literal["taps", "last", "none"]


@dataclass(frozen=True)
class Size:
    """Width, depth, heads; full attention in every ``every``-th block, windows in the others."""

    width: int
    depth: int
    heads: int
    every: int
    window: int
    taps: tuple[int, int, int, int]
    """Blocks whose outputs become the feature maps."""


SIZES = {
    "vit_t_rvsa": Size(128, 4, 4, 2, 4, (0, 1, 2, 3)),
    "vit_s_rvsa": Size(384, 12, 6, 3, 7, (3, 5, 7, 11)),
    "vit_b_rvsa": Size(768, 12, 12, 3, 7, (3, 5, 7, 11)),
    "vit_l_rvsa": Size(1024, 24, 16, 6, 7, (7, 11, 15, 23)),
}

_WITH_TABLES = {"tables": True, "pyramid": "taps", "norm": False}
_STRIDE_16 = {"tables": True, "pyramid": "none", "norm": True}
_DETECTION = {"tables": False, "pyramid": "taps", "norm": False}
PUBLISHED: dict[str, dict[str, Any]] = {
    "pretraining": {**_WITH_TABLES, "norm": True},
    "segmentation": _WITH_TABLES,
    "classification": _STRIDE_16,
    "change_detection": _STRIDE_16,
    "detection": _DETECTION,
    "rotated_detection": _DETECTION,
    "detection_last_layer": {"tables": False, "pyramid": "last", "norm": True},
}
"""The switches of each published copy. ``detection_last_layer`` is used by no configuration."""


class Block(nn.Module):
    """Pre-norm transformer block."""

    def __init__(self, size: Size, attn: nn.Module, drop_path: float) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(size.width, EPS)
        self.attn = attn
        self.norm2 = nn.LayerNorm(size.width, EPS)
        self.mlp = Mlp(size.width)
        self.drop_path = DropPath(drop_path) if drop_path else nn.Identity()

    def forward(self, tokens: Tensor, height: int, width: int) -> Tensor:
        attn: Any = self.attn
        qkv, normed = norm_linear(self.norm1, attn.qkv, tokens)
        tokens = tokens + self.drop_path(attn.attend(qkv, normed, height, width))
        out: Tensor = tokens + self.drop_path(self.mlp(tokens, self.norm2))
        return out


class Rvsa(nn.Module):
    """The backbone. Images (B, 3, H, W) to four maps (B, width, ·, ·).

    ``tables``: relative-position tables in full attention. ``pyramid``: ``taps``: strides 4 to 32
    from four blocks; ``last``: the same strides from the last block; ``none``: the four blocks'
    maps, stride 16. ``norm``: keep the final norm among the keys; only ``last`` applies it.
    ``exact``: demand images of ``image_size``, as the published code does; else position embedding
    and tables are interpolated for any multiple of 16.
    """

    def __init__(  # noqa: PLR0913
        self,
        size: Size,
        *,
        image_size: int,
        tables: bool = True,
        pyramid: Pyramid = "taps",
        norm: bool = False,
        drop_path: float = 0.0,
        checkpointing: bool = False,
        exact: bool = False,
    ) -> None:
        super().__init__()
        grid = image_size // PATCH
        self._size, self._exact, self._pyramid = size, image_size if exact else None, pyramid
        self._checkpointing = checkpointing
        self.channels = (size.width,) * 4
        self.strides = (PATCH,) * 4 if pyramid == "none" else (4, 8, 16, 32)
        self.layers = size.depth
        proj = nn.Conv2d(3, size.width, PATCH, PATCH)
        self.patch_embed = nn.Sequential(OrderedDict(proj=proj))
        self.pos_embed = nn.Parameter(torch.zeros(1, grid * grid, size.width))
        rates = torch.linspace(0, drop_path, size.depth, device="cpu").tolist()
        self.blocks = nn.ModuleList(
            Block(size, self._attention(i, 2 * grid - 1 if tables else None), rates[i])
            for i in range(size.depth)
        )
        self.norm = nn.LayerNorm(size.width, EPS) if norm or pyramid == "last" else None
        up = [nn.ConvTranspose2d(size.width, size.width, 2, 2) for _ in range(3)]
        self.fpn1 = nn.Sequential(up[0], Norm2d(size.width), nn.GELU(), up[1])
        self.fpn2 = nn.Sequential(up[2])
        self._reset()
        self._idle = [r"^fpn\d\."] if pyramid == "none" else []
        self._idle += [r"^norm\."] if pyramid != "last" else []
        for name, parameter in self.named_parameters():
            parameter.requires_grad_(not any(re.match(idle, name) for idle in self._idle))

    def _attention(self, block: int, rows: int | None) -> nn.Module:
        size = self._size
        if (block + 1) % size.every == 0:
            return FullAttention(size.width, size.heads, rows)
        return WindowAttention(size.width, size.heads, size.window)

    def _reset(self) -> None:
        """Truncated normals of 0.02; convolutions, the sampling heads' too, keep PyTorch's own."""
        nn.init.trunc_normal_(self.pos_embed, std=0.02)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                nn.init.zeros_(module.bias)

    def forward(self, images: Tensor) -> list[Tensor]:
        """Four contiguous maps, finest first."""
        self._check(images)
        maps = self.patch_embed(images)
        height, width = maps.shape[-2:]
        tokens = maps.flatten(2).transpose(1, 2) + self._positions(height, width)
        taken = []
        for i, block in enumerate(self.blocks):
            tokens = recomputed(block, tokens, height, width, wanted=self._checkpointing)
            if i in self._size.taps:
                taken.append(tokens)
        if self._pyramid == "last" and self.norm is not None:
            taken = [self.norm(tokens)] * 4
        shape = (len(images), self._size.width, height, width)
        maps = [t.transpose(1, 2).contiguous().view(shape) for t in taken]
        return maps if self._pyramid == "none" else self._steps(maps)

    def _steps(self, maps: list[Tensor]) -> list[Tensor]:
        finest = recomputed(self.fpn1[1:], self.fpn1[0](maps[0]))
        return [finest, self.fpn2(maps[1]), maps[2], functional.max_pool2d(maps[3], 2, 2)]

    def _check(self, images: Tensor) -> None:
        height, width = images.shape[-2:]
        if self._exact is not None and (height, width) != (self._exact, self._exact):
            raise UserError(
                f"an image of {width} x {height} pixels: this backbone was built to take exactly "
                f"{self._exact} x {self._exact}: leave 'exact' out to take other sizes"
            )
        if height % PATCH or width % PATCH:
            raise UserError(
                f"an image of {width} x {height} pixels: its sides must be multiples of {PATCH}"
            )

    def _positions(self, height: int, width: int) -> Tensor:
        side = round(self.pos_embed.shape[1] ** 0.5)
        return resize_grid(self.pos_embed, side, (height, width))

    def layer_id(self, parameter: str) -> int:
        """Patch and position embedding 0, block i i + 1, pyramid and norm with the heads (MTP)."""
        first, *rest = parameter.split(".")
        if first in ("patch_embed", "pos_embed"):
            return 0
        return int(rest[0]) + 1 if first == "blocks" else self.layers + 1

    def not_carried(self, recipe: str) -> str | None:
        """Files of plain transformers lack what RVSA adds; what lies idle is no file's duty."""
        patterns = [*self._idle, *(ADDED if recipe in ("imp", "mae") else ())]
        return "|".join(patterns) or None

    def translate(self, state: State) -> State:
        """Older RVSA files call the tables of full attention as those of the windows."""
        own = self.state_dict()

        def new_name(old: re.Match[str]) -> str:
            name = f"{old[1]}full_attn_{old[2]}"
            return name if name in own else old[0]

        return {OLD_TABLE.sub(new_name, name): value for name, value in state.items()}

    def resize(self, name: str, value: Tensor) -> Tensor | None:
        """A file's position embedding or table at this model's size; None where it is neither.

        A class token's position, the first, is cut off.
        """
        wanted = self.state_dict()[name].shape
        if name == "pos_embed" and value.ndim == 3 and value.shape[-1] == wanted[-1]:
            side, new = int(value.shape[1] ** 0.5), int(wanted[1] ** 0.5)
            if value.shape[1] - side * side not in (0, 1):
                return None
            value = value[:, value.shape[1] - side * side :]
            return resize_grid(value, side, (new, new))
        if "full_attn_rel_pos" in name and value.ndim == 2 and value.shape[1] == wanted[1]:
            return resize_rows(value, wanted[0])
        return None


def resize_grid(embedding: Tensor, side: int, grid: tuple[int, int]) -> Tensor:
    """A position embedding (1, side², D) on another grid, bicubic as published."""
    if grid == (side, side):
        return embedding
    maps = embedding.transpose(1, 2).reshape(1, -1, side, side)
    return functional.interpolate(maps, grid, mode="bicubic").flatten(2).transpose(1, 2)


def for_task(name: str, task: str) -> dict[str, Any]:
    """The published switches of a task's copy."""
    return dict(PUBLISHED[task])


def create(name: str, *, image_size: int, **switches: Any) -> Rvsa:
    """Build ``vit_{t,s,b,l}_rvsa`` without weights. ``switches``: as ``Rvsa`` has them.

    Raises:
        UserError: for an image size that patches of 16 pixels do not fill.
    """
    if image_size % PATCH:
        raise UserError(f"{name}: image_size {image_size} is no multiple of {PATCH}")
    return Rvsa(SIZES[name], image_size=image_size, **switches)
