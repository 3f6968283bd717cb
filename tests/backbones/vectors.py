"""Published numbers in brief: a module's outputs and gradients, two numbers an array.

Weights, input and the loss's factors come from ``filling``; what is expected was computed by the
published modules in float64. Each array is held by its sum over factors of either sign, which sees
every element and its place, and by the sum of its absolute values.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from tests.backbones.filling import fill, fill_parameters

Expected = Mapping[str, tuple[float, float]]


def results(module: nn.Module, shape: tuple[int, ...], *words: int) -> dict[str, Tensor]:
    """Outputs and gradients in float64, evaluation mode: out0, …, grad_x, grad.<parameter>."""
    module.double().eval()
    fill_parameters(module)
    images = (1.7 * fill(shape, 10000)).requires_grad_()
    out = module(images, *words)
    maps = {"out": out} if isinstance(out, Tensor) else {f"out{k}": o for k, o in enumerate(out)}
    losses = [(o * fill(o.shape, 20000 + k)).sum() for k, o in enumerate(maps.values())]
    torch.stack(losses).sum().backward()
    assert images.grad is not None
    found = {name: o.detach() for name, o in maps.items()} | {"grad_x": images.grad}
    for name, parameter in module.named_parameters():
        if parameter.grad is not None:
            found["grad." + name] = parameter.grad
    return found


def digest(array: Tensor) -> tuple[float, float]:
    return float((array * fill(array.shape, 30000)).sum()), float(array.abs().sum())


def check(found: Mapping[str, Tensor], expected: Expected, close: float = 1e-9) -> None:
    """Compare with what is expected; ``name.strideS`` stands for every S-th row and column."""
    for name, (mixed, total) in expected.items():
        array, _, stride = name.partition(".stride")
        step = int(stride or 1)
        values = found[array][..., ::step, ::step] if stride else found[array]
        error = max(
            abs(got - want) for got, want in zip(digest(values), (mixed, total), strict=True)
        )
        assert error < close * total, f"{name} is off by {error / total:.1e}"


def summary(module: nn.Module) -> tuple[int, int, str]:
    """Number of keys, of parameters, and a hash of the sorted lines "name shape dtype"."""
    state = module.state_dict()
    lines = sorted(
        f"{name} {'x'.join(map(str, value.shape))} {str(value.dtype).removeprefix('torch.')}"
        for name, value in state.items()
    )
    parameters = sum(parameter.numel() for parameter in module.parameters())
    return len(state), parameters, hashlib.sha256("\n".join(lines).encode()).hexdigest()[:20]


Step = tuple[list[Tensor], dict[str, Tensor]]


def step(model: nn.Module, images: Tensor, bf16: bool = False) -> Step:
    """Outputs, and gradients of a loss that sees all of them; bfloat16 is for the way forward."""
    model.zero_grad()
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        out = model(images)
    torch.stack([(o.float() * fill(o.shape, k)).sum() for k, o in enumerate(out)]).sum().backward()
    named = model.named_parameters()
    gradients = {name: p.grad.clone() for name, p in named if p.grad is not None}
    return [o.detach() for o in out], gradients


def assert_same_step(got: Step, expected: Step, close: float = 1e-5) -> None:
    """Each tensor within a share of its largest value."""
    assert got[1].keys() == expected[1].keys()
    pairs = [*zip(got[0], expected[0], strict=True)]
    pairs += [(gradient, expected[1][name]) for name, gradient in got[1].items()]
    for one, other in pairs:
        assert (one - other).abs().max() <= close * other.abs().max()


def assert_close_in_bf16(got: Step, expected: Step) -> None:
    """Outputs within 2e-2, all gradients together within 0.2.

    Gradients of this loss cancel, and how processors multiply in bfloat16 differs: those of a few
    small tensors, near 0, may be off by half and more.
    """
    for one, other in zip(got[0], expected[0], strict=True):
        assert one.isfinite().all()
        assert 0 < (one - other).abs().max() < 2e-2 * other.abs().max()
    assert got[1].keys() == expected[1].keys()
    ours, exact = (torch.cat([g.flatten() for g in step[1].values()]) for step in (got, expected))
    assert (ours - exact).norm() < 0.2 * exact.norm()
    errors = [(got[1][name] - other).norm() / other.norm() for name, other in expected[1].items()]
    assert torch.stack(errors).mean() < 0.12


def kept_bytes(model: nn.Module, images: Tensor) -> int:
    """What autograd keeps for the backward pass, parameters too."""
    found = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        found[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        out = model(images)  # alive until the sum: else an address might serve twice
        total = sum(found.values())
    del out
    return total


def assert_channels_last_gives_the_same(model: nn.Module, images: Tensor) -> None:
    last = images.to(memory_format=torch.channels_last)
    assert_same_step(step(model, last), step(model, images))
    assert all(m.is_contiguous() for m in model(last))


def assert_checkpointing_keeps_less(model: nn.Module, other: nn.Module, images: Tensor) -> None:
    """``other`` is the same with checkpointing: no gradient changes."""
    assert_same_step(step(other, images), step(model, images), close=1e-6)
    assert kept_bytes(other, images) < 0.7 * kept_bytes(model, images)


def assert_drop_path_is_for_training_only(
    model: nn.Module, without: nn.Module, images: Tensor
) -> None:
    pictures = images.repeat(4, 1, 1, 1)
    torch.manual_seed(0)
    first, second = model(pictures)[3], model(pictures)[3]
    assert not torch.equal(first, second)
    for got, expected in zip(model.eval()(pictures), without(pictures), strict=True):
        assert torch.equal(got, expected)
