"""Checkpoints that cannot be lost.

Each is whole and durable under a temporary name, then renamed, and only then an old one deleted.
The newest two are kept; a broken newest is passed over. In each: model, optimiser, iteration, the
state of every process's random generators and the best score so far, all of it readable with
``weights_only=True``.
"""

from __future__ import annotations

import os
import random
import re
import uuid
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.dist import all_gather_object, is_main_process
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner

from mtp_bench.errors import UserError
from mtp_bench.mm.loader import strict_load
from mtp_bench.store import faults
from mtp_bench.store.files import sync_folder

KEPT = 2
NAME = re.compile(r"iter_(\d+)\.pth")
EMPTY_HUB: dict[str, Any] = {"log_scalars": {}, "runtime_info": {}, "resumed_keys": {}}
"""mmengine wants this key on resume; its own content needs unpickling of code to be read back."""


def generator_states() -> dict[str, Any]:
    """The states of this process's generators, as tensors and plain values."""
    numpy: Any = np.random.get_state(legacy=True)
    states: dict[str, Any] = {
        "python": random.getstate(),
        "numpy": (numpy[0], torch.from_numpy(numpy[1].astype(np.int64)), *numpy[2:]),
        "torch": torch.get_rng_state(),
    }
    if torch.cuda.is_available():
        states["cuda"] = torch.cuda.get_rng_state()
    return states


def restore_generators(states: dict[str, Any]) -> None:
    """The inverse of ``generator_states``."""
    version, internal, gauss = states["python"]
    random.setstate((version, tuple(internal), gauss))
    name, keys, *rest = states["numpy"]
    np.random.set_state((name, keys.cpu().numpy().astype(np.uint32), *rest))
    torch.set_rng_state(states["torch"].cpu())
    if "cuda" in states and torch.cuda.is_available():
        torch.cuda.set_rng_state(states["cuda"].cpu())


def save(runner: Runner, folder: Path, iteration: int, extra: dict[str, Any]) -> None:
    """Write the checkpoint of so many iterations; all processes call it, the main one writes."""
    generators = all_gather_object(generator_states())
    if not is_main_process():
        return
    model: Any = runner.model.module if is_model_wrapper(runner.model) else runner.model
    checkpoint = {
        "meta": {"epoch": 0, "iter": iteration, "experiment_name": runner.experiment_name},
        "state_dict": model.state_dict(),
        "optimizer": runner.optim_wrapper.state_dict(),
        "message_hub": EMPTY_HUB,
        "generators": generators,
        **extra,
    }
    folder.mkdir(parents=True, exist_ok=True)
    _write(folder / f"iter_{iteration}.pth", checkpoint)
    _delete_old(folder)


def _write(path: Path, checkpoint: dict[str, Any]) -> None:
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        faults.point("checkpoint.before")
        with temporary.open("wb") as stream:
            torch.save(checkpoint, stream)
            stream.flush()
            os.fsync(stream.fileno())
        faults.point("checkpoint.written")
        temporary.replace(path)
        faults.point("checkpoint.renamed")
    except (OSError, RuntimeError) as error:
        temporary.unlink(missing_ok=True)
        raise UserError(
            f"{path}: checkpoint cannot be written ({_reason(error)}): free space there"
        ) from error
    sync_folder(path.parent)


def _reason(error: BaseException | None) -> str:
    """The system's words, which torch hides behind its own."""
    told = str(error).partition("\n")[0]
    while error is not None:
        if isinstance(error, OSError) and error.strerror:
            return error.strerror
        error = error.__cause__ or error.__context__
    return told


def _delete_old(folder: Path) -> None:
    faults.point("checkpoint.delete.before")
    for path in _by_age(folder)[KEPT:]:
        path.unlink(missing_ok=True)
    for leftover in folder.glob(".iter_*.tmp"):
        leftover.unlink(missing_ok=True)
    faults.point("checkpoint.delete.after")


def _by_age(folder: Path) -> list[Path]:
    """Newest first."""
    found = [
        (int(m.group(1)), p) for p in folder.glob("iter_*.pth") if (m := NAME.fullmatch(p.name))
    ]
    return [path for _, path in sorted(found, reverse=True)]


def newest_whole(folder: Path) -> tuple[Path, int] | None:
    """The newest checkpoint that can be read, and its iteration; broken ones are passed over."""
    for path in _by_age(folder):
        try:
            checkpoint = strict_load(str(path), map_location="cpu")
            return path, int(checkpoint["meta"]["iter"])
        except Exception as error:  # a torn file fails in as many ways as there are bytes
            print(f"{path.name}: broken, passed over ({type(error).__name__})", flush=True)
    return None
