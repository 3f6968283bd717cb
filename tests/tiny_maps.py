"""A LoveDA and a LEVIR-CD of a few small pictures, and jobs on them that take no time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mtp_bench.datasets.access import miniature_root
from mtp_bench.suite.protocol import Decoder, Span, TestSettings, Tiling
from mtp_bench.suite.schema import JobFile
from tests import tiny_dota
from tests.protocols import short_protocol

SIZE = (112, 80)


def noise(size: tuple[int, int], seed: int) -> NDArray[np.uint8]:
    """A smooth picture (height, width, 3)."""
    small = np.random.default_rng(seed).integers(0, 256, (size[1] // 8, size[0] // 8, 3))
    picture = Image.fromarray(small.astype(np.uint8)).resize(size, Image.Resampling.BICUBIC)
    return np.array(picture)


def save(path: Path, pixels: NDArray[Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def write_loveda(cache: Path) -> Path:
    """Two pictures of train, two of val, one of test; value n + 1 is class n, 0 counts nothing."""
    root = miniature_root("LoveDA", cache)
    names = ("Train/Rural/0", "Train/Urban/1", "Val/Rural/2", "Val/Urban/3", "Test/Rural/4")
    for seed, name in enumerate(names):
        folder, _, stem = name.rpartition("/")
        save(root / folder / "images_png" / f"{stem}.png", noise(SIZE, seed))
        if not name.startswith("Test"):
            mask = noise(SIZE, 100 + seed)[:, :, 0] // 32
            save(root / folder / "masks_png" / f"{stem}.png", mask.astype(np.uint8))
    return root


def write_levir(cache: Path) -> Path:
    """A pair of train, one of val, and two of test, in the first of which a corner has changed."""
    root = miniature_root("LEVIR-CD", cache)
    for seed, name in enumerate(("train_1", "val_1", "test_1", "test_2")):
        split = name.partition("_")[0]
        changed = np.zeros((SIZE[1], SIZE[0]), dtype=np.uint8)
        if name != "test_2":
            changed[:32, :32] = 255
        for kind, pixels in (("A", noise(SIZE, seed)), ("B", noise(SIZE, 50 + seed))):
            save(root / split / kind / f"{name}.png", pixels)
        save(root / split / "label" / f"{name}.png", changed)
    return root


def job(folder: Path, dataset: str, *, stride: int | None = None, test_size: int = 64) -> JobFile:
    """Of LoveDA judged on val, of LEVIR-CD on tiles of 64 px."""
    change = dataset == "LEVIR-CD"
    decoder = Decoder(kind="unet" if change else "upernet", channels=16)
    protocol = short_protocol(
        64,
        Span(iterations=1),
        2,
        test=TestSettings(image_size=test_size, batch_size=2, stride=stride),
        tiling=Tiling(size=64) if change else None,
        train_on_val=False,
        decoder=decoder,
    )
    task = "change_detection" if change else "segmentation"
    return tiny_dota.job(folder, task=task, dataset=dataset, protocol=protocol)
