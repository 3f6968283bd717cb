"""Writes the miniature of a data set: rendered pictures in its official layout."""

import json
import multiprocessing
from collections.abc import Callable, Generator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from mtp_bench.datasets.scenes import RENDERER_VERSION, boxes, masks
from mtp_bench.datasets.scenes.classes import EUROSAT, RESISC45, compose
from mtp_bench.datasets.scenes.files import save
from mtp_bench.datasets.scenes.geometry import Scene
from mtp_bench.datasets.scenes.render import render
from mtp_bench.datasets.scenes.worlds import LAND, WORLDS, Shot
from mtp_bench.errors import UserError, nearest


class Miniature(NamedTuple):
    """What is rendered of a data set: its classes, and how many pictures."""

    classes: tuple[str, ...]
    images_per_class: int = 0
    """Where classes are folders; else `splits` has the numbers."""
    splits: Mapping[str, int] = {}


class Layout(NamedTuple):
    """How a data set is written: each picture, which may note something, and lists of all notes."""

    write: Callable[[Shot], Any]
    finish: Callable[[Sequence[tuple[Shot, Any]]], None] | None = None
    serves: tuple[str, ...] = ()
    """The data sets that share the folder, where these are several."""


def _boxes(dataset: str, **splits: int) -> Miniature:
    names = tuple(dict.fromkeys(WORLDS[dataset].classes.values()))
    return Miniature(names, splits={split.replace("_", "-"): n for split, n in splits.items()})


_CHANGE = ("unchanged", "changed")
_LOVEDA = ("background", "building", "road", "water", "barren", "forest", "agricultural")
MINIATURES = {
    "EuroSAT": Miniature(tuple(sorted(EUROSAT)), 167),
    "RESISC45": Miniature(tuple(RESISC45), 60),
    "xView": _boxes("xView", train=104, val=4),
    "DIOR": _boxes("DIOR", train=64, val=32, test=40),
    "DIOR-R": _boxes("DIOR", train=64, val=32, test=40),
    "FAIR1M-2.0": _boxes("FAIR1M-2.0", train=72, val=32, test=4),
    "DOTA-v1.0": _boxes("DOTA-v1.0", train=26, val=6, test=2),
    "DOTA-v2.0": _boxes("DOTA-v2.0", train=26, val=6, test_dev=2),
    "SpaceNet-v1": Miniature(("background", "building"), splits={"train": 84, "test": 4}),
    "LoveDA": Miniature(_LOVEDA, splits={"train": 64, "val": 24, "test": 4}),
    "OSCD": Miniature(_CHANGE, splits={"train": 4, "test": 2}),
    "WHU-CD": Miniature(_CHANGE, splits={"all": 1}),
    "LEVIR-CD": Miniature(_CHANGE, splits={"train": 44, "val": 4, "test": 22}),
    "SVCD": Miniature(_CHANGE, splits={"train": 60, "val": 4, "test": 24}),
    "SOTA-RBB": _boxes("SOTA-RBB", train=56),
    "SIOR": _boxes("SIOR", train=64),
    "FAST": _boxes("FAST", train=56),
    "Million-AID": Miniature(
        tuple(folder.rpartition("/")[2] for folder in LAND), splits={"train": 80, "test": 120}
    ),
}
_FILES = {
    "EuroSAT": "2750/{name}/{name}_{number}.jpg",
    "RESISC45": "NWPU-RESISC45/{name}/{name}_{number:03d}.jpg",
}


def scene_of(dataset: str, name: str, number: int, seed: int = 0) -> Scene:
    """The scene behind one picture, whichever others are rendered; numbers start at 1."""
    return compose(name, Shot(dataset, Path(), name, number, seed).rng)


def picture(dataset: str, name: str, number: int, seed: int = 0) -> npt.NDArray[np.uint8]:
    """One picture of a miniature as RGB."""
    scene = scene_of(dataset, name, number, seed)
    return render(scene, round(scene.extent / scene.gsd))


