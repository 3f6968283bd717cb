"""Pictures of a detection job: what is there beside what was found, the worst scenes first."""

import heapq
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mtp_bench.datasets import loading
from mtp_bench.datasets.cutting import picture_tiles
from mtp_bench.datasets.draw import draw_boxes, in_row
from mtp_bench.datasets.loading import Loaded
from mtp_bench.datasets.pixels import header
from mtp_bench.datasets.reading import examine, find
from mtp_bench.datasets.samples import Objects
from mtp_bench.datasets.tiling import Window, file_name
from mtp_bench.errors import UserError
from mtp_bench.metrics.boxes import Array, Detections, corners
from mtp_bench.metrics.pairs import apart, overlaps, places
from mtp_bench.metrics.quads import shapes
from mtp_bench.store.files import make_folder, whole
from mtp_bench.suite.schema import JobSpec, Roots

SCORE, IOU = 0.3, 0.5
"""Of what is shown and counted: a detection's least score, and its least overlap with an object."""
MOST, SIDE = 4, 1024
"""Pictures of a job, and the pixels of a side of each that are shown of its scene."""
LOOKED_AT = 1000
"""Errors that the part to show is chosen by."""
Flags = NDArray[np.bool_]
Key = tuple[str, str]


@dataclass(frozen=True, eq=False)
class Shown:
    """A scene, named by its split and its key, with its errors."""

    name: Key
    image: Path
    truths: Objects
    found: Detections
    errors: tuple[Flags, Flags]

    @property
    def count(self) -> int:
        return sum(int(flags.sum()) for flags in self.errors)


def errors(truths: Objects, found: Detections) -> tuple[Flags, Flags]:
    """(n,) which detections are wrong, (m,) which objects are missed; each class for itself.

    From the surest on, a detection takes the object that it overlaps most of those that are left.
    Difficult objects may be found or not, and as often as one likes.
    """
    outlines, objects = shapes(corners(found.boxes)), shapes(corners(truths.boxes))
    asked, known = apart((found.labels, outlines.hulls), (truths.labels, objects.hulls))
    i, j, iou = overlaps(outlines, objects, places(known).meeting(asked), IOU)
    reached = iou >= IOU
    i, j, iou = i[reached], j[reached], iou[reached]
    right, taken = np.zeros(len(found), dtype=bool), np.zeros(len(truths), dtype=bool)
    for k in np.lexsort((-iou, i, -found.scores[i])):
        if not right[i[k]] and (not taken[j[k]] or truths.difficult[j[k]] != 0):
            right[i[k]] = taken[j[k]] = True
    return ~right, ~taken & (truths.difficult == 0)


def draw_worst(spec: JobSpec, roots: Roots, predictions: Iterable[Path], folder: Path) -> int:
    """Draw the scenes with most errors into ``folder``, anew; returns how many.

    ``predictions``: the files of the split that is judged here, as ``mm.scenes.Kept`` writes them.
    """
    loaded = loading.load(loading.source_of(spec, roots))
    scenes = _scenes(loaded, merged=spec.task == "rotated_detection")
    shown = (_shown(name, *scenes[name], found) for name, found in _kept(predictions))
    worst = heapq.nsmallest(MOST, shown, key=lambda scene: (-scene.count, scene.name))
    make_folder(folder)
    for old in folder.glob("*.jpg"):
        old.unlink()
    for number, scene in enumerate(worst):
        name = f"{number:02}_{scene.count}_{file_name(scene.name[1])}.jpg"
        save(_drawn(scene, loaded.card.classes), folder / name)
    return len(worst)


def _scenes(loaded: Loaded, merged: bool) -> dict[Key, tuple[Path, Objects]]:
    """The picture and the objects of all that is judged: of whole scenes, or of samples."""
    if merged and loaded.card.tiles is not None:
        truths = loading.scene_truths(loaded, "test")
        images = {(i.split, i.key): i.images[0] for i in find(loaded.card, loaded.root).items}
        return {name: (images[name], objects) for name, (_, objects) in truths.items()}
    return {
        (split, loading.judged_as(sample, merged)): (sample.images[0], sample.objects)
        for split, sample in loaded.samples("test")
        if sample.objects is not None
    }


