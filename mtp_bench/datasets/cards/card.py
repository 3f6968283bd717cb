"""What a dataset card holds: the facts that reader, checks and report need of a benchmark."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Split:
    """One split: its share of every class, and how many images that is in the release."""

    share: float
    count: int


@dataclass(frozen=True)
class Splits:
    """Seeded, stratified splits, where the published list is not to be had."""

    train: Split
    test: Split
    seed: int
    """A constant of the card, never of a run."""
    source: str
    """Where the split comes from, as printed beside the figures."""


@dataclass(frozen=True)
class MetricCard:
    name: str
    unit: str
    higher_is_better: bool
    definition: str


OVERALL_ACCURACY = MetricCard(
    name="accuracy",
    unit="%",
    higher_is_better=True,
    definition="overall accuracy (top-1) on the test split, last checkpoint",
)


@dataclass(frozen=True)
class Card:
    """A benchmark. ``reader`` is named as ``module:attr`` and imported when a job needs it."""

    name: str
    task: str
    classes: tuple[str, ...]
    """In label order."""
    class_counts: dict[str, int]
    """Images of each class in the release."""
    image_size: int
    splits: Splits
    metric: MetricCard
    reader: str
    layouts: tuple[str, ...]
    """Folders, relative to the dataset's own, that may hold the class folders; as downloaded."""
    suffixes: tuple[str, ...]
    licence: str
    source: str
    citation: str
    overlaps: tuple[str, ...] = ()
    """Pretraining sets known to hold images of this benchmark."""
    defects: tuple[str, ...] = ()
