"""The harness's side of a training loop: stop requests, checkpoints, curves, progress, timings."""

import math
import random
import resource
import time
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from mmengine.dist import all_reduce, get_world_size, is_main_process
from mmengine.hooks import Hook

from mtp_bench.errors import UserError
from mtp_bench.mm import checkpoints, divergence
from mtp_bench.mm.draws import after_skips
from mtp_bench.store import scalars
from mtp_bench.store.control import REASONS, Control, Interrupted
from mtp_bench.store.paths import JobPaths

CURVE_POINTS = 500
LOG_LINES = 20
PROGRESS_SECONDS = 0.5
CUDA_BLOCK = 10


@dataclass
class Timings:
    """Seconds and images of each timed block, and the time spent waiting for data."""

    train_seconds: list[float] = field(default_factory=list)
    train_images: list[int] = field(default_factory=list)
    test_seconds: list[float] = field(default_factory=list)
    test_images: list[int] = field(default_factory=list)
    waited: float = 0.0


@dataclass
class Block:
    """Iterations that are timed together."""

    start: float = 0.0
    waited: float = 0.0
    saving: float = 0.0
    images: int = 0


@dataclass(frozen=True)
class Course:
    """What a training consists of, in mmengine's iterations (micro-batches)."""

    total: int
    epoch: int
    accumulation: int
    train_seed: int
    checkpoint_seconds: float
    pretraining: bool = False
    skipped: tuple[int, ...] = ()
    """Micro-batches that are left out."""


