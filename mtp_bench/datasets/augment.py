"""Image classification transforms from timm and torchvision.

Random ones draw from the global generators, which every draw of the training loader seeds from
(seed, draw) first (``mm/draws.py``), so that an augmentation depends on nothing else.
"""

import random
from collections.abc import Callable

import numpy as np
import torch
from PIL import Image

from mtp_bench.backbones import torchvision_shim
from mtp_bench.suite.protocol import Normalisation, Protocol, TestSettings

torchvision_shim.apply()

from timm.data import auto_augment, random_erasing  # noqa: E402
from torchvision.transforms import InterpolationMode, v2  # noqa: E402

Transform = Callable[[Image.Image], torch.Tensor]
Step = Callable[..., object]
TURNS = (Image.Transpose.ROTATE_90, Image.Transpose.ROTATE_180, Image.Transpose.ROTATE_270)

RAND_AUGMENT = "rand-m9-n2-mstd0.5-inc1"
"""timm's name for MMPretrain's ``timm_increasing`` with 2 operations of level 9 ± 0.5 (of 10)."""


def train_transform(protocol: Protocol, values: Normalisation) -> Transform:
    """The protocol's training augmentation: PIL image → float tensor (3, S, S), normalised."""
    size = protocol.image_size
    if protocol.augmentation == "randaugment":
        return _chain(_randaugment(size, values))
    turn: list[Step] = [dihedral] if protocol.augmentation == "dihedral" else []
    resize = v2.Resize((size, size), InterpolationMode.BICUBIC)
    return _chain([resize, *turn, _to_tensor(values)])


def test_transform(test: TestSettings, values: Normalisation) -> Transform:
    """The test geometry: short edge to ``resize`` and centre crop, or straight to the size."""
    size = test.resize or (test.image_size, test.image_size)
    crop = [v2.CenterCrop(test.image_size)] if test.resize else []
    return _chain([v2.Resize(size, InterpolationMode.BICUBIC), *crop, _to_tensor(values)])


test_transform.__test__ = False  # type: ignore[attr-defined]  # pytest takes the name for a test


def _chain(steps: list[Step]) -> Transform:
    chain: Transform = v2.Compose(steps)
    return chain


def _randaugment(size: int, values: Normalisation) -> list[Step]:
    """MTP's scene classification: random resized crop, flip, RandAugment, random erasing.

    The published erasing fills with noise of the statistics' mean and deviation before
    normalising; after it, that is unit noise, timm's ``pixel`` mode (which leaves noise beyond
    the range of a byte as it is).
    """
    fill = tuple(round(channel) for channel in values.mean)
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
        _to_tensor(values),
        random_erasing.RandomErasing(0.25, 0.02, 1 / 3, mode="pixel", device="cpu"),
    ]


def posterize(image: Image.Image, bits: int, **options: object) -> Image.Image:
    """Keep the upper bits of each channel; at the highest level none, which Pillow now refuses."""
    return auto_augment.posterize(image, bits, **options) if bits else image.point(lambda _: 0)


def _to_tensor(values: Normalisation) -> Transform:
    """From 0..255 (H, W, 3) to normalised (3, H, W), the channels as the weights have them."""
    offset = torch.tensor(values.mean).view(3, 1, 1)
    scale = 1 / torch.tensor(values.std).view(3, 1, 1)
    order = [0, 1, 2] if values.channel_order == "rgb" else [2, 1, 0]

    def convert(image: Image.Image) -> torch.Tensor:
        pixels = torch.from_numpy(np.array(image, copy=True)).permute(2, 0, 1).float()
        return ((pixels - offset) * scale)[order]

    return convert


def dihedral(image: Image.Image) -> Image.Image:
    """One of the eight flips and quarter turns: an overhead image has no up."""
    turn = random.randrange(8)
    if turn % 4:
        image = image.transpose(TURNS[turn % 4 - 1])
    return image.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if turn >= 4 else image
