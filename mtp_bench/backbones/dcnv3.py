"""DCNv3, InternImage's operator: deformable sampling with a mask per point, in plain PyTorch.

An output pixel adds up P points of its group's channels, each interpolated bilinearly (zero
outside the map) and weighted by its mask. A point lies at the pixel's own place plus
``scale * (kernel point + offset)``: the scale stretches the kernel too.

``whole`` samples all points at once and keeps the samples for the gradient. ``points`` samples one
kernel point after another, a quarter of the groups at a time, and once more for the gradient.
``auto`` takes ``points`` where all samples together would fill ``MANY`` bytes or more; on smaller
maps the many small steps cost more time than the memory is worth. ``triton`` is the kernel of
``dcnv3_triton.py``, only ever taken by name.
"""

import importlib
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from mtp_bench.errors import UserError

Form = Literal["auto", "whole", "points", "triton"]

MANY = 32 * 2**20
PORTIONS = 4  # of the groups, in `points`

_sampler = torch.ops.aten.grid_sampler_2d
_sampler_backward = torch.ops.aten.grid_sampler_2d_backward
# Bilinear, zeros outside, and -1 and 1 are the outer edges of the map.
_MODE = (0, 0, False)


@dataclass(frozen=True)
class Geometry:
    """Where the points of an output pixel lie, before the predicted offsets."""

    groups: int
    kernel: int = 3
    stride: int = 1
    pad: int = 1
    dilation: int = 1
    scale: float = 1.0
    remove_center: bool = False

    @property
    def points(self) -> int:
        return self.kernel**2 - self.remove_center


