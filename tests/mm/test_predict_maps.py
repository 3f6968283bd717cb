"""`mtp-bench predict` of label maps: as the job's own evaluation, on pictures of any size."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import torch
from mmengine.registry import MODELS, init_default_scope
from numpy.typing import NDArray
from PIL import Image
from rasterio import Affine
from typer.testing import CliRunner

from mtp_bench import catalog
from mtp_bench.backbones import torchvision_shim
from mtp_bench.cli import app, main
from mtp_bench.datasets.draw import colour
from mtp_bench.datasets.loading import source_of
from mtp_bench.datasets.manifest import read
from mtp_bench.mm.configs import context_of
from mtp_bench.store.paths import job_paths
from mtp_bench.suite.schema import JobFile
from mtp_bench.tasks import map_pictures
from mtp_bench.tasks.task import Task
from tests import tiny_maps
from tests.tiny_maps import SIZE, noise, save

torchvision_shim.apply()

from mtp_bench.mm import predict  # noqa: E402
from mtp_bench.mm.masks import MaskImages  # noqa: E402
from mtp_bench.mm.predict import Trained, label_map, load  # noqa: E402
from mtp_bench.mm.predictions import Predictions  # noqa: E402

pytestmark = [
    pytest.mark.mm,
    pytest.mark.filterwarnings("ignore:Default ``avg_non_ignore``"),
    pytest.mark.filterwarnings("ignore:The given NumPy array is not writable"),
]


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """As jobs run; several that share few cores wait for one another."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def trained(job: JobFile) -> Trained:
    """The job with a checkpoint: of first weights, its classes told apart."""
    context = context_of(job, None)
    task: Task = catalog.load("task", job.spec.task)
    init_default_scope(task.scope)
    torch.manual_seed(0)
    model: Any = MODELS.build(task.model(context))
    model.decode_head.conv_seg.weight.data.normal_()
    model.train()  # a few statistics for batch norm, or all pixels look alike
    inputs = torch.rand(4, 6 if task.model(context)["dates"] == 2 else 3, 64, 64) * 4 - 2
    with torch.no_grad():
        for _ in range(20):
            model._forward(inputs)
    paths = job_paths(job.roots, job.id)
    paths.checkpoints.mkdir(parents=True)
    checkpoint = {"meta": {"iter": 1}, "state_dict": model.state_dict()}
    torch.save(checkpoint, paths.checkpoints / "iter_1.pth")
    return load(job, paths)


def evaluated(job: JobFile, found: Trained) -> Path:
    """The folder of what the job's own evaluation keeps."""
    config = found.task.dataset(found.context, "test")
    dataset = MaskImages(**{name: value for name, value in config.items() if name != "type"})
    metric = Predictions(job.spec.model_dump(mode="json"))
    metric.folder = job_paths(job.roots, job.id).predictions
    for index in range(len(dataset)):
        item = dataset[index]
        with torch.no_grad():
            told = found.model.test_step({name: [value] for name, value in item.items()})
        metric.process(None, [sample.to_dict() for sample in told])
    metric.evaluate(len(dataset))
    return metric.folder / "test"


def pixels(path: Path) -> NDArray[np.uint8]:
    with Image.open(path) as image:
        return np.asarray(image)


@pytest.fixture(scope="module")
def sliding(tmp_path_factory: pytest.TempPathFactory) -> tuple[JobFile, Trained, Path]:
    """A segmentation job whose windows of 64 px overlap by 16, its model and its dataset."""
    folder = tmp_path_factory.mktemp("sliding")
    root = tiny_maps.write_loveda(folder / "cache")
    job = tiny_maps.job(folder, "LoveDA", stride=48)
    source_of(job.spec, job.roots).prepare()
    return job, trained(job), root


@pytest.fixture(scope="module")
def change(tmp_path_factory: pytest.TempPathFactory) -> tuple[JobFile, Trained, Path]:
    """A job on tiles of 64 px that its test enlarges to 96, its model and its dataset."""
    folder = tmp_path_factory.mktemp("change")
    root = tiny_maps.write_levir(folder / "cache")
    job = tiny_maps.job(folder, "LEVIR-CD", test_size=96)
    source_of(job.spec, job.roots).prepare()
    return job, trained(job), root


def test_a_picture_has_the_map_of_the_jobs_own_evaluation(
    sliding: tuple[JobFile, Trained, Path],
) -> None:
    job, model, root = sliding
    kept = evaluated(job, model)
    for name in ("Rural/2", "Urban/3"):
        domain, number = name.split("/")
        found = label_map(model, [root / "Val" / domain / "images_png" / f"{number}.png"])
        assert found.shape == SIZE[::-1]
        assert len(np.unique(found)) > 2
        assert (found == pixels(kept / f"val__{domain}%2F{number}.png")).all()


