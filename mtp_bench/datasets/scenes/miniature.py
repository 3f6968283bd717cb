"""Writes the miniature of a data set: rendered pictures in its official layout."""

import zlib
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from mtp_bench.datasets.scenes.classes import EUROSAT, RESISC45, compose
from mtp_bench.datasets.scenes.geometry import Scene
from mtp_bench.datasets.scenes.render import render
from mtp_bench.errors import UserError, nearest


class Miniature(NamedTuple):
    """What is rendered of a data set."""

    classes: tuple[str, ...]
    images_per_class: int


MINIATURES = {
    "EuroSAT": Miniature(tuple(sorted(EUROSAT)), 167),
    "RESISC45": Miniature(tuple(RESISC45), 60),
}
_FILES = {
    "EuroSAT": "2750/{name}/{name}_{number}.jpg",
    "RESISC45": "NWPU-RESISC45/{name}/{name}_{number:03d}.jpg",
}


def scene_of(dataset: str, name: str, number: int, seed: int = 0) -> Scene:
    """The scene behind one picture, whichever others are rendered; numbers start at 1."""
    key = zlib.crc32(f"{dataset}/{name}".encode())
    return compose(name, np.random.default_rng([seed, key, number]))


def picture(dataset: str, name: str, number: int, seed: int = 0) -> npt.NDArray[np.uint8]:
    """One picture of a miniature as RGB."""
    scene = scene_of(dataset, name, number, seed)
    return render(scene, round(scene.extent / scene.gsd))


def write_miniature(
    dataset: str, root: Path, *, seed: int = 0, progress: Callable[[int, int], None] | None = None
) -> None:
    """Renders a data set's miniature into its official folder under the new folder `root`.

    `progress` hears (done, total) after every picture.

    Raises:
        UserError: there is no such miniature.
    """
    if dataset not in MINIATURES:
        raise UserError(f"no miniature of '{dataset}': {nearest(dataset, list(MINIATURES))}")
    miniature = MINIATURES[dataset]
    names = [(name, i + 1) for name in miniature.classes for i in range(miniature.images_per_class)]
    for done, (name, number) in enumerate(names, 1):
        path = root / _FILES[dataset].format(name=name, number=number)
        path.parent.mkdir(parents=True, exist_ok=True)
        bgr = cv2.cvtColor(picture(dataset, name, number, seed), cv2.COLOR_RGB2BGR)
        _, data = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, 95])
        path.write_bytes(data.tobytes())
        if progress:
            progress(done, len(names))
