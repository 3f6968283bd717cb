"""Pictures with boxes as an OpenMMLab dataset: samples through the libraries' transforms."""

from collections import Counter
from typing import Any

import numpy as np
import torch
from mmcv.transforms import Compose
from mmdet.datasets.transforms import PackDetInputs
from mmdet.structures.bbox import HorizontalBoxes
from mmrotate.structures.bbox import QuadriBoxes
from torch.utils.data import Dataset

from mtp_bench.datasets import loading
from mtp_bench.datasets.manifest import Sample
from mtp_bench.datasets.pixels import Pixels, rgb
from mtp_bench.datasets.samples import Objects
from mtp_bench.datasets.samples import objects as as_objects
from mtp_bench.datasets.tiling import Window

META = ("img_path", "img_id", "ori_shape", "img_shape", "scale_factor", "flip", "flip_direction")
LEAST_SIDE = 1.0
"""Pixels; boxes that are thinner are not trained on, as mmdet's readers of COCO's files do."""


class Pipeline:
    """From pixels and their objects to an item as mmdet's models take it."""

    def __init__(self, kind: str, transforms: list[dict[str, Any]]) -> None:
        self._rotated = kind == "rotated"
        self._transform = Compose([*_boxes_first(kind), *transforms, PackDetInputs(META)])

    def __call__(
        self, pixels: Pixels, objects: Objects | None = None, path: str = "", index: int = 0
    ) -> dict[str, Any]:
        """``pixels`` (H, W, 3) RGB; the item's ``inputs`` (3, H', W') and ``data_samples``."""
        shape = pixels.shape[:2]
        given = {"img": pixels, "img_path": path, "img_id": index}
        given |= {"ori_shape": shape, "img_shape": shape}
        item: dict[str, Any] = self._transform(given | self._annotation(objects))
        return item

    def _annotation(self, objects: Objects | None) -> dict[str, Any]:
        """Boxes in mmdet's terms; a test picture has none."""
        kind: Any = QuadriBoxes if self._rotated else HorizontalBoxes
        if objects is None:
            objects = as_objects((), 8 if self._rotated else 4)
        if not self._rotated:
            sides = objects.boxes[:, 2:] - objects.boxes[:, :2]
            objects = objects.take(np.flatnonzero((sides >= LEAST_SIDE).all(axis=1)))
        return {
            "gt_bboxes": kind(torch.from_numpy(objects.boxes).float()),
            "gt_bboxes_labels": objects.labels,
            "gt_ignore_flags": objects.difficult < 0,
        }


class BoxImages(Dataset[dict[str, Any]]):
    """One role of a detection dataset.

    Items: ``inputs`` (3, H, W) uint8 RGB and ``data_samples``. Of training, the truths carry the
    number that seeds the choice of their RoIs; otherwise a sample carries its tile's place, and the
    first of a scene the scene's truths.
    """

    def __init__(
        self,
        source: dict[str, Any],
        role: str,
        kind: str,
        transforms: list[dict[str, Any]],
        *,
        share: float = 1.0,
        fraction_seed: int = 0,
    ) -> None:
        """``source``: a ``loading.Source``'s fields. Tiles with rotated boxes are judged merged."""
        loaded = loading.load(loading.Source(**source))
        self._training, self._rotated = role == "train", kind == "rotated"
        self._truths: dict[tuple[str, str], Any] = {}
        self.scenes: list[tuple[str, str]] = []
        """Split and key of what each test sample is judged with; equal ones stand together."""
        if self._training:
            self.samples = loading.training(loaded, share, fraction_seed)
        else:
            found = loaded.samples(role)
            self.samples = [sample for _, sample in found]
            self.scenes = [(split, loading.judged_as(s, self._rotated)) for split, s in found]
            if self._rotated and role == "test" and loaded.card.tiles is not None:
                self._truths = loading.scene_truths(loaded, role)
        self._tiles = Counter(self.scenes)
        self._pipeline = Pipeline(kind, transforms)
        self.metainfo = {"classes": loaded.card.classes}

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> dict[str, Any]:
        sample = self.samples[index]
        pixels = rgb(sample.images[0])
        objects = sample.objects if self._training else None
        item = self._pipeline(pixels, objects, str(sample.images[0]), index)
        found = item["data_samples"]
        if self._training:
            found.gt_instances.set_metainfo({"draw": int(torch.randint(2**31, ()))})
        else:
            found.set_metainfo(self._place(index, sample, (pixels.shape[1], pixels.shape[0])))
        return item

    def _place(self, index: int, sample: Sample, size: tuple[int, int]) -> dict[str, Any]:
        scene = self.scenes[index]
        first = index == 0 or self.scenes[index - 1] != scene
        truths, window = (size, sample.objects), Window(0, 0, size[0])
        if self._rotated and sample.window is not None:
            truths, window = self._truths.get(scene, (None, None)), sample.window
        return {
            "scene": scene,
            "tiles": self._tiles[scene],
            "window": tuple(window),
            "size": truths[0],
            "truths": truths[1] if first else None,
        }


def _boxes_first(kind: str) -> list[dict[str, Any]]:
    """Quads become rotated boxes before anything else, as published."""
    if kind == "horizontal":
        return []
    mapping = {"gt_bboxes": "rbox"}
    return [{"type": "mmrotate.ConvertBoxType", "box_type_mapping": mapping}]
