"""Layers that keep only what goes in, and compute the cheap part again for the gradient.

A norm or a GELU before a linear layer costs as much memory as its input, and next to nothing to
compute. torch's checkpointing would do the same, with a millisecond of Python a call.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional
from torch.utils.checkpoint import checkpoint


def recomputed(function: Callable[..., Any], *inputs: Any, wanted: bool = True) -> Any:
    """Call it; where gradients are ``wanted`` cheaply, keep its inputs and run it again for them.

    Recomputation stops at the last tensor that it needs: a costly last layer is not run again.
    """
    if wanted and torch.is_grad_enabled():
        return checkpoint(function, *inputs, use_reentrant=False)
    return function(*inputs)


def norm_linear(norm: nn.LayerNorm, linear: nn.Linear, tokens: Tensor) -> tuple[Tensor, Tensor]:
    """``linear(norm(tokens))``, and ``norm(tokens)`` itself, which is not kept."""
    words = (norm.weight, norm.bias, norm.eps, linear.weight, linear.bias)
    apply: Any = _NormLinear.apply
    out, normed = apply(tokens, *words)
    return out, normed


def gelu_linear(linear: nn.Linear, hidden: Tensor) -> Tensor:
    """``linear(gelu(hidden))``."""
    apply: Any = _GeluLinear.apply
    out: Tensor = apply(hidden, linear.weight, linear.bias)
    return out


def _linear_gradients(above: Tensor, given: Tensor, weight: Tensor) -> tuple[Tensor, ...]:
    """By what goes into a linear layer, its weight and its bias; in the precision of ``above``."""
    flat = above.flatten(0, -2)
    by_weight = flat.T @ given.to(above.dtype).flatten(0, -2)
    return above @ weight.to(above.dtype), by_weight.to(weight.dtype), flat.sum(0).to(weight.dtype)


class _NormLinear(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, tokens: Tensor, scale: Tensor, shift: Tensor, eps: float, *linear: Tensor
    ) -> tuple[Tensor, Tensor]:
        normed = functional.layer_norm(tokens, scale.shape, scale, shift, eps)
        ctx.save_for_backward(tokens, scale, shift, linear[0])
        ctx.eps, ctx.dtype = eps, normed.dtype
        return functional.linear(normed, *linear), normed

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, above: Tensor, beside: Tensor) -> tuple[Tensor | None, ...]:
        tokens, scale, shift, weight = ctx.saved_tensors
        shape, given = list(scale.shape), tokens.to(ctx.dtype)
        normed, mean, rstd = torch.native_layer_norm(given, shape, scale, shift, ctx.eps)
        by_normed, by_weight, by_bias = _linear_gradients(above, normed, weight)
        by_normed = by_normed.to(ctx.dtype) + beside
        back = torch.ops.aten.native_layer_norm_backward
        dx, by_scale, by_shift = back(
            by_normed, given, shape, mean, rstd, scale, shift, [True, True, True]
        )
        return dx.to(tokens.dtype), by_scale, by_shift, None, by_weight, by_bias


class _GeluLinear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        ctx.save_for_backward(hidden, weight)
        return functional.linear(functional.gelu(hidden), weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, above: Tensor) -> tuple[Tensor, ...]:
        hidden, weight = ctx.saved_tensors
        active = functional.gelu(hidden)
        by_active, by_weight, by_bias = _linear_gradients(above, active, weight)
        back = torch.ops.aten.gelu_backward
        return back(by_active.to(hidden.dtype), hidden), by_weight, by_bias
