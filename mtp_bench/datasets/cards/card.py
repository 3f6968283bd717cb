"""What a dataset card holds: the facts that readers, checks, preparation and report need.

Data only. Facts are of the release as downloaded; what mtp-bench makes of it stands in ``roles``,
``draw``, ``policy`` and ``tiles``.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

IGNORE = 255
"""The label value that neither loss nor metric counts."""

Action = Literal["keep", "clip", "drop", "refuse"]


@dataclass(frozen=True)
class Split:
    """One split of the release. None where no count is known."""

    images: int | None = None
    """Images, or pairs of images."""
    objects: int | None = None
    confirmed: bool = True
    """Counted from the files; else from publications, so that another count is only a warning."""
    labelled: bool = True


@dataclass(frozen=True)
class Draw:
    """Seeded splits where no list is published: a rounded share of every class, or of all."""

    shares: Mapping[str, float]
    """In the order in which they are dealt out; what is left over belongs to none."""
    seed: int
    """A constant of the card, never of a run."""
    of: str = "all"
    """The split of the release that is dealt out."""
    tiles: bool = False
    """Tiles are dealt out, not images."""


@dataclass(frozen=True)
class Tiles:
    """How scenes are cut. Windows are square and are saved at the scene's own resolution."""

    size: int
    gap: int = 0
    """Pixels that neighbours share."""
    scales: tuple[float, ...] = (1.0,)
    """A scale of 0.5 cuts windows of twice the size, with twice the gap."""
    place: Literal["inside", "even", "grid"] = "inside"
    """The last window of a row: moved back inside; all spread evenly; or it sticks out, padded."""
    keep: float | None = 0.7
    """Share of an object that must lie in a window; None: its centre must."""
    cut: Literal["difficult", "ignore", "clip"] = "difficult"
    """An object that is kept and cut: difficult 2 and trained on; ignored; or clipped."""
    fill: tuple[int, int, int] = (104, 116, 124)
    """Padding, RGB."""
    least: float = 0.6
    """Windows of which no larger share lies in the scene are left out, unless all would be."""


@dataclass(frozen=True)
class Coding:
    """What values in label images mean."""

    values: Mapping[int, int] = field(default_factory=dict)
    """Value in the file → class, or ``IGNORE``."""
    threshold: int | None = None
    """Instead of ``values``: class 1 from this value on."""


@dataclass(frozen=True)
class Known:
    """A defect that the release is known to have, told apart from new ones."""

    kind: str
    place: str
    """Files, relative to the dataset's folder, as a pattern of fnmatch."""
    why: str = "known in the release"


@dataclass(frozen=True)
class Overlap:
    """A pretraining set that holds images of this benchmark."""

    pretraining: str
    what: str
    part: str = ""
    """Which of its sets; empty: it has none."""
    judged: bool = False
    """Whether images that are judged here, on val, are among them."""


@dataclass(frozen=True)
class MetricCard:
    name: str
    unit: str
    higher_is_better: bool
    definition: str
    tested: str = ""
    """On what, where that moves the figure: it then stands in the column's head."""


OVERALL_ACCURACY = MetricCard(
    name="accuracy",
    unit="%",
    higher_is_better=True,
    definition="overall accuracy (top-1) on the test split, last checkpoint",
)


MAP_KIT = MetricCard(
    name="mAP_kit",
    unit="%",
    higher_is_better=True,
    definition="mAP after DOTA's development kit on whole scenes of val (raw quads, IoU strictly "
    "above 0.5, VOC07's 11 points, difficult ones ignored), computed here; not the server's figure",
)


def f1_changed(tested: str) -> MetricCard:
    """The figure of change detection; ``tested`` says on what, which moves it by a point."""
    how = "F1 of the class 'changed' from one confusion matrix over all test pixels"
    return MetricCard("F1_changed", "%", True, f"{how}, {tested}, last checkpoint", tested)


@dataclass(frozen=True)
class Card:
    """A dataset. ``reader`` is named as ``module:attr`` and imported when it is needed."""

    name: str
    task: str
    classes: tuple[str, ...]
    """In label order."""
    splits: Mapping[str, Split]
    """Of the release."""
    image_size: int
    """Side of the pictures that the published protocol trains on, in pixels."""
    metric: MetricCard | None
    """The published one. None for pretraining sets."""
    reader: str
    layouts: tuple[str, ...]
    """Folders, relative to the dataset's own, in which the release may lie."""
    layout: str
    """The tree as downloaded, for people."""
    licence: str
    source: str
    citation: str
    split_source: str
    """Where the splits come from, as printed beside the figures."""
    roles: Mapping[str, tuple[str, ...]] = field(
        default_factory=lambda: {"train": ("train",), "test": ("test",)}
    )
    """What a job trains on and reports on: splits of the release, or of the draw."""
    server: str | None = None
    """Who judges, where the labels of test are held back; None: judged here."""
    judged_here: MetricCard | None = None
    """Where there is a server: the figure of a protocol that judges here, on ``val``."""
    draw: Draw | None = None
    class_counts: Mapping[str, int] = field(default_factory=dict)
    """Images of each class in the release."""
    suffixes: tuple[str, ...] = (".jpg",)
    """Of image files."""
    picture: tuple[int, int] | None = None
    """Width and height where every image of the release has the same."""
    aliases: Mapping[str, str] = field(default_factory=dict)
    """Spelling in some copies → class."""
    coding: Coding | None = None
    tiles: Tiles | None = None
    policy: Mapping[str, Action] = field(default_factory=dict)
    """What reading does with a defect, where not as ``datasets.defects.POLICY`` has it."""
    known: tuple[Known, ...] = ()
    overlaps: tuple[Overlap, ...] = ()
    defects: tuple[str, ...] = ()
    """Known faults of the release and of its copies, for people."""

    @property
    def primary(self) -> MetricCard:
        """A benchmark's metric. ``ValueError`` for a pretraining set, which has none."""
        if self.metric is None:
            raise ValueError(f"{self.name} has no metric: it is for pretraining")
        return self.metric
