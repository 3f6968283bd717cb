"""Turns a scene into pixels: ground, shadows, things, then the air and the instrument.

Noise comes from a pyramid whose octaves have wavelengths in metres, so that crowns, tufts and
hills keep their size whatever the ground sampling distance. It is drawn from coarse to fine: a
larger picture of the same scene adds detail and keeps what was there. Plain float32 sums and
products, or OpenCV on integers, whose results no processor changes.
"""

from collections.abc import Iterator, Sequence
from dataclasses import astuple, dataclass
from functools import cache, lru_cache
from math import cos, pi, sin, tan

import cv2
import numpy as np
import numpy.typing as npt

from mtp_bench.datasets.scenes.geometry import RGB, Line, Outline, Scene, Thing, palette, unit

Pixels = npt.NDArray[np.float32]
SUBPIXEL = 4  # binary digits of a pixel's fraction in OpenCV's drawing coordinates


@dataclass(frozen=True)
class Cover:
    """A land cover's look: two colours mixed in patches, and how rough it is."""

    colours: str
    patch: float = 0.5  # how far coarse noise (over 40 m) moves the mix between the two
    tuft: float = 0.0  # lit and shaded sides on the scale of crowns and tufts (5 to 40 m)
    grain: float = 0.03  # noise below 5 m
    relief: float = 0.0  # lit and shaded hills


COVERS: dict[str, Cover] = {
    "soil": Cover("8c634c c7997a", 0.6, 0.01),
    "crop": Cover("0f2b17 304c26", 0.5, 0.03, 0.04),
    "stubble": Cover("8c7a57 b29e78", 0.5, 0.02),
    "grass": Cover("1f361f 4c5230", 0.6, 0.05, 0.05),
    "scrub": Cover("3d3d29 99785c", 0.8, 0.16, 0.07, 0.8),
    "forest": Cover("0a1a0f 1c2917", 0.5, 0.30, 0.08, 0.25),
    "garden": Cover("142414 5c573d", 1.1, 0.22, 0.08),
    "water": Cover("08171c 142626", 0.35, 0.0, 0.015),
    "shallows": Cover("14332d 32543d", 0.35, 0.0, 0.015),
    "foam": Cover("243b3d 859494", 0.5, 0.12, 0.10),
    "sand": Cover("948066 c2ad8f", 0.5, 0.02),
    "gravel": Cover("61594f 948575", 0.8, 0.05, 0.06),
    "asphalt": Cover("47474a 615e5e", 0.5, 0.01),
    "concrete": Cover("7a756e 9e998f", 0.5, 0.01),
    "paint": Cover("ccccc4 e0e0d9", 0.3),
    "yellow": Cover("c29940 d5a842", 0.3),
    "clay": Cover("8c4533 a35942", 0.4),
}


@cache
def _look(cover: str) -> tuple[float, ...]:
    """How rough a cover is, as numbers."""
    return astuple(COVERS[cover])[1:]


def doubled(grid: Pixels) -> Pixels:
    """Subdivides quadratic B-splines on the last two axes: n points become 2 n - 2."""
    step = np.float32(0.25) * np.diff(grid, axis=1)
    tall = np.stack([grid[:, :-1] + step, grid[:, 1:] - step], axis=2)
    tall = tall.reshape(len(grid), -1, grid.shape[2])
    step = np.float32(0.25) * np.diff(tall)
    fine = np.stack([tall[..., :-1] + step, tall[..., 1:] - step], axis=3)
    return fine.reshape(*tall.shape[:2], -1)


@lru_cache(maxsize=1)
def texture(seed: int, extent: float, side: int) -> Pixels:
    """Coarse, middle and fine noise, each of about deviation 1; the side is a power of two.

    Kept for the second date of a place.
    """
    rng, power, cells = np.random.default_rng(seed), [1e-9] * 3, 1
    bands: Pixels = np.zeros((3, 3, 3), dtype=np.float32)
    while cells < side:
        cells, bands = 2 * cells, doubled(bands)
        wavelength = 2 * extent / cells
        band = 0 if wavelength > 40 else 1 if wavelength > 5 else 2
        weight = min(wavelength / 40, 4.0) ** 0.7 if band == 0 else 1.0
        white = rng.random(bands.shape[1:], dtype=np.float32) - np.float32(0.5)
        bands[band] += np.float32(3.46 * weight) * white  # a sixth of the time of normal noise
        power[band] += weight**2 * 0.35
    scale = np.array([p**-0.5 for p in power], dtype=np.float32)[:, None, None]
    return np.ascontiguousarray(bands[:, 1:-1, 1:-1]) * scale


