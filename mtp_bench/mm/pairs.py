"""Transforms of two dates and what changed between them.

They take and give mmcv's ``results``: ``img`` and ``img2`` (H, W, 3) uint8 RGB, ``gt_seg_map``
(h, w) uint8 with 255 where nothing counts, named in ``seg_fields``, ``img_shape``, ``ori_shape``.
Geometry is one for both dates and the label, photometry another for each date, as MTP's configs and
Open-CD's transforms (``opencd/datasets/transforms/transforms.py``) have it. Random numbers are of
NumPy's global generator.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import mmcv
import numpy as np
from mmcv.transforms import BaseTransform
from mmseg.datasets.transforms import PackSegInputs, PhotoMetricDistortion, RandomCrop
from numpy.typing import NDArray

from mtp_bench.datasets.cards.card import IGNORE
from mtp_bench.errors import UserError

Results = dict[str, Any]
Array = NDArray[Any]
Change = Callable[[Array], Array]

DATES = ("img", "img2")
META = ("img_path", "img_id", "ori_shape", "img_shape")


def _changed(results: Results, dates: Change, label: Change | None = None) -> Results:
    """Both dates by one function, the label by another, or left as it is."""
    for key in DATES:
        results[key] = dates(results[key])
    if label is not None:
        for key in results["seg_fields"]:
            results[key] = label(results[key])
    results["img_shape"] = results["img"].shape[:2]
    return results


class PairResize(BaseTransform):
    """Dates alone to ``size`` x ``size``, bilinear: OSCD's labels stay as small as they are."""

    def __init__(self, size: int) -> None:
        self._size = (size, size)

    def transform(self, results: Results) -> Results:
        return _changed(results, partial(mmcv.imresize, size=self._size))


class PairRotateFlip(BaseTransform):
    """By a share of the draws any angle within ``degrees``; else by another quarters and a flip.

    What comes from outside is 0 in the dates and ignored in the label.
    """

    def __init__(self, degrees: float = 20, rotate: float = 0.5, flip: float = 0.5) -> None:
        self._degrees, self._rotate, self._flip = degrees, rotate, flip

    def transform(self, results: Results) -> Results:
        if np.random.rand() < self._rotate:
            turn = partial(mmcv.imrotate, angle=np.random.uniform(-self._degrees, self._degrees))
            label = partial(turn, border_value=IGNORE, interpolation="nearest")
            return _changed(results, turn, label)
        if np.random.rand() < self._flip:
            quarters, axis = np.random.randint(4), np.random.randint(2)

            def move(array: Array) -> Array:
                return np.flip(np.rot90(array, quarters), axis).copy()

            return _changed(results, move, move)
        return results


class PairFlips(BaseTransform):
    """One of four, as likely each: nothing, left and right, up and down, both."""

    def transform(self, results: Results) -> Results:
        axes = ((), (1,), (0,), (0, 1))[np.random.randint(4)]

        def move(array: Array) -> Array:
            return np.flip(array, axes).copy()

        return _changed(results, move, move)


class PairCrop(BaseTransform):
    """mmseg's random crop of ``size`` x ``size``, tried ten times for a mixed one.

    Mixed: no class has ``max_share`` of what is not ignored.

    Raises:
        UserError: where the label is of another size than the dates, and these are not of ``size``.
    """

    def __init__(self, size: int, max_share: float = 0.75) -> None:
        self._size = (size, size)
        self._crop = RandomCrop(self._size, max_share, IGNORE)

    def transform(self, results: Results) -> Results:
        shape, label = results["img"].shape[:2], results["gt_seg_map"].shape
        if shape == self._size:
            return results
        if shape != label:
            raise UserError(
                f"{results.get('img_path', 'a pair')}: its label is {label}, its dates {shape}: no "
                f"crop of {self._size} fits both: set image_size to the size that dates have"
            )
        cut = partial(self._crop.crop, crop_bbox=self._crop.crop_bbox(results))
        return _changed(results, cut, cut)


class PairExchange(BaseTransform):
    """The later date as the earlier, by ``share`` of the draws; what changed is the same."""

    def __init__(self, share: float = 0.5) -> None:
        self._share = share

    def transform(self, results: Results) -> Results:
        if np.random.rand() < self._share:
            results["img"], results["img2"] = results["img2"], results["img"]
        return results


class PairPhotometry(BaseTransform):
    """mmseg's photometric distortion, drawn for each date anew.

    mmseg takes BGR. Brightness, contrast and saturation treat the channels alike. Red and blue in
    each other's place mirror the hue, so that its shift changes sign, and of whole shifts in
    [-10, 10) either sign is as likely, but for the one at the end.
    """

    def __init__(
        self,
        brightness: int = 10,
        contrast: Sequence[float] = (0.8, 1.2),
        saturation: Sequence[float] = (0.8, 1.2),
        hue: int = 10,
    ) -> None:
        self._distort = PhotoMetricDistortion(brightness, contrast, saturation, hue)

    def transform(self, results: Results) -> Results:
        return _changed(results, lambda date: self._distort({"img": date})["img"])


class PackPair(BaseTransform):
    """To an item of mmseg's: ``inputs`` (6, H, W) uint8, and ``data_samples``.

    Predictions come in ``ori_shape``: the label's size, where there is a label.
    """

    def __init__(self) -> None:
        self._pack = PackSegInputs(META)

    def transform(self, results: Results) -> Results:
        both = np.concatenate([results[key] for key in DATES], axis=2)
        label = results.get("gt_seg_map")
        shape = results["ori_shape"] if label is None else label.shape
        packed: Results = self._pack(results | {"img": both, "ori_shape": shape})
        return packed
