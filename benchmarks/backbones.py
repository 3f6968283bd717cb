"""How fast the backbones are against their literal forms, and how much memory they hold.

    python benchmarks/backbones.py [--part rvsa attention dcnv3 plain] [--size 224 512]
                                   [--batch 2] [--repeats 9] [--threads 1]

    rvsa       ViT-B + RVSA, whole, against the literal form
    attention  a full-attention block as detection uses it, 1,024 px, against the literal softmax
    dcnv3      the forms of DCNv3 against the literal one, in the four stages of InternImage-XL
    plain      ViT-B + RVSA against timm's plain ViT-B

Forward and backward, float32; the sides of a comparison take turns, and each stands with its
median, 10th and 90th percentile. "saved" is what autograd keeps for the backward pass, parameters
left out; "peak" what the process or the GPU held at most beyond its start. Sides that should be
equal are compared first. On a GPU, TF32 is on everywhere, and rows with bfloat16 are added.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import platform
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from literal import LiteralBlock, LiteralFull, LiteralRvsa, literal_dcnv3
from torch import Tensor, nn

from mtp_bench.backbones import torchvision_shim
from mtp_bench.backbones.dcnv3 import Geometry, dcnv3
from mtp_bench.backbones.rvsa import PUBLISHED, SIZES, Rvsa

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
NAME = "vit_b_rvsa"
XL_STAGES = ((192, 12, 4), (384, 24, 8), (768, 48, 16), (1536, 96, 32))


@dataclass(frozen=True)
class Side:
    """One of those that are compared."""

    name: str
    forward: Callable[[], list[Tensor]]
    inputs: tuple[Tensor, ...]
    module: nn.Module
    bf16: bool = False

    def run(self) -> list[Tensor]:
        with torch.autocast(DEVICE, torch.bfloat16, enabled=self.bf16):
            return self.forward()

    def clear(self) -> None:
        self.module.zero_grad()
        for tensor in self.inputs:
            tensor.grad = None

    def step(self, gradients: list[Tensor]) -> None:
        self.clear()
        out = self.run()
        torch.autograd.backward(out, [g.to(o.dtype) for g, o in zip(gradients, out, strict=True)])


def of_module(name: str, module: nn.Module, *words: object, bf16: bool = False) -> Side:
    """A side that calls a module; tensors among the words that ask for gradients are its inputs."""
    inputs = tuple(w for w in words if isinstance(w, Tensor) and w.requires_grad)

    def forward() -> list[Tensor]:
        out = module(*words)
        return [out] if isinstance(out, Tensor) else list(out)

    return Side(name, forward, inputs, module, bf16)


Makes = Callable[[torch.dtype], list[Side]]


def saved_bytes(side: Side) -> int:
    """What the backward pass will need, each storage once, without parameters and buffers."""
    kept = (*side.module.parameters(), *side.module.buffers())
    own = {tensor.untyped_storage().data_ptr() for tensor in kept}
    found: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        found[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        out = side.run()  # alive until the sum: else an address might serve twice
        total = sum(size for address, size in found.items() if address not in own)
    del out
    return total


def peak_bytes(side: Side, gradients: list[Tensor]) -> int:
    """The most that a step holds beyond what is held before it."""
    side.clear()
    gc.collect()
    if DEVICE == "cuda":
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        side.step(gradients)
        return torch.cuda.max_memory_allocated() - before
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")  # sets the high-water mark to what is held
    before = resident("VmRSS")
    side.step(gradients)
    return resident("VmHWM") - before


def resident(field: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith(field))


def check_equal(one: Side, other: Side, close: float) -> None:
    """Outputs, and gradients by the inputs and by every parameter."""
    torch.manual_seed(0)
    gradients = [torch.randn_like(out) for out in one.run()]
    results = []
    for side in (one, other):
        side.step(gradients)
        named = {name: p.grad for name, p in side.module.named_parameters() if p.grad is not None}
        named |= {f"input {n}": tensor.grad for n, tensor in enumerate(side.inputs)}
        named |= {f"output {n}": out.detach() for n, out in enumerate(side.run())}
        results.append({name: tensor.clone() for name, tensor in named.items()})
    ours, theirs = results
    if ours.keys() != theirs.keys():
        raise SystemExit(f"{one.name}, {other.name}: not the same gradients")
    for name, expected in theirs.items():
        error = (ours[name] - expected).abs().max() / expected.abs().max().clamp(min=1e-30)
        if not error < close:
            raise SystemExit(f"{one.name} is not {other.name}: {name} differs by {error:.1e}")


def compare(title: str, make: Makes, repeats: int, check: torch.dtype | None) -> None:
    """Time the sides in turns and print a row each, speed and memory held against the first's.

    Before that, all but those in bfloat16 must give equal numbers in the precision of the check.
    """
    if check is not None:
        first, *others = [side for side in make(check) if not side.bf16]
        for side in others:
            check_equal(side, first, 1e-9 if check == torch.float64 else 1e-4)
    sides = make(torch.float32)
    gradients = [[torch.randn_like(out) for out in side.run()] for side in sides]
    seconds: list[list[float]] = [[] for _ in sides]
    for turn in range(repeats + 1):
        for side, gradient, found in zip(sides, gradients, seconds, strict=True):
            start = now()
            side.step(gradient)
            end = now()
            if turn:  # the first turn warms up
                found.append(end - start)
    memory = [
        (saved_bytes(side), peak_bytes(side, gradient))
        for side, gradient in zip(sides, gradients, strict=True)
    ]
    print(f"\n{title}{'; TF32 on' if DEVICE == 'cuda' else ''}")
    print(f"{'':26}{'ms':>9}{'p10':>9}{'p90':>9}{'speed':>7}{'saved MiB':>17}{'peak MiB':>17}")
    for side, found, (saved, peak) in zip(sides, seconds, memory, strict=True):
        deciles = statistics.quantiles(found, n=10, method="inclusive")
        middle = statistics.median(found)
        times = "".join(f"{1000 * value:9.1f}" for value in (middle, deciles[0], deciles[-1]))
        speed = statistics.median(seconds[0]) / middle
        sizes = "".join(
            f"{value / 2**20:9.1f} ({value / first:4.2f})"
            for value, first in zip((saved, peak), memory[0], strict=True)
        )
        print(f"{side.name:26}{times}{speed:7.2f}{sizes}")


def now() -> float:
    """On one CPU thread its own seconds, which other processes disturb least; else the clock's."""
    if DEVICE == "cuda":
        torch.cuda.synchronize()
    own = DEVICE == "cpu" and torch.get_num_threads() == 1
    return time.process_time() if own else time.perf_counter()


