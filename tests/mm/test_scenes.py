"""Scenes of tiles: nothing depends on the order, grouping or process that predicted a tile."""

from __future__ import annotations

import itertools
import json
import random
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed
from mmdet.structures import DetDataSample
from mmengine.structures import InstanceData
from mmrotate.structures.bbox import RotatedBoxes

from mtp_bench.datasets.cards.dota_v1 import CARD
from mtp_bench.datasets.geometry import corners
from mtp_bench.datasets.samples import Objects, objects
from mtp_bench.metrics.boxes import rotated
from mtp_bench.mm import scenes
from mtp_bench.mm.predictions import Predictions
from mtp_bench.mm.scenes import Gathering, SceneSampler
from mtp_bench.suite.protocol import Detector, Span
from mtp_bench.suite.schema import JobSpec
from tests.protocols import short_protocol

ROOT = Path(__file__).parents[2]
SIZE, SIDE, STEP = (900, 700), 400, 300
Tile = dict[str, Any]


def spec() -> dict[str, Any]:
    protocol = short_protocol(
        64, Span(iterations=1), 1, detector=Detector(kind="oriented_rcnn"), train_on_val=False
    )
    job = JobSpec(
        kind="finetune",
        backbone="timm/test_vit",
        recipe="scratch",
        stages=(),
        task="rotated_detection",
        dataset="DOTA-v1.0",
        data="subset",
        protocol=protocol,
        seed=0,
    )
    return job.model_dump(mode="json", exclude_defaults=True)


def truths(rng: np.random.Generator, count: int) -> Objects:
    """Boxes of three classes anywhere in a scene."""
    rows = []
    for _ in range(count):
        x, y = rng.uniform(0, SIZE[0] - 80), rng.uniform(0, SIZE[1] - 80)
        w, h = rng.uniform(20, 80, 2)
        quad = (x, y, x + w, y + 4, x + w - 4, y + h, x - 4, y + h - 4)
        rows.append((quad, int(rng.integers(3)), int(rng.random() < 0.1), 0))
    return objects(rows)


def tiles(key: str, rng: np.random.Generator, count: int) -> list[Tile]:
    """What a detector that is often right says of each tile of a scene."""
    whole = truths(rng, count)
    boxes = rotated(corners(whole.boxes).astype(np.float64))
    places = list(itertools.product(range(0, SIZE[1] - 100, STEP), range(0, SIZE[0] - 100, STEP)))
    found = []
    for number, (top, left) in enumerate(places):
        inside = ((boxes[:, :2] >= [left, top]) & (boxes[:, :2] < [left + SIDE, top + SIDE])).all(1)
        seen = boxes[inside] + rng.normal(0, 2, (int(inside.sum()), 5)) * [1, 1, 1, 1, 0.01]
        seen[:, :2] -= [left, top]
        scores = torch.from_numpy(rng.uniform(0.1, 1, len(seen)))
        sample = DetDataSample(
            metainfo={
                "scene": ("val", key),
                "tiles": len(places),
                "window": (left, top, SIDE, 1.0),
                "size": SIZE,
                "truths": whole if number == 0 else None,
            },
            pred_instances=InstanceData(
                bboxes=RotatedBoxes(torch.from_numpy(seen).float()),
                labels=torch.from_numpy(whole.labels[inside]),
                scores=scores,
            ),
        )
        found.append(sample.to_dict())
    return found


@pytest.fixture(scope="module")
def predicted() -> list[list[Tile]]:
    return made()


def made() -> list[list[Tile]]:
    rng = np.random.default_rng(0)
    return [tiles(f"P{i:04d}", rng, count) for i, count in enumerate((30, 0, 12, 25))]


def judged(batches: list[list[Tile]], folder: Path | None = None) -> dict[str, float]:
    metric = Predictions(spec())
    metric.folder = folder
    for batch in batches:
        metric.process(None, batch)
    return metric.evaluate(sum(map(len, batches)))


def test_figures_depend_on_no_order_and_no_batch(predicted: list[list[Tile]]) -> None:
    flat = [tile for scene in predicted for tile in scene]
    expected = judged([[tile] for tile in flat])
    assert 20 < expected["mAP_kit"] < 100
    shuffled = random.Random(1).sample(flat, len(flat))
    assert judged([shuffled[i : i + 5] for i in range(0, len(flat), 5)]) == expected
    assert judged([[tile for scene in reversed(predicted) for tile in scene]]) == expected


