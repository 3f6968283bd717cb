"""Evaluation inside mmengine: predictions become scenes, scenes figures, in every process alike."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mmengine.dist import all_gather_object, get_rank
from mmengine.evaluator import BaseMetric
from mmengine.utils import get_object_from_string

from mtp_bench import catalog
from mtp_bench.datasets.access import card_of
from mtp_bench.suite.schema import JobSpec
from mtp_bench.tasks.task import Judged, Task


class Predictions(BaseMetric):
    """Judges a split; ``judged`` has the last figures, with their details.

    ``folder``, set by a job, is where what was found in each scene or picture is kept.
    """

    def __init__(self, spec: dict[str, Any], role: str = "test") -> None:
        super().__init__(collect_device="cpu")
        self._spec = JobSpec.model_validate_json(json.dumps(spec))
        self._task: Task = catalog.training_of(self._spec)
        self._card = card_of(self._spec.dataset)
        self._role = role
        self._units: Any = None
        self._kept: Any = None
        self._start()
        self.folder: Path | None = None
        self.judged: Judged | None = None

    def _start(self) -> None:
        if self._task.units:
            self._units = get_object_from_string(self._task.units)()

    def process(self, data_batch: Any, data_samples: Sequence[Any]) -> None:
        del data_batch
        if self._task.settle is None:
            self.results.extend(data_samples)
            return
        for sample in data_samples:
            whole = self._units.add(sample)
            if whole is None:
                continue
            stats, found = self._task.settle(self._card, whole)
            if stats is not None:
                self.results.append(stats)
            if self.folder is not None:
                self._kept = self._kept or self._units.keeper(self.folder, self._role, get_rank())
                self._kept.add(whole, found)

    def evaluate(self, size: int) -> dict[str, float]:
        """Of scenes and maps no process predicts one twice, and they need not be the samples."""
        if self._task.settle is None:
            figures: dict[str, float] = super().evaluate(size)
            return figures
        if self._kept is not None:
            self._kept.close()
            self._kept = None
        self._start()
        gathered = [stats for part in all_gather_object(self.results) for stats in part]
        self.results.clear()
        return self.compute_metrics(gathered)

    def compute_metrics(self, results: list[Any]) -> dict[str, float]:
        """Figures by name, from the whole split; none of a split whose labels are held back."""
        if self._role == "server":
            return {}
        self.judged = self._task.judge(self._spec, self._card, results)
        return {name: value for name, (value, _, _) in self.judged.metrics.items()}
