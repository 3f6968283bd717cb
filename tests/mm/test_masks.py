"""Pictures, pairs and their label maps: what is trained on, predicted, counted and refused."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from collections.abc import Callable, Sequence
from itertools import product
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from mmengine.dataset import pseudo_collate
from mmengine.registry import DATASETS, DefaultScope
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Subset

from mtp_bench import catalog
from mtp_bench.backbones import torchvision_shim
from mtp_bench.datasets.access import card_of
from mtp_bench.datasets.cards.card import IGNORE
from mtp_bench.metrics.confusion import confusion
from mtp_bench.suite.protocol import TestSettings
from mtp_bench.tasks import masks
from mtp_bench.tasks.task import Config, Context
from tests.tiny_labels import (
    DECODERS,
    MEAN,
    SIDE,
    SIZES,
    STD,
    TILE,
    context_of,
    prepare,
    spec_of,
    write_pictures,
)

torchvision_shim.apply()

from mtp_bench.mm.draws import seeded  # noqa: E402
from mtp_bench.mm.masks import Maps, MaskImages  # noqa: E402
from mtp_bench.mm.predictions import Predictions  # noqa: E402
from mtp_bench.mm.scenes import SceneSampler  # noqa: E402
from mtp_bench.mm.segmentor import build  # noqa: E402

pytestmark = [
    pytest.mark.mm,
    # Each such loss says at its making that it divides by all pixels, as published ones do.
    pytest.mark.filterwarnings("ignore:Default ``avg_non_ignore`` is False"),
]

ROOT = Path(__file__).parents[2]
META = {"img_shape": (SIDE, SIDE)}
Predicted = dict[str, Any]


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder, prepared."""
    root = tmp_path_factory.mktemp("pictures")
    write_pictures(root)
    for dataset in DECODERS:
        prepare(context_of(root, dataset))
    return root


def images(context: Context, role: str) -> MaskImages:
    task = catalog.load("task", context.spec.task)
    with DefaultScope.overwrite_default_scope(task.scope):
        found: MaskImages = DATASETS.build(task.dataset(context, role))
    return found


def sliding(stride: int | None) -> dict[str, Any]:
    return {"test": TestSettings(image_size=SIDE, stride=stride)}


# What is trained and tested on.
@pytest.mark.parametrize("augmentation", ["none", "flips", "scale_crop"])
def test_pictures_to_train_on_have_the_protocols_size(written: Path, augmentation: str) -> None:
    data = images(context_of(written, "LoveDA", augmentation=augmentation), "train")
    shapes, values = set(), set()
    for draw, index in product(range(6), range(len(data))):
        with seeded(draw):
            item = data[index]
        label = item["data_samples"].gt_sem_seg.data
        assert item["inputs"].dtype == torch.uint8
        assert (item["inputs"].shape[0], label.shape[0]) == (3, 1)
        assert item["inputs"].shape[1:] == label.shape[1:]
        shapes.add(tuple(label.shape[1:]))
        assert {*label.unique().tolist()} <= {*np.unique(masks.labels_of(data.samples[index]))}
        values |= {*label.unique().tolist()}
    assert values == {*range(7), IGNORE}
    if augmentation == "scale_crop":  # smaller ones are padded in their batch
        assert max(max(shape) for shape in shapes) == SIDE
    else:
        assert shapes == {(SIDE, SIDE)}


@pytest.mark.parametrize("augmentation", ["none", "flips", "pairs"])
def test_labels_of_pairs_keep_their_size_in_training(written: Path, augmentation: str) -> None:
    data = images(context_of(written, "LEVIR-CD", augmentation=augmentation), "train")
    assert len(data) == 4
    values = set()
    for draw, index in product(range(4), range(4)):
        with seeded(draw):
            item = data[index]
        label = item["data_samples"].gt_sem_seg.data
        assert item["inputs"].shape == (6, SIDE, SIDE)
        assert label.shape == (1, TILE, TILE)
        values |= {*label.unique().tolist()}
    assert values == ({0, 1, IGNORE} if augmentation == "pairs" else {0, 1})


@pytest.mark.parametrize("stride", [None, 32])
def test_the_label_of_a_test_picture_is_as_it_lies_there(written: Path, stride: int | None) -> None:
    data = images(context_of(written, "LoveDA", **sliding(stride)), "test")
    assert data.scenes == [("val", f"Rural%2F{10 + number}") for number in range(3)]
    for index, (sample, (wide, high)) in enumerate(zip(data.samples, SIZES, strict=True)):
        item = data[index]
        meta = item["data_samples"].metainfo
        assert meta["ori_shape"] == meta["truth"].shape == (high, wide)
        assert (meta["truth"] == masks.labels_of(sample)).all()
        assert "gt_sem_seg" not in item["data_samples"]
        assert item["inputs"].shape[1:] == ((high, wide) if stride else (SIDE, SIDE))
        if stride:
            with Image.open(sample.images[0]) as picture:
                assert (item["inputs"].permute(1, 2, 0).numpy() == np.asarray(picture)).all()