# The parts.
def make_pair(image_size: int, dtype: torch.dtype) -> tuple[LiteralRvsa, Rvsa]:
    """The literal encoder and ours with the same weights, none of them left at zero."""
    torch.manual_seed(0)
    ours = Rvsa(SIZES[NAME], image_size=image_size, **PUBLISHED["segmentation"])
    with torch.no_grad():
        for parameter in ours.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.01)
    literal = LiteralRvsa(SIZES[NAME], image_size)
    literal.load_state_dict(ours.state_dict())
    return literal.to(DEVICE, dtype), ours.to(DEVICE, dtype)


def part_rvsa(chosen: argparse.Namespace) -> None:
    for size in chosen.size:

        def make(dtype: torch.dtype, size: int = size) -> list[Side]:
            literal, ours = make_pair(size, dtype)
            batch = 1 if dtype == torch.float64 else chosen.batch
            images = torch.randn(batch, 3, size, size, dtype=dtype, device=DEVICE)
            sides = [of_module("literal", literal, images), of_module("ours", ours, images)]
            if DEVICE == "cuda":
                sides.append(of_module("literal, bf16", literal, images, bf16=True))
                sides.append(of_module("ours, bf16", ours, images, bf16=True))
            return sides

        title = f"{NAME}, {size} px, batch {chosen.batch}"
        compare(title, make, chosen.repeats, torch.float64)


