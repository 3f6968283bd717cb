"""Both dates and what changed stay together, whatever the draw; light is each date's own."""

from __future__ import annotations

from functools import partial
from typing import Any

import cv2
import mmcv
import numpy as np
import pytest
from numpy.typing import NDArray

from mtp_bench.backbones import torchvision_shim
from mtp_bench.errors import UserError
from mtp_bench.mm.draws import seeded

torchvision_shim.apply()

from mmcv.transforms import Compose  # noqa: E402

from mtp_bench.mm import pairs  # noqa: E402

pytestmark = pytest.mark.mm

SEEDS = range(40)
HEIGHT, WIDTH = 48, 64
GROUND, MARKER = 100, 250
GEOMETRY: dict[str, tuple[Any, ...]] = {
    "turned or flipped": (pairs.PairRotateFlip(),),
    "turned by any angle": (pairs.PairRotateFlip(rotate=1),),
    "turned by quarters": (pairs.PairRotateFlip(rotate=0, flip=1),),
    "flipped": (pairs.PairFlips(),),
    "cropped": (pairs.PairCrop(32),),
    "all": (pairs.PairRotateFlip(), pairs.PairFlips(), pairs.PairCrop(32), pairs.PairExchange()),
}


def pair() -> dict[str, Any]:
    """A marker without symmetry, at the same place in both dates and the label."""
    label = np.zeros((HEIGHT, WIDTH), dtype=np.uint8)
    label[6:20, 10:50] = label[20:36, 10:24] = 1
    image = np.where(label[..., None] == 1, MARKER, GROUND).astype(np.uint8).repeat(3, axis=2)
    given = {"img": image, "img2": image.copy(), "gt_seg_map": label, "seg_fields": ["gt_seg_map"]}
    shape = (HEIGHT, WIDTH)
    return {**given, "img_path": "a.png", "ori_shape": shape, "img_shape": shape}


def after(seed: int, *transforms: Any, given: dict[str, Any] | None = None) -> dict[str, Any]:
    with seeded(seed):
        found: dict[str, Any] = Compose(list(transforms))(given or pair())
    return found


