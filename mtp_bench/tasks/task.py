"""What a task is: three plain functions, and what they are given."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from mtp_bench.datasets.cards.card import Card
from mtp_bench.suite.schema import JobSpec, Normalisation, Roots

Config = dict[str, Any]


@dataclass(frozen=True)
class Context:
    """A job with everything decided that its config depends on."""

    spec: JobSpec
    card: Card
    roots: Roots
    backbone: Config
    """Arguments of ``mm.backbone.build_backbone``."""
    normalisation: Normalisation
    seeds: dict[str, int]


@dataclass(frozen=True)
class Judged:
    """Figures of a test split: ``metrics`` name → (value, unit, higher is better), and details."""

    metrics: dict[str, tuple[float, str, bool]]
    details: dict[str, Any]


@dataclass(frozen=True)
class Task:
    """``model`` and ``dataset`` give mmengine configs, ``judge`` makes figures of predictions."""

    model: Callable[[Context], Config]
    dataset: Callable[[Context, str], Config]
    judge: Callable[[Card, Sequence[Any]], Judged]
    collate: str
    """mmengine's name for how samples become a batch."""
    scope: str
    """mmengine's default scope: the library whose models the config names."""