@pytest.mark.parametrize("size", [(64, 64), (40, 56), (64, 200), (199, 40), (150, 230)])
def test_strips_are_what_the_model_says_of_the_whole(
    size: tuple[int, int], sliding: tuple[JobFile, Trained, Path], tmp_path: Path
) -> None:
    _, model, _ = sliding
    save(tmp_path / "image.png", noise(size, 7))
    item = model.pipeline(noise(size, 7))
    with torch.no_grad():
        (whole,) = model.model.test_step({name: [value] for name, value in item.items()})
    found = label_map(model, [tmp_path / "image.png"])
    assert (found == whole.pred_sem_seg.data[0].numpy()).mean() > 0.999  # sums may tie
    assert len(np.unique(found)) > 2


def test_a_resized_picture_has_the_map_of_the_jobs_own_evaluation(
    sliding: tuple[JobFile, Trained, Path], tmp_path: Path
) -> None:
    roots = sliding[0].roots
    job = tiny_maps.job(tmp_path, "LoveDA")
    job = job.model_copy(update={"roots": job.roots.model_copy(update={"cache": roots.cache})})
    model = trained(job)
    kept = evaluated(job, model)
    found = label_map(model, [sliding[2] / "Val" / "Rural" / "images_png" / "2.png"])
    assert (found == pixels(kept / "val__Rural%2F2.png")).all()
    assert len(np.unique(found)) > 2


def test_a_pair_has_the_maps_of_its_tiles_padding_and_all(
    change: tuple[JobFile, Trained, Path],
) -> None:
    job, model, root = change
    kept = evaluated(job, model)
    found = label_map(model, [root / "test" / date / "test_1.png" for date in "AB"])
    assert set(np.unique(found)) == {0, 1}
    for left in (0, 64):
        for top in (0, 64):
            tile = pixels(kept / f"test__test_1__64__{left}___{top}.png")
            inner = found[top : top + 64, left : left + 64]
            assert (inner == tile[: inner.shape[0], : inner.shape[1]]).all()
    folder = next((Path(job.roots.cache) / "prepared").iterdir())
    tile_pair = read(folder, "test", root)[0].images
    assert (label_map(model, tile_pair) == pixels(kept / "test__test_1__64__0___0.png")).all()


