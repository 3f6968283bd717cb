"""Numbers that anyone can recompute, for the inputs and the weights of reference vectors."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np
import torch
from torch import Tensor, nn

_MASK = np.uint64(0xFFFFFFFF)


def fill(shape: Sequence[int], seed: int) -> Tensor:
    """Float64 numbers in [-1, 1): a hash of place and seed, in row-major order."""
    places = np.arange(1, math.prod(shape) + 1, dtype=np.uint64)
    x = (places * np.uint64(2654435761) + np.uint64((seed + 1) * 40503)) & _MASK
    for shift, factor in ((15, 2246822519), (13, 3266489917)):
        x ^= x >> np.uint64(shift)
        x = (x * np.uint64(factor)) & _MASK
    x ^= x >> np.uint64(16)
    return torch.from_numpy(x.astype(np.float64) / 2**31 - 1).view(*shape)


def fill_parameters(module: nn.Module, names: Iterable[str] | None = None) -> None:
    """Overwrite the parameters: one seed each, by its place among the sorted names.

    ``names`` stands for the module's own names where the numbers were made with a module that
    has others beside them, which shift the seeds.
    """
    parameters = dict(module.named_parameters())
    order = sorted(parameters if names is None else names)
    with torch.no_grad():
        for name, parameter in parameters.items():
            x = fill(parameter.shape, order.index(name))
            parameter.copy_(_rule(name, x))


def _rule(name: str, x: Tensor) -> Tensor:
    if name.endswith("pos_embed"):
        return 0.5 * x
    if x.dim() > 1:
        spread = math.sqrt(3 / math.prod(x.shape[1:]))
        return (2 if "sampling_" in name else 1) * spread * x
    if name.split(".")[-1] in ("gamma1", "gamma2"):
        return 0.5 + 0.2 * x
    if name.endswith("weight"):
        return 1 + 0.2 * x
    return (0.3 if "sampling_" in name else 0.1) * x
