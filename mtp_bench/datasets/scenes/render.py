"""Turns a scene into pixels: ground, shadows, objects, then the instrument."""

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from mtp_bench.datasets.scenes.geometry import Scene
from mtp_bench.datasets.scenes.sensor import expose
from mtp_bench.datasets.scenes.terrain import Pixels, paint_ground, texture
from mtp_bench.datasets.scenes.things import draw_things

ROUGH = 0.025
"""Unevenness of every surface, flat roofs and paint included."""


def render(scene: Scene, size: int) -> npt.NDArray[np.uint8]:
    """The scene as RGB, (size, size, 3); the same bytes for the same scene and size."""
    side = _canvas_side(size)
    noise = texture(scene.seed, scene.extent, side)
    canvas = draw_things(scene, paint_ground(scene, noise, side))
    colour, grain = _averaged(canvas, size) / np.float32(255), _averaged(noise.fine, size)
    return expose(scene, colour * (np.float32(1.0) + np.float32(ROUGH) * grain)[..., None])


def _averaged(canvas: npt.NDArray[Any], size: int) -> Pixels:
    """Area averages. Whole ratios are summed here: OpenCV's last bits depend on the processor."""
    k = len(canvas) // size
    if k * size != len(canvas):
        wide = canvas.astype(np.float32)
        return np.asarray(cv2.resize(wide, (size, size), interpolation=cv2.INTER_AREA), np.float32)
    total = np.zeros((size, size, *canvas.shape[2:]), dtype=np.float32)
    for i in range(k):
        for j in range(k):
            total += canvas[i::k, j::k]
    return total / np.float32(k * k)


def _canvas_side(size: int) -> int:
    """A power of two, finer than a small picture: its houses are single pixels."""
    factor = 4 if size <= 64 else 2 if size <= 256 else 1
    side = 64
    while side < factor * size:
        side *= 2
    return side