# What is predicted.
@pytest.fixture(scope="module")
def segmentor(written: Path) -> Callable[..., Any]:
    """A tiny model that has not learnt anything, and shows every class."""

    def make(dataset: str, **changes: Any) -> Any:
        context = context_of(written, dataset, **changes)
        task = catalog.load("task", context.spec.task)
        config: Config = task.model(context)
        with DefaultScope.overwrite_default_scope(task.scope):
            model = build(**{key: value for key, value in config.items() if key != "type"})
        torch.manual_seed(0)
        torch.nn.init.normal_(model.decode_head.conv_seg.weight)
        return model.eval()

    return make


def predicted(model: Any, items: Sequence[Any]) -> list[Any]:
    with torch.no_grad():
        return list(model.test_step(pseudo_collate(list(items))))


def normalised(item: dict[str, Any]) -> Tensor:
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (MEAN, STD))
    picture: Tensor = (item["inputs"] - mean) / std
    return picture[None]


def test_windows_that_overlap_are_averaged(written: Path, segmentor: Callable[..., Any]) -> None:
    """96 x 80 px: windows of 64 from 0 and 32, and from 0 and 16, moved back inside."""
    model = segmentor("LoveDA", **sliding(32))
    item = images(context_of(written, "LoveDA", **sliding(32)), "test")[1]
    picture = normalised(item)
    (found,) = predicted(model, [item])
    total, count = torch.zeros(7, 80, 96), torch.zeros(80, 96)
    for top, left in product((0, 16), (0, 32)):
        here = (slice(top, top + SIDE), slice(left, left + SIDE))
        with torch.no_grad():
            total[:, *here] += model.encode_decode(picture[..., *here], [META])[0]
        count[here] += 1
    assert torch.allclose(found.seg_logits.data, total / count, atol=1e-5)
    assert len(found.pred_sem_seg.data.unique()) > 3


def test_one_window_over_all_is_the_whole_picture(
    written: Path, segmentor: Callable[..., Any]
) -> None:
    whole, slid = (segmentor("LoveDA", **sliding(stride)) for stride in (None, 32))
    item = images(context_of(written, "LoveDA"), "test")[0]  # resized to one window
    (one,), (other,) = predicted(whole, [item]), predicted(slid, [item])
    assert one.seg_logits.shape == (60, 80)
    assert torch.equal(one.seg_logits.data, other.seg_logits.data)


@pytest.mark.parametrize(
    ("dataset", "stride"), [("LoveDA", None), ("LoveDA", 32), ("LEVIR-CD", None)]
)
def test_predictions_have_their_labels_size(
    written: Path, segmentor: Callable[..., Any], dataset: str, stride: int | None
) -> None:
    data = images(context_of(written, dataset, **sliding(stride)), "test")
    model = segmentor(dataset, **sliding(stride))
    for item in map(data.__getitem__, range(len(data))):
        (found,) = predicted(model, [item])
        kept = Maps().add(found.to_dict())
        assert kept.truth is not None
        assert kept.predicted.dtype == np.uint8
        assert kept.predicted.shape == kept.truth.shape == item["data_samples"].truth.shape
        counts, _ = masks.settle(card_of(dataset), kept)
        assert counts is not None
        assert counts.sum() == (kept.truth != IGNORE).sum()


def test_figures_depend_on_no_worker_and_hardly_on_a_batch(
    written: Path, segmentor: Callable[..., Any]
) -> None:
    """Sums in floating point differ by the batch in their last digits, figures by a pixel or so."""
    data, model = images(context_of(written, "LoveDA"), "test"), segmentor("LoveDA")

    def figures(order: Sequence[int], batch: int, workers: int) -> dict[str, float]:
        words: Any = {"multiprocessing_context": "fork"} if workers else {}
        loader = DataLoader(
            Subset(data, order), batch, num_workers=workers, collate_fn=pseudo_collate, **words
        )
        with torch.no_grad():
            return judged([[s.to_dict() for s in model.test_step(items)] for items in loader])

    expected = figures((0, 1, 2), 1, 0)
    assert 0 < expected["mIoU_val"] < 60
    assert figures((0, 1, 2), 1, 2) == expected
    assert figures((2, 0, 1), 2, 1) == pytest.approx(expected, abs=0.1)


