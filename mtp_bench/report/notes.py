"""What stands around a table: its title, the notes that its figures need, its suite's checks."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pandas as pd

from mtp_bench import catalog
from mtp_bench.report.aggregate import MEAN
from mtp_bench.report.frame import PlanFile, card_of
from mtp_bench.report.pretraining import MEANINGS

Lines = Sequence[Mapping[str, Any]]

LABELS = {"release": "", "subset": "subset of the user's own", "miniature": "miniature"}
SYNTHETIC = "SYNTHETIC demo data, not a benchmark result"


def title(plan: PlanFile, task: str, synthetic: bool) -> str:
    suite = f"{plan.suite} ({plan.title})" if plan.title else plan.suite
    short = catalog.TASKS[task].facts["short"] if task in catalog.TASKS else task
    label = SYNTHETIC if synthetic else LABELS[plan.data]
    return ", ".join(filter(None, (f"{suite}: {short}", f"protocol {plan.protocol}", label)))


def under(jobs: Lines, cells: Lines, rows: Lines) -> tuple[str, ...]:
    """The notes of one table."""
    notes = [
        "mean ± standard deviation over n seeds ('n=2 of 3': one of three is missing); "
        "the best of a column is bold or has a *"
    ]
    if any(cell["delta"] is not None for cell in cells):
        notes.append(
            "Δ: difference to the backbone's baseline recipe, the mean over the k seeds that both "
            "have; 'unpaired' where they share none"
        )
    notes += _datasets(jobs)
    notes += _judges(jobs)
    notes += _means(cells)
    notes += _costs(jobs)
    marks = {int(cell["seen"]) for cell in cells}
    notes += [meaning for mark, meaning in MEANINGS.items() if mark in marks]
    notes += _leaks(jobs) if marks - {0} else ()
    if any(row["after"] for row in rows):
        notes.append("§ after the paper: its protocol on a backbone that it did not train")
    return tuple(notes)


def _datasets(jobs: Lines) -> Iterable[str]:
    for dataset in dict.fromkeys(job["dataset"] for job in jobs):
        done = [job for job in jobs if job["dataset"] == dataset and job["done"]]
        card = card_of(dataset)
        figures = filter(None, (card.metric, card.judged_here)) if card else ()
        meanings = {figure.name: f" = {figure.definition}" for figure in figures}
        parts = []
        for metric, sign in dict.fromkeys((job["metric"], job["sign"]) for job in done):
            better = "higher" if sign > 0 else "lower"
            parts += [f"{metric}{meanings.get(metric, '')}", f"{better} is better"]
        # How many a server judged, it does not say.
        tested = {job["test_images"] for job in done if not job["judge"]} - {None}
        counts = sorted(map(int, tested))
        if counts:
            parts.append(f"{' or '.join(f'{count:,}' for count in counts)} test images")
        if done:
            parts.append(f"split: {' / '.join(sorted({job['split_source'] for job in done}))}")
            yield f"{dataset}: {'; '.join(parts)}"


def _judges(jobs: Lines) -> Iterable[str]:
    """What servers said, and where; which jobs wait for one; what of validation was trained on."""
    judged = [job for job in jobs if job["done"] and job["judge"]]
    for dataset, judge in dict.fromkeys((job["dataset"], job["judge"]) for job in judged):
        own = [job for job in judged if (job["dataset"], job["judge"]) == (dataset, judge)]
        said = {f"{job['value']:g}: {job['source']}" for job in own if job["value"] is not None}
        if said:
            yield f"{dataset}, scores of the {judge}: {'; '.join(sorted(said))}"
        if waiting := [job["job"] for job in own if job["value"] is None]:
            yield (
                f"{dataset}: {len(waiting)} of {len(own)} finished jobs await the score of the "
                f"{judge}: 'mtp-bench submission JOB' writes what to upload, 'mtp-bench score JOB' "
                f"notes what it says ({waiting[0]}{', …' * (len(waiting) > 1)})"
            )
        if any(job["val_seen"] for job in own):
            seen = "trained on train + val, as published; its figure on val is of training images"
            yield f"{dataset}: {seen}"


def _leaks(jobs: Lines) -> Iterable[str]:
    """Which recipes have seen a dataset's images in pretraining, and how."""
    for dataset in dict.fromkeys(job["dataset"] for job in jobs if job["seen"]):
        recipes = dict.fromkeys(j["recipe"] for j in jobs if j["dataset"] == dataset and j["seen"])
        card = card_of(dataset)
        for overlap in card.overlaps if card else ():
            who = " and ".join(recipes)
            yield f"{dataset}: {who} pretrained on {overlap.pretraining}: {overlap.what}"


