"""What can be wrong with the files of a dataset: one word a kind, and what reading does with it."""

from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from mtp_bench.datasets.cards.card import Action, Card


@dataclass(frozen=True)
class Defect:
    """One finding. ``place`` is the file or folder, ``line`` where in it, ``at`` which object."""

    kind: str
    place: Path
    what: str
    line: int | None = None
    at: int | None = None
    """Index of the object in its picture's list."""


KINDS: Mapping[str, str] = {
    "layout": "files do not lie as in the release",
    "count": "another number of files or objects than the release has",
    "expected-count": "another number than publications give; not confirmed",
    "stray": "litter of an operating system (._*, .DS_Store, Thumbs.db, __MACOSX)",
    "unexpected": "a file or folder that the release has not",
    "tiled": "the scenes were cut into tiles before",
    "image-missing": "an annotation or a list names an image that is not there",
    "image-unreadable": "an image cannot be decoded to its end",
    "label-missing": "an image has no annotation",
    "label-unreadable": "an annotation cannot be parsed",
    "picture-size": "an image has not the size that the release's images have",
    "size": "the annotation gives another size than the image has",
    "sixteen-bit": "16-bit pixels where 8 are meant",
    "alpha": "a fourth channel, alpha or near infrared: the first three are read",
    "unknown-class": "a class that the dataset has not",
    "no-class": "a class id that stands for no class",
    "bad-box": "coordinates that are no box",
    "repeated-corner": "two neighbouring corners of a box are one",
    "inverted": "right of left or bottom of top are exchanged",
    "zero-area": "an object smaller than one pixel",
    "outside": "an object whose centre lies outside of the image",
    "beyond-edge": "a horizontal box that goes beyond the image",
    "geographic": "longitude and latitude where pixels are meant",
    "self-crossing": "a polygon that crosses itself",
    "non-convex": "a polygon with a corner inwards",
    "duplicate": "an object that stands twice",
    "label-value": "a label image has a value that stands for no class",
    "all-ignored": "a label image in which nothing counts",
    "pair-size": "the images of a pair, or their label, differ in size",
    "pair-projection": "the images of a pair differ in projection or place",
    "bands": "bands are missing or cannot be read",
    "leak": "an image that stands in two splits",
}

POLICY: Mapping[str, Action] = {
    **dict.fromkeys(("expected-count", "stray", "unexpected", "size", "alpha"), "keep"),
    **dict.fromkeys(("self-crossing", "non-convex", "duplicate", "all-ignored"), "keep"),
    **dict.fromkeys(("label-missing", "leak", "picture-size"), "keep"),
    **dict.fromkeys(("no-class", "bad-box", "inverted", "zero-area", "outside"), "drop"),
    "repeated-corner": "drop",
    "beyond-edge": "clip",
}
"""By default; kinds that are not named are refused, and so is what a card says to refuse."""

WARNINGS = frozenset({"expected-count", "stray", "unexpected", "alpha", "label-missing"})
"""Told, but no reason to call a folder wrong, where reading keeps what they are on."""

OF_ROWS = frozenset(
    ("no-class", "bad-box", "unknown-class", "geographic", "inverted", "zero-area", "outside")
)
"""Kinds of defects of one object: dropping it leaves the rest of its picture in use."""


def action_of(kind: str, card: Card) -> Action:
    """What reading does with a kind of defect."""
    return card.policy.get(kind) or POLICY.get(kind, "refuse")


def refused(defect: Defect, card: Card, folder: Path) -> bool:
    """Whether a job must not start: the release itself has no such defect."""
    return action_of(defect.kind, card) == "refuse" and not why_known(defect, card, folder)


def why_known(defect: Defect, card: Card, folder: Path) -> str | None:
    """Why a defect is one of the release's own; None for a new one."""
    place = defect.place
    name = place.relative_to(folder).as_posix() if place.is_relative_to(folder) else place.name
    for known in card.known:
        if known.kind == defect.kind and fnmatchcase(name, known.place):
            return known.why
    return None