# What is counted and kept.
def judged(batches: Sequence[Sequence[Predicted]], folder: Path | None = None) -> dict[str, float]:
    metric = Predictions(spec_of("LoveDA").model_dump(mode="json", exclude_defaults=True))
    metric.folder = folder
    for batch in batches:
        metric.process(None, batch)
    return metric.evaluate(sum(map(len, batches)))


def made() -> list[Predicted]:
    """What a model that is often right says of seven pictures of several sizes."""
    rng = np.random.default_rng(5)
    samples = []
    for number in range(7):
        shape = (20 + number, 30)
        truth = rng.integers(0, 7, shape).astype(np.uint8)
        found = np.where(rng.random(shape) < 0.7, truth, rng.integers(0, 7, shape))
        truth[:, number] = IGNORE
        sem = {"data": torch.from_numpy(found.astype(np.int64))[None]}
        samples.append({"scene": ("val", f"{number}"), "truth": truth, "pred_sem_seg": sem})
    return samples


def test_figures_depend_on_no_order_and_no_batch() -> None:
    samples = made()
    expected = judged([samples])
    assert 40 < expected["mIoU_val"] < 80
    assert judged([[sample] for sample in reversed(samples)]) == expected
    shuffled = random.Random(1).sample(samples, len(samples))
    assert judged([shuffled[:3], shuffled[3:]]) == expected
    matrix = sum(
        confusion(s["truth"], s["pred_sem_seg"]["data"][0].numpy(), 7, IGNORE) for s in samples
    )
    assert expected["pixel_accuracy_val"] == 100 * np.trace(matrix) / np.sum(matrix)


def test_a_prediction_of_another_size_is_no_figure() -> None:
    sample = made()[0]
    sample["pred_sem_seg"]["data"] = sample["pred_sem_seg"]["data"][:, 1:]
    with pytest.raises(ValueError, match=r"a prediction of \(19, 30\) for a label of \(20, 30\)"):
        judged([[sample]])


def test_what_is_kept_is_what_was_predicted(tmp_path: Path) -> None:
    samples = made()
    judged([samples], tmp_path)
    (folder,) = tmp_path.iterdir()
    assert folder.name == "test"
    assert sorted(path.name for path in folder.iterdir()) == [f"val__{i}.png" for i in range(7)]
    for number, sample in enumerate(samples):
        with Image.open(folder / f"val__{number}.png") as picture:
            assert picture.mode == "L"
            assert (np.asarray(picture) == sample["pred_sem_seg"]["data"][0].numpy()).all()


def test_what_a_server_judges_is_kept_and_not_judged(tmp_path: Path) -> None:
    samples = [{**sample, "truth": None, "scene": ("test", "Urban%2F1")} for sample in made()[:1]]
    spec = spec_of("LoveDA", train_on_val=True).model_dump(mode="json", exclude_defaults=True)
    metric = Predictions(spec, "server")
    metric.folder = tmp_path
    metric.process(None, samples)
    assert metric.evaluate(1) == {}
    assert [p.name for p in (tmp_path / "server").iterdir()] == ["test__Urban%2F1.png"]


def gathered(rank: int, processes: int, folder: Path) -> None:
    """One of several real processes: its share of the same predictions, judged together."""
    store = f"file://{folder}/store"
    torch.distributed.init_process_group("gloo", store, rank=rank, world_size=processes)
    samples = made()
    share = SceneSampler(SimpleNamespace(scenes=[sample["scene"] for sample in samples]))
    figures = judged([[samples[index]] for index in share], folder)
    (folder / f"{rank}.json").write_text(json.dumps([figures, list(share)]))
    torch.distributed.destroy_process_group()


def test_two_processes_gather_the_figures_of_one(tmp_path: Path) -> None:
    expected = judged([made()])
    command = "from tests.mm.test_masks import *; gathered(int(sys.argv[1]), 2, Path(sys.argv[2]))"
    words = [sys.executable, "-c", command]
    workers = [subprocess.Popen([*words, f"{n}", str(tmp_path)], cwd=ROOT) for n in range(2)]
    assert [worker.wait(120) for worker in workers] == [0, 0]
    told = [json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(2)]
    assert [figures for figures, _ in told] == [expected, expected]
    shares = [share for _, share in told]
    assert all(shares)
    assert [index for share in shares for index in share] == list(range(7))
    assert len(list((tmp_path / "test").iterdir())) == 7
