"""What a run shows: a live table on a terminal, plain lines elsewhere."""

import sys
import time
from collections import Counter
from collections.abc import Sequence
from typing import Any, Self

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from mtp_bench.executors.outcome import Snapshot
from mtp_bench.suite.plan import Plan

PLAIN_SECONDS = 10.0


class View:
    """Use as a context, with lines to begin with; ``show`` takes snapshots as they come."""

    def __init__(self, plan: Plan, lines: Sequence[str] = ()) -> None:
        self._console = Console(stderr=True)
        live = Live(console=self._console, refresh_per_second=4)
        self._live = live if sys.stderr.isatty() else None
        self._lines = lines
        self._total = len(plan.jobs)
        self._states: dict[str, str] = {}
        self._printed = 0.0
        self._begun = time.monotonic()
        self._done_before: int | None = None

    def __enter__(self) -> Self:
        if self._live:
            self._live.start()
        for line in self._lines:
            self.say(line)
        return self

    def __exit__(self, *_: object) -> None:
        if self._live:
            self._live.stop()

    def preparing(self, what: str, done: int, total: int) -> None:
        """Progress of what comes before the first job; 0 of 0 where it is not known."""
        line = f"{what}: {done} / {total}" if total else what
        if self._live:
            self._live.update(Text(line))
        elif done in (1, total) or time.monotonic() - self._printed > PLAIN_SECONDS:
            self.say(line)

    def say(self, line: str) -> None:
        """A line that stays."""
        self._printed = time.monotonic()
        if self._live:
            self._console.print(line, markup=False, highlight=False)
        else:
            print(line, file=sys.stderr, flush=True)

    def show(self, snapshot: Snapshot) -> None:
        """Take note of a snapshot."""
        if self._done_before is None:
            self._begun = time.monotonic()  # what came before was preparation
        if self._live:
            table = Table("running", "progress", title_justify="left", box=None, pad_edge=False)
            table.title = self._summary(snapshot)
            for job, progress in snapshot.progress.items():
                table.add_row(job, describe(progress))
            self._live.update(table)
            return
        if not self._states:
            self.say(self._summary(snapshot))
        for job, state in snapshot.states.items():
            if state != self._states.get(job, state):
                self.say(f"{state}: {job}")
        self._states = dict(snapshot.states)
        if time.monotonic() - self._printed > PLAIN_SECONDS:
            for job, progress in snapshot.progress.items():
                self.say(f"{job}: {describe(progress)}")
            self.say(self._summary(snapshot))

    def _summary(self, snapshot: Snapshot) -> str:
        counts = Counter(snapshot.states.values())
        done = counts["done"]
        if self._done_before is None:
            self._done_before = done
        parts = [f"{counts[state]} {state}" for state in counts if state != "done"]
        text = f"{done} / {self._total} jobs done" + (f", {', '.join(parts)}" if parts else "")
        new, left = done - self._done_before, self._total - done
        if new and left:
            text += f", about {clock((time.monotonic() - self._begun) / new * left)} left"
        return text


def describe(progress: dict[str, Any]) -> str:
    """``train 30/60 (epoch 0.2/0.5), loss 1.234, 24 images/s, 0:12 left``."""
    if not progress:
        return "starting"
    epochs = f"(epoch {progress['epoch']:.1f}/{progress['epochs']:.1f})"
    parts = [f"{progress['phase']} {progress['iteration']}/{progress['total']} {epochs}"]
    if progress["loss"] is not None:
        parts.append(f"loss {progress['loss']:.3f}")
    if progress["images_per_s"]:
        left = clock(progress["eta_seconds"])
        parts.append(f"{progress['images_per_s']:.0f} images/s, {left} left")
    return ", ".join(parts)


def clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