def to_canvas(places: Line, pixels_per_metre: float) -> npt.NDArray[np.int32]:
    """Metres to OpenCV's fixed-point pixels, in which a pixel's centre is an integer."""
    pixel = np.stack([places.real, places.imag], axis=-1) * pixels_per_metre - 0.5
    return np.asarray(np.rint(pixel * (1 << SUBPIXEL)), dtype=np.int32)


def ground_ids(scene: Scene, side: int) -> npt.NDArray[np.intp]:
    """Which of the scene's regions is seen in each pixel of a canvas."""
    ids = np.zeros((side, side), dtype=np.int32)
    for number, region in enumerate(scene.regions):
        corners = to_canvas(np.array(region.outline), side / scene.extent)
        cv2.fillPoly(ids, [corners], number, cv2.LINE_8, SUBPIXEL)
    return ids.astype(np.intp)


def paint_ground(scene: Scene, noise: Pixels) -> Pixels:
    """The bare ground in colour, lit from the view's sun: planes (3, side, side) from 0 to 1."""
    side = noise.shape[1]
    ids, metre = ground_ids(scene, side), side / scene.extent
    covers = [COVERS[region.cover] for region in scene.regions]
    tint = np.array([region.tint for region in scene.regions], dtype=np.float32).T
    colours = np.array([palette(c.colours) for c in covers], dtype=np.float32).T
    low, rise = colours[:, 0] * tint, (colours[:, 1] - colours[:, 0]) * tint
    table = np.array([_look(region.cover) for region in scene.regions], dtype=np.float32).T
    patch, tuft, grain, relief = (np.take(column, ids) for column in table)
    coarse, middle, fine = noise
    mix = patch * coarse * np.float32(0.4) + tuft * middle * np.float32(0.5) + np.float32(0.5)
    mix = np.clip(mix, -0.3, 1.3)
    light = np.float32(1.0) + tuft * _lit(middle, scene.view.sun, 3 * metre) + grain * fine
    if relief.any():
        ridges = np.abs(coarse) + np.float32(0.1) * middle
        light += relief * _lit(ridges, scene.view.sun, 14 * metre)
    light = np.maximum(light + _rows(scene, ids), np.float32(0.25))
    planes = np.empty((3, side, side), dtype=np.float32)
    for plane, dark, more in zip(planes, low, rise, strict=True):
        np.multiply(np.take(dark, ids) + np.take(more, ids) * mix, light, out=plane)
    return planes


def _lit(heights: Pixels, sun: float, step: float) -> Pixels:
    """Slopes that face the sun are bright, the others dark."""
    dx, dy = round(cos(sun) * step), round(sin(sun) * step)
    place = np.arange(len(heights))
    if dx == dy == 0:
        dx = 1
    beyond = heights[np.clip(place + dy, 0, place[-1])][:, np.clip(place + dx, 0, place[-1])]
    return np.clip(heights - beyond, -1.5, 1.5) * np.float32(0.8)


def _rows(scene: Scene, ids: npt.NDArray[np.intp]) -> Pixels:
    """Furrows and rows of plants, parabolic waves that are the stronger the wider apart."""
    waves = [region.rows for region in scene.regions]
    if not any(waves):
        return np.zeros(ids.shape, dtype=np.float32)
    table = [(w.real, w.imag, 0.005 / abs(w) if w else 0) for w in waves]
    across, down, depth = (np.take(column, ids) for column in np.array(table, np.float32).T)
    place = (np.arange(len(ids), dtype=np.float32) + 0.5) * np.float32(scene.extent / len(ids))
    turn = across * place + down * place[:, None]
    turn -= np.floor(turn) + np.float32(0.5)
    return np.asarray(depth * (np.float32(1.0) - np.float32(8.0) * turn * turn))


@dataclass(frozen=True)
class Part:
    outline: Outline
    tone: float = 1.0  # brightness against the thing's colour
    colour: RGB | None = None  # its own instead of the thing's
    slope: float | None = None  # the heading, within the thing, that a sloping roof looks to
    solid: bool = True  # belongs to the silhouette and throws a shadow
    sunward: bool = False  # turned to the sun, not as the thing: light on a round body


def _box(left: float, top: float, right: float, bottom: float) -> Outline:
    return (left + top * 1j, right + top * 1j, right + bottom * 1j, left + bottom * 1j)


def _round(radius: float, middle: complex = 0.0, corners: int = 14) -> Outline:
    return tuple(middle + radius * unit(2 * pi * i / corners) for i in range(corners))


