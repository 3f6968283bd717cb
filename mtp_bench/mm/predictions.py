"""Validation inside mmengine: gather all processes' predictions, let the task judge them."""

from collections.abc import Sequence
from typing import Any

from mmengine.evaluator import BaseMetric

from mtp_bench import catalog
from mtp_bench.datasets.access import card_of
from mtp_bench.tasks.task import Judged


class Predictions(BaseMetric):
    """Keeps the predictions of a split; ``judged`` has the last figures, with their details."""

    def __init__(self, task: str, dataset: str) -> None:
        super().__init__(collect_device="cpu")
        self._judge = catalog.load("task", task).judge
        self._card = card_of(dataset)
        self.judged: Judged | None = None

    def process(self, data_batch: Any, data_samples: Sequence[Any]) -> None:
        del data_batch
        self.results.extend(data_samples)

    def compute_metrics(self, results: list[Any]) -> dict[str, float]:
        """Figures by name, from the whole split."""
        self.judged = self._judge(self._card, results)
        return {name: value for name, (value, _, _) in self.judged.metrics.items()}