def test_what_is_kept_are_the_merged_scenes(predicted: list[list[Tile]], tmp_path: Path) -> None:
    judged(predicted, tmp_path)
    (path,) = tmp_path.iterdir()
    rows = path.read_text().splitlines()
    assert path.name == "test.0.jsonl"
    assert len(rows) == 4
    seen_more_than_once = sum(len(t["pred_instances"]["scores"]) for t in predicted[0])
    assert rows[0].count("0.") < 9 * seen_more_than_once  # overlapping tiles are merged
    assert '"boxes":[],"labels":[]' in rows[1]


def test_a_scene_is_whole_when_its_last_tile_comes(predicted: list[list[Tile]]) -> None:
    gathering, scene = Gathering(), predicted[0]
    assert all(gathering.add(tile) is None for tile in scene[:-1])
    whole = gathering.add(scene[-1])
    assert whole is not None
    assert whole.tiles == len(scene)
    assert whole.truths is not None
    assert len(whole.truths) == 30
    assert gathering._open == {}


def gathered(rank: int, processes: int, folder: Path) -> None:
    """One of several real processes: its share of the same predictions, judged together."""
    store = f"file://{folder}/store"
    torch.distributed.init_process_group("gloo", store, rank=rank, world_size=processes)
    flat = [tile for scene in made() for tile in scene]
    share = SceneSampler(SimpleNamespace(scenes=[tile["scene"] for tile in flat]))
    figures = judged([[flat[index]] for index in share], folder)
    (folder / f"{rank}.json").write_text(json.dumps(figures))
    torch.distributed.destroy_process_group()


def test_two_processes_gather_the_figures_of_one(
    predicted: list[list[Tile]], tmp_path: Path
) -> None:
    expected = judged(predicted)
    command = "from tests.mm.test_scenes import *; gathered(int(sys.argv[1]), 2, Path(sys.argv[2]))"
    words = [sys.executable, "-c", command]
    workers = [subprocess.Popen([*words, f"{n}", str(tmp_path)], cwd=ROOT) for n in range(2)]
    assert [worker.wait(120) for worker in workers] == [0, 0]
    assert [json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(2)] == [
        expected,
        expected,
    ]
    rows = [(tmp_path / f"test.{rank}.jsonl").read_text().splitlines() for rank in range(2)]
    scenes = [json.loads(row)["scene"] for part in rows for row in part]
    assert scenes == ["P0000", "P0001", "P0002", "P0003"]
    assert all(rows)


@pytest.mark.parametrize("processes", [1, 2, 3, 7])
def test_processes_share_whole_scenes(processes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    counts = (3, 1, 9, 2, 2)
    of_each = [("val", f"P{i}") for i, count in enumerate(counts) for _ in range(count)]
    shares = []
    for rank in range(processes):
        monkeypatch.setattr(scenes, "get_dist_info", lambda rank=rank: (rank, processes))
        shares.append(list(SceneSampler(SimpleNamespace(scenes=of_each))))
    assert [index for share in shares for index in share] == list(range(len(of_each)))
    owners = [{of_each[index] for index in share} for share in shares]
    assert sum(map(len, owners)) == len(counts)


def test_predictions_that_are_no_numbers_are_left_out(predicted: list[list[Tile]]) -> None:
    broken = [dict(tile) for tile in predicted[2]]
    found = broken[0]["pred_instances"]
    tensor = torch.cat([found["bboxes"].tensor, torch.full((1, 5), float("nan"))])
    broken[0]["pred_instances"] = {
        "bboxes": RotatedBoxes(tensor),
        "labels": torch.cat([found["labels"], torch.zeros(1, dtype=torch.int64)]),
        "scores": torch.cat([found["scores"], torch.ones(1, dtype=torch.float64)]),
    }
    assert judged([broken]) == judged([predicted[2]])


def test_no_prediction_is_a_figure_of_nothing(predicted: list[list[Tile]]) -> None:
    empty = []
    for tile in predicted[0]:
        none = {
            "bboxes": RotatedBoxes(torch.zeros(0, 5)),
            "labels": torch.zeros(0, dtype=torch.int64),
            "scores": torch.zeros(0),
        }
        empty.append({**tile, "pred_instances": none})
    assert judged([empty]) == {"mAP_kit": 0.0, "mAP_mmrotate": 0.0}


def test_classes_without_an_object_are_named() -> None:
    scene = tiles("P0009", np.random.default_rng(2), 20)
    metric = Predictions(spec())
    metric.process(None, scene)
    metric.evaluate(len(scene))
    assert metric.judged is not None
    (warning,) = metric.judged.warnings
    assert warning.startswith("DOTA-v1.0: the mean is over 3 of 15 classes: no test object of ")
    assert all(name in warning for name in CARD.classes[3:])
