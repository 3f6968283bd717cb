"""Pictures, or pairs of them, with label maps as an OpenMMLab dataset, and their predictions."""

from pathlib import Path
from typing import Any

import numpy as np
from mmcv.transforms import Compose
from mmseg.datasets.transforms import PackSegInputs
from PIL import Image
from torch.utils.data import Dataset

from mtp_bench.datasets import loading
from mtp_bench.datasets.pixels import rgb
from mtp_bench.mm.pairs import PackPair
from mtp_bench.store.files import make_folder
from mtp_bench.tasks.masks import labels_of, name_of, training
from mtp_bench.tasks.task import LabelMap

META = ("img_path", "ori_shape", "img_shape", "pad_shape", "scale_factor", "flip", "flip_direction")


class MaskImages(Dataset[dict[str, Any]]):
    """One role of a dataset with label maps.

    Items: ``inputs`` (3 or 6, H, W) uint8 RGB and ``data_samples``. The label of a test picture is
    never resized: it is what predictions are resized to.
    """

    def __init__(
        self,
        source: dict[str, Any],
        role: str,
        transforms: list[dict[str, Any]],
        dates: int,
        *,
        share: float = 1.0,
        fraction_seed: int = 0,
    ) -> None:
        """``source``: a ``loading.Source``'s fields."""
        loaded = loading.load(loading.Source(**source))
        self._training, self._dates = role == "train", dates
        self.scenes: list[tuple[str, str]] = []
        """Split and name of each test sample."""
        if self._training:
            self.samples = training(loaded, share, fraction_seed)
        else:
            found = loaded.samples(role)
            self.samples = [sample for _, sample in found]
            self.scenes = [(split, name_of(sample)) for split, sample in found]
        pack = PackSegInputs(META) if dates == 1 else PackPair()
        self._transform = Compose([*transforms, pack])
        self.metainfo = {"classes": loaded.card.classes}

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> dict[str, Any]:
        sample = self.samples[index]
        # Pillow's arrays cannot be written to, and torch warns of a tensor over such a one.
        pixels = [rgb(path).copy() for path in sample.images[: self._dates]]
        labels = labels_of(sample) if sample.mask else None
        shape = pixels[0].shape[:2]
        if labels is not None and self._dates == 2:
            shape = labels.shape
        given: dict[str, Any] = {"img": pixels[0], "img_path": str(sample.images[0])}
        given |= {"img_shape": pixels[0].shape[:2], "ori_shape": shape, "seg_fields": []}
        if self._dates == 2:
            given["img2"] = pixels[1]
        if self._training:
            given |= {"gt_seg_map": labels, "seg_fields": ["gt_seg_map"]}
        item: dict[str, Any] = self._transform(given)
        if not self._training:
            place = {"scene": self.scenes[index], "truth": labels}
            item["data_samples"].set_metainfo(place)
        return item


class Maps:
    """Predicted samples → label maps: each is judged by itself."""

    def add(self, sample: dict[str, Any]) -> LabelMap:
        split, name = sample["scene"]
        found = sample["pred_sem_seg"]["data"][0].cpu().numpy().astype(np.uint8)
        return LabelMap(split, name, found, sample["truth"])

    def keeper(self, folder: Path, role: str, rank: int) -> "KeptMaps":
        del rank  # each process writes other files
        return KeptMaps(folder / role)


class KeptMaps:
    """Predicted label maps as PNG, a file each."""

    def __init__(self, folder: Path) -> None:
        make_folder(folder)
        self._folder = folder

    def add(self, found: LabelMap, labels: Any) -> None:
        Image.fromarray(labels).save(self._folder / f"{found.split}__{found.name}.png")

    def close(self) -> None:
        """Nothing is left to write."""
