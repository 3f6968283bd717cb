"""Shared fixtures: a tiny dataset in an official layout, and suites on it that run in seconds."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mtp_bench.datasets.cards.eurosat import CARD

PROTOCOL = """\
name: tiny
rules:
  - set:
      image_size: 32
      length: {iterations: 40}
      batch_size: 8
      lr: 1e-3
      layer_decay: 0.8
      drop_path: 0.2
      warmup: {iterations: 5}
      augmentation: randaugment
      validate_every: {iterations: 15}
      test: {image_size: 32, batch_size: 16}
"""

SUITE = """\
name: tiny
protocol: tiny.protocol.yaml
data: subset
backbones:
  timm/test_vit: [scratch]
datasets: [EuroSAT]
"""


@pytest.fixture(scope="session")
def tiny_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder with 10 noisy pictures of each EuroSAT class, told apart by their colour."""
    root = tmp_path_factory.mktemp("data")
    rng = np.random.default_rng(0)
    for label, name in enumerate(CARD.classes):
        folder = root / "EuroSAT" / "2750" / name
        folder.mkdir(parents=True)
        base = np.array([25 * label, 255 - 25 * label, 25 * (label % 3)])
        for number in range(1, 11):
            noise = rng.integers(-20, 20, (32, 32, 3))
            picture = np.clip(base + noise, 0, 255).astype(np.uint8)
            Image.fromarray(picture).save(folder / f"{name}_{number}.jpg")
    return root


@pytest.fixture(scope="session")
def write_suite() -> Callable[[Path], Path]:
    """Writes a suite of one job, beside its own protocol, and gives its path."""

    def write(folder: Path) -> Path:
        (folder / "tiny.protocol.yaml").write_text(PROTOCOL)
        path = folder / "tiny.yaml"
        path.write_text(SUITE)
        return path

    return write
