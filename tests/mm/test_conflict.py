"""Norms and cosines of heads' gradients, by hand."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from mtp_bench.mm.conflict import measure


def test_norms_and_angles_are_those_of_the_gradients() -> None:
    """Gradients (3, 4), (0, 2) and (-4, 3): lengths 5, 2 and 5, cosines 0.8, 0 and 0.6."""
    a, b = nn.Parameter(torch.tensor([1.0])), nn.Parameter(torch.tensor([1.0]))
    idle, fixed = nn.Parameter(torch.ones(3)), nn.Parameter(torch.ones(1), requires_grad=False)
    losses = {"x": (3 * a + 4 * b).sum(), "y": (2 * b).sum(), "z": (3 * b - 4 * a).sum()}
    found = {k: float(v) for k, v in measure(losses, [a, b, idle, fixed]).items()}
    assert found == pytest.approx(
        {
            "gradient_norm/x": 5,
            "gradient_norm/y": 2,
            "gradient_norm/z": 5,
            "cosine/x~y": 0.8,
            "cosine/x~z": 0,
            "cosine/y~z": 0.6,
        },
        abs=1e-6,
    )
    sum(losses.values(), torch.zeros(())).backward()  # the graph is still there
    assert a.grad is not None
    assert float(a.grad) == -1  # and nothing was left behind: 3 - 4


def test_a_head_without_any_gradient_agrees_with_nothing() -> None:
    a = nn.Parameter(torch.ones(2))
    found = measure({"x": (0 * a).sum(), "y": a.sum()}, [a])
    assert float(found["cosine/x~y"]) == 0
