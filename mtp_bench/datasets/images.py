"""Labelled images as a torch dataset: samples through a transform."""

import json
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch.utils.data import Dataset

from mtp_bench.datasets.access import card_of, read_data
from mtp_bench.datasets.augment import test_transform, train_transform
from mtp_bench.datasets.pixels import rgb
from mtp_bench.datasets.samples import LabelledImage, fraction
from mtp_bench.suite.protocol import Normalisation, Protocol

Sample = dict[str, Any]


class LabelledImages(Dataset[Sample]):
    """One split of a classification dataset.

    Items: ``inputs`` (3, S, S) float and normalised, ``labels`` and ``indices`` int.
    """

    def __init__(
        self,
        source: dict[str, Any],
        split: str,
        protocol: dict[str, Any],
        normalisation: dict[str, Any],
        fraction_seed: int = 0,
    ) -> None:
        """``source``: name, variant, data and cache folders; the others their models as JSON."""
        settings = Protocol.model_validate_json(json.dumps(protocol))
        values = Normalisation.model_validate_json(json.dumps(normalisation))
        data = Path(source["data"]) if source["data"] else None
        read = read_data(source["name"], source["variant"], data, Path(source["cache"]))
        self.samples: tuple[LabelledImage, ...] = read.splits[split]
        if split == "train":
            self.samples = fraction(self.samples, settings.train_fraction, fraction_seed)
            self._transform = train_transform(settings, values)
        else:
            self._transform = test_transform(settings.test, values)
        self.metainfo = {"classes": card_of(source["name"]).classes}

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> Sample:
        sample = self.samples[index]
        return {
            "inputs": self._transform(Image.fromarray(rgb(sample.path))),
            "labels": torch.tensor(sample.label),
            "indices": torch.tensor(index),
        }
