"""How far the heads of a shared encoder agree: their gradients of it, and the angles between."""

from collections.abc import Mapping, Sequence
from itertools import combinations

import torch
from mmengine.dist import all_reduce
from torch import Tensor, nn


def measure(losses: Mapping[str, Tensor], encoder: Sequence[nn.Parameter]) -> dict[str, Tensor]:
    """Norms ``gradient_norm/<head>`` and cosines ``cosine/<head>~<head>`` of one batch.

    ``losses``: each head's sum, its graph still whole afterwards. Of several processes the
    gradients' mean is looked at, which is what a step follows.
    """
    found: dict[str, Tensor] = {}
    wanted = [parameter for parameter in encoder if parameter.requires_grad]
    for head, loss in losses.items():
        parts: Sequence[Tensor | None] = torch.autograd.grad(
            loss, wanted, retain_graph=True, allow_unused=True
        )
        filled = (
            torch.zeros_like(parameter) if part is None else part
            for part, parameter in zip(parts, wanted, strict=True)
        )
        found[head] = torch.cat([part.detach().float().flatten() for part in filled])
        all_reduce(found[head], "mean")
    told = {f"gradient_norm/{head}": vector.norm() for head, vector in found.items()}
    for (one, first), (other, second) in combinations(found.items(), 2):
        lengths = (first.norm() * second.norm()).clamp_min(torch.finfo(torch.float32).tiny)
        told[f"cosine/{one}~{other}"] = first @ second / lengths
    return told
