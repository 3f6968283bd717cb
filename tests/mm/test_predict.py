"""`mtp-bench predict`: as the job's own evaluation, on pictures of any kind."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mmengine.registry import MODELS, init_default_scope
from mmengine.structures import InstanceData
from PIL import Image
from typer.testing import CliRunner

from mtp_bench import catalog
from mtp_bench.backbones import torchvision_shim
from mtp_bench.cli import app, main
from mtp_bench.datasets.images import LabelledImages
from mtp_bench.datasets.loading import source_of
from mtp_bench.datasets.pixels import header
from mtp_bench.mm.configs import context_of
from mtp_bench.store.paths import JobPaths, job_paths
from mtp_bench.suite.protocol import Detector, Span
from mtp_bench.suite.schema import JobFile
from mtp_bench.tasks.task import Context, Task
from tests import tiny_dota
from tests.protocols import short_protocol
from tests.tiny_dota import SIZE, square

torchvision_shim.apply()

from mtp_bench.mm.boxes import BoxImages, Pipeline  # noqa: E402
from mtp_bench.mm.predict import Trained, detect, load  # noqa: E402
from mtp_bench.mm.predictions import Predictions  # noqa: E402

pytestmark = pytest.mark.mm

SCENES = {
    "train": {"P0": [square(0, 0)]},
    "val": {"P1": [square(8, 8)], "P2": [square(8, 8), square(60, 40)], "P3": []},
}


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """As jobs run; several that share few cores wait for one another."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def built(job: JobFile) -> tuple[Context, Task, Any]:
    """A job's model as its first weights are drawn, its classes told apart."""
    context = context_of(job, None)
    task: Task = catalog.load("task", job.spec.task)
    init_default_scope(task.scope)
    model: Any = MODELS.build(task.model(context)).eval()
    if task.settle is not None:
        with torch.no_grad():
            model.roi_head.bbox_head.fc_cls.weight *= 100
    return context, task, model


def save(model: Any, paths: JobPaths) -> None:
    paths.checkpoints.mkdir()
    checkpoint = {"meta": {"iter": 1}, "state_dict": model.state_dict()}
    torch.save(checkpoint, paths.checkpoints / "iter_1.pth")


@pytest.fixture(scope="module")
def detector(tmp_path_factory: pytest.TempPathFactory) -> tuple[JobFile, Path]:
    """A job with a checkpoint and the predictions of its own evaluation; and its scenes."""
    folder = tmp_path_factory.mktemp("detector")
    root = tiny_dota.write(folder / "cache", SCENES)
    job = tiny_dota.job(folder)
    source_of(job.spec, job.roots).prepare()
    context, task, model = built(job)
    paths = job_paths(job.roots, job.id)
    save(model, paths)
    config = {
        name: value for name, value in task.dataset(context, "test").items() if name != "type"
    }
    dataset, metric = BoxImages(**config), Predictions(job.spec.model_dump(mode="json"))
    metric.folder = paths.predictions
    for index in range(len(dataset)):
        item = dataset[index]
        with torch.no_grad():
            found = model.test_step({name: [value] for name, value in item.items()})
        metric.process(None, [sample.to_dict() for sample in found])
    metric.evaluate(len(dataset))
    return job, root / "val" / "images"


def call(job: JobFile, *words: str) -> Any:
    folders = ("--runs", job.roots.runs, "--results", job.roots.results)
    result = CliRunner().invoke(app, ["predict", job.id, *words, *folders])
    if result.exception is not None:
        raise result.exception
    return result


def test_a_scene_is_predicted_as_by_the_jobs_own_evaluation(
    detector: tuple[JobFile, Path],
) -> None:
    job, images = detector
    paths = job_paths(job.roots, job.id)
    rows = [json.loads(line) for line in paths.predicted[0].read_text().splitlines()]
    assert [row["scene"] for row in rows] == ["P1", "P2", "P3"]
    trained = load(job, paths)
    for row in rows:
        size, found = detect(trained, images / f"{row['scene']}.png")
        assert list(size) == row["size"] == list(SIZE)
        assert len(found) == len(row["scores"]) > 5
        told = np.column_stack([row["boxes"], row["labels"], row["scores"]])
        ours = np.column_stack([found.boxes, found.labels, found.scores])
        order, own = (np.lexsort(table.round(0).T) for table in (told, ours))
        assert ours[own] == pytest.approx(told[order], abs=0.02)
    assert {tuple(box[2:4]) for row in rows for box in row["boxes"] if box[0] > 64}, "no 2nd tile"


