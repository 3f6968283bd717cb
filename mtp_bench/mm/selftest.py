"""Tries what may crash or hang, and prints a JSON line before and after each try.

    python -m mtp_bench.mm.selftest

The doctor runs it in a process of its own, since an operator built for another torch may take the
process down; the last line then tells what it was. Operators run against numbers worked by hand:
an import that succeeds proves nothing.
"""

import json
import os
import sys
from collections.abc import Callable
from contextlib import redirect_stdout
from functools import partial

import torch

from mtp_bench.backbones import torchvision_shim

TOLERANCE = 1e-4


def compare(value: float, expected: float) -> str:
    """The value as text; an error where it is not the expected one."""
    if abs(value - expected) > TOLERANCE:
        raise ArithmeticError(f"gives {value:.4f} instead of {expected:.4f}")
    return f"gives {value:.4f}"


def roi_align(device: str) -> str:
    """The mean over a box of a plane that rises by 1 a column is the column in its middle."""
    from mmcv.ops import roi_align as op

    plane = torch.arange(16.0).expand(1, 1, 16, 16).contiguous().to(device)
    box = torch.tensor([[0.0, 2.0, 2.0, 8.0, 8.0]], device=device)
    return compare(float(op(plane, box, (1, 1), 1.0, 2, "avg", True)), 4.5)


def box_iou_rotated(device: str) -> str:
    """A square of side 2 and itself at 45 degrees: an octagon of 8 (sqrt 2 - 1), so 1 / sqrt 2."""
    from mmcv.ops import box_iou_rotated as op

    square = torch.tensor([[5.0, 5.0, 2.0, 2.0, 0.0]], device=device)
    turned = torch.tensor([[5.0, 5.0, 2.0, 2.0, torch.pi / 4]], device=device)
    return compare(float(op(square, turned)), 0.5**0.5)


def import_torchvision() -> str:
    from torchvision import __version__
    from torchvision.transforms import v2

    compare(float(v2.functional.to_dtype(torch.tensor([255], dtype=torch.uint8), scale=True)), 1.0)
    return f"{__version__}{', without its compiled operators' * torchvision_shim.apply()}"


def import_opencv() -> str:
    import cv2
    import numpy as np

    compare(float(cv2.resize(np.full((4, 4), 7, np.uint8), (2, 2)).mean()), 7.0)
    return str(cv2.__version__)


def describe_torch() -> dict[str, object]:
    """The facts about torch and the GPUs that it sees, for the doctor to judge."""
    gpus = [torch.cuda.get_device_properties(i) for i in range(torch.cuda.device_count())]
    return {
        "version": torch.__version__,
        "cuda": torch.version.cuda,
        "archs": torch.cuda.get_arch_list(),
        "gpus": [
            {"name": g.name, "bytes": g.total_memory, "capability": [g.major, g.minor]}
            for g in gpus
        ],
    }


def attempt(name: str, action: Callable[[], object]) -> bool:
    """Says what is tried, then what came of it."""
    print(json.dumps({"trying": name}), flush=True)
    with redirect_stdout(sys.stderr):  # OpenMMLab prints when it is imported
        try:
            result: dict[str, object] = {"ok": True, "detail": action()}
        except Exception as error:  # whatever a broken build raises is the finding
            text = f"{type(error).__name__}: {error}"
            result = {"ok": False, "detail": text.splitlines()[0]}
    print(json.dumps({"name": name, **result}), flush=True)
    return bool(result["ok"])


def main() -> int:
    """Exit status 0 where all is well on every device there is."""
    tries: list[tuple[str, Callable[[], object]]] = [
        ("torch", describe_torch),
        ("torchvision", import_torchvision),
        ("opencv", import_opencv),
    ]
    for device in ["cpu", *["cuda"] * torch.cuda.is_available()]:
        for op in (roi_align, box_iou_rotated):
            tries.append((f"mmcv {op.__name__} ({device})", partial(op, device)))
    torchvision_shim.apply()
    failed = [name for name, action in tries if not attempt(name, action)]
    return 1 if failed else 0


if __name__ == "__main__":
    os._exit(main())  # unloading a damaged library may crash, after all has been said
