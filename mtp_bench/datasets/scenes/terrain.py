"""Paints the ground: which cover lies where, its colours, its texture on every scale.

Noise comes from a pyramid whose octaves have wavelengths in metres, so that crowns, tufts and
hills keep their size whatever the ground sampling distance. It is drawn from coarse to fine: a
larger picture of the same scene adds detail and keeps what was there. Plain float32 sums and
products, no libm: the same bytes everywhere.
"""

from dataclasses import dataclass
from math import cos, sin

import cv2
import numpy as np
import numpy.typing as npt

from mtp_bench.datasets.scenes.geometry import Region, Road, Scene, rgb, ribbon

Pixels = npt.NDArray[np.float32]

SUBPIXEL = 4
"""Binary digits of a pixel's fraction in OpenCV's drawing coordinates."""


@dataclass(frozen=True)
class Cover:
    """A land cover's look: two colours mixed in patches, and how rough it is."""

    low: str
    high: str
    patch: float = 0.5
    """How far coarse noise (over 40 m) moves the mix between the two colours."""
    tuft: float = 0.0
    """Lit and shaded sides on the scale of crowns and tufts (5 to 20 m)."""
    grain: float = 0.03
    """Noise below 5 m."""
    relief: float = 0.0
    """Lit and shaded hills."""


COVERS: dict[str, Cover] = {
    "soil": Cover("8c634c", "c7997a", 0.6, 0.01, 0.03),
    "crop": Cover("0f2b17", "304c26", 0.5, 0.03, 0.04),
    "stubble": Cover("8c7a57", "b29e78", 0.5, 0.02, 0.03),
    "grass": Cover("1f361f", "4c5230", 0.6, 0.05, 0.05),
    "scrub": Cover("3d3d29", "99785c", 0.8, 0.16, 0.07, 0.8),
    "forest": Cover("0a1a0f", "1c2917", 0.5, 0.30, 0.08, 0.25),
    "garden": Cover("142414", "5c573d", 1.1, 0.22, 0.08),
    "water": Cover("08171c", "142626", 0.35, 0.0, 0.015),
    "foam": Cover("243b3d", "859494", 0.5, 0.12, 0.10),
    "sand": Cover("948066", "c2ad8f", 0.5, 0.02, 0.03),
    "gravel": Cover("61594f", "948575", 0.8, 0.05, 0.06),
    "asphalt": Cover("47474a", "615e5e", 0.5, 0.01, 0.03),
    "concrete": Cover("7a756e", "9e998f", 0.5, 0.01, 0.03),
    "paint": Cover("ccccc4", "e0e0d9", 0.3, 0.0, 0.03),
    "clay": Cover("8c4533", "a35942", 0.4, 0.0, 0.03),
}


@dataclass(frozen=True)
class Texture:
    """Noise in three bands of wavelength, each about of standard deviation 1."""

    coarse: Pixels
    middle: Pixels
    fine: Pixels


def doubled(grid: Pixels) -> Pixels:
    """Subdivides a quadratic B-spline: n points become 2 n - 2."""
    for axis in (0, 1):
        grid = np.moveaxis(grid, axis, 0)
        near, far = grid[:-1], grid[1:]
        fine = np.empty((2 * len(near), *grid.shape[1:]), dtype=np.float32)
        fine[0::2] = near + np.float32(0.25) * (far - near)
        fine[1::2] = near + np.float32(0.75) * (far - near)
        grid = np.moveaxis(fine, 0, axis)
    return grid


def texture(seed: int, extent: float, side: int) -> Texture:
    """Noise for a canvas of this side, a power of two."""
    rng = np.random.default_rng(seed)
    names = ("coarse", "middle", "fine")
    bands: dict[str, Pixels] = {name: np.zeros((4, 4), dtype=np.float32) for name in names}
    power = dict.fromkeys(names, 1e-9)
    cells = 2
    while cells <= side:
        wavelength = 2 * extent / cells
        band = "coarse" if wavelength > 40 else "middle" if wavelength > 5 else "fine"
        weight = min(wavelength / 40, 4.0) ** 0.7 if band == "coarse" else 1.0
        bands[band] += np.float32(weight) * _white(rng, cells + 2)
        power[band] += weight**2 * 0.35
        cells *= 2
        if cells <= side:
            bands = {name: doubled(grid) for name, grid in bands.items()}
    for name, grid in bands.items():
        bands[name] = np.ascontiguousarray(grid[1:-1, 1:-1]) / np.float32(power[name] ** 0.5)
    return Texture(**bands)


