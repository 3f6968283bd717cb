"""How fast a segmentation job trains against mmseg's own runner with the same model and settings.

    python benchmarks/segmentation.py [--iterations 200] [--block 10]

UperNet of the demo protocol on SpaceNet-v1's miniature, as ``benchmarks/detection.py`` measures
detectors, whose turns and table it takes: a job with our dataset, draws and hooks, and mmseg's
runner with its dataset reading the same files, its transforms, sampler, schedule and log. At least
0.97 is wanted.
"""

from __future__ import annotations

import argparse
import json
import os
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import detection  # type: ignore[import-not-found]

SHARED = detection.their_config
FLIPS = {"prob": 0.75, "direction": ["horizontal", "vertical", "diagonal"]}
PIPELINE: list[dict[str, Any]] = [
    {"type": "mmcv.LoadImageFromFile"},
    {"type": "mmseg.LoadAnnotations"},
    {"type": "mmseg.Resize", "scale": (128, 128), "keep_ratio": False},
    {"type": "mmcv.RandomFlip", **FLIPS},
    {"type": "mmseg.PackSegInputs"},
]


def their_config(job: Any, folder: Path) -> dict[str, Any]:
    """Detection's, around mmseg's model, dataset and transforms."""
    model = job.model.to_dict()
    job.model = {"detector": model["segmentor"]}  # whose preprocessor it turns to BGR pictures
    config: dict[str, Any] = SHARED(job, folder)
    config["model"] = model | {"segmentor": config["model"]["detector"]}
    config["train_dataloader"]["dataset"]["pipeline"] = PIPELINE
    config["visualizer"]["type"] = "mmseg.SegLocalVisualizer"
    return config | {"default_scope": "mmseg"}


def theirs(job_file: str, line: Connection, block: int) -> None:
    """In a process of its own, where ``detection`` is as it was written."""
    detection.their_config = their_config
    detection.theirs(job_file, line, block)


def write_their_dataset(folder: Path, source: Any) -> None:
    """The training samples in two folders, by links, and the config of the dataset over them."""
    from mtp_bench.datasets import loading
    from mtp_bench.tasks.masks import training

    loaded = loading.load(source)
    suffixes = set()
    for name in ("images", "labels"):
        (folder / name).mkdir()
    for number, sample in enumerate(training(loaded, 1.0, 0)):
        image = sample.images[0]
        suffixes.add(image.suffix)
        (folder / "images" / f"{number}{image.suffix}").symlink_to(image)
        (folder / "labels" / f"{number}.png").symlink_to(str(sample.mask))
    (suffix,) = suffixes
    config = {
        "type": "mmseg.BaseSegDataset",
        "data_prefix": {"img_path": str(folder / "images"), "seg_map_path": str(folder / "labels")},
        "img_suffix": suffix,
        "seg_map_suffix": ".png",
        "metainfo": {"classes": loaded.card.classes},
    }
    (folder / "dataset.json").write_text(json.dumps(config))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--iterations", type=int, default=200)
    parser.add_argument("--block", type=int, default=10)
    chosen = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    detection.theirs, detection.write_their_dataset = theirs, write_their_dataset
    print("images/CPU-s of ours and theirs, ratio, ratio by the clock, peak MiB of both")
    detection.compare("SpaceNet-v1", chosen.iterations, chosen.block)


if __name__ == "__main__":
    main()
