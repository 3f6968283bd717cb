"""How fast a detection job trains against mmdet's and mmrotate's own runner, and what it holds.

    python benchmarks/detection.py [--dataset DIOR xView DIOR-R] [--iterations 200] [--block 10]
    python benchmarks/detection.py --assigner [--truths 1000] [--size 800] [--repeats 3]

The first trains the detector of the demo protocol twice, on one thread each: as a job, with our
dataset, draws, hooks, assigner and sampler, and as the libraries would train it: their dataset
reading the same samples from annotation files, their transforms, samplers, assigner, schedule and
log, the same model and optimiser. Two fresh processes take turns, a block of iterations each; the
ratio is that of neighbouring blocks, median (10th-90th percentile), by CPU seconds, which other
processes on the machine disturb least, and by the clock. At least 0.97 is wanted. "peak" is the
largest resident memory of the process; that of a job includes the test split.

The second assigns the anchors of a dense picture to its truths with mmdet's assigner and with ours,
and compares what they give. "peak" is what a process held at most beyond its start: medians, which
vary by some hundred MiB with what the allocator keeps.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import multiprocessing
import os
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple

from mtp_bench.store.control import StopRequest
from mtp_bench.store.paths import cache_root

SUITE = """\
name: detection
protocol: demo
data: miniature
backbones: {{timm/tf_efficientnet_lite0: [scratch]}}
datasets: [{dataset}]
overrides:
  - set: {{length: {{iterations: {total}}}, validate_every: {{iterations: {total}}}}}
"""
BATCH = 8
MODEL = {
    "mtp_bench.mm.assigning.ChunkedAssigner": "mmdet.MaxIoUAssigner",
    "mtp_bench.mm.sampling.SeededSampler": "mmdet.RandomSampler",
}
"""Ours, and the libraries' own in its place."""


class Used(NamedTuple):
    """A process since it began, or in a block."""

    cpu: float
    clock: float
    peak: int
    """Bytes."""


class Turns(StopRequest):
    """Asked in every iteration: after each block it says what was used, and waits to be called."""

    def __init__(self, line: Connection, block: int) -> None:
        super().__init__()
        self._line, self._block, self._asked = line, block, 0
        self._begun = (0.0, 0.0)

    def wanted(self) -> bool:
        if self._asked % self._block == 0:
            cpu, clock = time.process_time(), time.perf_counter()
            peak = 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            self._line.send(Used(cpu - self._begun[0], clock - self._begun[1], peak))
            if not self._line.recv():
                raise SystemExit
            self._begun = (time.process_time(), time.perf_counter())
        self._asked += 1
        return super().wanted()


# The two sides.
def ours(job_file: str, line: Connection, block: int) -> None:
    """The worker, in this process."""
    from mtp_bench.worker import execute, into_log

    into_log(Path(job_file).with_name("ours.txt"))
    execute(Path(job_file), Turns(line, block))


def theirs(job_file: str, line: Connection, block: int) -> None:
    """The libraries' Runner, with model and optimiser of the config that the job left."""
    from mtp_bench.worker import into_log

    folder = Path(job_file).parent
    into_log(folder / "theirs.txt")
    import torch
    from mmengine.config import Config
    from mmengine.hooks import Hook
    from mmengine.runner import Runner

    torch.set_num_threads(1)
    turns = Turns(line, block)

    class Ask(Hook):  # type: ignore[misc]
        priority = "LOWEST"

        def before_train_iter(self, *_: Any, **__: Any) -> None:
            turns.wanted()

    job = Config.fromfile(str(folder / "config.py"))
    runner = Runner.from_cfg(Config(their_config(job, folder)))
    runner.register_hook(Ask())
    runner.train()


