"""DCNv3 as Triton kernels, forward and backward; ``dcnv3.py`` says what they compute.

A row is one group of one output pixel; a program works on a few rows with all their channels.
Sums are float32 whatever the tensors are, and so is the gradient of the values, which is added up
atomically: its last bits depend on the order. With ``TRITON_INTERPRET=1`` in the environment
before triton's first import they run on the CPU, slowly.
"""

from dataclasses import dataclass
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.autograd.function import once_differentiable
from triton.runtime.interpreter import InterpretedFunction

from mtp_bench.backbones.dcnv3 import Geometry
from mtp_bench.errors import UserError

DTYPES = (torch.float32, torch.float16, torch.bfloat16)
NUMBERS = 1024  # channels that a program works on


@dataclass(frozen=True)
class Block:
    """What a kernel is compiled for, beside the dtypes."""

    geometry: Geometry
    channels: int  # of a group

    @property
    def wide(self) -> int:
        """Blocks are powers of two."""
        return 1 << (self.channels - 1).bit_length()

    @property
    def rows(self) -> int:
        return max(1, NUMBERS // self.wide)


def dcnv3_triton(values: Tensor, offsets: Tensor, masks: Tensor, geometry: Geometry) -> Tensor:
    """As ``dcnv3``."""
    if not values.is_cuda and not isinstance(forward_kernel, InterpretedFunction):
        raise UserError(
            f"DCNv3 in form 'triton': the tensors are on '{values.device.type}' and the kernel "
            "needs a GPU; use form 'auto'"
        )
    if values.dtype not in DTYPES:
        raise UserError(
            f"DCNv3 in form 'triton': no kernel for {values.dtype}; use form 'auto', or float32, "
            "float16 or bfloat16"
        )
    apply: Any = _Kernel.apply
    result: Tensor = apply(values.contiguous(), offsets.contiguous(), masks.contiguous(), geometry)
    return result


class _Kernel(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, values: Tensor, offsets: Tensor, masks: Tensor, geometry: Geometry
    ) -> Tensor:
        ctx.save_for_backward(values, offsets, masks)
        ctx.geometry = geometry
        result = values.new_empty((*offsets.shape[:3], values.shape[3]))
        _launch(forward_kernel, (values, offsets, masks), (result,), geometry)
        return result

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        values, offsets, masks = ctx.saved_tensors
        sums = torch.zeros_like(values, dtype=torch.float32)
        others = torch.empty_like(offsets), torch.empty_like(masks)
        inputs = values, offsets, masks, gradient.contiguous()
        _launch(backward_kernel, inputs, (sums, *others), ctx.geometry)
        return sums.to(values.dtype), *others, None


def _launch(
    kernel: Any, inputs: tuple[Tensor, ...], outputs: tuple[Tensor, ...], geometry: Geometry
) -> None:
    values, offsets, masks, *_ = inputs
    rows = masks.numel() // geometry.points
    block = Block(geometry, values.shape[3] // geometry.groups)
    sizes = (rows, *values.shape[1:3], *offsets.shape[1:3])
    with torch.cuda.device_of(values):
        kernel[(triton.cdiv(rows, block.rows),)](inputs, outputs, sizes, block)


# All parameters that are not compiled in are annotated with tl.tensor, for triton looks up the
# names of annotations too, and those of this module are not for its kernels.


@triton.jit  # type: ignore[untyped-decorator]
def _axis(at: tl.tensor, moved: tl.tensor, size: tl.tensor, GEOMETRY: tl.constexpr) -> tl.tensor:
    """Along one axis: the pixel before a point, and how far behind it the point lies.

    ``moved`` is the place in the kernel, with the offset, from the kernel's first point on.
    """
    middle = GEOMETRY.dilation * (GEOMETRY.kernel - 1) // 2
    place = at * GEOMETRY.stride + (middle - GEOMETRY.pad) + GEOMETRY.scale * (moved - middle)
    # All is zero beyond, and an integer could not hold it.
    place = tl.minimum(tl.maximum(place, -2.0), size + 1.0)
    before = tl.floor(place)
    return before.to(tl.int32), place - before


@triton.jit  # type: ignore[untyped-decorator]
def _point(
    point: tl.tensor, inputs: tl.tensor, sizes: tl.tensor, row: tl.tensor, BLOCK: tl.constexpr
) -> tl.tensor:
    """Of one point in all rows: number, mask, and both coordinates, each as pixel and rest."""
    _, height, width, lines, columns = sizes
    pixel = row // BLOCK.geometry.groups
    number = row.to(tl.int64) * BLOCK.geometry.points + point
    exists = row < sizes[0]
    mask = tl.load(inputs[2] + number, mask=exists, other=0.0).to(tl.float32)
    right = tl.load(inputs[1] + 2 * number, mask=exists, other=0.0).to(tl.float32)
    down = tl.load(inputs[1] + 2 * number + 1, mask=exists, other=0.0).to(tl.float32)
    tap = point
    if BLOCK.geometry.remove_center:
        tap = point + (point >= BLOCK.geometry.points // 2)
    right += (tap // BLOCK.geometry.kernel) * BLOCK.geometry.dilation
    down += (tap % BLOCK.geometry.kernel) * BLOCK.geometry.dilation
    x, after_x = _axis(pixel % columns, right, width, BLOCK.geometry)
    y, after_y = _axis(pixel // columns % lines, down, height, BLOCK.geometry)
    return number, mask, (x, after_x, y, after_y)


@triton.jit  # type: ignore[untyped-decorator]
def _corner(
    corner: tl.constexpr,
    axes: tl.tensor,
    inputs: tl.tensor,
    sizes: tl.tensor,
    row: tl.tensor,
    BLOCK: tl.constexpr,
) -> tl.tensor:
    """One of the four pixels around a point: its weights, place, whether it exists, its values."""
    count, height, width, lines, columns = sizes
    x, after_x, y, after_y = axes
    weight_x = after_x if corner % 2 else 1 - after_x
    weight_y = after_y if corner // 2 else 1 - after_y
    x += corner % 2
    y += corner // 2
    image = row // BLOCK.geometry.groups // columns // lines
    pixel = (image * height + y) * width + x
    start = pixel.to(tl.int64) * BLOCK.geometry.groups + row % BLOCK.geometry.groups
    channel = tl.arange(0, BLOCK.wide)[None, :]
    inside = (row < count) & (x >= 0) & (x < width) & (y >= 0) & (y < height)
    place = start[:, None] * BLOCK.channels + channel
    exists = inside[:, None] & (channel < BLOCK.channels)
    value = tl.load(inputs[0] + place, mask=exists, other=0.0).to(tl.float32)
    return weight_x, weight_y, place, exists, value


@triton.jit  # type: ignore[untyped-decorator]
def forward_kernel(
    inputs: tl.tensor, outputs: tl.tensor, sizes: tl.tensor, BLOCK: tl.constexpr
) -> None:
    rows: tl.constexpr = BLOCK.rows
    wide: tl.constexpr = BLOCK.wide
    row = tl.program_id(0) * rows + tl.arange(0, rows)
    total = tl.zeros((rows, wide), tl.float32)
    for point in range(BLOCK.geometry.points):
        _, mask, axes = _point(point, inputs, sizes, row, BLOCK)
        for corner in tl.static_range(4):
            weight_x, weight_y, _, _, value = _corner(corner, axes, inputs, sizes, row, BLOCK)
            total += (mask * weight_x * weight_y)[:, None] * value
    channel = tl.arange(0, BLOCK.wide)[None, :]
    place = row.to(tl.int64)[:, None] * BLOCK.channels + channel
    inside = (row < sizes[0])[:, None] & (channel < BLOCK.channels)
    tl.store(outputs[0] + place, total, mask=inside)


@triton.jit  # type: ignore[untyped-decorator]
def backward_kernel(
    inputs: tl.tensor, outputs: tl.tensor, sizes: tl.tensor, BLOCK: tl.constexpr
) -> None:
    rows: tl.constexpr = BLOCK.rows
    row = tl.program_id(0) * rows + tl.arange(0, rows)
    exists = row < sizes[0]
    channel = tl.arange(0, BLOCK.wide)[None, :]
    place = row.to(tl.int64)[:, None] * BLOCK.channels + channel
    inside = exists[:, None] & (channel < BLOCK.channels)
    above = tl.load(inputs[3] + place, mask=inside, other=0.0).to(tl.float32)
    for point in range(BLOCK.geometry.points):
        number, mask, axes = _point(point, inputs, sizes, row, BLOCK)
        by_mask = tl.zeros((rows,), tl.float32)
        by_x = tl.zeros((rows,), tl.float32)
        by_y = tl.zeros((rows,), tl.float32)
        for corner in tl.static_range(4):
            found = _corner(corner, axes, inputs, sizes, row, BLOCK)
            weight_x, weight_y, place, inside, value = found
            part = above * (mask * weight_x * weight_y)[:, None]
            tl.atomic_add(outputs[0] + place, part, mask=inside, sem="relaxed")
            dot = tl.sum(above * value, axis=1)
            by_mask += weight_x * weight_y * dot
            by_x += (2 * (corner % 2) - 1) * weight_y * dot
            by_y += (2 * (corner // 2) - 1) * weight_x * dot
        moved = mask * BLOCK.geometry.scale
        tl.store(outputs[1] + 2 * number, moved * by_x, mask=exists)
        tl.store(outputs[1] + 2 * number + 1, moved * by_y, mask=exists)
        tl.store(outputs[2] + number, by_mask, mask=exists)
