"""What a task is: plain functions, and what they are given."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from mtp_bench.datasets.access import Progress
from mtp_bench.datasets.cards.card import Card
from mtp_bench.datasets.samples import DataFacts, Objects
from mtp_bench.metrics.boxes import Detections
from mtp_bench.suite.protocol import Normalisation, Protocol
from mtp_bench.suite.schema import JobSpec, Roots

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
    sync_norm: bool = False
    """Whether batch norm counts over all processes: it can on GPUs alone."""
    accumulation: int = 1
    """Micro-batches, mmengine's iterations, of a step."""


@dataclass(frozen=True)
class Judged:
    """Figures of a test split: ``metrics`` name → (value, unit, higher is better), and details."""

    metrics: dict[str, tuple[float, str, bool]]
    details: dict[str, Any]
    primary: str
    """Which of the metrics, or of those that a server has yet to give, the leaderboard shows."""
    awaiting: str | None = None
    """Whose score that is."""
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Scene:
    """All that was predicted of one picture of the release, tile by tile, in its own pixels."""

    split: str
    key: str
    size: tuple[int, int]
    """Width and height."""
    tiles: int
    detections: Detections
    truths: Objects | None
    """None where the labels are held back."""


@dataclass(frozen=True, eq=False)
class LabelMap:
    """What was predicted of one test sample of a dataset with label maps."""

    split: str
    name: str
    predicted: NDArray[np.uint8]
    """(height, width) classes."""
    truth: NDArray[np.uint8] | None
    """The same, ``IGNORE`` where nothing counts; None where the labels are held back."""


Role = Literal["train", "test", "server"]


@dataclass(frozen=True)
class Data:
    """What a task does with a dataset before any training."""

    prepare: Callable[[JobSpec, Roots, int, Progress | None], None]
    """Make ready what is not, with so many processes; refuse what a job cannot use."""
    check: Callable[[JobSpec, Roots], None]
    """Refuse what is not ready. Makes nothing."""
    facts: Callable[[Context], DataFacts]


@dataclass(frozen=True)
class Task:
    """``model`` and ``dataset`` give mmengine configs, ``judge`` makes figures of predictions."""

    model: Callable[[Context], Config]
    dataset: Callable[[Context, Role], Config]
    """None of role ``server`` where no labels are held back."""
    judge: Callable[[JobSpec, Card, Sequence[Any]], Judged]
    data: Data
    collate: str
    """mmengine's name for how samples become a batch."""
    scope: str
    """mmengine's default scope: the library whose models the config names."""
    settle: Callable[[Card, Any], tuple[Any, Any]] | None = None
    """A ``Scene`` or ``LabelMap``, as soon as it is whole, to what ``judge`` needs of it and what
    is kept; None where predictions go to ``judge`` as they are."""
    units: str = ""
    """The class in ``mm`` that makes those of predicted samples."""
    held_back: Callable[[Context], bool] = field(default=lambda _: False)
    """Whether there is a split to predict for a server."""
    least_batch: Callable[[Protocol], int] = field(default=lambda _: 1)
    """Pictures, of each part, that a process must take at once: batch norm has one value else."""
    parts: Callable[[Protocol], int] = field(default=lambda _: 1)
    """Of how many sets each batch takes equally many pictures, one after the other."""
    export: Callable[[Any], dict[str, Any]] | None = None
    """Of pretraining: a trained model to the tensors of its backbone, as other jobs load them."""
