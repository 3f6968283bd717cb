"""Pictures of label maps: beside a job the worst of its test, and whatever it is asked to predict.

A predicted map is also a file by itself: classes as a palette PNG, or as GeoTIFF.
"""

import heapq
import io
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import rasterio
from numpy.typing import NDArray
from PIL import Image

from mtp_bench.datasets import loading
from mtp_bench.datasets.cards.card import IGNORE, Card
from mtp_bench.datasets.draw import in_row, laid_over, painted, palette, reduced, with_legend
from mtp_bench.datasets.loading import Loaded
from mtp_bench.datasets.manifest import Sample
from mtp_bench.datasets.pixels import header, opened
from mtp_bench.errors import UserError
from mtp_bench.store.files import make_folder, write_atomically
from mtp_bench.suite.schema import JobSpec, Roots
from mtp_bench.tasks.masks import labels_of, name_of
from mtp_bench.tasks.pictures import MOST, SIDE, save

Labels = NDArray[np.uint8]
"""(height, width) classes."""


@dataclass(frozen=True)
class Found:
    """A test sample, the file with its predicted map, and how many pixels are wrong there."""

    sample: Sample
    name: str
    predicted: Path
    wrong: int
    counted: int


def wrong(truth: Labels, found: Labels) -> tuple[int, int]:
    """Pixels that are wrong, and those that count."""
    counts = truth != IGNORE
    return int(((truth != found) & counts).sum()), int(counts.sum())


def draw_worst(spec: JobSpec, roots: Roots, predictions: Path, folder: Path) -> int:
    """Draw the worst test samples into ``folder``, anew; returns how many.

    Worst by the share of wrong pixels; of pairs, most of which hold little change, by their number.
    ``predictions``: the folder that ``mm.masks.KeptMaps`` leaves of the split that is judged here.
    """
    loaded, change = loading.load(loading.source_of(spec, roots)), spec.task == "change_detection"

    def rank(found: Found) -> tuple[float, str]:
        return -found.wrong / (1 if change else max(1, found.counted)), found.name

    worst = heapq.nsmallest(MOST, _found(loaded, predictions), key=rank)
    make_folder(folder)
    for old in folder.glob("*.jpg"):
        old.unlink()
    for number, found in enumerate(worst):
        pictures = [reduced(path, SIDE) for path in found.sample.images]
        picture = drawn(pictures, loaded.card, _read(found.predicted), labels_of(found.sample))
        save(picture, folder / f"{number:02}_{found.wrong}_{found.name}.jpg")
    return len(worst)


def _found(loaded: Loaded, predictions: Path) -> Iterator[Found]:
    for split, sample in loaded.samples("test"):
        name = name_of(sample)
        path = predictions / f"{split}__{name}.png"
        if sample.mask is not None and path.is_file():
            yield Found(sample, name, path, *wrong(labels_of(sample), _read(path)))


def _read(path: Path) -> Labels:
    with Image.open(path) as image:
        return np.asarray(image)


def drawn(
    pictures: Sequence[Image.Image], card: Card, found: Labels, truth: Labels | None
) -> Image.Image:
    """One picture, or two dates, with a predicted map, and the truth where it is known: in a row.

    Classes lie over the picture, change stands beside its dates. Maps take the pictures' size.
    """
    size, panels, told = pictures[0].size, [(picture, "") for picture in pictures], "predicted"
    if len(pictures) == 2:
        panels = [(pictures[0], "before"), (pictures[1], "after")]
    elif truth is None:
        panels = []

    def shown(labels: Labels) -> Image.Image:
        if len(pictures) == 2:
            return painted(labels, size, card)
        return laid_over(pictures[0], labels, card)

    if truth is not None:
        count, counted = wrong(truth, found)
        told = f"predicted: {count:,} pixels wrong ({count / max(1, counted):.1%})"
        panels.append((shown(truth), "truth"))
    return with_legend(in_row([*panels, (shown(found), told)]), card)


def write_labels(labels: Labels, card: Card, path: Path, like: Path) -> None:
    """A label map as palette PNG, or where ``path`` says so as GeoTIFF that lies where ``like``."""
    stream, colours = io.BytesIO(), palette(card)
    if path.suffix == ".tif":
        high, wide = labels.shape
        kind = {"driver": "GTiff", "dtype": "uint8", "compress": "deflate", "count": 1}
        with opened(like) as raster, rasterio.MemoryFile() as memory:
            kind |= {"crs": raster.crs, "transform": raster.transform}
            with memory.open(width=wide, height=high, **kind) as target:
                target.write_colormap(1, {i: tuple(ink) for i, ink in enumerate(colours.tolist())})
                target.write(labels, 1)
            stream.write(memory.read())
    else:
        image = Image.fromarray(labels)
        image.putpalette(colours.tobytes())
        image.save(stream, format="PNG")
    write_atomically(path, stream.getvalue())


def suffix_for(image: Path) -> str:
    """Of the label map of a picture: one with a place on the ground keeps it."""
    return ".tif" if header(image).crs is not None else ".png"


def truths_of(
    spec: JobSpec, roots: Roots, wanted: Iterable[tuple[Path, ...]]
) -> dict[tuple[Path, ...], Labels]:
    """The labels of those pictures, or pairs, that are samples of the job's test.

    None of any where its data is not there or not prepared.
    """
    asked = {tuple(path.resolve() for path in images): images for images in wanted}
    source = loading.source_of(spec, roots)
    try:
        folders = source.root().resolve(), Path(source.cache).resolve()
        if not any(images[0].is_relative_to(folder) for images in asked for folder in folders):
            return {}
        loaded = loading.load(source)
    except UserError:
        return {}
    found = {}
    for _, sample in loaded.samples("test"):
        images = asked.get(tuple(path.resolve() for path in sample.images))
        if images is not None and sample.mask is not None:
            found[images] = labels_of(sample)
    return found