def part_attention(chosen: argparse.Namespace) -> None:
    """As in detection: no tables, and so nothing that stands in the way of a fused kernel."""
    size, side = SIZES[NAME], 64

    def make(dtype: torch.dtype) -> list[Side]:
        torch.manual_seed(0)
        ours = Rvsa(size, image_size=16 * side, **PUBLISHED["detection"]).blocks[size.every - 1]
        literal = LiteralBlock(size.width, LiteralFull(size.width, size.heads, None))
        literal.load_state_dict(ours.state_dict())
        tokens = torch.randn(1, side**2, size.width, dtype=dtype, device=DEVICE)
        sides = []
        for bf16 in [False, True] if DEVICE == "cuda" else [False]:
            for name, block in (("literal", literal), ("ours", ours)):
                words = (block.to(DEVICE, dtype), tokens.requires_grad_(), side, side)
                sides.append(of_module(name + ", bf16" * bf16, *words, bf16=bf16))
        return sides

    compare(f"full-attention block, {side**2} tokens", make, chosen.repeats, torch.float64)


class Operator(nn.Module):
    """A form of DCNv3 as a module."""

    def __init__(self, geometry: Geometry, form: str) -> None:
        super().__init__()
        self.geometry, self.form = geometry, form

    def forward(self, values: Tensor, offsets: Tensor, masks: Tensor) -> Tensor:
        if self.form == "literal":
            return literal_dcnv3(values, offsets, masks, self.geometry)
        return dcnv3(values, offsets, masks, self.geometry, self.form)


def part_dcnv3(chosen: argparse.Namespace) -> None:
    forms = ("literal", "whole", "points", *(["triton"] if DEVICE == "cuda" else []))
    for channels, groups, stride in XL_STAGES:
        side = 224 // stride
        geometry = Geometry(groups, scale=2.0)

        def make(
            dtype: torch.dtype,
            channels: int = channels,
            side: int = side,
            geometry: Geometry = geometry,
        ) -> list[Side]:
            torch.manual_seed(0)
            shape = (chosen.batch, side, side)
            count = geometry.groups * geometry.points
            # No point on or near a pixel's centre, where the derivative jumps.
            offsets = (torch.randint(-16, 16, (*shape, 2 * count)) + 0.5) / 16
            masks = torch.rand(*shape, count)
            words = [
                word.to(DEVICE, dtype).requires_grad_()
                for word in (torch.randn(*shape, channels), offsets, masks)
            ]
            return [of_module(form, Operator(geometry, form), *words) for form in forms]

        title = f"DCNv3, {channels} channels, {side} x {side}, batch {chosen.batch}"
        compare(title, make, chosen.repeats, torch.float32)


def part_plain(chosen: argparse.Namespace) -> None:
    torchvision_shim.apply()
    import timm

    for size in chosen.size:

        def make(dtype: torch.dtype, size: int = size) -> list[Side]:
            words = {"img_size": size, "num_classes": 0, "global_pool": ""}
            plain = timm.create_model("vit_base_patch16_224", **words).to(DEVICE, dtype)
            _, ours = make_pair(size, dtype)
            images = torch.randn(chosen.batch, 3, size, size, dtype=dtype, device=DEVICE)
            named = (("timm's ViT-B", plain), ("ours", ours))
            return [
                of_module(name + ", bf16" * bf16, module, images, bf16=bf16)
                for bf16 in ([False, True] if DEVICE == "cuda" else [False])
                for name, module in named
            ]

        title = f"{NAME} and a plain ViT-B, {size} px, batch {chosen.batch}"
        compare(title, make, chosen.repeats, None)


PARTS = {
    "rvsa": part_rvsa,
    "attention": part_attention,
    "dcnv3": part_dcnv3,
    "plain": part_plain,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--part", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--size", nargs="+", type=int, default=[224, 512])
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--threads", type=int, default=1)
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    where = platform.processor() or platform.machine()
    if DEVICE == "cuda":
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
        where = torch.cuda.get_device_name()
    print(f"torch {torch.__version__}, {where}, {chosen.threads} thread(s), {chosen.repeats} turns")
    for part in chosen.part:
        PARTS[part](chosen)


if __name__ == "__main__":
    main()
