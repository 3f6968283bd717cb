"""The two attentions of an RVSA block: rotated varied-size windows, and full with tables.

``attend`` goes on from projected tokens, so that a block can project with less memory. Parameter
names are the published ones.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from mtp_bench.backbones import blockwise


def resize_rows(table: Tensor, rows: int) -> Tensor:
    """A table (L, d) with another number of rows, bicubic as published."""
    if len(table) == rows:
        return table
    image = functional.interpolate(table[None, None], (rows, table.shape[1]), mode="bicubic")
    return image[0, 0]


def relative(query: Tensor, table: Tensor, places: Tensor) -> Tensor:
    """Q · R[y - y' + L - 1] for all key places y': (…, N, d) to (…, N, L).

    ``places`` (N,): the queries' own. Table (2 L - 1, d).
    """
    length = (len(table) + 1) // 2
    index = places[:, None] - torch.arange(length, device=places.device) + length - 1
    products = query @ table.T.to(query.dtype)
    return products.gather(-1, index.expand(*query.shape[:-2], -1, -1))


class FullAttention(nn.Module):
    """Attention between all tokens. ``rows``: of the relative-position tables; None without."""

    def __init__(self, width: int, heads: int, rows: int | None) -> None:
        super().__init__()
        self._heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)
        if rows is not None:
            self.full_attn_rel_pos_h = nn.Parameter(torch.zeros(rows, width // heads))
            self.full_attn_rel_pos_w = nn.Parameter(torch.zeros(rows, width // heads))
        self._tables = rows is not None

    def forward(self, tokens: Tensor, height: int, width: int) -> Tensor:
        """Tokens (B, H·W, D), row-major, to the same."""
        return self.attend(self.qkv(tokens), tokens, height, width)

    def attend(self, qkv: Tensor, tokens: Tensor, height: int, width: int) -> Tensor:
        """From projected tokens (B, H·W, 3 D) on."""
        batch, count, _ = qkv.shape
        query, key, value = qkv.view(batch, count, 3, self._heads, -1).permute(2, 0, 3, 1, 4)
        if self._tables:
            mixed = self._with_tables(query, key, value, height, width)
        else:
            mixed = functional.scaled_dot_product_attention(query, key, value)
        out: Tensor = self.proj(mixed.transpose(1, 2).flatten(2))
        return out

    def _with_tables(
        self, query: Tensor, key: Tensor, value: Tensor, height: int, width: int
    ) -> Tensor:
        query = query * query.shape[-1] ** -0.5
        ys = torch.arange(height, device=query.device).repeat_interleave(width)
        xs = torch.arange(width, device=query.device).repeat(height)
        down = relative(query, resize_rows(self.full_attn_rel_pos_h, 2 * height - 1), ys)
        along = relative(query, resize_rows(self.full_attn_rel_pos_w, 2 * width - 1), xs)
        pick = blockwise.attend if query.device.type == "cpu" else fused
        return pick(query, key, value, down, along)


def fused(query: Tensor, key: Tensor, value: Tensor, down: Tensor, along: Tensor) -> Tensor:
    """As ``blockwise.attend``, by torch's fused attention: the GPU's way.

    The position term is a dot product too, of q · R and ones at the key's row and column.
    """
    height, width = down.shape[-1], along.shape[-1]
    rows = torch.eye(height, device=key.device, dtype=key.dtype).repeat_interleave(width, dim=0)
    columns = torch.eye(width, device=key.device, dtype=key.dtype).repeat(height, 1)
    places = torch.cat([rows, columns], dim=1).expand(*key.shape[:2], -1, -1)
    mixed = functional.scaled_dot_product_attention(
        torch.cat([query, down, along], dim=-1),
        torch.cat([key, places], dim=-1),
        functional.pad(value, (0, height + width)),
        scale=1.0,
    )
    return mixed[..., : value.shape[-1]]


def _windows_of(side: int, window: int) -> tuple[int, int]:
    """Padding before the first token, and the number of windows."""
    padding = -side % window
    return padding // 2, (side + padding) // window


class WindowAttention(nn.Module):
    """Attention in windows that each head moves, stretches and turns (RVSA)."""

    relative_position_index: Tensor

    def __init__(self, width: int, heads: int, window: int = 7) -> None:
        super().__init__()
        self._heads, self._window = heads, window
        depth, span = width // heads, 2 * window - 1
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)
        self.rel_pos_h = nn.Parameter(torch.zeros(span, depth))
        self.rel_pos_w = nn.Parameter(torch.zeros(span, depth))
        self.relative_position_bias_table = nn.Parameter(torch.zeros(span * span, heads))
        nn.init.trunc_normal_(self.relative_position_bias_table, std=0.02)
        self.sampling_offsets = _head(width, 2 * heads)
        self.sampling_scales = _head(width, 2 * heads)
        self.sampling_angles = _head(width, heads)
        place = torch.arange(window * window, device=self.rel_pos_h.device)
        y, x = place // window, place % window
        steps = (y[:, None] - y + window - 1) * span + x[:, None] - x + window - 1
        self.register_buffer("relative_position_index", steps)

    def forward(self, tokens: Tensor, height: int, width: int) -> Tensor:
        """Tokens (B, H·W, D), row-major, to the same."""
        return self.attend(self.qkv(tokens), tokens, height, width)

    def _numbers(self, tokens: Tensor, height: int, width: int) -> Tensor:
        """Each window's numbers (B, nh, nw, 5 heads): offsets and scales as (head, xy), angles.

        They come from the mean of the zero-padded, normed window.
        """
        w = self._window
        cells = self._padded(tokens, height, width)
        means = cells.unflatten(1, (-1, w)).unflatten(3, (-1, w)).mean(dim=(2, 4))
        heads = (self.sampling_offsets, self.sampling_scales, self.sampling_angles)
        parts: list[Any] = [head[2] for head in heads]
        weight = torch.cat([part.weight.flatten(1) for part in parts])
        bias = torch.cat([part.bias for part in parts])
        # Where to look is not for half precision.
        with torch.autocast(tokens.device.type, enabled=False):
            active = functional.leaky_relu(means.to(weight.dtype))
            return functional.linear(active, weight, bias)

    def _padded(self, tokens: Tensor, height: int, width: int) -> Tensor:
        """Tokens as (B, H', W', C), with zeros on both sides up to whole windows."""
        (top, down), (left, along) = (_windows_of(side, self._window) for side in (height, width))
        cells: Tensor = tokens.unflatten(1, (height, width))
        below, right = down * self._window - height - top, along * self._window - width - left
        if top or below or left or right:
            cells = functional.pad(cells, (0, 0, left, right, top, below))
        return cells

    def attend(self, qkv: Tensor, tokens: Tensor, height: int, width: int) -> Tensor:
        """Look where the tokens say, attend within windows, undo the windows, project."""
        batch, w = len(qkv), self._window
        points = self._points(self._numbers(tokens, height, width), height, width)
        pick = by_rows if qkv.device.type == "cpu" else by_grid
        keys, values = pick(qkv, points, height, width)
        down, along = points.shape[1:3]
        cells = self._padded(qkv.chunk(3, dim=-1)[0], height, width)
        query = cells.view(batch, down, w, along, w, self._heads, -1)
        query = query.permute(0, 1, 3, 5, 2, 4, 6).reshape(keys.shape)
        mixed = self._within(query, keys).softmax(dim=-1).to(values.dtype) @ values
        mixed = mixed.view(batch, down, along, self._heads, w, w, -1).permute(0, 1, 4, 2, 5, 3, 6)
        mixed = mixed.reshape(batch, down * w, along * w, -1)
        (top, _), (left, _) = (_windows_of(side, w) for side in (height, width))
        mixed = mixed[:, top : top + height, left : left + width]
        out: Tensor = self.proj(mixed.reshape(batch, height * width, -1))
        return out

    def _within(self, query: Tensor, keys: Tensor) -> Tensor:
        """Logits (M, w², w²): scaled dot products, the two tables of q (unscaled), Swin's table."""
        w, count = self._window, self._window**2
        bias = self.relative_position_bias_table[self.relative_position_index.flatten()]
        bias = bias.view(count, count, -1).permute(2, 0, 1).to(query.dtype)
        start = bias.expand(len(query) // self._heads, -1, -1, -1).reshape(-1, count, count)
        logits = torch.baddbmm(start, query, keys.mT, alpha=query.shape[-1] ** -0.5)
        place = torch.arange(count, device=query.device)
        down = relative(query, self.rel_pos_h, place // w)
        along = relative(query, self.rel_pos_w, place % w)
        both = down[..., :, None] + along[..., None, :]
        return logits + both.flatten(2)

    def _points(self, numbers: Tensor, height: int, width: int) -> Tensor:
        """Where each head of each window looks: (B, nh, nw, heads, w², xy), pixels of the map.

        Published in coordinates of [-1, 1] over the padded map; rotation is there, so that on a map
        that is not square it shears. The x offset is divided by the count of windows in height, the
        y offset by that in width, as published.
        """
        w, heads = self._window, self._heads
        (top, down), (left, along) = (_windows_of(side, w) for side in (height, width))
        offsets, scales, angles = numbers.split([2 * heads, 2 * heads, heads], dim=-1)
        offsets, scales = (part.unflatten(-1, (heads, 2)) for part in (offsets, scales))
        reach_x, reach_y = (along * w - 1) / 2, (down * w - 1) / 2
        # One window counts as one: the published code divides by zero there.
        move_x = offsets[..., 0] * (reach_x / max(1, height // w))
        move_y = offsets[..., 1] * (reach_y / max(1, width // w))
        step = torch.arange(w, device=numbers.device, dtype=numbers.dtype) - (w - 1) / 2
        first_x = torch.arange(along, device=numbers.device) * w + (w - 1) / 2 - left
        first_y = torch.arange(down, device=numbers.device) * w + (w - 1) / 2 - top
        dx = ((1 + scales[..., 0:1]) * step)[..., None, :]
        dy = ((1 + scales[..., 1:2]) * step)[..., :, None]
        cos, sin = angles.cos()[..., None, None], angles.sin()[..., None, None]
        x = dx * cos - dy * sin * (reach_x / reach_y) + move_x[..., None, None]
        y = dx * sin * (reach_y / reach_x) + dy * cos + move_y[..., None, None]
        x = x + first_x.to(x.dtype)[:, None, None, None]
        y = y + first_y.to(y.dtype)[:, None, None, None, None]
        return torch.stack([x.flatten(-2), y.flatten(-2)], dim=-1)


def _head(width: int, outputs: int) -> nn.Sequential:
    """The published container: only its last layer has parameters, which ``_numbers`` applies."""
    return nn.Sequential(nn.Identity(), nn.Identity(), nn.Conv2d(width, outputs, 1))


def by_grid(qkv: Tensor, points: Tensor, height: int, width: int) -> tuple[Tensor, Tensor]:
    """Keys and values at the points, bilinear, zeros outside: two of (B·windows·heads, w², d).

    qkv (B, H·W, 3 D); points (B, nh, nw, heads, w², 2). By grid_sample: the GPU's way.
    """
    batch, down, along, heads, count, _ = points.shape
    maps = qkv.view(batch, height, width, 3, heads, -1)[:, :, :, 1:]
    maps = maps.permute(0, 4, 3, 5, 1, 2).reshape(batch * heads, -1, height, width)
    size = points.new_tensor([width, height])
    grid = (2 * points + 1) / size - 1
    grid = grid.permute(0, 3, 1, 2, 4, 5).reshape(batch * heads, down * along, count, 2)
    with torch.autocast(qkv.device.type, enabled=False):
        found = functional.grid_sample(maps.to(grid.dtype), grid, align_corners=False)
    found = found.view(batch, heads, 2, -1, down * along, count).permute(2, 0, 4, 1, 5, 3)
    keys, values = found.reshape(2, batch * down * along * heads, count, -1).to(qkv.dtype)
    return keys, values


def by_rows(qkv: Tensor, points: Tensor, height: int, width: int) -> tuple[Tensor, Tensor]:
    """The same by weighted sums of four rows a point, which the CPU does twice as fast."""
    batch, down, along, heads, count, _ = points.shape
    x, y = points.unbind(-1)
    left, top = x.detach().floor(), y.detach().floor()
    fx, fy = x - left, y - top
    xs = torch.stack([left, left + 1, left, left + 1], dim=-1)
    ys = torch.stack([top, top, top + 1, top + 1], dim=-1)
    shares = torch.stack([(1 - fx) * (1 - fy), fx * (1 - fy), (1 - fx) * fy, fx * fy], dim=-1)
    shares = shares * ((xs >= 0) & (xs < width) & (ys >= 0) & (ys < height))
    image = torch.arange(batch, device=x.device).view(-1, 1, 1, 1, 1, 1) * (height * width)
    token = ys.clamp(0, height - 1) * width + xs.clamp(0, width - 1)
    head = torch.arange(heads, device=x.device).view(-1, 1, 1)
    key_row = ((token.nan_to_num(0.0).long() + image) * 3 + 1) * heads + head
    rows = torch.stack([key_row, key_row + heads]).view(-1, 4)
    table = qkv.reshape(batch * height * width * 3 * heads, -1).to(points.dtype)
    both = shares.expand(2, *shares.shape).reshape(-1, 4)
    found = functional.embedding_bag(rows, table, per_sample_weights=both, mode="sum")
    keys, values = found.view(2, batch * down * along * heads, count, -1).to(qkv.dtype)
    return keys, values