def _kept(predictions: Iterable[Path]) -> Iterator[tuple[Key, Detections]]:
    """Each scene's name and its surer detections."""
    for path in predictions:
        with path.open() as lines:
            for row in map(json.loads, lines):
                scores = np.array(row["scores"], dtype=np.float64)
                boxes = np.array(row["boxes"], dtype=np.float64)
                boxes = boxes.reshape(len(scores), -1) if len(scores) else np.empty((0, 4))
                found = Detections(boxes, np.array(row["labels"], dtype=np.int64), scores)
                yield (row["split"], row["scene"]), found.take(scores >= SCORE).sorted()


def _shown(name: Key, image: Path, truths: Objects, found: Detections) -> Shown:
    return Shown(name, image, truths, found, errors(truths, found))


def _drawn(scene: Shown, classes: Sequence[str]) -> Image.Image:
    """A scene, or that part of a large one that holds most errors."""
    wrong, missed = scene.errors
    places = [corners(scene.found.boxes)[wrong], corners(scene.truths.boxes)[missed]]
    wide, high = header(scene.image).size
    left, top = _busiest((wide, high), np.concatenate(places).mean(axis=1))
    ((_, pixels),) = picture_tiles(scene.image, [Window(left, top, SIDE)], (0, 0, 0))
    picture = Image.fromarray(pixels[: high - top, : wide - left])
    return drawn(picture, classes, scene.found, scene.truths, at=(left, top))


def _busiest(size: tuple[int, int], centres: Array) -> tuple[int, int]:
    """Left and top of the part with most centres (n, 2)."""
    centres = centres[:LOOKED_AT]
    room = np.maximum(np.array(size) - SIDE, 0)
    starts = np.clip(centres - SIDE / 2, 0, room).astype(int)
    if not len(starts) or not room.any():
        return 0, 0
    away = centres[None] - starts[:, None]
    left, top = starts[((away >= 0) & (away < SIDE)).all(axis=2).sum(axis=1).argmax()].tolist()
    return left, top


def drawn(
    picture: Image.Image,
    classes: Sequence[str],
    found: Detections,
    truths: Objects | None,
    *,
    at: tuple[int, int] = (0, 0),
    scale: float = 1.0,
) -> Image.Image:
    """Objects, where they are known, beside detections, over a picture of a part of their scene.

    ``at``: its left and top, in pixels of the scene; ``scale``: its pixels to one of the scene.
    """

    def panel(boxes: Array, labels: NDArray[Any], texts: Sequence[str]) -> Image.Image:
        copy = picture.copy()
        draw_boxes(copy, (corners(boxes) - at) * scale, labels, texts)
        return copy

    texts = [
        f"{classes[label]} {s:.2f}" for label, s in zip(found.labels, found.scores, strict=True)
    ]
    panels = [(panel(found.boxes, found.labels, texts), f"predicted: {len(found)}")]
    if truths is not None:
        wrong, missed = errors(truths, found)
        names = [classes[label] for label in truths.labels]
        told = f"truth: {len(truths)}, of which missed: {missed.sum()}"
        panels = [
            (panel(truths.boxes, truths.labels, names), told),
            (panels[0][0], f"{panels[0][1]}, of which wrong: {wrong.sum()}"),
        ]
    return in_row(panels)


def save(picture: Image.Image, path: Path) -> None:
    """A picture as JPEG that appears whole. ``UserError`` where it cannot be written."""
    try:
        with whole(path) as stream:
            picture.save(stream, format="JPEG", quality=92, subsampling=0)
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror or error})") from None


def truths_of(spec: JobSpec, roots: Roots, images: Iterable[Path]) -> dict[Path, Objects]:
    """The objects of those images that the job's test split holds, as they lie or as tiles.

    None of any where its data is not there or not prepared.
    """
    wanted = {image.resolve(): image for image in images}
    names = {image.name for image in wanted}
    source = loading.source_of(spec, roots)
    try:
        folders = source.root().resolve(), Path(source.cache).resolve()
        if not any(image.is_relative_to(folder) for image in wanted for folder in folders):
            return {}
        loaded = loading.load(source)
    except UserError:
        return {}

    def asked(path: Path) -> Path | None:
        return wanted.get(path.resolve()) if path.name in names else None

    known = {asked(tile.images[0]): tile.objects for _, tile in loaded.samples("test")}
    for item in find(loaded.card, loaded.root).items:
        image = asked(item.images[0]) if item.split in loaded.roles.test else None
        if image is not None:
            known[image] = examine(item, loaded.card).objects
    return {image: objects for image, objects in known.items() if image and objects is not None}