def _pair(*right: complex) -> tuple[Outline, Outline]:
    """A part on either side."""
    return right, tuple(p.conjugate() for p in right)


def _hull(*right: complex) -> Outline:
    """A body from its right half, front to back."""
    return (*right, *_pair(*right)[1][::-1])


GLASS: RGB = (0.10, 0.12, 0.15)
WHITE: RGB = (0.88, 0.88, 0.85)


def _flat(outline: Outline, tone: float = 1.0, colour: RGB | None = None) -> Part:
    return Part(outline, tone, colour, solid=False)


# fmt: off
SHAPES: dict[str, tuple[Part, ...]] = {
    "tennis_court": (
        _flat(_box(-0.5, -0.5, 0.5, 0.5)), _flat(_box(-0.33, -0.33, 0.33, 0.33), 1.3),
        *(_flat(_box(x, -0.3, x + 0.008, 0.3), 1, WHITE) for x in (-0.329, -0.179, 0.171, 0.321)),
        *(_flat(_box(-0.325, y, 0.325, y + 0.018), 1, WHITE) for y in (-0.309, -0.23, 0.22, 0.291)),
        _flat(_box(-0.175, -0.008, 0.175, 0.008), 1, WHITE),
        _flat(_box(-0.006, -0.36, 0.006, 0.36), 1, GLASS)),
    "car": (
        Part(_box(-0.5, -0.45, 0.5, 0.45)), _flat(_box(0.05, -0.4, 0.24, 0.4), 1, GLASS),
        _flat(_box(-0.42, -0.36, -0.3, 0.36), 1, GLASS)),
    "truck": (Part(_box(-0.5, -0.5, 0.3, 0.5)), Part(_box(0.33, -0.45, 0.5, 0.45), 0.7)),
    "ship": (
        Part(_hull(0.5 + 0.02j, 0.46 + 0.22j, 0.34 + 0.46j, -0.42 + 0.5j, -0.5 + 0.4j), 0.7),
        Part(_hull(0.47 + 0.02j, 0.44 + 0.16j, 0.33 + 0.36j, -0.4 + 0.4j, -0.47 + 0.3j), 1.15),
        *(_flat(_box(x, -0.24, x + 0.12, 0.24), 0.65) for x in (-0.2, -0.04, 0.12)),
        _flat(_box(-0.42, -0.34, -0.26, 0.34), 1, WHITE)),
    "boat": (
        Part(_hull(0.5 + 0.02j, 0.2 + 0.42j, -0.5 + 0.42j)),
        _flat(_box(-0.4, -0.25, -0.12, 0.25), 0.6), _flat(_box(-0.1, -0.28, 0.14, 0.28), 1, GLASS)),
    "airplane": (
        *(Part(wing, 0.92) for wing in _pair(0.12 + 0.04j, 0.04j, -0.17 + 0.5j, -0.09 + 0.5j)),
        *(Part(p, 0.92) for p in _pair(-0.36 + 0.02j, -0.45 + 0.02j, -0.5 + 0.19j, -0.44 + 0.19j)),
        *(Part(engine, 0.6) for engine in _pair(*_box(0.0, 0.15, 0.11, 0.195))),
        Part(_hull(0.5 + 0.005j, 0.44 + 0.042j, -0.3 + 0.047j, -0.49 + 0.012j)),
        _flat(_hull(0.46 + 0.005j, 0.42 + 0.02j), 1, GLASS),
        _flat(_box(-0.5, -0.012, -0.32, 0.012), 0.7)),
    "storage_tank": (
        Part(_round(0.5), 0.72), Part(_round(0.47, 0.025), sunward=True),
        _flat(_round(0.3, 0.03), 0.94), _flat(_box(-0.46, -0.02, 0.1, 0.02), 0.8)),
    "house": (
        Part(_box(-0.5, -0.5, 0.5, 0.02), slope=-pi / 2),
        Part(_box(-0.5, 0.0, 0.5, 0.5), slope=pi / 2)),
    "hall": (
        *(Part(_box(x, -0.5, x + 0.125, 0.5), slope=pi) for x in (-0.5, -0.25, 0, 0.25)),
        *(Part(_box(x, -0.5, x + 0.125, 0.5), slope=0.0) for x in (-0.375, -0.125, 0.125, 0.375)),
        *(_flat(_box(x, -0.3, x + 0.02, 0.3), 0.6) for x in (-0.26, -0.01, 0.24))),
    "tree": (
        Part(_round(0.36, 0.14, 8), 0.75), Part(_round(0.33, -0.08 + 0.16j, 8), 0.8),
        Part(_round(0.34, -0.06 - 0.15j, 8), 0.7),
        Part(_round(0.3, 0.1 + 0.03j, 7), solid=False, sunward=True),
        Part(_round(0.13, 0.2 + 0.08j, 5), 1.25, solid=False, sunward=True)),
}
# fmt: on


