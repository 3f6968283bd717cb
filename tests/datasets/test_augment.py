"""Transforms of scene classification against the lists of the published pipeline."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from mtp_bench.datasets.augment import dihedral, test_transform, train_transform
from mtp_bench.mm.draws import seeded
from mtp_bench.suite.protocol import Normalisation, Protocol, Span, TestSettings
from tests.protocols import short_protocol

MEAN, STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
VALUES = Normalisation(mean=MEAN, std=STD)

MMPRETRAIN_TIMM_INCREASING = {
    "AutoContrast", "Equalize", "Invert", "Rotate", "Posterize", "Solarize", "SolarizeAdd",
    "Color", "Contrast", "Brightness", "Sharpness", "ShearX", "ShearY", "TranslateX", "TranslateY",
}  # fmt: skip
"""Operations of MMPretrain's policy ``timm_increasing``, in timm's words."""


def protocol(augmentation: Any) -> Protocol:
    test = TestSettings(image_size=224, resize=256)
    return short_protocol(224, Span(epochs=1), 8, augmentation=augmentation, test=test)


def picture(size: int = 64) -> Image.Image:
    values = np.random.default_rng(0).integers(0, 255, (size, size, 3), dtype=np.uint8)
    return Image.fromarray(values)


def steps(transform: Any) -> list[Any]:
    return list(transform.transforms)


def test_the_published_steps_stand_in_the_published_order() -> None:
    crop, flip, augment, _, erase = steps(train_transform(protocol("randaugment"), VALUES))
    assert (crop.size, crop.scale, crop.ratio) == ((224, 224), (0.08, 1.0), (3 / 4, 4 / 3))
    assert crop.interpolation.value == "bicubic"
    assert flip.p == 0.5
    assert (augment.num_layers, augment.choice_weights) == (2, None)
    assert erase.probability == 0.25
    assert (erase.min_area, erase.max_area) == (0.02, 1 / 3)
    assert (erase.per_pixel, erase.rand_color) == (True, False)


def test_randaugment_has_the_operations_and_levels_of_timm_increasing() -> None:
    augment = steps(train_transform(protocol("randaugment"), VALUES))[2]
    names = {op.name.removesuffix("Increasing").removesuffix("Rel") for op in augment.ops}
    assert names == MMPRETRAIN_TIMM_INCREASING
    for op in augment.ops:
        assert (op.magnitude, op.magnitude_std, op.prob) == (9, 0.5, 0.5)
        assert op.kwargs["fillcolor"] == (124, 116, 104)
        assert op.kwargs["resample"] == Image.Resampling.BICUBIC


def test_the_highest_posterize_level_keeps_no_bit() -> None:
    """As MMPretrain's: shifted right and left by all eight bits."""
    augment = steps(train_transform(protocol("randaugment"), VALUES))[2]
    (operation,) = [op for op in augment.ops if op.name == "PosterizeIncreasing"]
    operation.prob, operation.magnitude, operation.magnitude_std = 1.0, 10, 0
    assert operation(picture()).getextrema() == ((0, 0),) * 3
    operation.magnitude = 9
    values = np.array(operation(picture()))
    assert set(np.unique(values)) == {0, 128}


@pytest.mark.parametrize("kind", ["randaugment", "dihedral", "none"])
def test_an_augmentation_depends_on_its_seed_alone(kind: str) -> None:
    transform = train_transform(protocol(kind), VALUES)
    results = []
    for draw in (1, 2, 1):
        with seeded(7, draw):
            results.append(transform(picture()))
    assert results[0].shape == (3, 224, 224)
    assert torch.equal(results[0], results[2])
    assert torch.equal(results[0], results[1]) == (kind == "none")


def test_the_test_view_is_short_edge_then_centre_crop() -> None:
    image = Image.new("RGB", (300, 200))
    image.paste((255, 255, 255), (100, 0, 200, 200))
    view = test_transform(TestSettings(image_size=224, resize=256), VALUES)(image)
    assert view.shape == (3, 224, 224)
    values = view * torch.tensor(STD).view(3, 1, 1) + torch.tensor(MEAN).view(3, 1, 1)
    assert values[0, 112].max() == pytest.approx(255, abs=1)
    assert values[0, 112, 0] == pytest.approx(0, abs=1)
    columns = (values[0, 112] > 128).nonzero().flatten()
    assert (int(columns[0]), int(columns[-1])) == pytest.approx((48, 175), abs=1)


def test_dihedral_reaches_all_eight_poses() -> None:
    image, seen = picture(8), set()
    for draw in range(64):
        with seeded(draw):
            seen.add(dihedral(image).tobytes())
    assert len(seen) == 8
