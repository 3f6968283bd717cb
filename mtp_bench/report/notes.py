"""What stands around a table: its title, the notes that its figures need, and the checks of its suite."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pandas as pd

from mtp_bench import catalog
from mtp_bench.report.aggregate import COLUMN, MEAN
from mtp_bench.report.frame import card_of

Lines = Sequence[Mapping[str, Any]]

LABELS = {"release": "", "subset": "subset of the user's own", "miniature": "miniature"}
SYNTHETIC = "SYNTHETIC demo data, not a benchmark result"


def title(suite: str, task: str, protocol: str, data: str, synthetic: bool) -> str:
    short = catalog.TASKS[task].facts["short"] if task in catalog.TASKS else task
    label = SYNTHETIC if synthetic else LABELS[data]
    return ", ".join(part for part in (f"{suite}: {short}", f"protocol {protocol}", label) if part)


def under(jobs: Lines, cells: Lines, rows: Lines) -> tuple[str, ...]:
    """The notes of one table."""
    notes = [
        "mean ± standard deviation over n seeds ('n=2 of 3': one of three is missing); "
        "the best of a column is bold or has a *"
    ]
    if any(cell["delta"] is not None for cell in cells):
        notes.append(
            "Δ: difference to the backbone's baseline recipe, the mean over the k seeds that both have; "
            "'unpaired' where they share none"
        )
    notes += _datasets(jobs)
    notes += _means(cells)
    notes += _costs(jobs)
    if any(row["after"] for row in rows):
        notes.append("‡ after the paper: its protocol on a backbone that it did not train")
    return tuple(notes)


def _datasets(jobs: Lines) -> Iterable[str]:
    for dataset in dict.fromkeys(job["dataset"] for job in jobs):
        done = [job for job in jobs if job["dataset"] == dataset and job["value"] is not None]
        card = card_of(dataset)
        parts = []
        for metric, sign in dict.fromkeys((job["metric"], job["sign"]) for job in done):
            better = "higher" if sign > 0 else "lower"
            known = card is not None and card.metric.name == metric
            meaning = f" ({card.metric.definition})" if card and known else ""
            parts.append(f"{metric}{meaning}, {better} is better")
        counts = sorted({int(job["test_images"]) for job in done if job["test_images"] is not None})
        parts += [f"n = {' or '.join(f'{count:,}' for count in counts)} test images"] if counts else []
        parts += [f"split: {' / '.join(sorted({job['split_source'] for job in done}))}"] if done else []
        if parts:
            yield f"{dataset}: {'; '.join(parts)}"


def _means(cells: Lines) -> Iterable[str]:
    datasets = list(dict.fromkeys(cell["dataset"] for cell in cells if cell["dataset"] != MEAN))
    if len(datasets) < 2:
        return
    averages = [cell for cell in cells if cell["dataset"] == MEAN]
    if not averages:
        yield "no mean over datasets: their metrics differ"
    for cell in averages:
        if cell["n"] == 0:
            row = (cell["backbone"], cell["recipe"])
            own = [c for c in cells if c["n"] > 0 and (c["backbone"], c["recipe"]) == row]
            lacks = [name for name in datasets if name not in {c["dataset"] for c in own}]
            why = f"it lacks {', '.join(lacks)}" if lacks else "no seed is finished on all datasets"
            yield f"no mean over datasets for {row[0]} {row[1]}: {why}"


def _costs(jobs: Lines) -> Iterable[str]:
    hardware = Counter(job["hardware"] for job in jobs if job["value"] is not None)
    if not hardware:
        return
    yield (
        "costs are those of fine-tuning, without pretraining: median images/s, highest peak of memory "
        "(device memory, or rss: resident memory of the processes), hours of all attempts summed"
    )
    if len(hardware) == 1:
        yield f"costs measured on {next(iter(hardware))}"
    else:
        mix = "; ".join(f"{name} ({n} jobs)" for name, n in hardware.most_common())
        yield f"costs mix hardware, so that rows do not compare: {mix}"


def warnings(jobs: pd.DataFrame) -> dict[str, list[str]]:
    """By suite: rows that share a probe, unequal data in a column, and what the records themselves warn of."""
    done = jobs.dropna(subset="value")
    found: dict[str, list[str]] = defaultdict(list)
    for suite, line in (*_probes(done), *_data(done), *_own(done)):
        found[suite].append(line)
    return found


def _probes(done: pd.DataFrame) -> Iterable[tuple[str, str]]:
    """A probe hashes the backbone's output before training: equal in two rows means equal weights."""
    rows = done[done["probe"] != ""].drop_duplicates(["suite", "probe", "backbone", "recipe"])
    shared = rows[rows.duplicated(["suite", "probe"], keep=False)]
    seen = []
    for (suite, _), group in shared.groupby(["suite", "probe"], sort=False):
        names = [f"{row.backbone} {row.recipe}" for row in group.itertuples()]
        seen.append((str(suite), f"{' and '.join(names)} started from the same weights (equal probes)"))
    return dict.fromkeys(seen)


def _data(done: pd.DataFrame) -> Iterable[tuple[str, str]]:
    lines = done.drop_duplicates([*COLUMN, "fingerprint"])
    counts = lines.groupby(["suite", "dataset"], sort=False)["fingerprint"].nunique()
    for (suite, dataset), count in counts[counts > 1].items():
        yield suite, f"{dataset}: the runs saw {count} different states of the data (data_fingerprint)"


def _own(done: pd.DataFrame) -> Iterable[tuple[str, str]]:
    jobs: dict[tuple[str, str], list[str]] = defaultdict(list)
    for line in done[done["warnings"].map(bool)].itertuples():
        for text in line.warnings:
            jobs[line.suite, text].append(line.job)
    for (suite, text), names in jobs.items():
        more = f" and {len(names) - 1} more" if len(names) > 1 else ""
        yield suite, f"{names[0]}{more}: {text}"
