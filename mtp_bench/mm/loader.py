"""mmengine executes code from checkpoints in two places; this closes both.

Its loader falls back from ``weights_only=True`` to unpickling anything, and ``Runner.resume``
executes ``meta['config']`` as Python. Ours reads tensors and plain values only, and drops that
text.
"""

from __future__ import annotations

from typing import Any

import torch
from mmengine.runner.checkpoint import CheckpointLoader

from mtp_bench.errors import UserError

REMOTE = (
    "http://",
    "https://",
    "modelzoo://",
    "torchvision://",
    "open-mmlab://",
    "openmmlab://",
    "mmcls://",
    "pavi://",
    "s3:",
    "petrel:",
)


def strict_load(filename: str, map_location: Any = None) -> dict[str, Any]:
    """A checkpoint's tensors and plain values; ``pickle.UnpicklingError`` for anything more."""
    checkpoint: dict[str, Any] = torch.load(filename, map_location=map_location, weights_only=True)
    if isinstance(checkpoint.get("meta"), dict):
        checkpoint["meta"].pop("config", None)
    return checkpoint


def refuse_remote(filename: str, map_location: Any = None) -> dict[str, Any]:
    """Checkpoints are files that a suite names, never addresses."""
    del map_location
    raise UserError(f"{filename}: checkpoints are read from local files only: download it first")


def install() -> None:
    """Replace mmengine's loaders, for local files and for every remote scheme."""
    CheckpointLoader.register_scheme(prefixes="", loader=strict_load, force=True)
    CheckpointLoader.register_scheme(prefixes=list(REMOTE), loader=refuse_remote, force=True)
