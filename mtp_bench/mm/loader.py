"""mmengine executes code from checkpoints in two places; this closes both.

Its loader falls back from ``weights_only=True`` to unpickling anything, and ``Runner.resume``
executes ``meta['config']`` as Python. Ours reads tensors and plain values only, and drops that
text.
"""

from typing import Any

import torch
from mmengine.runner.checkpoint import CheckpointLoader

from mtp_bench.errors import UserError


def strict_load(filename: str, map_location: Any = None) -> dict[str, Any]:
    """A checkpoint's tensors and plain values; ``pickle.UnpicklingError`` for anything more."""
    checkpoint: dict[str, Any] = torch.load(filename, map_location=map_location, weights_only=True)
    if isinstance(checkpoint.get("meta"), dict):
        checkpoint["meta"].pop("config", None)
    return checkpoint


def refuse_remote(filename: str, _: Any = None) -> dict[str, Any]:
    """Checkpoints are files that a suite names, never addresses."""
    raise UserError(f"{filename}: checkpoints are read from local files only: download it first")


def install() -> None:
    """Replace mmengine's loaders: of local files, which have no prefix, and of all others."""
    for prefix in list(CheckpointLoader._schemes):
        loader = refuse_remote if prefix else strict_load
        CheckpointLoader.register_scheme(prefix, loader, force=True)
