"""Pictures without labels for MAE: Million-AID's, or those of any folder, with what is hidden."""

import json
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch.utils.data import Dataset

from mtp_bench.datasets import loading
from mtp_bench.datasets.fingerprint import of_files
from mtp_bench.datasets.pixels import RASTERS, first_line, rgb
from mtp_bench.datasets.samples import DataFacts
from mtp_bench.errors import UserError
from mtp_bench.suite.protocol import Normalisation

SUFFIXES = frozenset((".jpg", ".jpeg", ".png", ".tif", ".tiff", ".bmp"))
JUDGED = 256
"""Pictures that the loss is told of."""
ASPECT = (3 / 4, 4 / 3)
TRIES = 10
Box = tuple[float, float, float, float]
"""Left, top, right, bottom."""


def pictures(source: dict[str, Any], folder: str | None) -> tuple[Path, list[Path]]:
    """The root and all pictures, in order. ``UserError`` where there is none."""
    if folder is None:
        loaded = loading.load(loading.Source(**source))
        return loaded.root, [sample.images[0] for _, sample in loaded.samples("train")]
    if source["data"] is None:
        raise UserError(f"mae: pictures of {folder}: no data folder named: give --data DIR")
    root = Path(source["data"]) / folder
    if not root.is_dir():
        raise UserError(f"{root}: no such folder: put the pictures for mae there")
    names = (path for path in root.rglob("*") if path.suffix.lower() in SUFFIXES)
    found = sorted(p for p in names if not p.name.startswith(".") and p.is_file())
    if not found:
        raise UserError(f"{root}: holds no picture ({', '.join(sorted(SUFFIXES))})")
    return root, found


def facts(source: dict[str, Any], folder: str | None) -> DataFacts:
    """For the record."""
    if folder is None:
        loaded = loading.load(loading.Source(**source))
        told = loading.facts(loaded, [sample for _, sample in loaded.samples("train")])
        counts = {**told.counts, "test": min(JUDGED, told.train_images)}
        return replace(told, counts=counts)
    root, found = pictures(source, folder)
    return DataFacts(
        counts={"train": len(found), "test": min(JUDGED, len(found))},
        split_source=f"all pictures below {folder} of the data folder",
        defects={},
        fingerprint=of_files((("train", path, "") for path in found), root),
        train_images=len(found),
    )


class UnlabelledImages(Dataset[dict[str, Any]]):
    """Items: ``inputs`` (3, S, S) float and normalised, ``orders`` (N,) int, ``indices`` int.

    The first of a picture's ``orders`` are the patches that the encoder sees. Of role ``test`` a
    fixed choice of the training pictures, cut from the middle, with orders of their own.
    """

    def __init__(
        self,
        source: dict[str, Any],
        folder: str | None,
        role: str,
        mae: dict[str, Any],
        normalisation: dict[str, Any],
    ) -> None:
        """``mae``: ``image_size``, ``patch``, ``crop``, ``augment``."""
        _, self.samples = pictures(source, folder)
        self._training = role == "train"
        if not self._training:
            count = min(JUDGED, len(self.samples))
            self.samples = [self.samples[i * len(self.samples) // count] for i in range(count)]
        self._side, self._patches = mae["image_size"], (mae["image_size"] // mae["patch"]) ** 2
        self._crop, self._augment = mae["crop"], mae["augment"] and self._training
        norm = Normalisation.model_validate_json(json.dumps(normalisation))
        self._mean, self._std = (np.array(v, np.float32) for v in (norm.mean, norm.std))
        self._turned = norm.channel_order == "bgr"
        self.metainfo: dict[str, Any] = {}

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> dict[str, Any]:
        rng = np.random if self._training else np.random.RandomState(index)
        order = rng.permutation(self._patches)
        picture = self._read(self.samples[index])
        if self._augment and random.random() < 0.5:
            picture = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        pixels = (np.asarray(picture, np.float32) - self._mean) / self._std
        if self._turned:
            pixels = pixels[..., ::-1]
        return {
            "inputs": torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1))),
            "orders": torch.from_numpy(order),
            "indices": torch.tensor(index),
        }

    def _read(self, path: Path) -> Image.Image:
        """The crop, resized; of a large JPEG only as fine as that takes."""
        try:
            if path.suffix.lower() in RASTERS:  # which rasterio alone may read
                plain = Image.fromarray(rgb(path))
                whole, box = plain.size, self._box(*plain.size)
            else:
                plain, whole, box = self._decoded(path)
        except (OSError, ValueError, SyntaxError) as error:
            raise UserError(
                f"{path}: cannot be read ({first_line(error)}): mend it, or take it away"
            ) from None
        shares = [n / w for n, w in zip(plain.size, whole, strict=True)]
        scaled = (box[0] * shares[0], box[1] * shares[1], box[2] * shares[0], box[3] * shares[1])
        size = (self._side, self._side)
        return plain.resize(size, Image.Resampling.BICUBIC, box=scaled, reducing_gap=3.0)

    def _decoded(self, path: Path) -> tuple[Image.Image, tuple[int, int], Box]:
        """The picture, perhaps in small; its own size, and the crop in pixels of that."""
        with Image.open(path) as image:
            if image.mode.startswith(("I", "F")):
                raise ValueError("more than 8 bits a channel")
            box = self._box(*image.size)
            whole, least = image.size, min(box[2] - box[0], box[3] - box[1])
            if image.format == "JPEG" and image.mode == "RGB" and least >= 2 * self._side:
                share = self._side / least
                image.draft("RGB", (round(whole[0] * share), round(whole[1] * share)))
                return image.convert("RGB"), whole, box
        return Image.fromarray(rgb(path)), whole, box

    def _box(self, wide: int, high: int) -> Box:
        """Left, top, right, bottom of what is cut out."""
        if self._augment:
            for _ in range(TRIES):
                area = wide * high * random.uniform(*self._crop)
                aspect = float(np.exp(random.uniform(*np.log(ASPECT))))
                w, h = round((area * aspect) ** 0.5), round((area / aspect) ** 0.5)
                if 0 < w <= wide and 0 < h <= high:
                    left, top = random.randint(0, wide - w), random.randint(0, high - h)
                    return left, top, left + w, top + h
        side = min(wide, high)
        left, top = (wide - side) // 2, (high - side) // 2
        return left, top, left + side, top + side