class Bright:
    """Detects all that is white, as one box of what it is shown."""

    def test_step(self, batch: dict[str, list[Any]]) -> list[Any]:
        for pixels, sample in zip(batch["inputs"], batch["data_samples"], strict=True):
            ys, xs = np.nonzero(pixels.min(dim=0).values.numpy() > 200)
            boxes = [[xs.min(), ys.min(), xs.max() + 1, ys.max() + 1]] if len(xs) else []
            count = len(boxes)
            sample.pred_instances = InstanceData(
                bboxes=torch.tensor(boxes, dtype=torch.float).reshape(-1, 4),
                labels=torch.zeros(count, dtype=torch.long),
                scores=torch.full((count,), 0.9),
            )
        return batch["data_samples"]


@pytest.mark.parametrize("left", [8, 50, 90])
def test_horizontal_boxes_of_overlapping_windows_are_one(left: int, tmp_path: Path) -> None:
    """Windows of 64 px at 0 and at 48: the middle box is whole in both."""
    detector = Detector(kind="retinanet", channels=16)
    protocol = tiny_dota.job(tmp_path).spec.settings.model_copy(update={"detector": detector})
    job = tiny_dota.job(tmp_path, task="detection", dataset="xView", protocol=protocol)
    context, task = context_of(job, None), catalog.load("task", "detection")
    init_default_scope(task.scope)
    config = task.dataset(context, "test")
    pipeline = Pipeline(config["kind"], config["transforms"])
    pixels = np.zeros((64, 112, 3), dtype=np.uint8)
    pixels[20:30, left : left + 10] = 255
    Image.fromarray(pixels).save(tmp_path / "image.png")
    trained = Trained(job.id, context, task, Bright(), pipeline, "cpu")
    size, found = detect(trained, tmp_path / "image.png")
    assert size == (112, 64)
    assert found.boxes.tolist() == [[left, 20, left + 10, 30]]


def test_boxes_are_told_and_drawn_beside_the_truth(
    detector: tuple[JobFile, Path], tmp_path: Path
) -> None:
    job, images = detector
    for place, name in (("a", "P1.jpg"), ("b", "P1.tif")):
        (tmp_path / place).mkdir()
        Image.open(images / "P1.png").convert("L").save(tmp_path / place / name)
    mine = [tmp_path / "a" / "P1.jpg", tmp_path / "b" / "P1.tif"]
    before = [path.read_bytes() for path in mine]
    out = tmp_path / "out"
    words = [str(path) for path in (images / "P1.png", *mine)]
    result = call(job, *words, "--output", str(out), "--score", "0.2", "--json")
    told = json.loads(result.stdout)
    assert told["job"] == job.id
    assert [row["image"] for row in told["images"]] == words
    names = ["P1.predicted.jpg", "P1.predicted-2.jpg", "P1.predicted-3.jpg"]
    assert [row["picture"] for row in told["images"]] == [str(out / name) for name in names]
    widths = [header(out / name).size[0] for name in names]
    assert widths == [2 * SIZE[0], SIZE[0], SIZE[0]]  # of strange images no truth is known
    for row in told["images"]:
        assert row["size"] == list(SIZE)
        scores = [box["score"] for box in row["boxes"]]
        assert scores == sorted(scores, reverse=True)
        assert all(
            0.2 <= score <= 1 and len(b["box"]) == 8
            for score, b in zip(scores, row["boxes"], strict=True)
        )
    assert [path.read_bytes() for path in mine] == before
    text = call(job, words[0], "--output", str(out), "--score", "1").stdout
    assert text == f"{words[0]}: {out / names[0]}\n  nothing found\n"


