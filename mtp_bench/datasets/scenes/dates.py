"""Two dates of one scene, and where they differ."""

from collections.abc import Collection
from dataclasses import replace
from math import exp
from typing import Any

import numpy as np
import numpy.typing as npt

from mtp_bench.datasets.scenes.geometry import Scene, View, inside
from mtp_bench.datasets.scenes.labels import BUILDINGS, Frame, things_seen
from mtp_bench.datasets.scenes.render import ground_ids

Rng = np.random.Generator


def later(rng: Rng, view: View, season: float) -> View:
    """Another day: other sun, and light that strays by `season`, its hue by a third of this."""
    light = rng.normal(0.0, season)
    r, g, b = (gain * exp(light + rng.normal(0.0, season / 3)) for gain in view.gain)
    return replace(
        view,
        seed=int(rng.integers(2**31)),
        sun=view.sun + float(rng.normal(0.0, 0.5)),
        elevation=float(np.clip(view.elevation + rng.normal(0.0, 0.15), 0.6, 1.2)),
        gain=(r, g, b),
    )


def renewed(scene: Scene, rng: Rng, share: float, kinds: Collection[str]) -> tuple[Scene, Scene]:
    """Of the things of these kinds a share is on one of the dates only, on the first or second."""
    fates = rng.random(len(scene.things)) / max(share, 1e-9)
    before, after = [], []
    for thing, fate in zip(scene.things, fates.tolist(), strict=True):
        if thing.kind not in kinds or fate > 0.5:
            before.append(thing)
        if thing.kind not in kinds or not 0.5 < fate <= 1:
            after.append(thing)
    return replace(scene, things=tuple(before)), replace(scene, things=tuple(after))


def rebuilt(scene: Scene, rng: Rng, share: float) -> tuple[Scene, Scene]:
    """A share of the blocks is bare ground on the first date, some others on the second."""
    regions, things = (list(scene.regions), list(scene.regions)), (set[Any](), set[Any]())
    at = [thing.at for thing in scene.things]
    for number, region in enumerate(scene.regions[1:], 1):
        block = len(region.outline) == 4 and not region.width and rng.random() < share
        standing = np.flatnonzero(inside(region.outline, at)).tolist() if block else []
        if any(scene.things[i].kind in BUILDINGS for i in standing):
            date = int(rng.random() < 0.25)  # towns grow more than they shrink
            bare = "grass" if region.cover in ("soil", "gravel") else "soil"
            regions[date][number] = replace(region, cover=bare)
            things[date].update(standing)
    before, after = (
        replace(
            scene,
            regions=tuple(r),
            things=tuple(t for i, t in enumerate(scene.things) if i not in gone),
        )
        for r, gone in zip(regions, things, strict=True)
    )
    return before, after


def changed(before: Scene, after: Scene, frame: Frame) -> npt.NDArray[np.uint8]:
    """1 where one thing or ground is seen on the first date and another on the second."""
    numbers: dict[object, int] = {}
    one, two = (
        _surface(scene, frame, numbers) for scene in (before, replace(after, view=before.view))
    )
    return np.asarray(one != two, dtype=np.uint8)


def _surface(scene: Scene, frame: Frame, numbers: dict[object, int]) -> npt.NDArray[Any]:
    """What is seen in each pixel, numbered alike on both dates."""
    ground, things = (
        np.array([numbers.setdefault(part, len(numbers)) for part in parts], dtype=int)
        for parts in ((*scene.regions,), (*scene.things, None))
    )
    seen, _ = things_seen(scene, frame)
    below = ground_ids(scene, max(frame))[: frame.high, : frame.wide]
    return np.where(seen >= 0, things[seen], ground[below])
