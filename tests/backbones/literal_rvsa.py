"""RVSA's window attention and full attention, one head and one window at a time, to compare with.

Nothing here is shared with the package, and nothing is clever: bilinear weights are written as the
hat function over all pixels (so that outside the map they come to zero by themselves), and relative
positions are looked up pair by pair. Parameters are a dict under their published names.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

Parameters = Mapping[str, Tensor]


def window_attention(
    parameters: Parameters, tokens: Tensor, size: tuple[int, int], heads: int, window: int = 7
) -> Tensor:
    """Rotated varied-size window attention of tokens (images, height · width, channels)."""
    height, width = size
    top, bottom = split(-height % window)
    left, right = split(-width % window)
    padded = (top, height + top + bottom, left, width + left + right)
    images = [one_image(parameters, image, size, padded, heads, window) for image in tokens]
    return torch.stack(images) @ parameters["proj.weight"].T + parameters["proj.bias"]


def split(total: int) -> tuple[int, int]:
    return total // 2, total - total // 2


def one_image(
    parameters: Parameters,
    tokens: Tensor,
    size: tuple[int, int],
    padded: tuple[int, int, int, int],
    heads: int,
    window: int,
) -> Tensor:
    """All heads of one image, before the output projection: (height · width, channels)."""
    height, width = size
    top, tall, left, wide = padded
    channels = tokens.shape[1]
    each = channels // heads

    def pad(values: Tensor) -> Tensor:
        room = values.new_zeros(tall, wide, values.shape[1])
        room[top : top + height, left : left + width] = values.reshape(height, width, -1)
        return room

    around = pad(tokens)
    qkv = tokens @ parameters["qkv.weight"].T + parameters["qkv.bias"]
    query, key, value = (pad(part) for part in qkv.split(channels, 1))
    out = tokens.new_zeros(tall, wide, channels)
    for row in range(tall // window):
        for column in range(wide // window):
            place = (
                slice(row * window, (row + 1) * window),
                slice(column * window, (column + 1) * window),
            )
            summary = leaky(around[place].reshape(-1, channels).mean(0))
            for head in range(heads):
                own = slice(head * each, (head + 1) * each)
                x, y = points(parameters, summary, head, place, (size, (tall, wide)))
                out[(*place, own)] = attend(
                    parameters,
                    head,
                    query[(*place, own)].reshape(-1, each),
                    sample(key[..., own], x, y),
                    sample(value[..., own], x, y),
                ).reshape(window, window, each)
    return out[top : top + height, left : left + width].reshape(height * width, channels)


def leaky(values: Tensor) -> Tensor:
    return torch.where(values < 0, 0.01 * values, values)


def points(
    parameters: Parameters,
    summary: Tensor,
    head: int,
    place: tuple[slice, slice],
    sizes: tuple[tuple[int, int], tuple[int, int]],
) -> tuple[Tensor, Tensor]:
    """Where a head looks for a window's keys, in pixels of the padded map, row by row."""
    (height, width), (tall, wide) = sizes
    rows, columns = place
    window = rows.stop - rows.start

    def predict(name: str, channel: int) -> Tensor:
        weight = parameters[f"sampling_{name}.2.weight"][channel, :, 0, 0]
        return weight @ summary + parameters[f"sampling_{name}.2.bias"][channel]

    # As published: x by the count over the height, y by that over the width, neither padded.
    shift_x = predict("offsets", 2 * head) / (height // window)
    shift_y = predict("offsets", 2 * head + 1) / (width // window)
    scale_x = 1 + predict("scales", 2 * head)
    scale_y = 1 + predict("scales", 2 * head + 1)
    angle = predict("angles", head)
    all_x = -1 + 2 * torch.arange(wide, dtype=summary.dtype) / (wide - 1)
    all_y = -1 + 2 * torch.arange(tall, dtype=summary.dtype) / (tall - 1)
    centre_x, centre_y = all_x[columns].mean(), all_y[rows].mean()
    found_x, found_y = [], []
    for y in all_y[rows]:
        for x in all_x[columns]:
            u, v = (x - centre_x) * scale_x, (y - centre_y) * scale_y
            to_x = centre_x + u * torch.cos(angle) - v * torch.sin(angle) + shift_x
            to_y = centre_y + u * torch.sin(angle) + v * torch.cos(angle) + shift_y
            found_x.append((to_x + 1) / 2 * (wide - 1))
            found_y.append((to_y + 1) / 2 * (tall - 1))
    return torch.stack(found_x), torch.stack(found_y)


def sample(values: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """Bilinear samples of (height, width, channels) at points in pixels; outside are zeros."""

    def hat(position: Tensor, count: int) -> Tensor:
        distance = (position[:, None] - torch.arange(count, dtype=position.dtype)).abs()
        return (1 - distance).clamp(min=0)

    height, width, _ = values.shape
    return torch.einsum("pi,pj,ijc->pc", hat(y, height), hat(x, width), values)


def attend(parameters: Parameters, head: int, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """One window of one head: both kinds of relative position, the decomposed by the raw query."""
    count, channels = query.shape
    window = round(count**0.5)
    table = parameters["relative_position_bias_table"][:, head]
    rows = []
    for at in range(count):
        down = [at // window - to // window + window - 1 for to in range(count)]
        across = [at % window - to % window + window - 1 for to in range(count)]
        both = [i * (2 * window - 1) + j for i, j in zip(down, across, strict=True)]
        decomposed = parameters["rel_pos_h"][down] + parameters["rel_pos_w"][across]
        logits = key @ query[at] / channels**0.5 + decomposed @ query[at] + table[both]
        rows.append(logits.softmax(0) @ value)
    return torch.stack(rows)


def full_attention(
    parameters: Parameters, tokens: Tensor, size: tuple[int, int], heads: int
) -> Tensor:
    """Attention among all tokens; with the tables, if they are there, by the scaled query."""
    _, width = size
    channels = tokens.shape[2]
    each = channels // heads
    found = []
    for image in tokens:
        qkv = image @ parameters["qkv.weight"].T + parameters["qkv.bias"]
        by_head = []
        for head in range(heads):
            own = slice(head * each, (head + 1) * each)
            query, key, value = (part[:, own] for part in qkv.split(channels, 1))
            query = query / each**0.5
            logits = query @ key.T
            if "full_attn_rel_pos_h" in parameters:
                logits = logits + positions(parameters, query, width)
            by_head.append(logits.softmax(1) @ value)
        found.append(torch.cat(by_head, 1))
    return torch.stack(found) @ parameters["proj.weight"].T + parameters["proj.bias"]


def positions(parameters: Parameters, query: Tensor, width: int) -> Tensor:
    tall, wide = parameters["full_attn_rel_pos_h"], parameters["full_attn_rel_pos_w"]
    count = len(query)
    rows = []
    for at in range(count):
        down = [at // width - to // width + len(tall) // 2 for to in range(count)]
        across = [at % width - to % width + len(wide) // 2 for to in range(count)]
        rows.append((tall[down] + wide[across]) @ query[at])
    return torch.stack(rows)
