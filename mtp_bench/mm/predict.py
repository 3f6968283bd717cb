"""What a trained job says of pictures of any size, as its own evaluation would."""

import io
from collections.abc import Iterator
from contextlib import redirect_stdout
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from mmengine.logging import MMLogger
from mmengine.registry import MODELS, init_default_scope
from PIL import Image
from rasterio.errors import RasterioError

from mtp_bench import catalog
from mtp_bench.backbones import torchvision_shim
from mtp_bench.datasets import loading
from mtp_bench.datasets.augment import test_transform
from mtp_bench.datasets.cutting import picture_tiles
from mtp_bench.datasets.pixels import Pixels, first_line, header, rgb
from mtp_bench.datasets.tiling import Window, windows
from mtp_bench.errors import UserError
from mtp_bench.metrics import merging
from mtp_bench.metrics.boxes import Detections
from mtp_bench.mm import checkpoints, loader
from mtp_bench.mm.finetune import context_of
from mtp_bench.store.paths import JobPaths
from mtp_bench.suite.schema import JobFile
from mtp_bench.tasks.task import Context, Scene, Task

torchvision_shim.apply()

from mtp_bench.mm.boxes import Pipeline  # noqa: E402
from mtp_bench.mm.scenes import Gathering  # noqa: E402

HORIZONTAL_NMS = 0.5
"""Of whole scenes; evaluation judges horizontal boxes tile by tile, as published."""


Part = tuple[Window, Pixels]


@dataclass(frozen=True, eq=False)
class Trained:
    """A job's model, ready to predict."""

    job: str
    context: Context
    task: Task
    model: Any
    pipeline: Any
    """From pixels to what the model takes, as in the job's own test."""
    device: str


def load(job: JobFile, paths: JobPaths) -> Trained:
    """The model of a job's newest whole checkpoint. ``UserError`` where there is none."""
    loader.install()
    MMLogger.get_instance(job.id).setLevel("ERROR")  # as a job's Runner
    found = checkpoints.newest_whole(paths.checkpoints)
    if found is None:
        raise UserError(f"{job.id}: has no checkpoint to predict with in {paths.checkpoints}")
    task: Task = catalog.load("task", job.spec.task)
    init_default_scope(task.scope)
    context = context_of(job, None)  # the checkpoint has the backbone's weights too
    with redirect_stdout(io.StringIO()):  # libraries print while they are imported
        model: Any = MODELS.build(task.model(context))
        pipeline = _pipeline(context, task)
    model.load_state_dict(loader.strict_load(str(found[0]), map_location="cpu")["state_dict"])
    device = "cuda" if torch.cuda.is_available() else "cpu"
    return Trained(job.id, context, task, model.to(device).eval(), pipeline, device)


def _pipeline(context: Context, task: Task) -> Any:
    if task.settle is None:
        return test_transform(context.spec.settings.test, context.normalisation)
    config = task.dataset(context, "test")
    return Pipeline(config["kind"], config["transforms"])


@torch.no_grad()
def classify(trained: Trained, image: Path) -> list[tuple[str, float]]:
    """Classes and their probabilities, the likeliest first."""
    inputs = trained.pipeline(Image.fromarray(rgb(image)))[None].to(trained.device)
    shares = trained.model(inputs, None, None).float().softmax(dim=1)[0].cpu()
    order = shares.argsort(descending=True, stable=True).tolist()
    return [(trained.context.card.classes[i], float(shares[i])) for i in order]


def detect(trained: Trained, image: Path) -> tuple[tuple[int, int], Detections]:
    """A picture's width and height, and boxes in its pixels.

    It is cut and its windows merged where the data of the job is; no more of a large one is held
    than a row of windows. ``UserError`` where it cannot be read.
    """
    context, gathering = trained.context, Gathering()
    card = loading.source_of(context.spec, context.roots).card()
    size = header(image).size
    parts = windows(size, card.tiles) if card.tiles else [Window(0, 0, max(size))]
    pixels = picture_tiles(image, parts, card.tiles.fill) if card.tiles else _alone(image, parts)
    place = {"scene": ("", str(image)), "tiles": len(parts), "size": size, "truths": None}
    scene: Scene | None = None
    with torch.no_grad():
        for batch in _batches(pixels, context.spec.settings.test.batch_size, image):
            for sample in trained.model.test_step(_together(trained, batch, place)):
                scene = gathering.add(sample.to_dict())
    assert scene is not None
    assert trained.task.settle is not None
    found = trained.task.settle(card, scene)[1]
    if found.boxes.shape[1] == 4 and len(parts) > 1:
        found = merging.merge(found, HORIZONTAL_NMS)
    return size, found.sorted()


def _together(trained: Trained, batch: list[Part], place: dict[str, Any]) -> dict[str, Any]:
    """Windows as the model takes them, each with its place in the scene."""
    items = [trained.pipeline(pixels) for _, pixels in batch]
    for item, (window, _) in zip(items, batch, strict=True):
        item["data_samples"].set_metainfo({**place, "window": tuple(window)})
    return {name: [item[name] for item in items] for name in ("inputs", "data_samples")}


def _alone(image: Path, parts: list[Window]) -> Iterator[Part]:
    yield parts[0], rgb(image)


def _batches(pixels: Iterator[Part], size: int, image: Path) -> Iterator[list[Part]]:
    try:
        while batch := list(islice(pixels, size)):
            yield batch
    except (OSError, ValueError, RasterioError) as error:
        raise UserError(f"{image}: cannot be read as an image ({first_line(error)})") from None
