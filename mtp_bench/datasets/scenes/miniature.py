"""Writes the miniature of a data set: rendered pictures in its official layout.

Every picture has a seed of its own, from the data set, class and number, so that a picture is the
same whichever others are rendered.
"""

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from mtp_bench.datasets.scenes import eurosat, resisc45
from mtp_bench.datasets.scenes.geometry import Scene
from mtp_bench.datasets.scenes.render import render
from mtp_bench.errors import UserError, nearest

JPEG_QUALITY = 95


@dataclass(frozen=True)
class Miniature:
    """What is rendered of a data set."""

    classes: tuple[str, ...]
    images_per_class: int


@dataclass(frozen=True)
class _Layout:
    folder: str
    name: str
    size: int
    compose: Callable[[str, np.random.Generator], Scene]


MINIATURES: dict[str, Miniature] = {
    "EuroSAT": Miniature(tuple(eurosat.CLASSES), 167),
    "RESISC45": Miniature(tuple(resisc45.CLASSES), 60),
}

_LAYOUTS: dict[str, _Layout] = {
    "EuroSAT": _Layout("2750", "{name}/{name}_{number}.jpg", eurosat.PIXELS, eurosat.compose),
    "RESISC45": _Layout(
        "NWPU-RESISC45", "{name}/{name}_{number:03d}.jpg", resisc45.PIXELS, resisc45.compose
    ),
}


def scene_of(dataset: str, name: str, number: int, seed: int = 0) -> Scene:
    """The scene behind one picture of a miniature; numbers start at 1."""
    key = zlib.crc32(f"{dataset}/{name}".encode())
    return _LAYOUTS[dataset].compose(name, np.random.default_rng([seed, key, number]))


def picture(dataset: str, name: str, number: int, seed: int = 0) -> npt.NDArray[np.uint8]:
    """One picture of a miniature as RGB."""
    return render(scene_of(dataset, name, number, seed), _LAYOUTS[dataset].size)


def write_miniature(
    dataset: str,
    root: Path,
    *,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Renders a data set's miniature into its official folder under the new folder `root`.

    `progress` hears (done, total) after every picture.

    Raises:
        UserError: there is no such miniature.
    """
    if dataset not in MINIATURES:
        raise UserError(f"no miniature of '{dataset}': {nearest(dataset, list(MINIATURES))}")
    layout, miniature = _LAYOUTS[dataset], MINIATURES[dataset]
    total = len(miniature.classes) * miniature.images_per_class
    for c, name in enumerate(miniature.classes):
        folder = root / layout.folder / name
        folder.mkdir(parents=True)
        for i in range(miniature.images_per_class):
            path = root / layout.folder / layout.name.format(name=name, number=i + 1)
            _write_jpeg(path, picture(dataset, name, i + 1, seed))
            if progress:
                progress(c * miniature.images_per_class + i + 1, total)


def _write_jpeg(path: Path, rgb: npt.NDArray[np.uint8]) -> None:
    bgr = cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR)
    _, data = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    path.write_bytes(data.tobytes())