def their_config(job: Any, folder: Path) -> dict[str, Any]:
    """As the libraries' own configs are written, for the demo protocol's settings."""
    total, wrapper = job.train_cfg.max_iters, job.optim_wrapper
    model, schedule = with_their_own(job.model.to_dict()), job.custom_hooks[0]
    dataset = json.loads((folder / "dataset.json").read_text())
    rotated = dataset["type"] == "mmrotate.DOTADataset"
    reader = model["detector"]["data_preprocessor"]
    reader["bgr_to_rgb"], reader["rgb_to_bgr"] = not reader["rgb_to_bgr"], False
    warmup = {"type": "LinearLR", "start_factor": schedule.start, "end": schedule.warmup}
    cosine = {"type": "CosineAnnealingLR", "begin": schedule.warmup, "end": total}
    return {
        "default_scope": "mmdet",
        "work_dir": str(folder / "theirs"),
        "model": model,
        "train_dataloader": {
            "batch_size": job.train_dataloader.batch_size,
            "num_workers": 0,
            "sampler": {"type": "InfiniteSampler"},
            "dataset": dataset | {"pipeline": their_pipeline(rotated)},
        },
        "train_cfg": {"type": "IterBasedTrainLoop", "max_iters": total, "val_interval": total + 1},
        "optim_wrapper": {
            "type": "OptimWrapper",
            "optimizer": wrapper.optimizer,
            "clip_grad": wrapper.clip_grad,
        },
        "param_scheduler": [
            {**warmup, "begin": 0, "by_epoch": False},
            {**cosine, "T_max": total - schedule.warmup, "eta_min": 0.0, "by_epoch": False},
        ],
        "default_hooks": {"logger": {"type": "LoggerHook", "interval": 50}, "checkpoint": None},
        "log_processor": {"type": "LogProcessor", "window_size": 50, "by_epoch": False},
        "vis_backends": [{"type": "LocalVisBackend"}],
        "visualizer": {
            "type": "DetLocalVisualizer",
            "vis_backends": [{"type": "LocalVisBackend"}],
            "name": "visualizer",
        },
    }


def their_pipeline(rotated: bool) -> list[dict[str, Any]]:
    flips = {"prob": 0.75, "direction": ["horizontal", "vertical", "diagonal"]}
    boxes = {"box_type": "qbox"} if rotated else {}
    turned = {"type": "mmrotate.ConvertBoxType", "box_type_mapping": {"gt_bboxes": "rbox"}}
    return [
        {"type": "mmcv.LoadImageFromFile"},
        {"type": "mmdet.LoadAnnotations", "with_bbox": True, **boxes},
        *([turned] if rotated else []),
        {"type": "mmdet.Resize", "scale": (128, 128), "keep_ratio": True},
        {"type": "mmdet.RandomFlip", **flips},
        {"type": "mmdet.PackDetInputs"},
    ]


def with_their_own(config: Any) -> Any:
    """A config with the libraries' assigner and sampler instead of ours."""
    if isinstance(config, dict):
        return {key: with_their_own(value) for key, value in config.items()}
    return MODEL.get(config, config) if isinstance(config, str) else config


# What they train on.
def write_job(folder: Path, dataset: str, total: int) -> tuple[Path, Any]:
    """A planned job of so many iterations, its data prepared; its file and its spec's source."""
    from mtp_bench.datasets import loading
    from mtp_bench.executors.prepare import write_job
    from mtp_bench.suite.load import load_suite
    from mtp_bench.suite.plan import make_plan
    from mtp_bench.suite.schema import Resources, Roots

    suite = folder / "detection.yaml"
    suite.write_text(SUITE.format(dataset=dataset, total=total))
    (job,) = make_plan(load_suite(suite)).jobs
    places = {"runs": str(folder / "runs"), "results": str(folder / "results")}
    roots = Roots(**places, data=None, weights=None, cache=str(cache_root()))
    source = loading.source_of(job.spec, roots)
    source.prepare()
    resources = Resources(checkpoint_seconds=1e9)
    return write_job(job, resources, roots, ("benchmark",)), source


def write_their_dataset(folder: Path, source: Any) -> None:
    """The training samples as annotation files, and the config of the dataset that reads them."""
    from mtp_bench.datasets import loading

    loaded = loading.load(source)
    samples = loading.training(loaded, 1.0, 0)
    rotated = loaded.card.task == "rotated_detection"
    write = write_dota if rotated else write_coco
    config = write(folder, samples, loaded.card.classes)
    (folder / "dataset.json").write_text(json.dumps(config))


def write_coco(folder: Path, samples: list[Any], classes: tuple[str, ...]) -> dict[str, Any]:
    images: list[dict[str, Any]] = []
    rows: list[dict[str, Any]] = []
    for number, sample in enumerate(samples):
        width, height = sample.size
        name = str(sample.images[0])
        images.append({"id": number, "file_name": name, "width": width, "height": height})
        objects = sample.objects
        found = zip(objects.boxes.tolist(), objects.labels, objects.difficult, strict=True)
        for (left, top, right, bottom), label, difficult in found:
            wide, high = right - left, bottom - top
            row: dict[str, Any] = {"id": len(rows), "image_id": number, "category_id": int(label)}
            row |= {"bbox": [left, top, wide, high], "area": wide * high}
            rows.append(row | {"iscrowd": int(difficult < 0)})
    categories = [{"id": number, "name": name} for number, name in enumerate(classes)]
    found_ = {"images": images, "annotations": rows, "categories": categories}
    (folder / "coco.json").write_text(json.dumps(found_))
    return {
        "type": "mmdet.CocoDataset",
        "ann_file": str(folder / "coco.json"),
        "data_prefix": {"img": ""},
        "metainfo": {"classes": classes},
        "filter_cfg": {"filter_empty_gt": True, "min_size": 32},
    }


