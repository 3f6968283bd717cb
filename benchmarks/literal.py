"""The literal forms that benchmarks/backbones.py measures ours against; no script of its own.

What the published description says, in its order, with torch's own modules: padded copies, two
calls of grid_sample, a permuted copy for every change of layout. State-dict names are ours.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from mtp_bench.backbones.dcnv3 import Geometry
from mtp_bench.backbones.rvsa import Size


def bands(total: int) -> tuple[int, int]:
    return total // 2, total - total // 2


def add_positions(
    logits: Tensor, query: Tensor, size: tuple[int, int], tables: tuple[Tensor, Tensor]
) -> Tensor:
    """Logits (…, heads, tokens, tokens) and the two terms of the query's row and column."""
    height, width = size
    at = torch.arange(max(size), device=query.device)
    tall = tables[0][at[:height, None] - at[None, :height] + len(tables[0]) // 2]
    wide = tables[1][at[:width, None] - at[None, :width] + len(tables[1]) // 2]
    count, heads, tokens, each = query.shape
    query = query.reshape(count, heads, height, width, each)
    by_row = torch.einsum("nhyxc,ykc->nhyxk", query, tall)
    by_column = torch.einsum("nhyxc,xkc->nhyxk", query, wide)
    logits = logits.reshape(count, heads, height, width, height, width)
    logits = logits + by_row[..., :, None] + by_column[..., None, :]
    return logits.reshape(count, heads, tokens, tokens)


class LiteralWindow(nn.Module):
    """Rotated varied-size window attention."""

    def __init__(self, width: int, heads: int, window: int) -> None:
        super().__init__()
        self.heads, self.window = heads, window
        rows = 2 * window - 1
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.rel_pos_h = nn.Parameter(torch.zeros(rows, width // heads))
        self.rel_pos_w = nn.Parameter(torch.zeros(rows, width // heads))
        self.relative_position_bias_table = nn.Parameter(torch.zeros(rows**2, heads))
        self.register_buffer("relative_position_index", torch.zeros(window**2, window**2).long())
        for name, outputs in (("offsets", 2), ("scales", 2), ("angles", 1)):
            convolution = nn.Conv2d(width, outputs * heads, 1)
            branch = nn.Sequential(nn.AvgPool2d(window, window), nn.LeakyReLU(), convolution)
            setattr(self, f"sampling_{name}", branch)

    def forward(self, tokens: Tensor, height: int, width: int) -> Tensor:
        batch, _, channels = tokens.shape
        heads, side, each = self.heads, self.window, channels // self.heads
        bars = (*bands(-width % side), *bands(-height % side))
        image = tokens.transpose(1, 2).reshape(batch, channels, height, width)
        grid = self.grid(functional.pad(image, bars), (height, width))
        qkv = self.qkv(tokens).reshape(batch, height, width, 3, heads, each)
        qkv = qkv.permute(3, 0, 4, 5, 1, 2).reshape(3, batch * heads, each, height, width)
        query, key, value = functional.pad(qkv, bars)
        key = functional.grid_sample(key, grid, align_corners=True)
        value = functional.grid_sample(value, grid, align_corners=True)
        tall, wide = query.shape[-2:]
        split = (batch, heads, each, tall // side, side, wide // side, side)
        query, key, value = (
            part.reshape(split).permute(0, 3, 5, 1, 4, 6, 2).reshape(-1, heads, side**2, each)
            for part in (query, key, value)
        )
        logits = query @ key.transpose(-2, -1) * each**-0.5
        logits = add_positions(logits, query, (side, side), (self.rel_pos_h, self.rel_pos_w))
        bias = self.relative_position_bias_table[self.relative_position_index.flatten()]
        logits = logits + bias.reshape(side**2, side**2, heads).permute(2, 0, 1)
        out = logits.softmax(-1) @ value
        out = out.reshape(batch, tall // side, wide // side, heads, side, side, each)
        out = out.permute(0, 1, 4, 2, 5, 3, 6).reshape(batch, tall, wide, channels)
        out = out[:, bars[2] : bars[2] + height, bars[0] : bars[0] + width]
        return self.proj(out.reshape(batch, height * width, channels))

    def grid(self, image: Tensor, size: tuple[int, int]) -> Tensor:
        """Where to sample, (images · heads, rows, columns, 2), from the padded map."""
        side = self.window
        tall, wide = image.shape[-2:]
        split = (-1, 2, tall // side, 1, wide // side, 1)
        counts = image.new_tensor([size[0] // side, size[1] // side]).reshape(1, 2, 1, 1, 1, 1)
        offsets = self.sampling_offsets(image).reshape(split) / counts
        scales = self.sampling_scales(image).reshape(split)
        angles = self.sampling_angles(image).reshape(-1, *split[2:])
        ends = (
            torch.linspace(-1, 1, n, dtype=image.dtype, device=image.device) for n in (tall, wide)
        )
        rows, columns = torch.meshgrid(*ends, indexing="ij")
        base = torch.stack((columns, rows)).reshape(2, tall // side, side, wide // side, side)
        centre = base.mean((2, 4), keepdim=True)
        u, v = ((base - centre) * (1 + scales)).unbind(1)
        x = centre[0] + u * angles.cos() - v * angles.sin() + offsets[:, 0]
        y = centre[1] + u * angles.sin() + v * angles.cos() + offsets[:, 1]
        return torch.stack((x, y), -1).reshape(-1, tall, wide, 2)


class LiteralFull(nn.Module):
    """Attention among all tokens, with or without tables."""

    def __init__(self, width: int, heads: int, rows: int | None) -> None:
        super().__init__()
        self.heads, self.tables = heads, rows is not None
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)
        if rows is not None:
            self.full_attn_rel_pos_h = nn.Parameter(torch.zeros(rows, width // heads))
            self.full_attn_rel_pos_w = nn.Parameter(torch.zeros(rows, width // heads))

    def forward(self, tokens: Tensor, height: int, width: int) -> Tensor:
        batch, count, channels = tokens.shape
        qkv = self.qkv(tokens).reshape(batch, count, 3, self.heads, channels // self.heads)
        query, key, value = qkv.permute(2, 0, 3, 1, 4).unbind(0)
        query = query * query.shape[-1] ** -0.5
        logits = query @ key.transpose(-2, -1)
        if self.tables:
            tables = (self.full_attn_rel_pos_h, self.full_attn_rel_pos_w)
            logits = add_positions(logits, query, (height, width), tables)
        out = logits.softmax(-1) @ value
        return self.proj(out.transpose(1, 2).reshape(batch, count, channels))


class LiteralBlock(nn.Module):
    def __init__(self, width: int, attention: nn.Module) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width, 1e-6), nn.LayerNorm(width, 1e-6)
        self.attn, self.mlp = attention, nn.Module()
        self.mlp.fc1, self.mlp.fc2 = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, tokens: Tensor, height: int, width: int) -> Tensor:
        tokens = tokens + self.attn(self.norm1(tokens), height, width)
        return tokens + self.mlp.fc2(functional.gelu(self.mlp.fc1(self.norm2(tokens))))


class LiteralNorm(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.ln = nn.LayerNorm(width, 1e-6)

    def forward(self, image: Tensor) -> Tensor:
        return self.ln(image.permute(0, 2, 3, 1)).permute(0, 3, 1, 2).contiguous()


class LiteralRvsa(nn.Module):
    """The whole encoder with tables and pyramid, as segmentation uses it."""

    def __init__(self, size: Size, image_size: int) -> None:
        super().__init__()
        width, side = size.width, image_size // 16
        self.taps = size.taps
        self.patch_embed = nn.Module()
        self.patch_embed.proj = nn.Conv2d(3, width, 16, 16)
        self.pos_embed = nn.Parameter(torch.zeros(1, side**2, width))
        self.blocks = nn.ModuleList(
            LiteralBlock(
                width,
                LiteralFull(width, size.heads, 2 * side - 1)
                if (number + 1) % size.every == 0
                else LiteralWindow(width, size.heads, size.window),
            )
            for number in range(size.depth)
        )
        up = [nn.ConvTranspose2d(width, width, 2, 2) for _ in range(3)]
        self.fpn1 = nn.Sequential(up[0], LiteralNorm(width), nn.GELU(), up[1])
        self.fpn2 = nn.Sequential(up[2])
        self.fpn3, self.fpn4 = nn.Identity(), nn.MaxPool2d(2, 2)

    def forward(self, images: Tensor) -> list[Tensor]:
        image = self.patch_embed.proj(images)
        batch, channels, height, width = image.shape
        tokens = image.flatten(2).transpose(1, 2) + self.pos_embed
        maps = []
        for number, block in enumerate(self.blocks):
            tokens = block(tokens, height, width)
            if number in self.taps:
                maps.append(tokens.transpose(1, 2).reshape(batch, channels, height, width))
        pyramid = (self.fpn1, self.fpn2, self.fpn3, self.fpn4)
        return [step(level) for step, level in zip(pyramid, maps, strict=True)]


def literal_dcnv3(values: Tensor, offsets: Tensor, masks: Tensor, geometry: Geometry) -> Tensor:
    """Kernel 3, stride 1, pad 1: padded values, places as shares of the padded size."""
    batch, height, width, channels = values.shape
    groups, points = geometry.groups, geometry.points
    padded = functional.pad(values, (0, 0, 1, 1, 1, 1))
    extent = values.new_tensor([width + 2, height + 2])
    rows, columns = torch.meshgrid(
        *(torch.arange(n, device=values.device) + 1.5 for n in (height, width)), indexing="ij"
    )
    places = torch.stack((columns, rows), -1).reshape(1, height, width, 1, 2) / extent
    kernel = torch.cartesian_prod(*[torch.arange(-1.0, 2, device=values.device)] * 2) / extent
    kernel = (kernel * geometry.scale).repeat(groups, 1)
    places = (places + kernel).expand(batch, -1, -1, -1, -1)
    moved = offsets.reshape(batch, height, width, groups * points, 2) * geometry.scale / extent
    grid = (2 * (places + moved) - 1).reshape(batch, height * width, groups, points, 2)
    grid = grid.transpose(1, 2).flatten(0, 1)
    image = padded.reshape(batch, -1, channels).transpose(1, 2)
    image = image.reshape(batch * groups, channels // groups, height + 2, width + 2)
    sampled = functional.grid_sample(image, grid, align_corners=False)
    weights = masks.reshape(batch, height * width, groups, points).transpose(1, 2)
    out = (sampled * weights.reshape(batch * groups, 1, height * width, points)).sum(-1)
    return out.reshape(batch, channels, -1).transpose(1, 2).reshape(batch, height, width, channels)