def _white(rng: np.random.Generator, side: int) -> Pixels:
    """Uniform noise of standard deviation 1: a sixth of the time of normal noise."""
    return (rng.random((side, side), dtype=np.float32) - np.float32(0.5)) * np.float32(3.46)


def to_canvas(points: npt.ArrayLike, pixels_per_metre: float) -> npt.NDArray[np.int32]:
    """Metres to OpenCV's fixed-point pixels, in which a pixel's centre is an integer."""
    pixel = np.asarray(points, dtype=np.float64) * pixels_per_metre - 0.5
    return np.rint(pixel * (1 << SUBPIXEL)).astype(np.int32)


def grounds(scene: Scene) -> tuple[Region | Road, ...]:
    """Regions and roads from the lowest to the uppermost: what `ground_ids` numbers."""
    return (*scene.regions, *scene.roads)


def ground_ids(scene: Scene, side: int) -> npt.NDArray[np.int32]:
    """Which of `grounds(scene)` is seen in each pixel of a canvas."""
    ids = np.zeros((side, side), dtype=np.int32)
    for number, part in enumerate(grounds(scene)):
        polygon = part.outline if isinstance(part, Region) else ribbon(part.line, part.width)
        cv2.fillPoly(ids, [to_canvas(polygon, side / scene.extent)], number, cv2.LINE_8, SUBPIXEL)
    return ids


def paint_ground(scene: Scene, noise: Texture, side: int) -> Pixels:
    """The bare ground in colour, lit from the view's sun: planes (3, side, side) from 0 to 1."""
    ids = ground_ids(scene, side).astype(np.intp)
    parts = grounds(scene)
    covers = [COVERS[part.cover] for part in parts]
    tint = np.array([part.tint for part in parts], dtype=np.float32).T
    low = np.array([rgb(c.low) for c in covers], dtype=np.float32).T * tint
    rise = np.array([rgb(c.high) for c in covers], dtype=np.float32).T * tint - low
    patch, tuft, grain, relief = (
        np.take(np.array(values, dtype=np.float32), ids)
        for values in zip(*((c.patch, c.tuft, c.grain, c.relief) for c in covers), strict=True)
    )
    metre = side / scene.extent
    mix = patch * noise.coarse * np.float32(0.4) + tuft * noise.middle * np.float32(0.5)
    mix = np.clip(mix + np.float32(0.5), -0.3, 1.3)
    light = tuft * _lit(noise.middle, scene.view.sun, 3 * metre) + grain * noise.fine
    if relief.any():
        ridges = np.abs(noise.coarse) + np.float32(0.1) * noise.middle
        light += relief * _lit(ridges, scene.view.sun, 14 * metre)
    light += _rows(parts, ids, scene.extent / side)
    light = np.maximum(light + np.float32(1.0), np.float32(0.25))
    planes = np.empty((3, side, side), dtype=np.float32)
    for plane, dark, more in zip(planes, low, rise, strict=True):
        np.multiply(np.take(dark, ids) + np.take(more, ids) * mix, light, out=plane)
    return planes


def _lit(heights: Pixels, sun: float, step: float) -> Pixels:
    """Slopes that face the sun are bright, the others dark."""
    dx, dy = round(cos(sun) * step), round(sin(sun) * step)
    if dx == 0 and dy == 0:
        dx = 1
    place = np.arange(len(heights))
    beyond = heights[np.clip(place + dy, 0, place[-1])][:, np.clip(place + dx, 0, place[-1])]
    return np.clip(heights - beyond, -1.5, 1.5) * np.float32(0.8)


def _rows(parts: tuple[Region | Road, ...], ids: npt.NDArray[np.intp], metre: float) -> Pixels:
    """Furrows and rows of plants, parabolic waves across each region's own heading."""
    rows = [part.rows if isinstance(part, Region) else None for part in parts]
    if not any(rows):
        return np.zeros(ids.shape, dtype=np.float32)
    across, down, strength = (
        np.take(np.array(values, dtype=np.float32), ids)
        for values in zip(
            *(
                (sin(r.heading) / r.spacing, cos(r.heading) / r.spacing, r.strength)
                if r
                else (0.0, 0.0, 0.0)
                for r in rows
            ),
            strict=True,
        )
    )
    place = (np.arange(ids.shape[0], dtype=np.float32) + np.float32(0.5)) * np.float32(metre)
    turn = place[None, :] * across - place[:, None] * down
    turn -= np.floor(turn) + np.float32(0.5)
    return strength * (np.float32(1.0) - np.float32(8.0) * turn * turn)
