"""What a trained job says of pictures of any size, as its own evaluation would."""

import io
from collections.abc import Generator, Iterator, Sequence
from contextlib import ExitStack, closing, redirect_stdout
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import torch
from mmengine.logging import MMLogger
from mmengine.registry import MODELS, init_default_scope
from numpy.typing import NDArray
from PIL import Image
from rasterio.errors import RasterioError

from mtp_bench import catalog
from mtp_bench.backbones import torchvision_shim
from mtp_bench.datasets import loading
from mtp_bench.datasets.augment import test_transform
from mtp_bench.datasets.cards.card import Tiles
from mtp_bench.datasets.cutting import picture_tiles
from mtp_bench.datasets.pixels import Pixels, first_line, header, rgb
from mtp_bench.datasets.tiling import Window, windows
from mtp_bench.errors import UserError
from mtp_bench.metrics import merging
from mtp_bench.metrics.boxes import Detections
from mtp_bench.mm import checkpoints, loader
from mtp_bench.mm.configs import context_of
from mtp_bench.store.paths import JobPaths
from mtp_bench.suite.schema import JobFile
from mtp_bench.tasks.task import Context, Scene, Task

torchvision_shim.apply()

from mmcv.transforms import Compose  # noqa: E402
from mmseg.datasets.transforms import PackSegInputs  # noqa: E402

from mtp_bench.mm.boxes import Pipeline  # noqa: E402
from mtp_bench.mm.masks import META  # noqa: E402
from mtp_bench.mm.pairs import PackPair  # noqa: E402
from mtp_bench.mm.scenes import Gathering  # noqa: E402

HORIZONTAL_NMS = 0.5
"""Of whole scenes; evaluation judges horizontal boxes tile by tile, as published."""

Part = tuple[Window, Pixels]
"""A window and its (side, side, 3) pixels, or 6 of two dates."""


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
    with redirect_stdout(io.StringIO()):  # libraries print on import
        model: Any = MODELS.build(task.model(context))
        pipeline = _pipeline(context, task)
    model.load_state_dict(loader.strict_load(str(found[0]), map_location="cpu")["state_dict"])
    device = "cuda" if torch.cuda.is_available() else "cpu"
    return Trained(job.id, context, task, model.to(device).eval(), pipeline, device)


def _pipeline(context: Context, task: Task) -> Any:
    if task.settle is None:
        return test_transform(context.spec.settings.test, context.normalisation)
    config = task.dataset(context, "test")
    if "dates" in config:
        return MapPipeline(config["transforms"], config["dates"])
    return Pipeline(config["kind"], config["transforms"])


class MapPipeline:
    """(H, W, 3) pixels, or 6 of two dates, to what a test sample of label maps is."""

    def __init__(self, transforms: list[dict[str, Any]], dates: int) -> None:
        pack = PackSegInputs(META) if dates == 1 else PackPair()
        self._dates, self._transform = dates, Compose([*transforms, pack])

    def __call__(self, pixels: Pixels) -> dict[str, Any]:
        shape = pixels.shape[:2]
        given: dict[str, Any] = {"img_path": "", "img_shape": shape, "ori_shape": shape}
        given |= zip(("img", "img2"), np.split(pixels, self._dates, axis=2), strict=False)
        item: dict[str, Any] = self._transform(given | {"seg_fields": []})
        return item


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
    pixels = _read(image, parts, card.tiles.fill) if card.tiles else _alone(image, parts)
    place = {"scene": ("", str(image)), "tiles": len(parts), "size": size, "truths": None}
    scene: Scene | None = None
    with torch.no_grad():
        for batch in _batches(pixels, context.spec.settings.test.batch_size):
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


def _read(image: Path, parts: list[Window], fill: tuple[int, int, int]) -> Generator[Part]:
    try:
        yield from picture_tiles(image, parts, fill)
    except (OSError, ValueError, RasterioError) as error:
        raise UserError(f"{image}: cannot be read as an image ({first_line(error)})") from None


def _batches(pixels: Iterator[Part], size: int) -> Iterator[list[Part]]:
    while batch := list(islice(pixels, size)):
        yield batch


@torch.no_grad()
def label_map(trained: Trained, images: Sequence[Path]) -> NDArray[np.uint8]:
    """(height, width) classes of a picture, or of the two dates of a pair of one size.

    Windows are as the job's evaluation has them, and where they overlap their logits are averaged
    as there (mmseg's ``slide_inference``), but downwards: of a large picture no more logits are
    held than those of a row of windows. ``UserError`` where a picture cannot be read.
    """
    size = header(images[0]).size
    tiles, padded = _cut(trained.context, size)
    parts, (wide, high) = windows(size, tiles), size
    labels = np.empty((high, wide), dtype=np.uint8)
    # Sums: as many windows are added to all classes of a pixel, and the largest is asked for.
    sums = torch.zeros(len(trained.context.card.classes), min(tiles.size, high), wide)
    first = 0
    for batch in _batches(
        _dates(images, parts, tiles.fill), trained.context.spec.settings.test.batch_size
    ):
        for (left, top, *_), logits in _logits(trained, batch, None if padded else size):
            if top > first:  # what lies above is whole
                labels[first:top] = sums[:, : top - first].argmax(dim=0).numpy()
                sums = sums.roll(first - top, dims=1)
                sums[:, first - top :] = 0
                first = top
            inner = logits[:, : high - top, : wide - left]
            sums[:, : inner.shape[1], left : left + inner.shape[2]] += inner
    labels[first:] = sums[:, : high - first].argmax(dim=0).numpy()
    return labels


def _dates(
    images: Sequence[Path], parts: list[Window], fill: tuple[int, int, int]
) -> Iterator[Part]:
    """The windows of one picture, or of two, one upon the other."""
    # Each picture has GDAL's settings of its own, and takes all away unless there are some before.
    with rasterio.Env(), ExitStack() as stack:
        dates = [stack.enter_context(closing(_read(image, parts, fill))) for image in images]
        for together in zip(*dates, strict=True):
            yield together[0][0], np.concatenate([pixels for _, pixels in together], axis=2)


def _logits(
    trained: Trained, batch: list[Part], size: tuple[int, int] | None
) -> Iterator[tuple[Window, torch.Tensor]]:
    """(classes, h, w) of each window; ``size``, of the picture: what sticks out is cut off."""
    if size is not None:
        batch = [(w, p[: size[1] - w.top, : size[0] - w.left]) for w, p in batch]
    items = [trained.pipeline(np.ascontiguousarray(pixels)) for _, pixels in batch]
    together = {name: [item[name] for item in items] for name in ("inputs", "data_samples")}
    for (window, _), found in zip(batch, trained.model.test_step(together), strict=True):
        yield window, found.seg_logits.data.cpu()


def _cut(context: Context, size: tuple[int, int]) -> tuple[Tiles, bool]:
    """How a picture of this width and height is cut, and whether windows stay padded.

    Sliding windows lie inside, and the model pads what is smaller. Else windows are as the data's
    tiles, or as large as its pictures; what is no larger than one is resized whole.
    """
    test = context.spec.settings.test
    if test.stride is not None:
        gap = test.image_size - test.stride
        return Tiles(test.image_size, gap, least=0), False
    card = loading.source_of(context.spec, context.roots).card()
    if card.tiles is not None:
        tiles = replace(card.tiles, scales=(1.0,), least=0)
    else:
        # Pictures that differ in size are somewhat larger than what is cropped from them.
        side = max(card.picture) if card.picture else card.image_size * 5 // 4
        tiles = Tiles(side, place="grid")
    return tiles, max(size) > tiles.size