def footprints(things: Sequence[Thing], sun: float) -> Iterator[tuple[Part, Line]]:
    """Each part of things of one kind, in metres: (things, corners)."""
    at, length, width, heading = np.array([(t.at, t.length, t.width, t.heading) for t in things]).T
    for part in SHAPES[things[0].kind]:
        corner = np.array(part.outline)
        turn = unit(sun) if part.sunward else np.exp(1j * heading)[:, None]
        box = corner.real * length[:, None] + 1j * corner.imag * width[:, None]
        yield part, at[:, None] + box * turn


def draw_things(scene: Scene, ground: Pixels) -> npt.NDArray[np.uint8]:
    """Things with their shadows on the painted ground; from planes to RGB (side, side, 3)."""
    scale, sun = ground.shape[1] / scene.extent, scene.view.sun
    kinds = [[t for t in scene.things if t.kind == kind] for kind in SHAPES]
    groups = [things for things in kinds if things]
    shade = np.zeros(ground.shape[1:], dtype=np.uint8)
    for things in groups:
        throw = np.array([[t.height] for t in things]) / tan(scene.view.elevation) * -unit(sun)
        for part, foot in footprints(things, sun):
            for points in to_canvas(np.hstack([foot, foot + throw]), scale) if part.solid else ():
                cv2.fillConvexPoly(shade, cv2.convexHull(points), 255, cv2.LINE_8, SUBPIXEL)
    lost = shade * np.float32(0.52 / 255)  # less of the blue, which the sky lends
    lit = [p * (1 - lost * np.float32(k)) for p, k in zip(ground, (1.0, 0.95, 0.85), strict=True)]
    planes = np.rint(np.clip(lit, 0.0, 1.0) * np.float32(255)).astype(np.uint8)
    canvas = np.ascontiguousarray(planes.transpose(1, 2, 0))
    for things in groups:
        own, heading = np.array([t.colour for t in things]), np.array([t.heading for t in things])
        for part, foot in footprints(things, sun):
            tone = np.full(len(things), part.tone)
            if part.slope is not None:
                tone *= 1.0 + 0.22 * np.cos(heading + part.slope - sun)
            base = own if part.colour is None else np.array(part.colour)
            colours = np.clip(base * tone[:, None] * 255, 0, 255).tolist()
            for points, colour in zip(to_canvas(foot, scale), colours, strict=True):
                cv2.fillConvexPoly(canvas, points, colour, cv2.LINE_8, SUBPIXEL)
    return canvas


def render(scene: Scene, size: int) -> npt.NDArray[np.uint8]:
    """The scene as RGB, (size, size, 3); the same bytes for the same scene and size."""
    # A power of two, finer than a small picture: its houses are single pixels.
    factor = 4 if size <= 64 else 2 if size <= 256 else 1
    side, view = 1 << max(6, (factor * size - 1).bit_length()), scene.view
    canvas = draw_things(scene, paint_ground(scene, texture(scene.seed, scene.extent, side)))
    seen = cv2.resize(canvas, (size, size), interpolation=cv2.INTER_AREA)
    seen = cv2.GaussianBlur(seen, (0, 0), view.blur * scene.gsd * size / scene.extent)
    gain, veil, cloud = np.array([view.gain, view.veil, (0.80, 0.83, 0.86)], dtype=np.float32)
    light = seen / np.float32(255) * gain + veil
    if view.haze:  # of the noise only its four broadest waves
        at = np.arange(size) * side // size
        drift = texture(view.seed, 640.0, side)[0][np.ix_(at, at)][..., None] + np.float32(0.3)
        light += (cloud - light) * np.clip(drift * np.float32(view.haze), 0, 0.8)
    light -= np.float32(0.4) * np.maximum(light - np.float32(0.8), 0)  # a soft shoulder
    noise = np.random.default_rng(view.seed).standard_normal(light.shape, dtype=np.float32)
    light += noise * np.float32(view.noise) * (np.float32(0.6) + light)
    return np.asarray(np.rint(np.clip(light, 0, 1) * np.float32(255)), dtype=np.uint8)
