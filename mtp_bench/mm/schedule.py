"""The learning rate as a function of the iteration alone: a resumed run needs no state."""

import math
from dataclasses import dataclass
from typing import Any

from mmengine.hooks import Hook


@dataclass(frozen=True)
class Schedule:
    """The course of the rate, in iterations of the optimiser."""

    total: int
    warmup: int
    start: float
    """Share of the base rate at the first iteration."""
    kind: str
    step: int = 1
    """A cosine moves every so many: 1 for a schedule by iteration, an epoch's for one by epoch."""
    milestones: tuple[int, ...] = ()

    def factor(self, iteration: int) -> float:
        """Share of the base rate at an iteration.

        Linear from ``start`` to 1 over the warm-up, then constant, a tenth from each milestone on,
        or a cosine to 0 at ``total``. The same figures as mmengine's LinearLR followed by
        CosineAnnealingLR, or beside MultiStepLR.
        """
        share = 1.0
        if iteration < self.warmup:
            share = self.start + (1 - self.start) * iteration / max(1, self.warmup - 1)
        if self.kind == "step":
            return float(share * 0.1 ** sum(iteration >= mark for mark in self.milestones))
        if self.kind == "constant" or iteration < self.warmup:
            return share
        moved = max(self.warmup, iteration // self.step * self.step)
        return 0.5 * (
            1 + math.cos(math.pi * (moved - self.warmup) / max(1, self.total - self.warmup))
        )


class ScheduleHook(Hook):
    """Sets every group's rate before an iteration; a step is ``accumulation`` iterations."""

    priority = "VERY_HIGH"

    def __init__(self, accumulation: int, **schedule: Any) -> None:
        self._accumulation = accumulation
        self._schedule = Schedule(**{**schedule, "milestones": tuple(schedule["milestones"])})

    def before_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None) -> None:
        share = self._schedule.factor(batch_idx // self._accumulation)
        for group in runner.optim_wrapper.optimizer.param_groups:
            group["lr"] = group["initial_lr"] * share
