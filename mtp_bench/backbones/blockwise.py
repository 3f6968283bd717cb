"""Attention with a row and a column term, a block of queries at a time, for the CPU.

What stands between is a block that stays in the cache and is computed again for the gradient, so
nothing of N x N is kept. torch's fused attention would do the same with the two terms as further
channels, and twice the arithmetic.
"""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

BLOCK = 2**18
"""Numbers in a block: 1 MiB in float32."""


@torch.compiler.disable  # type: ignore[untyped-decorator]
def attend(query: Tensor, key: Tensor, value: Tensor, down: Tensor, along: Tensor) -> Tensor:
    """softmax(q kᵀ + down + along) v.

    Queries, keys and values (B, heads, N, d), queries already scaled; down (B, heads, N, H) and
    along (B, heads, N, W) are added to the logits of a key's row and column, N = H·W.
    """
    exact = torch.promote_types(value.dtype, torch.float32)
    apply: Any = _Blockwise.apply
    with torch.autocast(value.device.type, enabled=False):
        out: Tensor = apply(*(t.to(exact) for t in (query, key, value, down, along)))
    return out.to(value.dtype)


def _blocks(count: int) -> Iterator[slice]:
    step = max(1, BLOCK // count)
    return (slice(start, min(start + step, count)) for start in range(0, count, step))


def _logits(query: Tensor, key: Tensor, down: Tensor, along: Tensor) -> Tensor:
    logits = query @ key.T
    cells = logits.view(len(query), down.shape[-1], along.shape[-1])
    cells += down[:, :, None]
    cells += along[:, None, :]
    return logits


class _Blockwise(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *inputs: Tensor) -> Tensor:
        value = inputs[2]
        out = torch.empty(value.shape, dtype=value.dtype)
        sums = value.new_empty(value.shape[:3])
        flat = [t.flatten(0, 1) for t in (*inputs, out, sums)]
        for q, k, v, down, along, o, s in zip(*flat, strict=True):
            for part in _blocks(len(q)):
                logits = _logits(q[part], k, down[part], along[part])
                most = logits.amax(-1, keepdim=True)
                shares = logits.sub_(most).exp_()
                total = shares.sum(-1, keepdim=True)
                torch.div(shares @ v, total, out=o[part])
                s[part] = (most + total.log())[:, 0]
        ctx.save_for_backward(*inputs, out, sums)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, ...]:
        *inputs, out, sums = ctx.saved_tensors
        gradients = [torch.zeros(t.shape, dtype=t.dtype) for t in inputs]
        means = (gradient * out).sum(-1, keepdim=True)
        flat = [t.flatten(0, 1) for t in (*inputs, sums, gradient, means, *gradients)]
        for q, k, v, down, along, s, above, mean, *into in zip(*flat, strict=True):
            dq, dk, dv, d_down, d_along = into
            for part in _blocks(len(q)):
                shares = _logits(q[part], k, down[part], along[part]).sub_(s[part, None]).exp_()
                dv.addmm_(shares.T, above[part])
                slope = (above[part] @ v.T).sub_(mean[part]).mul_(shares)
                torch.mm(slope, k, out=dq[part])
                dk.addmm_(slope.T, q[part])
                cells = slope.view(-1, down.shape[-1], along.shape[-1])
                torch.sum(cells, 2, out=d_down[part])
                torch.sum(cells, 1, out=d_along[part])
        return tuple(gradients)
