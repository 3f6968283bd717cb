"""Figures as a record has them: named, by class, without those that nothing tells of."""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from mtp_bench.datasets import loading
from mtp_bench.datasets.cards.card import Card
from mtp_bench.errors import UserError
from mtp_bench.tasks.task import Context

Metrics = dict[str, tuple[float, str, bool]]


def held_back(context: Context) -> bool:
    """Whether the labels of test are a server's, and this job leaves judging to it."""
    return bool(loading.roles(context.card, context.spec.settings.train_on_val).server)


def per_class(values: Iterable[float], classes: tuple[str, ...]) -> dict[str, float | None]:
    """Figures by class; None for one that no test object has."""
    return {
        name: None if np.isnan(value) else float(value)
        for name, value in zip(classes, values, strict=True)
    }


def known(card: Card, figures: Mapping[str, float], primary: str) -> Metrics:
    """Figures as metrics, without those that nothing in the test split tells of.

    Raises:
        UserError: where the primary one is among those.
    """
    metrics = {name: (value, "%", True) for name, value in figures.items() if value == value}
    if primary in figures and primary not in metrics:
        raise UserError(f"{card.name}: no test picture has an object that counts: nothing to judge")
    return metrics


def warnings(card: Card, absent: Sequence[str]) -> tuple[str, ...]:
    """The classes that a mean leaves out, named."""
    if not absent:
        return ()
    count = len(card.classes)
    of = f"{count - len(absent)} of {count} classes"
    return (f"{card.name}: the mean is over {of}: no test object of {', '.join(absent)}",)