def test_a_picture_never_takes_the_place_of_an_image(
    detector: tuple[JobFile, Path], tmp_path: Path
) -> None:
    job, images = detector
    for name in ("P1.jpg", "P1.predicted.jpg"):
        Image.open(images / "P1.png").save(tmp_path / name)
    before = (tmp_path / "P1.predicted.jpg").read_bytes()
    words = [str(tmp_path / name) for name in ("P1.jpg", "P1.predicted.jpg")]
    call(job, *words, "--output", str(tmp_path))
    assert (tmp_path / "P1.predicted.jpg").read_bytes() == before
    made = {path.name for path in tmp_path.glob("*.jpg")}
    assert made == {
        "P1.jpg",
        "P1.predicted.jpg",
        "P1.predicted-2.jpg",
        "P1.predicted.predicted.jpg",
    }


def test_a_picture_is_classified_as_in_the_jobs_own_test(tmp_path: Path, tiny_data: Path) -> None:
    protocol = short_protocol(32, Span(iterations=1), 2)
    given = {"task": "classification", "dataset": "EuroSAT", "data": "subset", "protocol": protocol}
    job = tiny_dota.job(tmp_path, **given)
    context, task, model = built(job)
    save(model, job_paths(job.roots, job.id))
    roots = job.roots.model_copy(update={"data": str(tiny_data)})
    config = task.dataset(Context(**{**vars(context), "roots": roots}), "test")
    dataset = LabelledImages(**{name: value for name, value in config.items() if name != "type"})
    image = str(dataset.samples[0].path)
    (row,) = json.loads(call(job, image, "--json").stdout)["images"]
    with torch.no_grad():
        shares = model(dataset[0]["inputs"][None], None, None).softmax(dim=1)[0]
    best = shares.topk(5)
    assert [each["probability"] for each in row["classes"]] == pytest.approx(
        best.values.tolist(), abs=1e-4
    )
    names = [context.card.classes[i] for i in best.indices.tolist()]
    assert [each["class"] for each in row["classes"]] == names
    lines = call(job, image).stdout.splitlines()
    assert (lines[0], len(lines), lines[1].split()[0]) == (image, 6, names[0])


def deep(path: Path) -> None:
    Image.fromarray(np.zeros((8, 8), dtype=np.uint16)).save(path)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nojob", "good.png"], "nojob: no such job"),
        (["planned", "good.png"], "has no checkpoint to predict with in "),
        (["planned"], "name one image or more after the job"),
        (["planned", "good.png", "--score", "1.5"], "--score 1.5: must be from 0 to 1"),
        (["planned", "good.png", "--score", "nan"], "--score nan: must be from 0 to 1"),
        (["planned", "good.png", "none.png"], "none.png: not there"),
        (["planned", "text.png"], "text.png: cannot be opened"),
        (["planned", "deep.png"], "deep.png: uint16 pixels where 8 bits are meant"),
        (["planned", "deep.tif"], "deep.tif: uint16 pixels where 8 bits are meant"),
        (["done", "torn.png"], "torn.png: cannot be read as an image"),
        (["done", "good.png", "--output", "text.png"], "text.png: cannot be made a folder"),
    ],
)
def test_wrong_input_is_one_line_and_exit_2(
    words: list[str],
    message: str,
    detector: tuple[JobFile, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("RUNS", "RESULTS", "DATA"):
        monkeypatch.delenv(f"MTP_BENCH_{name}", raising=False)
    job, images = detector
    place = ["--runs", job.roots.runs, "--results", job.roots.results]
    if words[0] == "planned":
        job, place = tiny_dota.job(tmp_path), []
    words = [job.id if word in ("planned", "done") else word for word in words]
    whole = (images / "P1.png").read_bytes()
    Path("good.png").write_bytes(whole)
    Path("torn.png").write_bytes(whole[: len(whole) // 2])
    Path("text.png").write_text("no image")
    deep(Path("deep.png"))
    deep(Path("deep.tif"))
    monkeypatch.setattr("sys.argv", ["mtp-bench", "predict", *words, *place])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert message in told.err
    assert len(told.err.strip().splitlines()) == 1
