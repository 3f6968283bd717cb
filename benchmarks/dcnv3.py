"""DCNv3's forms from small maps to large ones: where ``auto`` should change from one to another.

    python benchmarks/dcnv3.py [--side 14 28 56 128 256] [--batch 2] [--groups 4] [--repeats 9]

Sixteen channels a group, kernel 3, the scale of InternImage-XL; "samples" is the size of all
points together, which ``auto`` goes by. Columns as in ``backbones.py``, which has the stages of
InternImage-XL. On a GPU the kernel is among the forms, and all come in bfloat16 once more.
"""

from __future__ import annotations

import argparse
import platform

import torch
from backbones import DEVICE, Operator, Side, compare, of_module

from mtp_bench.backbones.dcnv3 import Geometry

CHANNELS = 16
FORMS = ("literal", "whole", "points", "auto", *(["triton"] if DEVICE == "cuda" else []))


def make(side: int, batch: int, geometry: Geometry, dtype: torch.dtype) -> list[Side]:
    torch.manual_seed(0)
    shape = (batch, side, side)
    count = geometry.groups * geometry.points
    values = torch.randn(*shape, geometry.groups * CHANNELS)
    # No point on or near a pixel's centre, where the derivative jumps.
    offsets = (torch.randint(-16, 16, (*shape, 2 * count)) + 0.5) / 16
    words = [
        word.to(DEVICE, dtype).requires_grad_()
        for word in (values, offsets, torch.rand(*shape, count))
    ]
    forms = [form for form in FORMS if form != "literal" or dtype != torch.bfloat16]
    return [of_module(form, Operator(geometry, form), *words) for form in forms]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--side", nargs="+", type=int, default=[14, 28, 56, 128, 256])
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--groups", type=int, default=4)
    parser.add_argument("--repeats", type=int, default=9)
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    where = torch.cuda.get_device_name() if DEVICE == "cuda" else platform.machine()
    print(f"torch {torch.__version__}, {where}, 1 thread, {chosen.repeats} turns")
    geometry = Geometry(chosen.groups, scale=2.0)
    for side in chosen.side:
        numbers = chosen.batch * side**2 * chosen.groups * geometry.points * CHANNELS
        title = f"{chosen.batch} x {side} x {side}, {chosen.groups} groups"
        title += f", samples {4 * numbers / 2**20:.0f} MiB"

        def sides(dtype: torch.dtype, side: int = side) -> list[Side]:
            return make(side, chosen.batch, geometry, dtype)

        compare(title, sides, chosen.repeats, torch.float32)
        if DEVICE == "cuda":
            low = sides(torch.bfloat16)
            compare(f"{title}, bfloat16", lambda dtype, low=low: low, chosen.repeats, None)


if __name__ == "__main__":
    main()
