"""Pictures of SAMRS with their three kinds of labels, augmented together, as MTP pretrains on them.

Flip, resize and crop are one map from the picture to the crop: only what the crop shows is ever
resized, and only the masks that reach into it are decoded. Source of the augmentation and of its
quirks: ``Multi-Task_Pretrain/{utils,augmentations}.py`` of ViTAE-Transformer/MTP.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import cv2
import numpy as np
import torch
from mmdet.datasets.transforms import PhotoMetricDistortion
from mmdet.structures import DetDataSample
from mmdet.structures.mask import BitmapMasks
from mmengine.structures import InstanceData, PixelData
from mmrotate.structures.bbox import QuadriBoxes, RotatedBoxes
from numpy.typing import NDArray
from pycocotools import mask as coco
from torch import Tensor
from torch.utils.data import Dataset

from mtp_bench.datasets import loading
from mtp_bench.datasets.cards.card import IGNORE
from mtp_bench.datasets.manifest import Sample, read_instances
from mtp_bench.datasets.pixels import Pixels, rgb
from mtp_bench.datasets.samrs_parts import split
from mtp_bench.tasks.masks import labels_of

FLIPS = ("horizontal", "vertical", "diagonal")
FLIPPED = 0.75
THIN = 1e-5
TRIES = 20

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Map:
    """From a picture to its crop: flipped, resized, cut out."""

    size: tuple[int, int]
    """Height and width of the picture."""
    resized: tuple[int, int]
    corner: tuple[int, int]
    """Top and left of the crop in the resized picture."""
    crop: tuple[int, int]
    """Height and width of the crop; less than the side where the picture is smaller."""
    flip: str = ""

    @classmethod
    def fitting(cls, size: tuple[int, int], side: int, factor: float = 1.0) -> Self:
        """The left upper part of a picture that fits, times a factor; mmcv's ``rescale_size``."""
        share = side * factor / max(size)
        resized = int(size[0] * share + 0.5), int(size[1] * share + 0.5)
        high, wide = (min(side, length) for length in resized)
        return cls(size, resized, (0, 0), (high, wide))

    @classmethod
    def drawn(cls, size: tuple[int, int], side: int, scale: Sequence[float]) -> Self:
        """A random one, by NumPy's global generator."""
        flip = str(np.random.choice(FLIPS)) if np.random.rand() < FLIPPED else ""
        plain = cls.fitting(size, side, np.random.uniform(scale[0], scale[1]))
        room = (whole - cut for whole, cut in zip(plain.resized, plain.crop, strict=True))
        top, left = (int(np.random.randint(0, length + 1)) for length in room)
        return cls(size, plain.resized, (top, left), plain.crop, flip)

    def nearest(self, axis: int) -> Ints:
        """Of each row (0) or column (1) of the crop the one of the picture; as cv2's nearest."""
        share = self.size[axis] / self.resized[axis]
        place = np.arange(self.crop[axis]) + self.corner[axis]
        found = np.minimum(np.floor(place * share), self.size[axis] - 1).astype(np.int64)
        return self._unflipped(found, axis)

    def between(self, axis: int) -> NDArray[np.float32]:
        """The same, between pixels; as cv2's linear."""
        share = self.size[axis] / self.resized[axis]
        place = (np.arange(self.crop[axis]) + self.corner[axis] + 0.5) * share - 0.5
        return self._unflipped(np.clip(place, 0, self.size[axis] - 1), axis).astype(np.float32)

    def _unflipped(self, place: NDArray[Any], axis: int) -> NDArray[Any]:
        turned = self.flip in ("diagonal", ("vertical", "horizontal")[axis])
        return self.size[axis] - 1 - place if turned else place

    def seen(self) -> tuple[int, int, int, int]:
        """Left, top, right, bottom of what of the picture the crop shows."""
        rows, columns = self.nearest(0), self.nearest(1)
        return int(columns.min()), int(rows.min()), int(columns.max()) + 1, int(rows.max()) + 1

    def pixels(self, image: Pixels) -> Pixels:
        """(H, W, 3) → the crop."""
        columns, rows = np.meshgrid(self.between(1), self.between(0))
        left, top, right, bottom = self.seen()
        left, top = max(0, left - 2), max(0, top - 2)
        part = image[top : bottom + 2, left : right + 2]
        shifted = columns - left, rows - top
        found = cv2.remap(part, *shifted, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        return np.asarray(found, dtype=np.uint8)

    def labels(self, values: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """(H, W) → the crop, each value one of the picture's."""
        return values[self.nearest(0)][:, self.nearest(1)]

    def rotated(self, quads: NDArray[np.float64]) -> RotatedBoxes:
        """(n, 8) corners → boxes in the crop's pixels, some of them outside of it."""
        boxes: Any = QuadriBoxes(torch.from_numpy(quads).float()).convert_to("rbox")
        if self.flip:
            boxes.flip_(self.size, direction=self.flip)
        high, wide = (new / old for new, old in zip(self.resized, self.size, strict=True))
        boxes.rescale_((wide, high))
        boxes.translate_((-self.corner[1], -self.corner[0]))
        return boxes


class JointImages(Dataset[dict[str, Any]]):
    """Pictures of several sets, one set after the other, with the labels of some heads.

    Items: ``inputs`` (3, S, S) RGB, and ``data_samples`` with ``subset`` and, by head:
    ``gt_sem_seg`` (1, S, S): 0 is background, class i is i + 1, ``IGNORE`` padding alone;
    ``gt_instances``: boxes of the masks in sight, labels, masks; ``gt_rotated``: boxes whose centre
    is in sight, not clipped, and labels. The last two are lists of their own.
    """

    def __init__(
        self,
        sources: list[dict[str, Any]],
        role: str,
        heads: Sequence[str],
        parts: dict[str, Any],
        transform: dict[str, Any],
    ) -> None:
        """``sources``: each a ``loading.Source``'s fields.

        ``parts``: ``held_out`` and ``exclude``. ``transform``: ``image_size``, ``scale``,
        ``augment``.
        """
        self._training, self._heads = role == "train", heads
        self._side, self._scale = transform["image_size"], transform["scale"]
        self._augment = transform["augment"] and self._training
        self._shake = PhotoMetricDistortion()
        self.samples: list[tuple[str, Sample]] = []
        self.parts: list[int] = []
        classes = {}
        for source in sources:
            loaded = loading.load(loading.Source(**source))
            found = split(loaded, data=source["data"], **parts)
            chosen = found.train if self._training else found.held_out
            self.samples += [(loaded.card.name, sample) for sample in chosen]
            self.parts.append(len(chosen))
            classes[loaded.card.name] = loaded.card.classes
        self.scenes = [(subset, sample.scene) for subset, sample in self.samples]
        self.metainfo = {"classes": classes}

    def __len__(self) -> int:
        """Of training an epoch, which ends with the shortest set."""
        return len(self.parts) * min(self.parts) if self._training else len(self.samples)

    def __getitem__(self, index: int) -> dict[str, Any]:
        item, lost = self._item(index)
        for _ in range(TRIES):
            if not lost:
                break
            item, lost = self._item(self._another(index))
        return item

    def _another(self, index: int) -> int:
        """A random picture of the same set."""
        first = 0
        for count in self.parts:
            if index < first + count:
                break
            first += count
        return first + int(np.random.randint(count))

    def _item(self, index: int) -> tuple[dict[str, Any], bool]:
        """The item, and whether it has lost all of the objects that its picture has."""
        sample = self.samples[index][1]
        image = rgb(sample.images[0])
        size = (image.shape[0], image.shape[1])
        if self._augment:
            view = Map.drawn(size, self._side, self._scale)
        else:
            view = Map.fitting(size, self._side)
        found: Any = DetDataSample(metainfo=self._told(index))
        had = left = 0
        if "semantic" in self._heads:
            found.gt_sem_seg = self._semantic(sample, view)
        if "instance" in self._heads:
            found.gt_instances, count = self._instances(sample, view)
            had, left = had + count, left + len(found.gt_instances)
        if "rotated" in self._heads:
            found.gt_rotated, count = self._rotated(sample, view)
            had, left = had + count, left + len(found.gt_rotated)
        nothing = {"bboxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.long)}
        found.ignored_instances = InstanceData(**nothing)
        if self._training:
            for name in ("gt_instances", "gt_rotated"):
                if name in found:
                    draw = int(torch.randint(2**31, ()))
                    getattr(found, name).set_metainfo({"draw": draw})
        lost = self._augment and had > 0 and left == 0
        return {"inputs": self._inputs(view.pixels(image)), "data_samples": found}, lost

    def _inputs(self, pixels: Pixels) -> Tensor:
        values: Any = pixels
        if self._augment:
            # It takes blue for red here, which only turns the sign of a hue drawn from both signs.
            values = self._shake({"img": pixels.astype(np.float32)})["img"]
        padded = np.zeros((3, self._side, self._side), values.dtype)
        padded[:, : values.shape[0], : values.shape[1]] = values.transpose(2, 0, 1)
        return torch.from_numpy(padded)

    def _told(self, index: int) -> dict[str, Any]:
        subset, sample = self.samples[index]
        shape = (self._side, self._side)
        return {
            "subset": subset,
            "scene": self.scenes[index],
            "img_id": index,
            "img_path": str(sample.images[0]),
            **dict.fromkeys(("img_shape", "ori_shape", "pad_shape", "batch_input_shape"), shape),
            "scale_factor": (1.0, 1.0),
            "flip": False,
        }

    def _semantic(self, sample: Sample, view: Map) -> PixelData:
        """Background, which SAMRS calls 255, becomes 0 as the labels move up by one."""
        padded = np.full((1, self._side, self._side), IGNORE, dtype=np.int64)
        high, wide = view.crop
        padded[0, :high, :wide] = 0
        if sample.mask is not None:
            padded[0, :high, :wide] = view.labels(labels_of(sample)) + np.uint8(1)
        return PixelData(data=torch.from_numpy(padded))

    def _instances(self, sample: Sample, view: Map) -> tuple[InstanceData, int]:
        """What is in sight, and how many the picture has."""
        listed = read_instances(sample.instances) if sample.instances else ()
        left, top, right, bottom = view.seen()
        masks, boxes, labels = [], [], []
        for label, _, rle in listed:
            x, y, wide, high = coco.toBbox(rle)
            if x >= right or y >= bottom or x + wide <= left or y + high <= top:
                continue
            cut = view.labels(coco.decode(rle))
            rows, columns = np.flatnonzero(cut.any(axis=1)), np.flatnonzero(cut.any(axis=0))
            if len(rows):
                masks.append(np.pad(cut, [(0, self._side - n) for n in cut.shape]))
                boxes.append((columns[0], rows[0], columns[-1] + 1, rows[-1] + 1))
                labels.append(label)
        found = InstanceData(
            bboxes=torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
            labels=torch.tensor(labels, dtype=torch.long),
            masks=BitmapMasks(masks, self._side, self._side),
        )
        return found, len(listed)

    def _rotated(self, sample: Sample, view: Map) -> tuple[InstanceData, int]:
        """Those whose centre is in sight, and how many the picture has."""
        objects = sample.objects
        if objects is None or not len(objects):
            none = RotatedBoxes(torch.zeros(0, 5))
            return InstanceData(bboxes=none, labels=torch.zeros(0, dtype=torch.long)), 0
        counted = objects.take(np.flatnonzero(objects.difficult >= 0))
        boxes: Any = view.rotated(counted.boxes)
        kept = boxes.is_inside(view.crop) & (boxes.tensor[:, 2:4] > THIN).all(dim=1)
        labels = torch.from_numpy(counted.labels)
        return InstanceData(bboxes=boxes[kept], labels=labels[kept]), len(counted)