def dcnv3(
    values: Tensor, offsets: Tensor, masks: Tensor, geometry: Geometry, form: Form = "auto"
) -> Tensor:
    """(N, H, W, G*C) values, (N, Ho, Wo, G*P*2) offsets as (x, y), (N, Ho, Wo, G*P) masks."""
    masks = masks.to(values.dtype)
    if form == "triton":
        return _kernel(values, offsets, masks, geometry)
    if form == "auto":
        samples = masks.numel() * (values.shape[-1] // geometry.groups)
        form = "points" if samples * _exact(values).itemsize >= MANY else "whole"
    apply: Any = _Sampling.apply
    result: Tensor = apply(values, offsets, masks, geometry, form == "whole")
    return result


def _kernel(values: Tensor, offsets: Tensor, masks: Tensor, geometry: Geometry) -> Tensor:
    """Triton only comes with torch's builds for GPUs."""
    try:
        kernels = importlib.import_module("mtp_bench.backbones.dcnv3_triton")
    except ModuleNotFoundError as error:
        if error.name != "triton":
            raise
        raise UserError(
            "DCNv3 in form 'triton': triton is not installed (torch's CPU build lacks it); "
            "use form 'auto' or run: pip install triton"
        ) from None
    result: Tensor = kernels.dcnv3_triton(values, offsets, masks, geometry)
    return result


class _Views(NamedTuple):
    """The tensors with their groups in front. Also used for their gradients."""

    values: Tensor  # (N, G, C, H, W)
    offsets: Tensor  # (N, G, P, Ho, Wo, 2)
    masks: Tensor  # (N, G, P, Ho, Wo)
    result: Tensor  # (N, G, C, Ho, Wo)


class _Sampling(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, values: Tensor, offsets: Tensor, masks: Tensor, geometry: Geometry, whole: bool
    ) -> Tensor:
        result = values.new_empty((*offsets.shape[:3], values.shape[3]))
        views = _views(geometry.groups, values, offsets, masks, result)
        reference, exact = _reference(geometry, views), _exact(values)
        kept = []
        for groups in _parts(geometry.groups, 1 if whole else PORTIONS):
            maps = _front(views.values[:, groups], exact)
            weights = _front(views.masks[:, groups], exact)
            grid = _grid(views, groups, reference)
            total = maps.new_zeros((*maps.shape[:2], *offsets.shape[1:3]))
            for points in _parts(geometry.points, 1 if whole else geometry.points):
                sampled = _sample(maps, grid[:, points])
                for k, point in enumerate(sampled.unbind(2), points.start):
                    total.addcmul_(point, weights[:, k, None])
                kept += [sampled] if whole else []
            views.result[:, groups] = total.unflatten(0, (len(values), -1))
        ctx.save_for_backward(values, offsets, masks, *kept)
        ctx.geometry = geometry
        return result

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        values, offsets, masks, *kept = ctx.saved_tensors
        geometry, whole, images = ctx.geometry, bool(kept), len(values)
        gradients: list[Tensor] = []
        views = _views(geometry.groups, values, offsets, masks, gradient)
        reference, exact = _reference(geometry, views), _exact(values)
        for groups in _parts(geometry.groups, 1 if whole else PORTIONS):
            maps = _front(views.values[:, groups], exact)
            weights = _front(views.masks[:, groups], exact)
            grid, above = _grid(views, groups, reference), _front(views.result[:, groups], exact)
            total: Any = None
            for points in _parts(geometry.points, 1 if whole else geometry.points):
                sampled = kept[0] if whole else _sample(maps, grid[:, points])
                mask = [(above * point).sum(1) for point in sampled.unbind(2)]
                del sampled
                down = (above[:, :, None] * weights[:, None, points]).flatten(2, 3)
                place = grid[:, points].flatten(1, 2)
                part, moved = _sampler_backward(down, maps, place, *_MODE, [True, True])
                total = total.add_(part) if points.start else part
                # The step's places and weights are used up: their room is their gradients'.
                grid[:, points] = moved.mul_(reference.step).view_as(grid[:, points])
                weights[:, points] = torch.stack(mask, 1)
                del down, part, moved, mask
            gradients = gradients or [torch.empty_like(t) for t in (values, offsets, masks)]
            into = _views(geometry.groups, *gradients, gradient)
            into.values[:, groups] = total.unflatten(0, (images, -1))
            into.offsets[:, groups] = grid.unflatten(0, (images, -1))
            into.masks[:, groups] = weights.unflatten(0, (images, -1))
        return *gradients, None, None


def _views(groups: int, *tensors: Tensor) -> _Views:
    """Views, so that what is written to them lands in the tensors."""
    values, offsets, masks, result = tensors
    front = [t.unflatten(3, (groups, -1)).permute(0, 3, 4, 1, 2) for t in (values, masks, result)]
    points = offsets.unflatten(3, (groups, -1, 2)).permute(0, 3, 4, 1, 2, 5)
    return _Views(front[0], points, front[1], front[2])


def _parts(count: int, parts: int) -> list[slice]:
    size = -(-count // parts)
    return [slice(start, min(start + size, count)) for start in range(0, count, size)]


def _front(view: Tensor, dtype: torch.dtype) -> Tensor:
    """A compact copy with images and groups as one dimension; grid_sample crawls on views."""
    copy = torch.empty(view.shape, dtype=dtype, device=view.device)
    return copy.copy_(view).flatten(0, 1)


def _exact(values: Tensor) -> torch.dtype:
    """Half precision cannot tell the places of a map apart."""
    return torch.promote_types(values.dtype, torch.float32)


class _Reference(NamedTuple):
    places: Tensor  # (P, Ho, Wo, 2) of the points without offsets, in [-1, 1]
    step: Tensor  # (2,) what one pixel of offset is there


def _reference(geometry: Geometry, views: _Views) -> _Reference:
    height, width = views.values.shape[3:]
    middle = geometry.dilation * (geometry.kernel - 1) // 2
    like: Any = {"dtype": _exact(views.values), "device": views.values.device}
    taps = torch.arange(geometry.kernel, **like) * geometry.dilation - middle
    kernel = torch.cartesian_prod(taps, taps)  # x is the slow index of the released weights
    if geometry.remove_center:
        centre = geometry.points // 2
        kernel = torch.cat((kernel[:centre], kernel[centre + 1 :]))
    rows, columns = (torch.arange(n, **like) * geometry.stride for n in views.result.shape[3:])
    pixels = torch.stack(torch.meshgrid(columns, rows, indexing="xy"), -1) + middle - geometry.pad
    size = torch.tensor([width, height], **like)
    places = pixels + geometry.scale * kernel[:, None, None]
    return _Reference((2 * places + 1) / size - 1, 2 * geometry.scale / size)


def _grid(views: _Views, groups: slice, reference: _Reference) -> Tensor:
    """(N*G, P, Ho, Wo, 2) places of the points, in [-1, 1]."""
    places, step = reference
    return torch.addcmul(places, _front(views.offsets[:, groups], step.dtype), step)


def _sample(maps: Tensor, grid: Tensor) -> Tensor:
    """(N*G, C, P, Ho, Wo) values at these places."""
    sampled: Tensor = _sampler(maps, grid.flatten(1, 2), *_MODE).unflatten(2, grid.shape[1:3])
    return sampled
