"""A loss that is no number, in pretraining: the batch is kept, and left out of one restart.

A step that began with such a loss has spoilt the weights. The job goes back to its last checkpoint
and on without the draws of that micro-batch, once; it fails where that happens again.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from mmengine.dist import get_rank, is_main_process

from mtp_bench.store import scalars
from mtp_bench.store.files import make_folder, whole
from mtp_bench.store.paths import JobPaths


class TrainingFailed(Exception):
    """The training itself went wrong; the message is what the user reads."""


class Diverged(Exception):
    """The micro-batch, by its number among all, whose loss was no number."""

    def __init__(self, micro_batch: int) -> None:
        super().__init__(f"micro-batch {micro_batch}")
        self.micro_batch = micro_batch


def skipped(paths: JobPaths) -> list[int]:
    """Micro-batches that earlier restarts left out."""
    return [int(row["micro_batch"]) for row in scalars.read(paths.skipped)]


def told(paths: JobPaths) -> list[str]:
    """For the record."""
    return [
        f"the loss was {row['loss']} at iteration {row['iteration']}: one restart without the "
        f"draws of its micro-batch {row['micro_batch']}"
        for row in scalars.read(paths.skipped)
    ]


def leave_out(
    paths: JobPaths,
    where: tuple[int, int],
    batch: Any,
    losses: Mapping[str, torch.Tensor],
    *,
    again: bool,
) -> None:
    """Keep the batch of an iteration and restart without it; all processes come here together.

    ``where``: the iteration, and the number of its micro-batch among all. ``again``: a micro-batch
    is left out already.

    Raises:
        Diverged: the first time.
        TrainingFailed: once a restart has not helped.
    """
    done, number = where
    values = {name: float(term) for name, term in losses.items()}
    loss = values.get("loss", float("nan"))
    kept = _dump(paths, done, batch, values)
    if again:
        left_out = ", ".join(map(str, skipped(paths)))
        raise TrainingFailed(
            f"the loss is {loss} at iteration {done}, after a restart without the draws of "
            f"micro-batch {left_out}: the batch is kept in {kept}; lower lr, or set clip_norm"
        )
    if is_main_process():
        row = {"iteration": done, "micro_batch": number, "loss": str(loss)}
        scalars.append(paths.skipped, row)
    raise Diverged(number)


def _dump(paths: JobPaths, done: int, batch: Any, losses: Mapping[str, float]) -> str:
    """The micro-batch of this process as tensors and plain values."""
    make_folder(paths.diverged)
    path = paths.diverged / f"iter_{done}.{get_rank()}.pth"
    samples: Sequence[Any] = batch.get("data_samples", ())
    named = [{k: str(s.get(k, "")) for k in ("img_path", "subset")} for s in samples]
    tensors: dict[str, Any] = {k: v for k, v in batch.items() if isinstance(v, torch.Tensor)}
    if isinstance(batch["inputs"], list):
        tensors["inputs"] = [each.cpu() for each in batch["inputs"]]
    with whole(path, "batch") as stream:
        torch.save({"iteration": done, "losses": losses, "pictures": named, **tensors}, stream)
    return str(path)


def conflict_figures(path: Any) -> dict[str, Any]:
    """Of all looks at the heads' gradients: first, last and mean, by name; {} where none was."""
    found: dict[str, dict[str, list[float]]] = {}
    for row in scalars.read(path):
        for name, value in row.items():
            kind, slash, what = name.partition("/")
            if slash and kind in ("gradient_norm", "cosine"):
                found.setdefault(kind, {}).setdefault(what, []).append(value)
    return {
        kind: {
            what: {"first": v[0], "last": v[-1], "mean": sum(v) / len(v), "looks": len(v)}
            for what, v in rows.items()
        }
        for kind, rows in found.items()
    }
