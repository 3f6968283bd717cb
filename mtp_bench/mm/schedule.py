"""The learning rate as a function of the iteration alone: a resumed run needs no state."""

import math
from typing import Any

from mmengine.hooks import Hook


def factor(iteration: int, *, total: int, warmup: int, start: float, kind: str, step: int) -> float:
    """Share of the base rate at an iteration.

    Linear from ``start`` to 1 over ``warmup`` iterations, then constant, or a cosine to 0 at
    ``total`` that moves every ``step`` iterations: 1 for a schedule by iteration, an epoch's
    length for one by epoch. The same figures as mmengine's LinearLR followed by CosineAnnealingLR.
    """
    if iteration < warmup:
        return start + (1 - start) * iteration / max(1, warmup - 1)
    if kind == "constant":
        return 1.0
    moved = max(warmup, iteration // step * step)
    return 0.5 * (1 + math.cos(math.pi * (moved - warmup) / max(1, total - warmup)))


class ScheduleHook(Hook):
    """Sets every group's rate before an iteration; a step is ``accumulation`` iterations."""

    priority = "VERY_HIGH"

    def __init__(self, accumulation: int, **schedule: Any) -> None:
        self._accumulation = accumulation
        self._schedule = schedule

    def before_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None) -> None:
        share = factor(batch_idx // self._accumulation, **self._schedule)
        for group in runner.optim_wrapper.optimizer.param_groups:
            group["lr"] = group["initial_lr"] * share
