"""DCNv3's Triton kernels against the plain form in float64, which is the oracle.

Whether triton interprets is settled when it is first imported, so the interpreter, and the
compiler that needs no GPU either, run in processes of their own: this file as a program, with the
name of one of its ``PROGRAMS``, prints what that found as JSON.
"""

from __future__ import annotations

import importlib.util
import json
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from mtp_bench.backbones.dcnv3 import Geometry, dcnv3
from mtp_bench.errors import UserError
from tests.backbones.filling import fill

ROOT = Path(__file__).parents[2]
CLOSE = {"float32": 1e-5, "float16": 2e-3, "bfloat16": 2e-2}

# Images, height, width, channels a group, geometry, how far the offsets reach.
Case = tuple[int, int, int, int, Geometry, float]
CASES: dict[str, Case] = {
    "plain": (2, 6, 7, 4, Geometry(2), 2),
    "XL, several programs": (1, 5, 9, 16, Geometry(4, scale=2.0), 3),
    "stride 2": (2, 7, 4, 4, Geometry(2, stride=2), 2),
    "kernel 5, no pad": (1, 6, 5, 8, Geometry(1, 5, pad=0), 2),
    "kernel 2": (1, 4, 3, 4, Geometry(2, 2, stride=2, pad=0, scale=0.5), 2),
    "dilation 2, 3 channels": (1, 5, 6, 3, Geometry(3, pad=2, dilation=2, scale=0.5), 3),
    "no centre, 1 channel": (1, 4, 5, 1, Geometry(5, remove_center=True), 2),
    "more channels than a program has room": (1, 2, 1, 1100, Geometry(1), 1),
    "infinitely far": (1, 3, 3, 4, Geometry(1), math.inf),
    "one pixel": (1, 1, 1, 2, Geometry(1, 1, pad=0), 1),
}
RUNS = [
    *((name, "float32") for name in CASES),
    *((name, dtype) for name in ("plain", "stride 2") for dtype in ("float16", "bfloat16")),
]

needs_triton = pytest.mark.skipif(
    importlib.util.find_spec("triton") is None, reason="triton is not installed"
)


def inputs_of(case: Case, dtype: torch.dtype, device: str) -> list[Tensor]:
    """Values as a view, and no point on or near a pixel, where the derivative jumps."""
    images, height, width, channels, geometry, reach = case
    span = geometry.dilation * (geometry.kernel - 1) + 1
    rows, columns = (
        (side + 2 * geometry.pad - span) // geometry.stride + 1 for side in (height, width)
    )
    shape, count = (images, rows, columns), geometry.groups * geometry.points
    values = fill((images, width, height, geometry.groups * channels), 1).transpose(1, 2)
    places = (reach * fill((*shape, 2 * count), 2)).round()
    offsets = (places + 0.25 + 0.1 * fill((*shape, 2 * count), 3)) / geometry.scale
    masks = fill((*shape, count), 4)
    return [t.to(device, dtype).requires_grad_() for t in (values, offsets, masks)]


def errors(name: str, dtype: str, device: str = "cpu") -> dict[str, float]:
    """Of output and gradients, each against the largest expected number."""
    case = CASES[name]
    ours = inputs_of(case, getattr(torch, dtype), device)
    # The plain form cannot do with infinities.
    exact = [t.detach().double().clamp(-1e9, 1e9).requires_grad_() for t in ours]
    found: list[list[Tensor]] = []
    for (values, offsets, masks), form in ((ours, "triton"), (exact, "whole")):
        out = dcnv3(values, offsets, masks, case[4], form)  # type: ignore[arg-type]
        assert out.dtype == values.dtype
        above = fill(out.mT.shape, 20000).mT.to(device, ours[0].dtype).to(out.dtype)
        found.append([out, *torch.autograd.grad(out, (values, offsets, masks), above)])
    return {
        part: float(((a.double() - b).abs().max() / b.abs().max().clamp(min=1e-6)).detach())
        for part, a, b in zip(("out", "values", "offsets", "masks"), *found, strict=True)
    }


def interpreted() -> dict[str, dict[str, float]]:
    return {f"{name} {dtype}": errors(name, dtype) for name, dtype in RUNS}


def compiled() -> dict[str, bool]:
    """For which GPUs there is machine code; and what is said where there is no GPU."""
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    from mtp_bench.backbones.dcnv3_triton import Block, backward_kernel, forward_kernel

    done = {}
    for kernel, ins, outs in ((forward_kernel, 3, 1), (backward_kernel, 4, 3)):
        for capability, dtype in ((80, "*fp32"), (90, "*bf16")):
            written = ("*fp32",) * (outs == 3) + (dtype,) * (outs - (outs == 3))
            kinds = {"inputs": (dtype,) * ins, "outputs": written, "sizes": ("i32",) * 5}
            block = Block(Geometry(4, remove_center=True), 16)
            source = ASTSource(kernel, {**kinds, "BLOCK": "constexpr"}, {"BLOCK": block})
            code = triton.compile(source, target=GPUTarget("cuda", capability, 32))
            done[f"{kernel.__name__} {capability}"] = bool(code.asm["cubin"])
    return done


def without_gpu() -> str:
    values, offsets, masks = inputs_of(CASES["plain"], torch.float32, "cpu")
    try:
        dcnv3(values, offsets, masks, CASES["plain"][4], "triton")
    except UserError as error:
        return str(error)
    return "nothing"


PROGRAMS = {f.__name__: f for f in (interpreted, compiled, without_gpu)}


def run(program: str, folder: Path, interpret: bool = False) -> Any:
    """What one of the programs prints, in a process of its own."""
    environment = {**os.environ, "TRITON_CACHE_DIR": str(folder), "OMP_NUM_THREADS": "1"}
    environment["TRITON_INTERPRET"] = "1" if interpret else "0"
    ended = subprocess.run(
        [sys.executable, "-m", "tests.backbones.test_dcnv3_triton", program],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    return json.loads(ended.stdout)


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, float]]:
    result: dict[str, dict[str, float]] = run(
        "interpreted", tmp_path_factory.mktemp("triton"), True
    )
    return result


@needs_triton
@pytest.mark.parametrize(("name", "dtype"), RUNS)
def test_interpreted_it_gives_the_plain_form(
    name: str, dtype: str, found: dict[str, dict[str, float]]
) -> None:
    for part, error in found[f"{name} {dtype}"].items():
        assert error < CLOSE[dtype], part


@needs_triton
def test_it_compiles_for_gpus(tmp_path: Path) -> None:
    done = run("compiled", tmp_path)
    assert len(done) == 4
    assert all(done.values())


@needs_triton
@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_it_is_refused(tmp_path: Path) -> None:
    told = run("without_gpu", tmp_path)
    assert "on 'cpu' and the kernel needs a GPU; use form 'auto'" in told
    assert len(told.splitlines()) == 1


def test_without_triton_it_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "triton", None)
    monkeypatch.delitem(sys.modules, "mtp_bench.backbones.dcnv3_triton", raising=False)
    assert "triton is not installed" in without_gpu()


@needs_triton
@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("dtype", CLOSE)
@pytest.mark.parametrize("name", CASES)
def test_on_a_gpu_it_gives_the_plain_form(name: str, dtype: str) -> None:
    for part, error in errors(name, dtype, "cuda").items():
        assert error < CLOSE[dtype], part


if __name__ == "__main__":
    print(json.dumps(PROGRAMS[sys.argv[1]]()))
