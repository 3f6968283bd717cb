"""Segmentation and change detection from end to end, on eight small pictures or pairs each.

They are trained and tested on.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import DATASETS
from PIL import Image

from mtp_bench.datasets.access import miniature_root, render_missing
from mtp_bench.mm import draws
from tests.executors.conftest import Bench
from tests.executors.test_detection import MakeJob, make_job

__all__ = ["make_job"]

QUARTERS = {
    "Rural/10": (0, 0),
    "Rural/13": (128, 0),
    "Rural/16": (0, 0),
    "Rural/18": (128, 0),
    "Rural/25": (0, 0),
    "Rural/28": (0, 0),
    "Urban/1370": (128, 0),
    "Urban/1379": (128, 0),
}
"""Of LoveDA's miniature: left and top of 128 px with few, large areas of five classes."""
PAIRS = (1, 12, 17, 18, 26, 30, 32, 43)
"""Of LEVIR-CD's those where most has changed, one tile each."""


@pytest.fixture(scope="session")
def eight(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder with a LoveDA and a LEVIR-CD whose val and test are what they train on."""
    root = tmp_path_factory.mktemp("eight")
    for name in ("LoveDA", "LEVIR-CD"):
        render_missing(name, root / "cache")
    source = miniature_root("LoveDA", root / "cache")
    for number, (key, (left, top)) in enumerate(QUARTERS.items()):
        domain, name = key.split("/")
        for kind in ("images_png", "masks_png"):
            with Image.open(source / f"Train/{domain}/{kind}/{name}.png") as picture:
                cut = picture.crop((left, top, left + 128, top + 128))
            for folder, shift in (("Train", 0), ("Val", 2522)):
                to = root / f"LoveDA/{folder}/{domain}/{kind}"
                to.mkdir(parents=True, exist_ok=True)
                cut.save(to / f"{number + shift}.png")
    source = miniature_root("LEVIR-CD", root / "cache") / "train"
    for kind in ("A", "B", "label"):
        for split in ("train", "val", "test"):
            to = root / "LEVIR-CD" / split / kind
            to.mkdir(parents=True)
            for number, pair in enumerate(PAIRS, 1):
                shutil.copy(source / f"{kind}/train_{pair}.png", to / f"{split}_{number}.png")
    return root


@pytest.mark.parametrize(
    ("dataset", "more", "figure", "warnings"),
    [
        (
            "LoveDA",
            "length: {iterations: 50}, decoder: {kind: upernet, channels: 64, dropout: 0.0}",
            "mIoU_val",
            ["LoveDA: the mean is over 5 of 7 classes: no test object of building, barren"],
        ),
        (
            "LEVIR-CD",
            "length: {iterations: 60}, decoder: {kind: unet, channels: 128, dropout: 0.0}",
            "F1_changed",
            [],
        ),
    ],
)
def test_eight_pictures_are_learnt_by_heart(
    dataset: str, more: str, figure: str, warnings: list[str], make_job: MakeJob
) -> None:
    fixed = "augmentation: none, validate_every: {epochs: 1000}, weight_decay: 0.0, lr: 4e-3"
    bench = make_job(dataset, f"{fixed}, {more}")
    assert bench.attempt() == 0, bench.paths.log.read_text()
    record = bench.record()
    assert record["primary"] == figure
    assert record["metrics"][figure]["value"] > 90
    assert record["warnings"] == warnings
    assert record["provenance"]["data_counts"] == {"train": 8, "test": 8}
    assert len(list(bench.paths.predictions.glob("test/*.png"))) == 8


SHORT = (
    "length: {iterations: 2}, validate_every: {iterations: 2}, warmup: {iterations: 1}, "
    "batch_size: 4, image_size: 64"
)
PLAIN = {"backbone": "vit_t_rvsa", "recipe": "scratch", "checkpoint_seconds": 0.0}
"""A backbone without batch norm: what lies above it has some."""
UNDROPPED = {
    "LoveDA": "decoder: {kind: upernet, channels: 16, dropout: 0.0}",
    "LEVIR-CD": "decoder: {kind: unet, channels: 32, dropout: 0.0}",
}


@pytest.mark.parametrize("dataset", ["LoveDA", "LEVIR-CD"])
def test_two_processes_train_and_judge_as_one(
    dataset: str, make_job: MakeJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Gloo, two pictures each: the data and rates of one process with four.

    On a CPU each process's batch norm counts over its own pictures, so that loss and gradient of
    the first step are those of one process that takes two pictures at once, twice.
    """
    settings = f"{SHORT}, {UNDROPPED[dataset]}"
    one = make_job(dataset, settings, **PLAIN)
    halves = make_job(dataset, settings, micro_batch=2, **PLAIN)
    for bench in (one, halves):
        assert bench.attempt() == 0, bench.paths.log.read_text()
    two = make_job(dataset, settings, processes=2, **PLAIN)
    assert two.attempt_together(2) == 0, two.paths.log.read_text()

    rates = [[row["lr"] for row in bench.curve() if "lr" in row] for bench in (one, two)]
    assert rates[0] == rates[1]
    assert drawn(one, 1, monkeypatch) == drawn(two, 2, monkeypatch)
    first, second = (row["loss"] for row in halves.curve()[:2])
    assert two.curve()[0]["loss"] == pytest.approx((first + second) / 2, rel=1e-5)
    after = (halves.paths.checkpoints / "iter_2.pth", two.paths.checkpoints / "iter_1.pth")
    for alone, together in zip(*(gradients(path) for path in after), strict=True):
        assert float((alone - together).norm()) <= 1e-5 * float(alone.norm()) + 1e-9
    told = "batch norm counted over each process's own pictures: on a CPU it cannot else"
    assert [told in bench.record()["warnings"] for bench in (one, two)] == [False, True]
    for bench in (one, two):
        assert bench.record()["provenance"]["data_counts"]["test"] == 8
        assert len(list(bench.paths.predictions.glob("test/*.png"))) == 8


def drawn(bench: Bench, processes: int, monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The pictures of each of a job's first steps, in their order."""
    loader = Config.fromfile(str(bench.paths.config)).train_dataloader
    data = DATASETS.build(loader.dataset)
    steps: list[list[str]] = [[], [], []]
    for rank in range(processes):
        monkeypatch.setattr(draws, "get_dist_info", lambda rank=rank: (rank, processes))
        sampler = iter(draws.DrawSampler(data, loader.sampler.micro_batch))
        for step in steps:
            items = [data[next(sampler)] for _ in range(loader.batch_size)]
            step += [item["data_samples"].img_path for item in items]
    return steps


def gradients(path: Path) -> list[torch.Tensor]:
    """AdamW's first moments after one step: a tenth of its gradients."""
    found: Any = torch.load(path, weights_only=True)["optimizer"]
    return [state["exp_avg"] for _, state in sorted(found["state"].items())]


def test_one_picture_at_once_is_refused(make_job: MakeJob) -> None:
    bench = make_job("LoveDA", SHORT, micro_batch=1, **PLAIN)
    assert bench.attempt() == 1
    told = "1 picture at once leaves its batch norm one value of each: give --micro-batch 2 or more"
    assert told in bench.paths.log.read_text()
    assert not bench.paths.record.exists()


def test_a_figure_that_never_moves_is_told(make_job: MakeJob) -> None:
    """Pictures that all look alike to the model: it finds no change, ever."""
    blind = "own_statistics: true, mean: [0, 0, 0], std: [1e30, 1e30, 1e30], lr: 1e-12"
    settings = SHORT.replace("length: {iterations: 2}, validate_every: {iterations: 2}", "")
    spans = "length: {iterations: 3}, validate_every: {iterations: 1}"
    bench = make_job("LEVIR-CD", f"{spans}{settings}, {blind}", **PLAIN)
    assert bench.attempt() == 0, bench.paths.log.read_text()
    record = bench.record()
    assert record["metrics"]["F1_changed"]["value"] == 0
    assert record["warnings"] == ["F1_changed is 0 in each of the last 3 validations"]


@pytest.mark.parametrize("dataset", ["LoveDA", "LEVIR-CD"])
def test_a_frozen_backbone_stays_as_it_was(dataset: str, make_job: MakeJob) -> None:
    bench = make_job(
        dataset, f"{SHORT}, {UNDROPPED[dataset]}, frozen: backbone", checkpoint_seconds=0.0
    )
    assert bench.attempt() == 0, bench.paths.log.read_text()
    compute = bench.record()["compute"]
    assert 0 < compute["trainable_parameters"] < compute["parameters"] / 2
    before, after = (
        torch.load(bench.paths.checkpoints / f"iter_{i}.pth", weights_only=True)["state_dict"]
        for i in (1, 2)
    )
    moved = {name for name, value in before.items() if not torch.equal(value, after[name])}
    assert moved
    assert all(name.startswith("decode_head.") for name in moved)
