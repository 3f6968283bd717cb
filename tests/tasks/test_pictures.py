"""Which errors are counted, and which scenes are drawn first."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mtp_bench.datasets.loading import source_of
from mtp_bench.datasets.samples import Objects
from mtp_bench.metrics.boxes import Detections
from mtp_bench.suite.schema import JobFile
from mtp_bench.tasks import pictures
from mtp_bench.tasks.pictures import draw_worst, errors, truths_of
from tests import tiny_dota
from tests.tiny_dota import SIZE, square

SHIP = 6
CAPTION = 18


def box(left: float, top: float = 0.0, side: float = 10.0) -> list[float]:
    return [left, top, left + side, top + side]


def objects(*boxes: list[float], labels: list[int], difficult: list[int]) -> Objects:
    count = len(labels)
    found = np.array(boxes, dtype=np.float64).reshape(count, -1) if count else np.empty((0, 4))
    return Objects(found, np.array(labels, int), np.array(difficult, int), np.arange(count))


def detections(*boxes: list[float], labels: list[int], scores: list[float]) -> Detections:
    found = np.array(boxes).reshape(len(labels), -1) if labels else np.empty((0, 4))
    return Detections(found, np.array(labels, int), np.array(scores, float))


def test_an_object_is_found_once_in_its_class_by_half_or_more() -> None:
    truths = objects(box(0), box(50), box(100), labels=[1, 1, 2], difficult=[0, 0, 0])
    found = detections(
        *(box(0), box(2), box(50, side=20), box(100), box(100)),
        labels=[1, 1, 1, 1, 2],
        scores=[0.8, 0.9, 0.7, 0.6, 0.5],
    )
    # The surest takes the first; that of twice the side shares a quarter; one is of another class.
    wrong, missed = errors(truths, found)
    assert wrong.tolist() == [True, False, True, True, False]
    assert missed.tolist() == [False, True, False]


def test_difficult_objects_are_no_errors_whether_found_or_not() -> None:
    truths = objects(box(0), box(50), labels=[1, 1], difficult=[1, 2])
    found = detections(box(0), box(1), labels=[1, 1], scores=[0.9, 0.8])
    assert [flags.any() for flags in errors(truths, found)] == [False, False]


def test_quads_of_both_windings_meet_and_nothing_is_no_error() -> None:
    quad = [0.0, 0.0, 10.0, 0.0, 10.0, 10.0, 0.0, 10.0]
    turned = np.array(quad).reshape(4, 2)[::-1].ravel().tolist()
    truths = objects(quad, labels=[0], difficult=[0])
    wrong, missed = errors(truths, detections(turned, labels=[0], scores=[1.0]))
    assert (wrong.tolist(), missed.tolist()) == ([False], [False])
    wrong, missed = errors(truths, detections(labels=[], scores=[]))
    assert (wrong.tolist(), missed.tolist()) == ([], [True])
    none = objects(labels=[], difficult=[])
    wrong, missed = errors(none, detections(quad, labels=[0], scores=[1.0]))
    assert (wrong.tolist(), missed.tolist()) == ([True], [])


SCENES = {
    "train": {"P0": [square(0, 0)]},
    "val": {
        "P1": [square(8, 8)],
        "P2": [square(8, 8), square(60, 40)],
        "P3": [],
        "P4": [square(8, 8, difficult=1)],
        "P5": [square(8, 8), square(40, 8), square(8, 40)],
    },
}
FOUND = {  # left of each square of 16 px at 8 px from the top, and its score
    "P1": [(8, 0.9)],
    "P2": [(8, 0.9), (90, 0.29)],
    "P3": [(8, 0.9), (40, 0.8), (90, 0.5), (90, 0.4)],
    "P4": [(8, 0.9), (50, 0.3)],
    "P5": [],
}
ERRORS = {"P1": 0, "P2": 1, "P3": 4, "P4": 1, "P5": 3}


def line(scene: str) -> str:
    quads = [[x, 8, x + 16, 8, x + 16, 24, x, 24] for x, _ in FOUND[scene]]
    row = {"scene": scene, "split": "val", "size": SIZE, "boxes": quads}
    row |= {"labels": [SHIP] * len(quads), "scores": [score for _, score in FOUND[scene]]}
    return json.dumps(row) + "\n"


@pytest.fixture
def made(tmp_path: Path) -> JobFile:
    """A job whose data is prepared, and predictions of two processes in its place."""
    tiny_dota.write(tmp_path / "cache", SCENES)
    job = tiny_dota.job(tmp_path)
    source_of(job.spec, job.roots).prepare()
    (tmp_path / "test.0.jsonl").write_text(line("P1") + line("P2") + line("P4"))
    (tmp_path / "test.1.jsonl").write_text(line("P5") + line("P3"))
    return job


def test_the_worst_scenes_are_drawn_first_whatever_process_predicted_them(
    made: JobFile, tmp_path: Path
) -> None:
    files = [tmp_path / f"test.{rank}.jsonl" for rank in range(2)]
    folder = tmp_path / "pictures"
    folder.mkdir()
    (folder / "03_9_P9.jpg").touch()  # of an earlier attempt
    for order in (files, files[::-1]):
        assert draw_worst(made.spec, made.roots, order, folder) == 4
        names = sorted(path.name for path in folder.iterdir())
        assert names == ["00_4_P3.jpg", "01_3_P5.jpg", "02_1_P2.jpg", "03_1_P4.jpg"]
        assert [int(name.split("_")[1]) for name in names] == sorted(ERRORS.values())[:0:-1]
    with Image.open(folder / "01_3_P5.jpg") as picture:
        assert picture.size == (2 * SIZE[0], SIZE[1] + CAPTION)


def test_of_a_large_scene_the_worst_part_is_shown(
    made: JobFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pictures, "SIDE", 32)
    draw_worst(made.spec, made.roots, [tmp_path / "test.1.jsonl"], tmp_path / "pictures")
    with Image.open(tmp_path / "pictures" / "00_4_P3.jpg") as picture:
        assert picture.size == (2 * 32, 32 + CAPTION)
        shown = np.asarray(picture.crop((0, 0, 32, 32)), dtype=float)
    root = next((tmp_path / "cache" / "miniatures").iterdir())
    with Image.open(root / "val" / "images" / "P3.png") as scene:
        whole = np.asarray(scene, dtype=float)
    # Two of its four errors lie at 98, 16: the window around it ends at the right edge.
    assert np.abs(shown - whole[:32, 80:]).mean() < 8


def test_truths_are_those_of_test_scenes_and_of_test_tiles(made: JobFile, tmp_path: Path) -> None:
    root = next((tmp_path / "cache" / "miniatures").iterdir())
    folder = next((tmp_path / "cache" / "prepared").iterdir())
    scene, train = root / "val" / "images" / "P2.png", root / "train" / "images" / "P0.png"
    (tile,) = (folder / "val" / "images").glob("P2__64__48___16.png")
    foreign = tmp_path / "P2.png"
    foreign.write_bytes(scene.read_bytes())
    known = truths_of(made.spec, made.roots, [scene, train, tile, foreign])
    assert {path: len(found) for path, found in known.items()} == {scene: 2, tile: 1}
    assert known[tile].boxes[0, :2].tolist() == [12, 24]
    assert truths_of(made.spec, made.roots, [foreign]) == {}
    gone = made.roots.model_copy(update={"cache": str(tmp_path / "elsewhere")})
    assert truths_of(made.spec, gone, [scene]) == {}