def _means(cells: Lines) -> Iterable[str]:
    datasets = list(dict.fromkeys(cell["dataset"] for cell in cells if cell["dataset"] != MEAN))
    if len(datasets) < 2:
        return
    averages = [cell for cell in cells if cell["dataset"] == MEAN]
    if averages:
        yield "mean over datasets: taken for each seed that is finished on all of them"
    else:
        yield "no mean over datasets: their metrics or judges differ"
    for cell in (cell for cell in averages if cell["n"] == 0):
        row = (cell["backbone"], cell["recipe"])
        own = [c for c in cells if c["n"] > 0 and (c["backbone"], c["recipe"]) == row]
        lacks = [name for name in datasets if name not in {c["dataset"] for c in own}]
        why = f"it lacks {', '.join(lacks)}" if lacks else "no seed is finished on all datasets"
        if own:
            yield f"no mean over datasets for {row[0]} {row[1]}: {why}"


def _costs(jobs: Lines) -> Iterable[str]:
    hardware = Counter(job["hardware"] for job in jobs if job["done"])
    if not hardware:
        return
    yield (
        "costs are of the finished fine-tuning jobs, without pretraining: median images/s, highest "
        "peak of memory (of the device, or rss: resident memory of the processes), hours summed"
    )
    if len(hardware) == 1:
        yield f"costs measured on {next(iter(hardware))}"
    else:
        mix = "; ".join(f"{name} ({n} jobs)" for name, n in hardware.most_common())
        yield f"costs mix hardware, so that rows do not compare: {mix}"


def warnings(jobs: pd.DataFrame) -> dict[str, list[str]]:
    """By suite: rows that share a probe, unequal data in a column, what the records warn of."""
    done = jobs[jobs["done"]]
    found: dict[str, list[str]] = defaultdict(list)
    for suite, line in (*_probes(done), *_differences(done), *_own(done)):
        found[suite].append(line)
    return found


def _probes(done: pd.DataFrame) -> Iterable[tuple[str, str]]:
    """A probe hashes the backbone's output before training: one in two rows means equal weights."""
    rows: dict[tuple[str, str], dict[str, None]] = defaultdict(dict)
    for suite, probe, backbone, recipe in _values(done, "suite", "probe", "backbone", "recipe"):
        rows[suite, probe][f"{backbone} {recipe}"] = None
    lines = [
        (suite, f"{' and '.join(names)} started from the same weights (equal probes)")
        for (suite, probe), names in rows.items()
        if probe and len(names) > 1
    ]
    return dict.fromkeys(lines)


def _differences(done: pd.DataFrame) -> Iterable[tuple[str, str]]:
    """Seeds of one row that started from different files are no repetitions of each other."""
    for (suite, backbone, recipe), n in _unequal(done, ["suite", "backbone", "recipe"], "weights"):
        if "+" not in recipe:
            yield suite, f"{backbone} {recipe}: started from {n} different weights files"
    for (suite, dataset), n in _unequal(done, ["suite", "dataset"], "fingerprint"):
        yield suite, f"{dataset}: the runs saw {n} different data (data_fingerprint)"


def _unequal(done: pd.DataFrame, keys: list[str], name: str) -> Iterable[tuple[Any, int]]:
    """Groups in which a column holds more than one value, and how many."""
    counts = done.groupby(keys, sort=False)[name].nunique()
    return counts[counts > 1].items()


def _own(done: pd.DataFrame) -> Iterable[tuple[str, str]]:
    jobs: dict[tuple[str, str], list[str]] = defaultdict(list)
    for suite, job, texts in _values(done, "suite", "job", "warnings"):
        for text in texts:
            jobs[suite, text].append(job)
    for (suite, text), names in jobs.items():
        more = f" and {len(names) - 1} more" if len(names) > 1 else ""
        yield suite, f"{names[0]}{more}: {text}"


def _values(frame: pd.DataFrame, *names: str) -> Iterable[tuple[Any, ...]]:
    return zip(*(frame[name].to_numpy(object).tolist() for name in names), strict=True)