def inner(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Without its edge and the picture's, where bilinear and nearest may differ."""
    shrunk = cv2.erode(mask.astype(np.uint8), np.ones((3, 3), np.uint8), borderValue=0)
    return np.asarray(shrunk, dtype=bool)


@pytest.mark.parametrize("name", GEOMETRY)
def test_a_marker_moves_with_the_label_in_both_dates(name: str) -> None:
    moved = set()
    for seed in SEEDS:
        found = after(seed, *GEOMETRY[name])
        image, label = found["img"], found["gt_seg_map"]
        assert np.array_equal(image, found["img2"])
        assert image.shape[:2] == label.shape == found["img_shape"]
        assert set(np.unique(label)) <= {0, 1, 255}
        for value, colour in ((0, GROUND), (1, MARKER), (255, 0)):
            assert (image[inner(label == value)] == colour).all(), seed
        assert (label == 1).any()
        moved.add(label.tobytes() + bytes(label.shape))
    assert len(moved) >= 4


def test_angles_and_shares_are_those_asked_for() -> None:
    start = pair()["gt_seg_map"]
    found = [after(seed, pairs.PairRotateFlip(degrees=0)) for seed in range(200)]
    same = np.mean([np.array_equal(each["gt_seg_map"], start) for each in found])
    assert 0.65 < same < 0.85  # half by an angle of nothing, a quarter not at all
    none = after(0, pairs.PairRotateFlip(rotate=0, flip=0))
    assert np.array_equal(none["gt_seg_map"], start)
    flipped = [after(seed, pairs.PairRotateFlip(rotate=0, flip=1)) for seed in SEEDS]
    assert len({label.tobytes() for label in (each["gt_seg_map"] for each in flipped)}) == 4
    lost, right = [], []
    for seed in SEEDS:
        label = after(seed, pairs.PairRotateFlip(rotate=1))["gt_seg_map"]
        lost.append((label == 255).sum())
        right.append(np.nonzero(label == 1)[1].mean() > np.nonzero(start == 1)[1].mean())
    # The wider the angle, the more comes from outside; clockwise, what is high moves right.
    outside = partial(mmcv.imrotate, start, border_value=255, interpolation="nearest")
    assert (outside(17) == 255).sum() < max(lost) <= (outside(20) == 255).sum()
    assert 0.3 < np.mean(right) < 0.7


def test_a_label_of_half_the_size_turns_alike() -> None:
    for seed in SEEDS:
        given = pair()
        given["gt_seg_map"] = given["gt_seg_map"][::2, ::2]
        found = after(seed, pairs.PairRotateFlip(), given=given)
        large = found["gt_seg_map"].repeat(2, axis=0).repeat(2, axis=1)
        for value, colour in ((0, GROUND), (1, MARKER), (255, 0)):
            assert (found["img"][inner(inner(large == value))] == colour).all(), seed


def test_crops_are_mixed_where_that_can_be() -> None:
    label = np.zeros((HEIGHT, WIDTH), dtype=np.uint8)
    label[:, :16] = 1
    label[:, 48:] = 255
    shares = []
    for seed in SEEDS:
        found = after(seed, pairs.PairCrop(32), given=pair() | {"gt_seg_map": label.copy()})
        counts = np.bincount(found["gt_seg_map"].ravel(), minlength=256)[:2]
        shares.append(counts.max() / counts.sum())
    assert np.mean(np.array(shares) < 0.75) > 0.9


def test_a_crop_of_labels_of_another_size_is_refused_unless_it_is_none() -> None:
    small = np.zeros((12, 16), dtype=np.uint8)
    given = pair() | {"gt_seg_map": small}
    with pytest.raises(UserError, match=r"a.png: its label is \(12, 16\), its dates \(48, 64\)"):
        after(0, pairs.PairCrop(32), given=given)
    found = after(0, pairs.PairResize(32), pairs.PairCrop(32), given=pair() | {"gt_seg_map": small})
    assert found["img"].shape == found["img2"].shape == (32, 32, 3)
    assert found["img_shape"] == (32, 32)
    assert found["gt_seg_map"] is small


def test_an_exchange_keeps_what_changed() -> None:
    exchanged = 0
    for seed in range(100):
        given = pair() | {"img2": np.zeros((HEIGHT, WIDTH, 3), dtype=np.uint8)}
        found = after(seed, pairs.PairExchange(), given=given)
        assert np.array_equal(found["gt_seg_map"], pair()["gt_seg_map"])
        assert found["img"].any() != found["img2"].any()
        exchanged += not found["img"].any()
    assert 35 < exchanged < 65


def test_light_is_each_dates_own_and_never_the_labels() -> None:
    differ = 0
    for seed in SEEDS:
        image = np.random.default_rng(seed).integers(60, 190, (HEIGHT, WIDTH, 3), dtype=np.uint8)
        given = pair() | {"img": image, "img2": image.copy()}
        found = after(seed, pairs.PairPhotometry(), given=given)
        differ += not np.array_equal(found["img"], found["img2"])
        assert np.array_equal(found["gt_seg_map"], pair()["gt_seg_map"])
        for key in pairs.DATES:
            assert found[key].dtype == np.uint8
            assert abs(float(found[key].mean()) - image.mean()) < 10 + 0.2 * 190
    assert differ >= len(SEEDS) * 0.9


def test_one_seed_gives_one_item() -> None:
    steps = (*GEOMETRY["all"], pairs.PairPhotometry(), pairs.PackPair())
    one, same, other = (after(seed, *steps) for seed in (7, 7, 8))
    assert one["inputs"].equal(same["inputs"])
    assert one["data_samples"].gt_sem_seg.data.equal(same["data_samples"].gt_sem_seg.data)
    assert not one["inputs"].equal(other["inputs"])


def test_an_item_has_the_earlier_date_first_and_its_labels_size() -> None:
    given = pair() | {"img2": np.full((HEIGHT, WIDTH, 3), 7, dtype=np.uint8), "img_id": 3}
    found = after(0, pairs.PackPair(), given=given)
    inputs, sample = found["inputs"], found["data_samples"]
    assert inputs.shape == (6, HEIGHT, WIDTH)
    assert inputs.is_contiguous()
    assert np.array_equal(inputs[:3].numpy().transpose(1, 2, 0), pair()["img"])
    assert (inputs[3:] == 7).all()
    assert np.array_equal(sample.gt_sem_seg.data[0].numpy(), pair()["gt_seg_map"])
    meta = {"img_path": "a.png", "img_id": 3}
    assert sample.metainfo == meta | dict.fromkeys(("ori_shape", "img_shape"), (HEIGHT, WIDTH))
    small = given | {"gt_seg_map": np.zeros((12, 16), dtype=np.uint8)}
    assert after(0, pairs.PackPair(), given=small)["data_samples"].ori_shape == (12, 16)
    bare = {key: value for key, value in given.items() if key != "gt_seg_map"}
    untold = after(0, pairs.PackPair(), given=bare)["data_samples"]
    assert untold.ori_shape == (HEIGHT, WIDTH)
    assert "gt_sem_seg" not in untold
