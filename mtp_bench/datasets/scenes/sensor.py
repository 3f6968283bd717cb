"""The instrument and the air: point spread, veil, thin cloud, exposure and noise."""

from math import exp, pi

import numpy as np
import numpy.typing as npt

from mtp_bench.datasets.scenes.geometry import Array, Scene, View
from mtp_bench.datasets.scenes.terrain import Pixels, doubled, texture


def satellite(rng: np.random.Generator) -> View:
    """A 10 m multispectral satellite through much air: bluish veil, shifting exposure."""
    gain = 0.80 * np.exp(rng.normal(0.0, 0.13) + rng.normal(0.0, 0.035, 3))
    veil = np.array([0.085, 0.132, 0.210]) * np.exp(rng.normal(0.0, 0.12))
    if rng.random() < 0.04:  # now and then a badly corrected, blue scene
        veil += np.array([0.03, 0.06, 0.17]) * rng.uniform(0.5, 1.2)
        gain *= 0.75
    return _view(rng, gain, veil, rng.uniform(0.3, 0.65), rng.uniform(0.003, 0.008))


def aerial(rng: np.random.Generator) -> View:
    """Aerial and sub-metre satellite pictures from many sources."""
    gain = 0.92 * np.exp(rng.normal(0.0, 0.12) + rng.normal(0.0, 0.025, 3))
    veil = np.array([0.05, 0.06, 0.07]) * rng.uniform(0.2, 2.0)
    return _view(rng, gain, veil, rng.uniform(0.45, 1.0), rng.uniform(0.006, 0.02))


def _view(rng: np.random.Generator, gain: Array, veil: Array, blur: float, noise: float) -> View:
    r, g, b = gain.tolist()
    red, green, blue = veil.tolist()
    return View(
        seed=int(rng.integers(2**31)),
        sun=rng.uniform(0.0, 2 * pi),
        elevation=rng.uniform(0.6, 1.2),
        gain=(r, g, b),
        veil=(red, green, blue),
        haze=rng.uniform(0.05, 0.25) if rng.random() < 0.1 else 0.0,
        blur=blur,
        noise=noise,
    )


def expose(scene: Scene, canvas: Pixels) -> npt.NDArray[np.uint8]:
    """What the view's instrument makes of a canvas of reflectances."""
    view, size = scene.view, len(canvas)
    canvas = _spread(canvas, view.blur * scene.gsd * size / scene.extent)
    canvas = canvas * np.array(view.gain, dtype=np.float32) + np.array(view.veil, dtype=np.float32)
    if view.haze:
        canvas = _cloud(canvas, view)
    canvas -= np.float32(0.4) * np.maximum(canvas - np.float32(0.8), 0)  # a soft shoulder
    rng = np.random.default_rng(view.seed)
    noise = rng.standard_normal(canvas.shape, dtype=np.float32) * np.float32(view.noise)
    canvas = canvas + noise * (np.float32(0.6) + canvas)
    levels: npt.NDArray[np.uint8] = np.rint(np.clip(canvas, 0, 1) * np.float32(255)).astype(
        np.uint8
    )
    return levels


def _spread(canvas: Pixels, sigma: float) -> Pixels:
    """A Gaussian blur; weights are rounded so that no last bit of `exp` reaches a pixel."""
    radius = max(1, round(2.5 * sigma))
    weights = [round(4096 * exp(-0.5 * (i / max(sigma, 0.05)) ** 2)) for i in range(radius + 1)]
    total = np.float32(weights[0] + 2 * sum(weights[1:]))
    for axis in (0, 1):
        pad = [(radius, radius) if a == axis else (0, 0) for a in range(3)]
        wide = np.moveaxis(np.pad(canvas, pad, mode="reflect"), axis, 0)
        size = canvas.shape[axis]
        mixed = wide[radius : radius + size] * np.float32(weights[0])
        for i in range(1, radius + 1):
            pair = wide[radius - i : radius - i + size] + wide[radius + i : radius + i + size]
            mixed += pair * np.float32(weights[i])
        canvas = np.moveaxis(mixed / total, 0, axis)
    return canvas


def _cloud(canvas: Pixels, view: View) -> Pixels:
    drift = texture(view.seed, 4000.0, 8).coarse
    while len(drift) < len(canvas):
        drift = doubled(np.pad(drift, 1, mode="edge"))[1:-1, 1:-1]
    drift = drift[: len(canvas), : len(canvas)]
    cover = np.clip((drift + np.float32(0.3)) * np.float32(view.haze), 0.0, 0.8)[..., None]
    white = np.array([0.80, 0.83, 0.86], dtype=np.float32)
    return canvas + (white - canvas) * cover
