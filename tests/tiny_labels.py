"""LoveDA and LEVIR-CD of a few tiny pictures, and what jobs on them are given."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mtp_bench.datasets.access import card_of
from mtp_bench.suite.protocol import Decoder, Normalisation, Span, Tiling
from mtp_bench.suite.schema import JobSpec, Roots
from mtp_bench.tasks import masks
from mtp_bench.tasks.task import Context
from tests.protocols import short_protocol

SIDE, TILE = 64, 48
SIZES = ((80, 60), (96, 80), (50, 44))
"""Width and height of LoveDA's pictures here: some are smaller than a window."""
MEAN, STD = (100.0, 110.0, 120.0), (50.0, 55.0, 60.0)
DECODERS = {
    "LoveDA": Decoder(kind="upernet", channels=8),
    "LEVIR-CD": Decoder(kind="unet", channels=32),
}


def write_pictures(root: Path) -> None:
    """Three pictures with labels of every value, and pairs of four tiles each."""
    rng = np.random.default_rng(0)

    def save(array: NDArray[np.uint8], *parts: str) -> None:
        path = root.joinpath(*parts)
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(array).save(path)

    for (folder, shift), (number, (wide, high)) in product(
        (("Train", 0), ("Val", 10)), enumerate(SIZES)
    ):
        name, place = f"{number + shift}.png", ("LoveDA", folder, "Rural")
        save(rng.integers(0, 255, (high, wide, 3), np.uint8), *place, "images_png", name)
        blocks = np.kron(rng.permutation(8).reshape(2, 4), np.ones((high // 2, wide // 4)))
        label = np.full((high, wide), 1, np.uint8)
        label[: blocks.shape[0], : blocks.shape[1]] = blocks
        save(label, *place, "masks_png", name)
    for split in ("train", "val", "test"):
        for kind in "AB":
            picture = rng.integers(0, 255, (2 * TILE, 2 * TILE, 3), np.uint8)
            save(picture, "LEVIR-CD", split, kind, f"{split}_1.png")
        label = np.zeros((2 * TILE, 2 * TILE), np.uint8)
        label[10:70, 20:60] = 255
        save(label, "LEVIR-CD", split, "label", f"{split}_1.png")


def spec_of(dataset: str, **changes: Any) -> JobSpec:
    change = dataset == "LEVIR-CD"
    given: dict[str, Any] = {"decoder": DECODERS[dataset], "train_on_val": False}
    given |= {"tiling": Tiling(size=TILE)} if change else {}
    return JobSpec(
        kind="finetune",
        backbone="timm/test_resnet",
        recipe="scratch",
        stages=(),
        task="change_detection" if change else "segmentation",
        dataset=dataset,
        data="subset",
        protocol=short_protocol(SIDE, Span(iterations=1), 2, **given | changes),
        seed=0,
    )


def context_of(root: Path, dataset: str, **changes: Any) -> Context:
    roots = Roots(runs="", results="", data=str(root), weights=None, cache=str(root / "cache"))
    name = "timm/test_resnet"
    body = {"name": name, "seed": 1, "weights": None, "image_size": SIDE, "drop_path": 0.0}
    seeds = dict.fromkeys(("head", "data", "train", "fraction"), 3)
    looks = Normalisation(mean=MEAN, std=STD)
    spec = spec_of(dataset, **changes)
    return Context(spec, card_of(dataset), roots, body, looks, seeds)


def prepare(context: Context) -> None:
    """Make the pictures of a job ready, and refuse what it cannot use."""
    masks.DATA.prepare(context.spec, context.roots, 1, None)
