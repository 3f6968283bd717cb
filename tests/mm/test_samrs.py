"""SAMRS's three labels through one augmentation: they agree, and are those of the literal way."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from mmdet.structures.mask import BitmapMasks
from mmrotate.structures.bbox import QuadriBoxes
from pycocotools import mask as coco

from mtp_bench.datasets.loading import Source
from mtp_bench.datasets.manifest import read_instances
from mtp_bench.datasets.pixels import rgb
from mtp_bench.mm.draws import DrawnDataset, seeded
from mtp_bench.mm.samrs import JointImages, Map
from mtp_bench.tasks.masks import labels_of

SIDE = 96
SETS = ("SOTA-RBB", "SIOR", "FAST")
HEADS = ("semantic", "instance", "rotated")


@pytest.fixture(scope="session")
def sources(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """The three miniatures, prepared."""
    cache = tmp_path_factory.mktemp("samrs")
    made = [Source(name, "miniature", None, str(cache)) for name in SETS]
    for source in made:
        source.prepare()
    return [vars(source) for source in made]


def images(sources: list[dict[str, Any]], role: str = "train", **changes: Any) -> JointImages:
    heads = changes.pop("heads", HEADS)
    transform = {"image_size": SIDE, "scale": [0.5, 2.0], "augment": True, **changes}
    return JointImages(sources, role, heads, {"held_out": 3, "exclude": "none"}, transform)


def plain(data: JointImages) -> JointImages:
    """Without the shaking of colours."""
    data._shake = lambda given: given
    return data


@pytest.mark.parametrize("flip", ["", "horizontal", "vertical", "diagonal"])
@pytest.mark.parametrize("factor", [0.6, 1.0, 1.7])
def test_one_map_is_flip_resize_and_crop(flip: str, factor: float) -> None:
    """The literal way: all of the picture, step by step, with OpenCV's resizing."""
    rng = np.random.default_rng(0)
    smooth: Any = cv2.resize(rng.integers(0, 255, (20, 26, 3), dtype=np.uint8), (130, 100))
    labels = rng.integers(0, 200, (100, 130), dtype=np.uint8)
    quads = np.array([[30, 20, 60, 30, 55, 45, 25, 35.0]])
    fitted = Map.fitting((100, 130), SIDE, factor)
    room = [whole - cut for whole, cut in zip(fitted.resized, fitted.crop, strict=True)]
    view = Map((100, 130), fitted.resized, (room[0] // 2, room[1] // 3), fitted.crop, flip)
    axes = {"": (), "horizontal": (1,), "vertical": (0,), "diagonal": (0, 1)}[flip]
    high, wide = view.resized
    top, left = view.corner
    cut = np.s_[top : top + view.crop[0], left : left + view.crop[1]]
    turned = np.ascontiguousarray(np.flip(smooth, axes))
    wanted = cv2.resize(turned, (wide, high), interpolation=cv2.INTER_LINEAR)[cut]
    assert np.abs(view.pixels(smooth).astype(int) - wanted).mean() < 0.5
    turned = np.ascontiguousarray(np.flip(labels, axes))
    wanted = cv2.resize(turned, (wide, high), interpolation=cv2.INTER_NEAREST)[cut]
    assert np.array_equal(view.labels(labels), wanted)
    boxes: Any = QuadriBoxes(torch.from_numpy(quads).float()).convert_to("rbox")
    if flip:
        boxes.flip_((100, 130), direction=flip)
    boxes.rescale_((wide / 130, high / 100))
    boxes.translate_((-left, -top))
    assert torch.allclose(view.rotated(quads).tensor, boxes.tensor, atol=1e-4)


def test_labels_agree_after_every_augmentation(sources: list[dict[str, Any]]) -> None:
    """Boxes are tight around their masks, the map has a mask's class or that of a later one.

    Most rotated boxes lie on a mask of their class.
    """
    data = plain(images(sources))
    met = on = 0
    for index in range(0, len(data.samples), 5):
        with seeded(7, index):
            item = data[index]
        found: Any = item["data_samples"]
        assert item["inputs"].shape == (3, SIDE, SIDE)
        semantic = found.gt_sem_seg.data[0].numpy()
        true: Any = found.gt_instances
        for box, label, drawn in zip(
            true.bboxes.tolist(), true.labels.tolist(), true.masks.masks, strict=True
        ):
            rows, columns = np.nonzero(drawn)
            assert box == [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
            assert (semantic[drawn > 0] > 0).all()
            assert (semantic[drawn > 0] == label + 1).any() or len(true) > 1
        for box, label in zip(
            found.gt_rotated.bboxes.tensor.tolist(), found.gt_rotated.labels.tolist(), strict=True
        ):
            x, y = int(box[0]), int(box[1])
            assert 0 <= box[0] <= SIDE
            assert 0 <= box[1] <= SIDE
            met += 1
            near = semantic[max(0, y - 2) : y + 3, max(0, x - 2) : x + 3]
            on += bool((near == label + 1).any())
    assert met > 40
    assert on > 0.9 * met


def test_nothing_but_padding_is_ignored(sources: list[dict[str, Any]]) -> None:
    data = plain(images(sources, scale=[0.5, 0.5]))
    item = data[0]
    semantic, pixels = item["data_samples"].gt_sem_seg.data[0], item["inputs"]
    padding = semantic == 255
    assert padding[SIDE // 2 :].all()
    assert not padding[: SIDE // 2, : SIDE // 2].any()
    assert (pixels[:, padding] == 0).all()
    assert (semantic == 0).any()


def test_the_test_role_shows_whole_pictures_with_all_of_their_labels(
    sources: list[dict[str, Any]],
) -> None:
    data = images(sources, "test")
    assert data.parts == [3, 3, 3]
    assert len(set(data.scenes)) == len(data) == 9
    trained = {(s, sample.scene) for s, sample in images(sources).samples}
    assert not trained & set(data.scenes)
    for index in range(len(data)):
        subset, sample = data.samples[index]
        found: Any = data[index]["data_samples"]
        assert found.subset == subset
        assert sample.objects is not None
        assert sample.instances is not None
        left = int((sample.objects.difficult >= 0).sum()) - len(found.gt_rotated)
        assert 0 <= left <= 2  # whose centre is outside of the picture
        listed = read_instances(sample.instances)
        assert abs(len(found.gt_instances) - len(listed)) <= 1  # one may be below a pixel
        side = max(rgb(sample.images[0]).shape[:2])
        wanted = cv2.resize(labels_of(sample) + np.uint8(1), (SIDE, SIDE), interpolation=0)
        if rgb(sample.images[0]).shape[:2] == (side, side):
            assert np.array_equal(found.gt_sem_seg.data[0].numpy(), wanted)


def test_masks_are_those_of_the_whole_picture(sources: list[dict[str, Any]]) -> None:
    """The literal way decodes and resizes every mask; only those in sight are left."""
    data = plain(images(sources))
    for index in (0, 60, 130):
        sample = data.samples[index][1]
        assert sample.instances is not None
        with seeded(3, index):
            np.random.seed(index)
            size = rgb(sample.images[0]).shape[:2]
            view = Map.drawn((size[0], size[1]), SIDE, [0.5, 2.0])
        literal = []
        for label, _, rle in read_instances(sample.instances):
            cut = view.labels(coco.decode(rle))
            if cut.any():
                literal.append((label, np.pad(cut, [(0, SIDE - n) for n in cut.shape])))
        found, count = data._instances(sample, view)
        assert count >= len(literal)
        assert found.labels.tolist() == [label for label, _ in literal]
        masks: BitmapMasks = found.masks
        assert all(np.array_equal(a, b) for a, (_, b) in zip(masks.masks, literal, strict=True))


def test_a_picture_that_loses_its_objects_is_replaced(
    sources: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """By another of its own set."""
    data = plain(images(sources))
    item, seen = data._item, []

    def lost_at_first(index: int) -> tuple[dict[str, Any], bool]:
        seen.append(index)
        return item(index)[0], len(seen) < 3

    monkeypatch.setattr(data, "_item", lost_at_first)
    first, second = data.parts[0], data.parts[0] + data.parts[1]
    found = data[first + 4]["data_samples"]
    assert found.subset == "SIOR"
    assert len(seen) == 3
    assert all(first <= index < second for index in seen)


def test_only_what_heads_want_is_there(sources: list[dict[str, Any]]) -> None:
    names = {"semantic": "gt_sem_seg", "instance": "gt_instances", "rotated": "gt_rotated"}
    for head, name in names.items():
        found = images(sources, heads=[head])[0]["data_samples"]
        assert [n for n in names.values() if n in found] == [name]


def test_draws_take_the_sets_in_turn_and_are_the_same_each_time(
    sources: list[dict[str, Any]],
) -> None:
    config = {
        "type": "mtp_bench.mm.samrs.JointImages",
        "sources": copy.deepcopy(sources),
        "role": "train",
        "heads": list(HEADS),
        "parts": {"held_out": 3, "exclude": "none"},
        "transform": {"image_size": SIDE, "scale": [0.5, 2.0], "augment": True},
    }
    data = DrawnDataset(config, seed=5)
    items = [data[draw] for draw in range(6)]
    assert [item["data_samples"].subset for item in items] == [*SETS, *SETS]
    again = data[4]
    assert torch.equal(again["inputs"], items[4]["inputs"])
    draws = {i["data_samples"].gt_instances.metainfo["draw"] for i in items}
    assert len(draws) == 6
    assert again["data_samples"].gt_rotated.metainfo == items[4]["data_samples"].gt_rotated.metainfo


def test_prepared_folders_are_what_is_read(sources: list[dict[str, Any]], tmp_path: Path) -> None:
    del tmp_path
    data = images(sources)
    assert len(data) == 3 * min(data.parts)
    assert data.metainfo["classes"].keys() == set(SETS)
