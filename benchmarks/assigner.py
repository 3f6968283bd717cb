"""How much memory the assignment of anchors takes: see ``detection.py --assigner``."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import importlib
import io
import multiprocessing
import statistics
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from backbones import resident  # type: ignore[import-not-found]
from mmdet.registry import TASK_UTILS
from mmengine.structures import InstanceData
from mmrotate.structures.bbox import RotatedBoxes

from mtp_bench.suite.protocol import Detector
from mtp_bench.tasks.detectors import DETECTORS


class Assigned(NamedTuple):
    """An assignment, and what it took beyond what its process held before."""

    mib: float
    seconds: float
    """Of CPU."""
    columns: list[Any]


def apart(assigner: Any, given: tuple[Any, ...]) -> Assigned:
    """An assignment in a process of its own, where no memory that another freed lies about."""

    def work() -> None:
        assigner.assign(*(each[:9] for each in given))
        gc.collect()
        ctypes.CDLL(None).malloc_trim(0)
        Path("/proc/self/clear_refs").write_text("5")  # sets the high-water mark to what is held
        before, start = resident("VmRSS"), time.process_time()
        found = assigner.assign(*given)
        took, used = time.process_time() - start, resident("VmHWM") - before
        names = ("gt_inds", "max_overlaps", "labels")
        there.send(Assigned(used / 2**20, took, [getattr(found, name).numpy() for name in names]))

    here, there = multiprocessing.Pipe()
    process = multiprocessing.get_context("fork").Process(target=work)
    process.start()
    answer: Assigned = here.recv()
    process.join()
    return answer


def priors_of(head: dict[str, Any], size: int) -> Any:
    """Every anchor of a square picture."""
    generator = TASK_UTILS.build(head["anchor_generator"])
    maps = [(-(-size // wide),) * 2 for wide, _ in generator.strides]
    levels = generator.grid_priors(maps, device="cpu")
    return levels[0].cat(levels) if generator.use_box_type else torch.cat(levels)


def compare_assigners(truths: int, size: int, repeats: int) -> None:
    """The published detectors' first stage in turns with mmdet's assigner; truths of 10-60 px."""
    with contextlib.redirect_stdout(io.StringIO()):  # the libraries print while they are imported
        for name in ("mtp_bench.mm.preload", "mmrotate.datasets"):
            importlib.import_module(name)
    torch.set_num_threads(1)
    torch.manual_seed(0)
    centres, sides = size * torch.rand(truths, 2), 10 + 50 * torch.rand(truths, 2)
    horizontal = torch.cat([centres - sides / 2, centres + sides / 2], dim=1)
    rotated = RotatedBoxes(torch.cat([centres, sides, 3 * torch.rand(truths, 1) - 1.5], dim=1))
    labels = torch.randint(20, (truths,))
    print(f"{truths} truths, {size} px   anchors{'peak MiB':>16}{'CPU s':>16}")
    print(f"{'':30}{'ours':>8}{'mmdet':>8}{'ours':>8}{'mmdet':>8}")
    for kind, make in DETECTORS.items():
        config = make(Detector.model_validate({"kind": kind}), 20)
        priors = priors_of(config["rpn_head" if "rpn_head" in config else "bbox_head"], size)
        boxes = rotated if kind == "oriented_rcnn" else horizontal
        given = InstanceData(priors=priors), InstanceData(bboxes=boxes, labels=labels)
        ours = config["train_cfg"].get("rpn", config["train_cfg"])["assigner"]
        both = [TASK_UTILS.build(each) for each in (ours, ours | {"type": "mmdet.MaxIoUAssigner"})]
        turns = [[apart(each, given) for each in both] for _ in range(repeats)]
        mine, other = turns[0]
        if not all(map(np.array_equal, mine.columns, other.columns)):
            raise SystemExit(f"{kind}: the assignments differ")
        sides_ = list(zip(*turns, strict=True))
        peaks = (statistics.median(turn.mib for turn in side) for side in sides_)
        times = (statistics.median(turn.seconds for turn in side) for side in sides_)
        told = [f"{peak:8.0f}" for peak in peaks] + [f"{taken:8.2f}" for taken in times]
        print(f"{kind:20}{len(priors):10}{''.join(told)}", flush=True)
