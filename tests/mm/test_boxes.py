"""Detection data: which pictures a job sees, what of them, and how their boxes move with them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mmengine.registry import MODELS, init_default_scope

from mtp_bench import catalog
from mtp_bench.backbones import torchvision_shim
from mtp_bench.datasets import loading
from mtp_bench.datasets.cards.dior import CARD as DIOR
from mtp_bench.datasets.cards.dota_v2 import CARD as DOTA
from mtp_bench.datasets.samples import objects
from mtp_bench.errors import UserError
from mtp_bench.mm.configs import context_of
from mtp_bench.suite.protocol import Detector, Normalisation, Span, Tiling
from mtp_bench.suite.schema import JobFile
from mtp_bench.tasks import boxes
from tests import tiny_dota
from tests.protocols import short_protocol
from tests.tiny_dota import square

torchvision_shim.apply()

from mtp_bench.mm.boxes import BoxImages, Pipeline  # noqa: E402

pytestmark = pytest.mark.mm
LARGE = "4 4 100 4 100 76 4 76 harbor 0"
"""Of 112 x 80 px: more than half of it lies in no tile of 64."""
SCENES: dict[str, dict[str, list[str]]] = {
    "train": {"P0": [square(0, 0)], "P1": []},
    "val": {"P2": [LARGE, square(8, 8)], "P3": []},
    "test": {"P4": []},
}


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> JobFile:
    folder = tmp_path_factory.mktemp("boxes")
    tiny_dota.write(folder / "cache", SCENES)
    made = tiny_dota.job(folder)
    loading.source_of(made.spec, made.roots).prepare()
    return made


def images(job: JobFile, role: Any) -> BoxImages:
    config = catalog.load("task", job.spec.task).dataset(context_of(job, None), role)
    del config["type"]
    return BoxImages(**config)


def test_a_detector_is_trained_on_tiles_with_objects_alone(job: JobFile) -> None:
    train = images(job, "train")
    assert [sample.scene for sample in train.samples] == ["P0"]
    found = train[0]["data_samples"].gt_instances
    assert found.bboxes.tensor.shape == (1, 5)
    assert found.metainfo["draw"] >= 0


def test_whole_scenes_are_judged_with_objects_that_no_tile_holds(job: JobFile) -> None:
    test = images(job, "test")
    assert list(dict.fromkeys(test.scenes)) == [("val", "P2"), ("val", "P3")]
    tiles = [test[i]["data_samples"] for i in range(len(test))]
    assert all(len(tile.gt_instances) == 0 for tile in tiles)  # nothing of the truth is shown
    first, *rest = (tile.truths for tile in tiles if tile.scene == ("val", "P2"))
    assert len(first) == 2
    assert rest == [None] * len(rest)
    held = sum(len(s.objects) for s in test.samples if s.scene == "P2" and s.objects is not None)
    assert held == 1  # the square, in the one tile that it lies in
    assert {tile.size for tile in tiles} == {tiny_dota.SIZE}


def roles(name: str, train_on_val: bool) -> loading.Roles:
    return loading.roles({"DOTA": DOTA, "DIOR": DIOR}[name], train_on_val)


def test_who_judges_decides_what_is_trained_on() -> None:
    server = roles("DOTA", True)
    assert (server.train, server.test, server.server) == (("train", "val"), ("val",), ("test-dev",))
    assert server.seen
    here = roles("DOTA", False)
    assert (here.train, here.test, here.server) == (("train",), ("val",), ())
    assert not here.seen
    assert roles("DIOR", True) == roles("DIOR", False) == loading.Roles(("train", "val"), ("test",))


def test_a_server_needs_pictures_to_judge(tmp_path: Path) -> None:
    tiny_dota.write(tmp_path / "cache", {name: SCENES[name] for name in ("train", "val")})
    made = tiny_dota.job(tmp_path)
    protocol = made.spec.settings.model_copy(update={"train_on_val": True})
    spec = made.spec.model_copy(update={"protocol": protocol})
    data = catalog.load("task", "rotated_detection").data
    with pytest.raises(UserError, match=r"DOTA-v1.0: the test split, which DOTA server judges"):
        data.prepare(spec, made.roots, 1, None)
    with pytest.raises(UserError, match="not prepared, or changed since: 'mtp-bench run SUITE"):
        data.check(
            spec.model_copy(
                update={"protocol": protocol.model_copy(update={"tiling": Tiling(size=48)})}
            ),
            made.roots,
        )


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"detector": None}, "its boxes are rotated: needs oriented_rcnn, not none"),
        ({"detector": Detector(kind="retinanet")}, "needs oriented_rcnn, not retinanet"),
        ({"augmentation": "randaugment"}, "augmentation 'randaugment' is not for boxes"),
        (
            {"augmentation": "flips_rotate", "right_angles": ("roundabot",)},
            "right_angles: did you mean 'roundabout'",
        ),
    ],
)
def test_settings_that_boxes_cannot_have(changes: Any, line: str, job: JobFile) -> None:
    given = {"detector": Detector(kind="oriented_rcnn"), "tiling": Tiling(size=64, gap=16)}
    protocol = short_protocol(64, Span(iterations=1), 2, **{**given, **changes})
    spec = job.spec.model_copy(update={"protocol": protocol})
    context = context_of(job.model_copy(update={"spec": spec}), None)
    task = catalog.load("task", "rotated_detection")
    with pytest.raises(UserError, match=line):
        task.model(context), task.dataset(context, "train")


def test_only_scenes_can_be_tiled() -> None:
    source = loading.Source("DIOR", "subset", None, "cache", {"size": 64, "gap": 0, "scales": [1]})
    with pytest.raises(UserError, match="DIOR: its images are not cut"):
        source.card()


MARK = np.array([9, 200, 90], dtype=np.uint8)
FLIPS = ["horizontal", "vertical", "diagonal"]


@pytest.mark.filterwarnings("ignore:The `clip` function does nothing:UserWarning")
@pytest.mark.parametrize(
    "step",
    [
        *({"type": "mmdet.RandomFlip", "prob": 1.0, "direction": way} for way in FLIPS),
        {**boxes.ROTATE, "prob": 1.0},
        {"type": "mmdet.Resize", "scale": (64, 64), "clip_object_border": False},
    ],
)
def test_boxes_move_with_what_they_hold(step: dict[str, Any]) -> None:
    init_default_scope("mmdet")
    np.random.seed(3)
    pixels = np.zeros((96, 96, 3), dtype=np.uint8)
    pixels[40:56, 30:70] = MARK
    held = objects([((30, 40, 70, 40, 70, 56, 30, 56), 0, 0, 0)])
    item = Pipeline("rotated", [step])(pixels, held)
    cx, cy, w, h, _ = item["data_samples"].gt_instances.bboxes.tensor[0].tolist()
    shown = (item["inputs"].permute(1, 2, 0).numpy() == MARK).all(axis=2)
    rows, columns = np.nonzero(shown)
    assert (cx, cy) == pytest.approx((columns.mean() + 0.5, rows.mean() + 0.5), abs=1.0)
    assert w * h == pytest.approx(shown.sum(), rel=0.2)


@pytest.mark.parametrize("order", ["rgb", "bgr"])
def test_pictures_reach_the_backbone_as_its_weights_expect(order: Any, job: JobFile) -> None:
    context = context_of(job, None)
    mean, std = (10.0, 20.0, 30.0), (2.0, 4.0, 5.0)
    values = Normalisation(mean=mean, std=std, channel_order=order)
    model = catalog.load("task", job.spec.task).model(
        type(context)(**{**vars(context), "normalisation": values})
    )
    init_default_scope("mmdet")
    built = MODELS.build(model["detector"]["data_preprocessor"])
    picture = torch.tensor([110, 120, 130], dtype=torch.uint8).view(3, 1, 1).expand(3, 32, 32)
    seen = built({"inputs": [picture], "data_samples": None}, False)["inputs"][0, :, 0, 0].tolist()
    expected = [50.0, 25.0, 20.0]
    assert seen == pytest.approx(expected if order == "rgb" else expected[::-1])
