"""Lets torchvision import beside a torch that its compiled half was not built for.

    from mtp_bench.backbones import torchvision_shim
    torchvision_shim.apply()      # before timm, before mmdet, before an mmengine Runner

Package indexes offer torchvision for Linux built for CUDA. Beside a CPU build of torch its operator
library does not load, and ``import torchvision`` stops at the first operator that it describes.
With the two operators declared, all of torchvision's Python works; calling them fails clearly.
"""

from importlib.util import find_spec
from pathlib import Path

import torch

SCHEMAS = {
    "nms": "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms": "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
}

# Declared operators vanish with the Library object that declared them.
_declared: list[torch.library.Library] = []


def apply() -> bool:
    """Declares what the operator library does not bring; True where that was needed.

    A library that loads is loaded first, so a fitting pair of torch and torchvision stays as it is.
    """
    spec = find_spec("torchvision")
    if spec is None or spec.origin is None:
        return False
    if not _missing():
        return bool(_declared)
    for library in sorted(Path(spec.origin).parent.glob("_C*.so")):
        try:
            torch.ops.load_library(str(library))
        except OSError:
            continue
    missing = _missing()
    if missing:
        fragment = torch.library.Library("torchvision", "FRAGMENT")
        for name in missing:
            fragment.define(name + SCHEMAS[name])
        _declared.append(fragment)
    return bool(_declared)


def _missing() -> list[str]:
    return [name for name in SCHEMAS if not hasattr(torch.ops.torchvision, name)]