def _class_folders(shot: Shot) -> None:
    path = shot.root / _FILES[shot.dataset].format(name=shot.split, number=shot.number)
    save(path, picture(shot.dataset, shot.split, shot.number, shot.seed), quality=95)


def _million_aid(shot: Shot) -> None:
    """Classes are folders of two or three levels in train; test has none."""
    turn, which = divmod(shot.number - 1, len(LAND))
    folder, themes = list(LAND.items())[which]
    theme = themes.split()[turn % len(themes.split())]
    side = 128 if theme in EUROSAT else 256
    index, place = (990_848, f"train/{folder}") if shot.split == "train" else (0, "test")
    path = shot.root / place / f"P{index + shot.number - 1:07d}.jpg"
    save(path, render(compose(theme, shot.rng, side), side))


_DIOR = Layout(boxes.dior, boxes.dior_lists, ("DIOR", "DIOR-R"))
LAYOUTS: Mapping[str, Layout] = {
    "EuroSAT": Layout(_class_folders),
    "RESISC45": Layout(_class_folders),
    "xView": Layout(boxes.xview, boxes.xview_labels),
    "DIOR": _DIOR,
    "DIOR-R": _DIOR,
    "FAIR1M-2.0": Layout(boxes.fair1m),
    "DOTA-v1.0": Layout(boxes.dota),
    "DOTA-v2.0": Layout(boxes.dota),
    "SpaceNet-v1": Layout(masks.spacenet),
    "LoveDA": Layout(masks.loveda),
    "OSCD": Layout(masks.oscd, masks.oscd_lists),
    "WHU-CD": Layout(masks.whu),
    "LEVIR-CD": Layout(masks.levir),
    "SVCD": Layout(masks.svcd),
    "SOTA-RBB": Layout(boxes.samrs),
    "SIOR": Layout(boxes.samrs),
    "FAST": Layout(boxes.samrs),
    "Million-AID": Layout(_million_aid),
}


def write_miniature(
    dataset: str,
    root: Path,
    *,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
    workers: int = 1,
) -> None:
    """Renders a data set's miniature in its official layout into its own folder `root`.

    Beside other parts of SAMRS, where `root` is theirs. `progress` hears (done, total) after every
    picture; last of all, ``miniature.json`` tells what lies there.

    Raises:
        UserError: there is no such miniature.
    """
    if dataset not in MINIATURES:
        raise UserError(f"no miniature of '{dataset}': {nearest(dataset, list(MINIATURES))}")
    miniature, layout = MINIATURES[dataset], LAYOUTS[dataset]
    serves = layout.serves or (dataset,)
    counts = miniature.splits or dict.fromkeys(miniature.classes, miniature.images_per_class)
    shots = [Shot(serves[0], root, s, i + 1, seed) for s, n in counts.items() for i in range(n)]
    noted = []
    with closing(_written(shots, workers)) as notes:
        for done, note in enumerate(notes, 1):
            noted.append((shots[done - 1], note))
            if progress:
                progress(done, len(shots))
    if layout.finish:
        layout.finish(noted)
    facts = {
        "synthetic": True,
        "dataset": list(serves),
        "renderer": RENDERER_VERSION,
        "seed": seed,
        "splits": dict(miniature.splits) or {"all": len(shots)},
    }
    part = boxes.SAMRS[dataset][0].split("/")[0] if dataset in boxes.SAMRS else "."
    (root / part / "miniature.json").write_text(json.dumps(facts, indent=2) + "\n")


def _written(shots: Sequence[Shot], workers: int) -> Generator[Any]:
    """Writes pictures and gives their notes in order."""
    if workers <= 1:
        yield from map(_write, shots)
        return
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])  # once for all pools of this process
    pool = ProcessPoolExecutor(workers, context, initializer=cv2.setNumThreads, initargs=(1,))
    try:
        yield from pool.map(_write, shots, chunksize=4)
    finally:
        pool.shutdown(cancel_futures=True)


def _write(shot: Shot) -> Any:
    return LAYOUTS[shot.dataset].write(shot)