def write_dota(folder: Path, samples: list[Any], classes: tuple[str, ...]) -> dict[str, Any]:
    """Texts by picture; pictures by links, in one folder under one suffix."""
    for name in ("labels", "images"):
        (folder / name).mkdir()
    suffix = samples[0].images[0].suffix
    for number, sample in enumerate(samples):
        (folder / "images" / f"{number}{suffix}").symlink_to(sample.images[0])
        objects = sample.objects
        found = zip(objects.boxes.tolist(), objects.labels, objects.difficult, strict=True)
        lines = (
            " ".join([*map(str, quad), f"class-{label}", "101" if difficult < 0 else "0"])
            for quad, label, difficult in found
        )
        (folder / "labels" / f"{number}.txt").write_text("\n".join(lines))
    return {
        "type": "mmrotate.DOTADataset",
        "ann_file": str(folder / "labels"),
        "data_prefix": {"img_path": str(folder / "images")},
        "img_suffix": suffix[1:],
        "metainfo": {"classes": [f"class-{number}" for number in range(len(classes))]},
        "filter_cfg": {"filter_empty_gt": True},
    }


# Taking turns.
@contextlib.contextmanager
def side(target: Callable[..., None], job_file: Path, block: int) -> Iterator[Callable[[], Used]]:
    """A fresh process, ready to train; what is yielded runs its next block."""
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=target, args=(str(job_file), there, block))
    process.start()
    there.close()

    def answer() -> Used:
        try:
            used: Used = here.recv()
        except EOFError:
            log = job_file.with_name(f"{target.__name__}.txt").read_text()
            sys.exit(f"{target.__name__}: ended early\n{log[-3000:]}")
        return used

    def step() -> Used:
        here.send(True)
        return answer()

    answer()
    try:
        yield step
        here.send(False)
    finally:
        here.close()
        process.join()


def compare(dataset: str, iterations: int, block: int) -> None:
    """Train both sides in turns and print a row."""
    with tempfile.TemporaryDirectory() as room:
        # One block to warm up, and one iteration more than any that is timed.
        job_file, source = write_job(Path(room), dataset, iterations + block + 1)
        write_their_dataset(job_file.parent, source)
        with side(ours, job_file, block) as mine, side(theirs, job_file, block) as other:
            pairs = [(mine(), other()) for _ in range(iterations // block + 1)][1:]
    rates = (
        block * BATCH / statistics.median(u.cpu for u in used) for used in zip(*pairs, strict=True)
    )
    cpu = spread([their.cpu / our.cpu for our, their in pairs])
    clock = spread([their.clock / our.clock for our, their in pairs])
    peaks = (used.peak / 2**20 for used in pairs[-1])
    print(
        f"{dataset:8}{next(rates):8.2f}{next(rates):8.2f}   {cpu}   {clock}"
        f"{next(peaks):8.0f}{next(peaks):8.0f}",
        flush=True,
    )


def spread(values: list[float]) -> str:
    deciles = statistics.quantiles(values, n=10, method="inclusive")
    return f"{statistics.median(values):.3f} ({deciles[0]:.3f}-{deciles[-1]:.3f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--dataset", nargs="+", default=["DIOR", "xView", "DIOR-R"])
    parser.add_argument("--iterations", type=int, default=200)
    parser.add_argument("--block", type=int, default=10)
    parser.add_argument("--assigner", action="store_true")
    parser.add_argument("--truths", type=int, default=1000)
    parser.add_argument("--size", type=int, default=800)
    parser.add_argument("--repeats", type=int, default=3)
    chosen = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    if chosen.assigner:
        from assigner import compare_assigners  # type: ignore[import-not-found]

        compare_assigners(chosen.truths, chosen.size, chosen.repeats)
        return
    print(f"{'':8}{'images/CPU-s':>16}   {'ratio':<22}{'ratio by the clock':<21}{'peak MiB':>16}")
    print(f"{'':8}{'ours':>8}{'theirs':>8}{'':46}{'ours':>8}{'theirs':>8}")
    for dataset in chosen.dataset:
        compare(dataset, chosen.iterations, chosen.block)


if __name__ == "__main__":
    main()