class JobHook(Hook):
    """Attached to a job's runner; the config file that a job leaves runs without it."""

    priority = "LOWEST"

    def __init__(
        self, control: Control, paths: JobPaths, course: Course, begun_with: dict[str, Any]
    ) -> None:
        """``begun_with``: what may not change between attempts."""
        self._begun_with = begun_with
        self._control = control
        self._paths = paths
        self._course = course
        self._generators: list[dict[str, Any]] | None = None
        self._started = False
        self._resumed_at = 0
        self._before_test: dict[str, Any] = {}
        self._saved_at = time.monotonic()
        self._mark = 0.0
        self._block = Block()
        self._together = 0
        """Images that all processes take in one iteration."""
        self._shown = 0.0
        self._every = max(1, course.total // CURVE_POINTS)
        self._spoken = max(1, course.total // LOG_LINES)
        self.timings = Timings()
        self.best: dict[str, float] = {}
        self.last: dict[str, float] | None = None
        """Figures of a validation after the last iteration, where this process ran it."""

    def after_load_checkpoint(self, runner: Any, checkpoint: dict[str, Any]) -> None:
        self._generators = checkpoint["generators"]
        self.best = dict(checkpoint["best"])
        begun = checkpoint["begun_with"]
        for what, now in self._begun_with.items():
            if begun[what] != now:
                raise UserError(
                    f"{self._paths.job}: began with {what} {begun[what]}, goes on with {now}: "
                    f"restore that, or 'mtp-bench forget {self._paths.job}'"
                )
        self._resumed_at = int(checkpoint["meta"]["iter"])
        if is_main_process():
            scalars.cut(self._paths.scalars, self._resumed_at)

    def before_train(self, runner: Any) -> None:
        if self._generators is None and is_main_process():
            scalars.cut(self._paths.scalars, 0)  # of an attempt that was lost before it saved
        self._mark = time.perf_counter()

    def before_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None) -> None:
        """Here ``batch_idx`` iterations and their validation are finished: the place to save."""
        arrived = time.perf_counter()
        self._block.waited += arrived - self._mark
        if not self._started:
            self._start(runner)
        self._save_or_stop(runner, batch_idx)
        self._block.saving += time.perf_counter() - arrived

    def _start(self, runner: Any) -> None:
        """Generators late enough: making the loader's iterator takes a number from torch's."""
        self._started = True
        self._block = Block(time.perf_counter())
        if self._generators is not None and len(self._generators) == get_world_size():
            checkpoints.restore_generators(self._generators[runner.rank])
            return
        random.seed(self._course.train_seed)
        np.random.seed(self._course.train_seed)
        torch.manual_seed(self._course.train_seed)

    def _save_or_stop(self, runner: Any, done: int) -> None:
        self._control.stop_wanted()
        reasons = self._control.stop.reasons
        due = time.monotonic() - self._saved_at >= self._course.checkpoint_seconds
        due, *votes = _agreed(due, *(reason in reasons for reason in REASONS))
        reasons |= {reason for reason, vote in zip(REASONS, votes, strict=True) if vote}
        stop = bool(reasons)
        if done % self._course.accumulation:
            return  # between the micro-batches of a step gradients would be lost
        if done > 0 and (stop or due):
            self.save(runner, done)
        if stop:
            raise Interrupted

    def save(self, runner: Any, done: int) -> None:
        """Write a checkpoint, if the job is still this worker's."""
        self._control.may_write()
        extra = {"best": dict(self.best), "begun_with": self._begun_with}
        checkpoints.save(runner, self._paths.checkpoints, done, extra)
        self._saved_at = time.monotonic()

    def after_train_iter(
        self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        done = batch_idx + 1
        show = done % self._every == 0 or done == self._course.total
        terms = {name: term for name, term in outputs.items() if "loss" in name}
        self._check_loss(done, data_batch, terms, show=show)
        if show:
            values = torch.stack([term.detach().float() for term in terms.values()])
            all_reduce(values, "mean")
            terms = dict(zip(terms, values, strict=True))
        loss = terms["loss"].detach()
        self._time_block(done, len(data_batch["inputs"]))
        if is_main_process():
            row = {name: float(term) for name, term in outputs.items() if "/" in name}
            if show:
                rates = (group["lr"] for group in runner.optim_wrapper.optimizer.param_groups)
                row = {"lr": max(rates), **{k: float(v) for k, v in terms.items()}, **row}
                row |= _gradient_norm(runner)
            if row:
                scalars.append(self._paths.scalars, {"iteration": done, **row})
            if done % self._spoken == 0:
                where = f"{done}/{self._course.total} (epoch {done / self._course.epoch:.2f})"
                told = f"loss {float(loss):.4f}, {self._rate():.1f} images/s"
                print(f"iteration {where}: {told}", flush=True)
            self._progress("train", done, loss)
        self._mark = time.perf_counter()

    def _check_loss(
        self, done: int, batch: Any, terms: dict[str, torch.Tensor], *, show: bool
    ) -> None:
        """Pretraining is looked at in every iteration, of all processes alike."""
        pretraining, loss = self._course.pretraining, terms["loss"].detach()
        if not (show or pretraining or not torch.cuda.is_available()):
            return
        bad = not math.isfinite(float(loss))
        if pretraining:
            (bad,) = _agreed(bad)
            if bad:
                number = after_skips(done - 1, self._course.skipped)
                again = len(self._course.skipped) > 0
                divergence.leave_out(self._paths, (done, number), batch, terms, again=again)
        elif bad:
            raise divergence.TrainingFailed(
                f"the loss is {float(loss)} at iteration {done}: "
                "lower lr or set clip_norm, in overrides"
            )

    def _rate(self) -> float:
        """Images a second of the last blocks."""
        images, seconds = self.timings.train_images[-20:], self.timings.train_seconds[-20:]
        return sum(images) / max(sum(seconds), 1e-9)

    def _time_block(self, done: int, images: int) -> None:
        """One iteration on a CPU, ten on a GPU, whose work is waited for. Saving is taken out."""
        self._together = images * get_world_size()
        self._block.images += self._together
        if torch.cuda.is_available():
            if done % CUDA_BLOCK:
                return
            torch.cuda.synchronize()
        now = time.perf_counter()
        seconds = now - self._block.start - self._block.saving
        self.timings.train_seconds.append(seconds)
        self.timings.train_images.append(self._block.images)
        self.timings.waited += self._block.waited
        self._block = Block(now)

    def before_val(self, runner: Any) -> None:
        """Making a loader's iterator takes a number from torch's generator, unseen by training."""
        self._before_test = checkpoints.generator_states()
        _share_statistics(runner.model)

    def after_val(self, runner: Any) -> None:
        checkpoints.restore_generators(self._before_test)

    def before_val_epoch(self, runner: Any) -> None:
        self._mark = time.perf_counter()

    def after_val_iter(
        self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        now = time.perf_counter()
        self.timings.test_seconds.append(now - self._mark)
        self.timings.test_images.append(len(data_batch["inputs"]) * get_world_size())
        self._mark = now
        if is_main_process():
            self._progress("test", runner.iter, None)

    def after_val_epoch(self, runner: Any, metrics: dict[str, float] | None = None) -> None:
        figures = {str(k): float(v) for k, v in (metrics or {}).items()}
        done = runner.iter
        for name, value in figures.items():
            self.best[name] = max(value, self.best.get(name, value))
        if done >= self._course.total:
            self.last = figures
        if is_main_process():
            told = ", ".join(f"{name} {value:.4g}" for name, value in figures.items())
            print(f"validation at iteration {done}: {told}", flush=True)
            if self._resumed_at != done:  # else its curve has this point already
                scalars.append(self._paths.scalars, {"iteration": done, **figures})
        self._mark = time.perf_counter()
        self._block = Block(self._mark)

    def after_train(self, runner: Any) -> None:
        if runner.iter != self._resumed_at:
            self.save(runner, runner.iter)

    def _progress(self, phase: str, done: int, loss: Any) -> None:
        if time.monotonic() - self._shown < PROGRESS_SECONDS:
            return
        self._shown = time.monotonic()
        course, rate = self._course, self._rate()
        left = self._together * (course.total - done)
        progress = {
            "phase": phase,
            "iteration": done,
            "total": course.total,
            "epoch": done / course.epoch,
            "epochs": course.total / course.epoch,
            "loss": None if loss is None else float(loss),
            "images_per_s": rate,
            "eta_seconds": left / rate if rate else 0.0,
            "time": time.time(),
            "rss_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        }
        scalars.write_progress(self._paths.progress, progress)


def _gradient_norm(runner: Any) -> dict[str, float]:
    """Of all parameters at the last step, before it was clipped; nothing where none was taken."""
    scalars_of: Any = runner.message_hub.log_scalars
    if "train/grad_norm" not in scalars_of:
        return {}
    return {"gradient_norm": float(scalars_of["train/grad_norm"].current())}


def _share_statistics(model: torch.nn.Module) -> None:
    """Running means of batch norm, which on CPUs each process has of its own, become one."""
    if get_world_size() > 1:
        for buffer in model.buffers():
            if buffer.is_floating_point():
                all_reduce(buffer, "mean")


def _agreed(*flags: bool) -> tuple[bool, ...]:
    """True where any process says so: all must save and stop in the same iteration."""
    votes = torch.tensor(flags, dtype=torch.int)
    all_reduce(votes, "max")
    return tuple(bool(vote) for vote in votes.tolist())
