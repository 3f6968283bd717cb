"""Turns a scene into pixels: ground, shadows, objects, then the instrument."""

import cv2
import numpy as np
import numpy.typing as npt

from mtp_bench.datasets.scenes.geometry import Scene
from mtp_bench.datasets.scenes.sensor import expose
from mtp_bench.datasets.scenes.terrain import paint_ground, texture
from mtp_bench.datasets.scenes.things import draw_things

ROUGH = 0.025
"""Unevenness of every surface, flat roofs and paint included."""


def render(scene: Scene, size: int) -> npt.NDArray[np.uint8]:
    """The scene as RGB, (size, size, 3); the same bytes for the same scene and size."""
    side = _canvas_side(size)
    noise = texture(scene.seed, scene.extent, side)
    canvas = draw_things(scene, paint_ground(scene, noise, side))
    small, grain = (
        np.asarray(cv2.resize(picture, (size, size), interpolation=cv2.INTER_AREA), np.float32)
        for picture in (canvas, noise.fine)
    )
    return expose(scene, small * (np.float32(1.0) + np.float32(ROUGH) * grain)[..., None])


def _canvas_side(size: int) -> int:
    """A power of two, four to two times the picture: small pictures need their houses smooth."""
    factor = 4 if size <= 64 else 2
    side = 64
    while side < factor * size:
        side *= 2
    return side