def test_no_more_logits_are_held_than_of_a_row_of_windows(
    sliding: tuple[JobFile, Trained, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    held: list[tuple[int, ...]] = []
    zeros = torch.zeros

    def noted(*shape: int) -> torch.Tensor:
        held.append(shape)
        return zeros(*shape)

    monkeypatch.setattr(torch, "zeros", noted)
    save(tmp_path / "image.png", noise((96, 800), 3))
    assert predict.label_map(sliding[1], [tmp_path / "image.png"]).shape == (800, 96)
    assert held == [(7, 64, 96)]


def call(job: JobFile, *words: str) -> Any:
    folders = ("--runs", job.roots.runs, "--results", job.roots.results)
    result = CliRunner().invoke(app, ["predict", job.id, *words, *folders])
    if result.exception is not None:
        raise result.exception
    return result


def test_labels_and_pictures_of_a_segmentation(
    sliding: tuple[JobFile, Trained, Path], tmp_path: Path
) -> None:
    job, model, root = sliding
    known = root / "Val" / "Rural" / "images_png" / "2.png"
    mine = tmp_path / "2.png"  # of the same name, with a fourth channel
    four = np.dstack([pixels(known), np.full(SIZE[::-1], 9, np.uint8)])
    save(mine, four)
    result = call(job, str(known), str(mine), "--output", str(tmp_path), "--json")
    told = json.loads(result.stdout)
    assert told["job"] == job.id
    first, second = told["images"]
    assert first["labels"] == str(tmp_path / "2.labels.png")
    assert second["labels"] == str(tmp_path / "2.labels-2.png")
    assert second["picture"] == str(tmp_path / "2.predicted-2.jpg")
    assert (pixels(mine) == four).all()
    expected = label_map(model, [known])
    for row in (first, second):
        assert (row["size"], len(row["classes"])) == (list(SIZE), 7)
        assert (pixels(Path(row["labels"])) == expected).all()
        shares = [each["share"] for each in row["classes"]]
        assert shares == pytest.approx([(expected == i).mean() for i in range(7)], abs=1e-5)
    with Image.open(first["labels"]) as image:
        assert image.mode == "P"
        assert image.convert("RGB").getpixel((5, 5)) == colour(int(expected[5, 5]))
    widths = [pixels(Path(row["picture"])).shape[1] for row in (first, second)]
    assert widths == [3 * SIZE[0], SIZE[0]]  # of a strange image no truth is known
    lines = call(job, str(mine), "--output", str(tmp_path / "out")).stdout.splitlines()
    made = [tmp_path / "out" / name for name in ("2.predicted.jpg", "2.labels.png")]
    assert lines[0] == f"{mine}: {made[0]} {made[1]}"
    assert [line.split()[0] for line in lines[1:3]] == ["background", "building"]


def test_a_geotiff_keeps_its_place(sliding: tuple[JobFile, Trained, Path], tmp_path: Path) -> None:
    job, model, _ = sliding
    place = {"crs": "EPSG:32633", "transform": Affine(0.3, 0, 391000.25, 0, -0.3, 5820000.5)}
    planes = noise(SIZE, 5).transpose(2, 0, 1)
    kind = {"driver": "GTiff", "dtype": "uint8", "count": 4, "width": SIZE[0], "height": SIZE[1]}
    with rasterio.open(tmp_path / "scene.tif", "w", **kind, **place) as raster:
        raster.write(np.concatenate([planes, planes[:1]]))
    (row,) = json.loads(
        call(job, str(tmp_path / "scene.tif"), "--output", str(tmp_path), "--json").stdout
    )["images"]
    assert row["labels"] == str(tmp_path / "scene.labels.tif")
    with rasterio.open(row["labels"]) as raster, rasterio.open(tmp_path / "scene.tif") as scene:
        assert (raster.crs, raster.transform) == (scene.crs, scene.transform)
        assert raster.crs.to_epsg() == 32633
        assert (raster.dtypes, raster.compression.name) == (("uint8",), "deflate")
        assert raster.colormap(1)[3] == (*colour(3), 255)
        assert (raster.read(1) == label_map(model, [tmp_path / "scene.tif"])).all()


def test_pairs_are_predicted_side_by_side(
    change: tuple[JobFile, Trained, Path], tmp_path: Path
) -> None:
    job, model, root = change
    dates = [str(root / "test" / date / "test_1.png") for date in "AB"]
    out = ("--output", str(tmp_path), "--json")
    rows = json.loads(call(job, *dates, *reversed(dates), *dates, *out).stdout)["images"]
    assert [(row["image"], row["after"]) for row in rows] == [tuple(dates), tuple(dates[::-1])]
    assert rows[1]["labels"] == str(tmp_path / "test_1.labels-2.png")
    found = label_map(model, [Path(date) for date in dates])
    changed = {"class": "changed", "share": pytest.approx((found == 1).mean(), abs=1e-5)}
    assert rows[0]["classes"][1] == changed
    picture = pixels(Path(rows[0]["picture"])).astype(int)
    assert picture.shape[1] == 3 * SIZE[0]
    shown = picture[: SIZE[1], 2 * SIZE[0] :, 0] > 128
    assert (shown == (found == 1)).mean() > 0.95  # JPEG


def test_pictures_beside_a_job_are_of_its_own_predictions(
    change: tuple[JobFile, Trained, Path], tmp_path: Path
) -> None:
    job, model, _ = change
    kept = evaluated(job, model)
    assert map_pictures.draw_worst(job.spec, job.roots, kept, tmp_path) == 4


def test_a_small_pair_is_resized_as_a_whole(
    change: tuple[JobFile, Trained, Path], tmp_path: Path
) -> None:
    _, model, _ = change
    both = [noise((40, 56), seed) for seed in (1, 2)]
    for name, date in zip("ab", both, strict=True):
        save(tmp_path / f"{name}.png", date)
    item = model.pipeline(np.concatenate(both, axis=2))
    assert item["inputs"].shape == (6, 96, 96)
    with torch.no_grad():
        (whole,) = model.model.test_step({name: [value] for name, value in item.items()})
    found = label_map(model, [tmp_path / "a.png", tmp_path / "b.png"])
    assert found.shape == (56, 40)
    assert (found == whole.pred_sem_seg.data[0].numpy()).all()


@pytest.mark.parametrize(
    "case",
    [
        ("change", ["a.png"], "predict: wants BEFORE AFTER, in pairs: 1 images are an odd number"),
        ("change", ["a.png", "b.png", "a.png"], "3 images are an odd number"),
        ("change", ["a.png", "small.png"], "small.png: 40x40 px, and a.png before it 112x80"),
        ("change", ["a.png", "torn.png"], "torn.png: cannot be read as an image"),
        ("sliding", ["deep.tif"], "deep.tif: uint16 pixels where 8 bits are meant"),
        ("sliding", ["text.png"], "text.png: cannot be opened"),
        ("sliding", ["a.png", "--output", "text.png"], "text.png: cannot be made a folder"),
    ],
)
def test_wrong_input_is_one_line_and_exit_2(
    case: tuple[str, list[str], str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    request: pytest.FixtureRequest,
) -> None:
    kind, words, message = case
    monkeypatch.chdir(tmp_path)
    job = request.getfixturevalue(kind)[0]
    for name, size in (("a.png", SIZE), ("b.png", SIZE), ("small.png", (40, 40))):
        save(Path(name), noise(size, 1))
    whole = Path("a.png").read_bytes()
    Path("torn.png").write_bytes(whole[: len(whole) // 2])
    Path("text.png").write_text("no image")
    Image.fromarray(np.zeros((8, 8), dtype=np.uint16)).save("deep.tif")
    place = ["--runs", job.roots.runs, "--results", job.roots.results]
    monkeypatch.setattr("sys.argv", ["mtp-bench", "predict", job.id, *words, *place])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert message in told.err
    assert len(told.err.strip().splitlines()) == 1
