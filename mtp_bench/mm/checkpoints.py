"""Checkpoints that cannot be lost.

Each is whole and durable under a temporary name, then renamed, and only then an old one deleted.
The newest two are kept; a broken newest is passed over. In each: model, optimiser, iteration, the
state of every process's random generators and the best score so far, all of it readable with
``weights_only=True``.
"""

import random
import re
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.dist import all_gather_object, is_main_process
from mmengine.runner import Runner

from mtp_bench.errors import UserError
from mtp_bench.mm.loader import strict_load
from mtp_bench.store import faults
from mtp_bench.store.files import whole

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
    model: Any = getattr(runner.model, "module", runner.model)
    checkpoint = {
        "meta": {"epoch": 0, "iter": iteration, "experiment_name": runner.experiment_name},
        "state_dict": model.state_dict(),
        "optimizer": runner.optim_wrapper.state_dict(),
        "message_hub": EMPTY_HUB,
        "generators": generators,
        **extra,
    }
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"iter_{iteration}.pth"
    faults.point("checkpoint.before")
    try:
        with whole(path, "checkpoint") as stream:
            torch.save(checkpoint, stream)
    except (OSError, RuntimeError) as error:
        raise UserError(
            f"{path}: checkpoint cannot be written ({_reason(error)}): free space there"
        ) from error
    _delete_old(folder)


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
    found = [(int(m[1]), p) for p in folder.glob("iter_*.pth") if (m := NAME.fullmatch(p.name))]
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
