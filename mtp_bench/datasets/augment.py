"""Image classification transforms from timm and torchvision.

Random ones draw from the global generators.

Every draw of the training loader seeds those generators from (seed, draw) first (``mm/draws.py``),
so that an augmentation depends on nothing else.
"""

from __future__ import annotations

import random
from collections.abc import Callable

import numpy as np
import torch
from PIL import Image

from mtp_bench.backbones import torchvision_shim
from mtp_bench.suite.schema import Protocol, TestSettings

torchvision_shim.apply()

from timm.data import auto_augment, random_erasing  # noqa: E402
from torchvision.transforms import InterpolationMode, v2  # noqa: E402

Transform = Callable[[Image.Image], torch.Tensor]
RGB = tuple[float, float, float]

RAND_AUGMENT = "rand-m9-n2-mstd0.5-inc1"
"""timm's name for MMPretrain's ``timm_increasing`` with 2 operations of level 9 ± 0.5 (of 10)."""


def train_transform(protocol: Protocol, mean: RGB, std: RGB) -> Transform:
    """The protocol's training augmentation: PIL image → float tensor (3, S, S), normalised."""
    size = protocol.image_size
    if protocol.augmentation == "randaugment":
        return _chain(_randaugment(size, mean, std))
    steps: list[Callable[..., object]] = [v2.Resize((size, size), InterpolationMode.BICUBIC)]
    if protocol.augmentation == "dihedral":
        steps.append(dihedral)
    return _chain([*steps, *_to_tensor(mean, std)])


def test_transform(test: TestSettings, mean: RGB, std: RGB) -> Transform:
    """The test geometry: short edge to ``resize`` and centre crop, or straight to the size."""
    if test.resize is None:
        size = (test.image_size, test.image_size)
        return _chain([v2.Resize(size, InterpolationMode.BICUBIC), *_to_tensor(mean, std)])
    return _chain(
        [
            v2.Resize(test.resize, InterpolationMode.BICUBIC),
            v2.CenterCrop(test.image_size),
            *_to_tensor(mean, std),
        ]
    )


test_transform.__test__ = False  # type: ignore[attr-defined]  # pytest takes the name for a test


def _chain(steps: list[Callable[..., object]]) -> Transform:
    chain: Transform = v2.Compose(steps)
    return chain


def _randaugment(size: int, mean: RGB, std: RGB) -> list[Callable[..., object]]:
    """MTP's scene classification: random resized crop, flip, RandAugment, random erasing.

    The published erasing fills with noise of the statistics' mean and deviation before
    normalising; after it, that is unit noise, timm's ``pixel`` mode (which leaves noise beyond
    the range of a byte as it is).
    """
    fill = tuple(round(channel) for channel in mean)
    augment = auto_augment.rand_augment_transform(
        RAND_AUGMENT, {"img_mean": fill, "interpolation": Image.Resampling.BICUBIC}
    )
    for operation in augment.ops:
        if operation.name == "PosterizeIncreasing":
            operation.aug_fn = posterize
    return [
        v2.RandomResizedCrop(size, interpolation=InterpolationMode.BICUBIC),
        v2.RandomHorizontalFlip(0.5),
        augment,
        *_to_tensor(mean, std),
        random_erasing.RandomErasing(0.25, 0.02, 1 / 3, mode="pixel", device="cpu"),
    ]


def posterize(image: Image.Image, bits: int, **options: object) -> Image.Image:
    """Keep the upper bits of each channel; at the highest level none, which Pillow now refuses."""
    return auto_augment.posterize(image, bits, **options) if bits else image.point(lambda _: 0)


def _to_tensor(mean: RGB, std: RGB) -> list[Callable[..., object]]:
    offset = torch.tensor(mean).view(3, 1, 1)
    scale = 1 / torch.tensor(std).view(3, 1, 1)
    return [lambda image: (_pixels(image) - offset) * scale]


def _pixels(image: Image.Image) -> torch.Tensor:
    """(3, H, W), 0..255."""
    return torch.from_numpy(np.array(image, copy=True)).permute(2, 0, 1).float()


def dihedral(image: Image.Image) -> Image.Image:
    """One of the eight flips and quarter turns: an overhead image has no up."""
    turn = random.randrange(8)
    if turn % 4:
        image = image.transpose(
            (Image.Transpose.ROTATE_90, Image.Transpose.ROTATE_180, Image.Transpose.ROTATE_270)[
                turn % 4 - 1
            ]
        )
    return image.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if turn >= 4 else image
