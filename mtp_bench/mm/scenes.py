"""Test tiles by scene: each process takes whole scenes, and each scene is judged once it is whole.

So that no more is held at once than the tiles of the scenes that are being predicted, whatever the
number of processes, workers or pictures of a batch.
"""

import json
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.dist import get_dist_info
from mmrotate.structures.bbox import RotatedBoxes
from numpy.typing import NDArray
from torch.utils.data import Sampler

from mtp_bench.metrics.boxes import Detections
from mtp_bench.store.files import make_folder
from mtp_bench.tasks.task import Scene

DIGITS = {"boxes": 2, "scores": 5}
"""Of what is kept for pictures and submissions; figures are made of the full numbers."""


class SceneSampler(Sampler[int]):
    """This process's share: neighbouring scenes whole, shares as even as that allows."""

    def __init__(self, dataset: Any, seed: int | None = None) -> None:
        del seed  # mmengine hands one to every sampler
        rank, processes = get_dist_info()
        scenes: Sequence[Any] = dataset.scenes
        starts = [0]
        for _, group in groupby(scenes):
            starts.append(starts[-1] + sum(1 for _ in group))
        ideal = [len(scenes) * i / processes for i in (rank, rank + 1)]
        first, last = (min(starts, key=lambda start: abs(start - point)) for point in ideal)
        self._indices = range(first, last)

    def __iter__(self) -> Iterator[int]:
        return iter(self._indices)

    def __len__(self) -> int:
        return len(self._indices)


class Gathering:
    """Tiles as they come → scenes as they are complete."""

    def __init__(self) -> None:
        self._open: dict[tuple[str, str], list[Any]] = {}

    def add(self, sample: dict[str, Any]) -> Scene | None:
        """A predicted tile; the scene, where this was the last of its tiles."""
        scene = sample["scene"]
        self._open.setdefault(scene, []).append(sample)
        tiles = self._open[scene]
        if len(tiles) < sample["tiles"]:
            return None
        del self._open[scene]
        found = [_detections(tile) for tile in tiles]
        columns = ([getattr(d, name) for d in found] for name in ("boxes", "labels", "scores"))
        boxes, labels, scores = (np.concatenate(column) for column in columns)
        truths = (tile["truths"] for tile in tiles if tile["truths"] is not None)
        size = sample["size"] or _extent(tiles)
        split, key = scene
        whole = Detections(boxes, labels, scores)
        return Scene(split, key, size, len(tiles), whole, next(truths, None))

    def keeper(self, folder: Path, role: str, rank: int) -> "Kept":
        """Where the detections of whole scenes go."""
        return Kept(folder, role, rank)


def _extent(tiles: Sequence[dict[str, Any]]) -> tuple[int, int]:
    """Where nothing tells a scene's size: what its tiles cover."""
    windows = [tile["window"] for tile in tiles]
    wide, high = (max(w[axis] + w[2] for w in windows) for axis in (0, 1))
    return wide, high


def _detections(tile: dict[str, Any]) -> Detections:
    """A tile's predictions in pixels of the scene."""
    found = tile["pred_instances"]
    boxes = found["bboxes"]
    tensor = boxes.tensor if isinstance(boxes, RotatedBoxes) else boxes
    numbers = _array(tensor, np.float64).reshape(-1, tensor.shape[-1])
    left, top = tile["window"][:2]
    offset = [left, top, 0, 0, 0] if numbers.shape[1] == 5 else [left, top, left, top]
    labels, scores = _array(found["labels"], np.int64), _array(found["scores"], np.float64)
    whole = np.isfinite(numbers).all(axis=1) & np.isfinite(scores)  # of a detector that diverged
    return Detections(numbers[whole] + offset, labels[whole], scores[whole])


def _array(tensor: torch.Tensor, kind: type) -> NDArray[Any]:
    return tensor.detach().cpu().numpy().astype(kind)


class Kept:
    """Scenes' detections on disk, a line each, in a file that appears whole."""

    def __init__(self, folder: Path, role: str, rank: int) -> None:
        make_folder(folder)
        self._path = folder / f"{role}.{rank}.jsonl"
        self._draft = self._path.with_suffix(".part")
        self._stream = self._draft.open("w")

    def add(self, scene: Scene, found: Detections) -> None:
        row = {"scene": scene.key, "split": scene.split, "size": list(scene.size)}
        row |= {
            "boxes": found.boxes.round(DIGITS["boxes"]).tolist(),
            "labels": found.labels.tolist(),
            "scores": found.scores.round(DIGITS["scores"]).tolist(),
        }
        self._stream.write(json.dumps(row, separators=(",", ":")) + "\n")

    def close(self) -> None:
        self._stream.close()
        self._draft.replace(self._path)
