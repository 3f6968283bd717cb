"""A DOTA-v1.0 of a few small scenes, and a detection job on it that takes no time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from mtp_bench.datasets.access import miniature_root
from mtp_bench.suite.identity import job_id
from mtp_bench.suite.protocol import Detector, Span, TestSettings, Tiling
from mtp_bench.suite.schema import JobFile, JobSpec, Resources, Roots
from tests.protocols import short_protocol

SIZE = (112, 80)


def square(left: int, top: int, name: str = "ship", difficult: int = 0) -> str:
    """An object of 16 px as DOTA writes it."""
    right, bottom = left + 16, top + 16
    return f"{left} {top} {right} {top} {right} {bottom} {left} {bottom} {name} {difficult}"


def write(cache: Path, scenes: Mapping[str, Mapping[str, Sequence[str]]]) -> Path:
    """The miniature of DOTA-v1.0, instead of a rendered one: split → scene → lines."""
    root, rng = miniature_root("DOTA-v1.0", cache), np.random.default_rng(0)
    for split, lines in scenes.items():
        for folder in ("images", "labelTxt"):
            (root / split / folder).mkdir(parents=True)
        for name, rows in lines.items():
            pixels = rng.integers(0, 256, (SIZE[1] // 8, SIZE[0] // 8, 3)).astype(np.uint8)
            image = Image.fromarray(pixels).resize(SIZE, Image.Resampling.BICUBIC)
            image.save(root / split / "images" / f"{name}.png")
            text = "".join(f"{row}\n" for row in rows)
            (root / split / "labelTxt" / f"{name}.txt").write_text(text)
    return root


def job(folder: Path, **changes: Any) -> JobFile:
    """A job that is judged on val, with tiles of 64 px, and its file in ``runs``."""
    protocol = short_protocol(
        64,
        Span(iterations=1),
        2,
        test=TestSettings(image_size=64, batch_size=2),
        tiling=Tiling(size=64, gap=16),
        train_on_val=False,
        detector=Detector(
            kind="oriented_rcnn", channels=16, fc_channels=16, roi_size=3, proposals=40
        ),
    )
    given = {
        "kind": "finetune",
        "backbone": "timm/test_resnet",
        "recipe": "scratch",
        "stages": (),
        "task": "rotated_detection",
        "dataset": "DOTA-v1.0",
        "data": "miniature",
        "protocol": protocol,
        "seed": 0,
    }
    spec = JobSpec.model_validate(given | changes)
    roots = Roots(
        runs=str(folder / "runs"),
        results=str(folder / "results"),
        data=None,
        weights=None,
        cache=str(folder / "cache"),
    )
    made = JobFile(id=job_id(spec), spec=spec, resources=Resources(), roots=roots)
    path = folder / "runs" / made.id / "job.json"
    path.parent.mkdir(parents=True)
    path.write_text(made.model_dump_json())
    return made
