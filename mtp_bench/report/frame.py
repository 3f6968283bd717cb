"""Plans and records → one DataFrame: a line a fine-tuning job, with its figures where it is done.

The one pass over the files. A record that cannot be used is a ``Problem``; the rest is reported.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path
from typing import Any, Literal, NamedTuple

import pandas as pd
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from mtp_bench import catalog
from mtp_bench.datasets.cards.card import Card, MetricCard
from mtp_bench.errors import UserError, nearest
from mtp_bench.report import pretraining
from mtp_bench.report.aggregate import HOURS, PEAKS, RATES
from mtp_bench.store.records import Metric, Record, read_record, record_paths
from mtp_bench.store.scores import Score, read_score
from mtp_bench.suite.identity import job_id
from mtp_bench.suite.plan import Skip
from mtp_bench.suite.schema import DataVariant


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, strict=True, extra="ignore")


class PlannedJob(_Part):
    id: str
    kind: Literal["pretrain", "finetune"]
    task: str
    dataset: str
    backbone: str
    recipe: str
    seed: int
    after: bool
    """The paper's protocol on a backbone that the paper did not train."""
    state: str
    needs: tuple[str, ...] = ()


class PlanFile(_Part):
    """What the report needs of ``results/<suite>/plan.json``."""

    version: Literal[1] = Field(alias="schema")
    suite: str
    title: str
    protocol: str
    data: DataVariant
    baseline: str | dict[str, str] | None
    jobs: tuple[PlannedJob, ...]
    skipped: tuple[Skip, ...]

    def is_baseline(self, backbone: str, recipe: str) -> bool:
        named = self.baseline
        return recipe == (named.get(backbone) if isinstance(named, dict) else named)


VAL_SEEN = "_val_seen"
"""Ends the names of figures on validation images that were trained on."""


@dataclass(frozen=True)
class Problem:
    """A record or a score that is not reported: of which job, and one line that says why."""

    job: str
    line: str


FACTS = ("metric", "unit", "sign", "judge")
"""What says which figure it is; known of a job that has none yet, too."""
MADE = ("hardware", "fingerprint", "split_source", "probe", "weights", "stages")
TEXTS = ("metric", "unit", "judge", "source", *MADE)
FIGURES = ("value", "sign", *RATES, *PEAKS, "parameters", *HOURS, "test_images")
RECORD_COLUMNS = ("job", "synthetic", "val_seen", "seen", "warnings", *TEXTS, *FIGURES)
JOB_COLUMNS = ("task", "dataset", "backbone", "recipe", "seed", "after")
PLAN_COLUMNS = ("suite", "data", "job", "baseline", *JOB_COLUMNS)


def read_plans(results: Path, suites: Sequence[str]) -> tuple[PlanFile, ...]:
    """The plans of these suites, or of all that were planned."""
    known = sorted(path.parent.name for path in results.glob("*/plan.json"))
    if not known:
        advice = "'mtp-bench run SUITE' first, or name another folder with --results"
        raise UserError(f"{results}: no suite has been planned here: {advice}")
    for suite in suites:
        if suite not in known:
            raise UserError(f"unknown suite '{suite}' in {results}: {nearest(suite, known)}")
    return tuple(
        _read_plan(results / name / "plan.json") for name in dict.fromkeys(suites or known)
    )


def _read_plan(path: Path) -> PlanFile:
    try:
        plan = PlanFile.model_validate_json(path.read_bytes())
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the file"
        raise UserError(f"{path}: {where}: {first['msg']}: plan the suite again") from None
    if plan.suite != path.parent.name:
        where = "in another suite's folder: remove or rename it"
        raise UserError(f"{path}: the plan of '{plan.suite}' {where}")
    return plan


class Records(NamedTuple):
    """What a folder of records holds."""

    frame: pd.DataFrame
    """Fine-tuning jobs, a line each."""
    pretrained: dict[str, Record]
    """Pretraining jobs."""
    problems: tuple[Problem, ...]
    """Those that cannot be used."""


def read_records(folder: Path, wanted: Collection[str] | None) -> Records:
    """The records of these jobs (none: all)."""
    tuned: list[tuple[Record, Metric | MetricCard, Score | None]] = []
    pretrained: dict[str, Record] = {}
    problems: list[Problem] = []
    for path in record_paths(folder):
        if wanted is not None and path.stem not in wanted:
            continue
        try:
            record = read_record(path)
            metric = _check(path, record)
            if record.spec.kind == "pretrain":
                pretrained[record.job] = record
            else:
                tuned.append((record, metric, _score(path, record, problems)))
        except UserError as error:
            problems.append(Problem(path.stem, str(error)))
        except OSError as error:
            problems.append(Problem(path.stem, f"{path}: cannot be read ({error.strerror})"))
    rows = [_row(*each, pretrained) for each in tuned]
    frame = pd.DataFrame.from_records(rows, columns=list(RECORD_COLUMNS))
    # Said once for all, since an empty or half-known column would otherwise choose its own type.
    kinds = frame.astype({**dict.fromkeys(FIGURES, "float64"), "seen": "float64"})
    return Records(kinds, pretrained, tuple(problems))


def _check(path: Path, record: Record) -> Metric | MetricCard:
    """What the record's primary figure is; where a judge gives it, the card says."""
    fix = f"'mtp-bench forget {path.stem}' sets it aside"
    if record.job != path.stem:
        raise UserError(f"{path}: holds the record of {record.job}: {fix}")
    if (now := job_id(record.spec)) != record.job:
        raise UserError(f"{path}: the id of its spec is {now} by now: {fix} to run it again")
    if record.awaiting is None:
        metric: Metric | MetricCard | None = record.metrics.get(record.primary)
    else:
        card = card_of(record.spec.dataset)
        published = card.metric if card else None
        metric = published if published and published.name == record.primary else None
    if metric is None:
        raise UserError(f"{path}: has no figure for its primary metric '{record.primary}': {fix}")
    return metric


def _score(path: Path, record: Record, problems: list[Problem]) -> Score | None:
    """A judge's figure, where the record awaits one and it was noted."""
    try:
        return read_score(path, record) if record.awaiting is not None else None
    except UserError as error:
        problems.append(Problem(path.stem, str(error)))
        return None


def _row(
    record: Record,
    metric: Metric | MetricCard,
    score: Score | None,
    pretrained: Mapping[str, Record],
) -> tuple[Any, ...]:
    """In the order of ``RECORD_COLUMNS``."""
    facts, memory = record.provenance, record.memory
    value = metric.value if isinstance(metric, Metric) else score and score.value
    rates = record.throughput
    on_device = memory.kind == "device"
    hardware = facts.device if on_device else f"{facts.device}, {facts.threads} threads"
    return (
        record.job,
        record.synthetic,
        any(name.endswith(VAL_SEEN) for name in record.metrics),
        pretraining.seen(card_of(record.spec.dataset), record, pretrained),
        record.warnings,
        record.primary,
        metric.unit,
        record.awaiting or "",
        score and score.source,
        f"{facts.processes} x {hardware}",
        facts.data_fingerprint,
        facts.split_source,
        facts.probe,
        facts.weights.sha256 if facts.weights else "",
        "+".join(stage.name for stage in record.spec.stages),
        value,
        1.0 if metric.higher_is_better else -1.0,
        rates.train_images_per_s and rates.train_images_per_s.median,
        rates.inference_images_per_s and rates.inference_images_per_s.median,
        memory.peak_bytes if on_device else None,
        None if on_device else memory.peak_bytes,
        record.compute.parameters,
        record.compute.gpu_hours,
        0.0 if on_device else record.compute.wall_hours,
        facts.data_counts.get("test"),
    )


def planned_frame(plans: Sequence[PlanFile], records: pd.DataFrame) -> pd.DataFrame:
    """The fine-tuning jobs of all plans, in their order, joined with what their records say."""
    rest = attrgetter(*JOB_COLUMNS)
    lines = [
        (plan.suite, plan.data, job.id, plan.is_baseline(job.backbone, job.recipe), *rest(job))
        for plan in plans
        for job in {job.id: job for job in plan.jobs if job.kind == "finetune"}.values()
    ]
    planned = pd.DataFrame.from_records(lines, columns=list(PLAN_COLUMNS))
    planned = planned.astype({"seed": "int64", "after": "bool", "baseline": "bool"})
    jobs = planned.merge(records, on="job", how="left")
    missing = jobs["metric"].isna()
    jobs["done"] = ~missing
    # A record's own word counts; a job without one is what its suite's data variant makes it.
    jobs["synthetic"] = jobs["synthetic"].eq(True) | (missing & jobs["data"].eq("miniature"))
    return _expect(jobs, missing)


def _expect(jobs: pd.DataFrame, missing: "pd.Series[bool]") -> pd.DataFrame:
    """Say of jobs without a record which figure they will have: by their suite, or by the card.

    Not by another suite, since one may leave judging to a server and another judge here.
    """
    column = ["suite", "dataset"]
    known = jobs[~missing].drop_duplicates(column).set_index(column)[list(FACTS)]
    measured = dict(zip(known.index, known.to_numpy(object).tolist(), strict=True))
    for (suite, dataset), lines in jobs[missing].groupby(column, sort=False):
        facts = measured.get((suite, dataset)) or _expected(str(dataset))
        for name, fact in zip(FACTS, facts, strict=True):
            jobs.loc[lines.index, name] = fact
    return jobs


def _expected(dataset: str) -> list[Any]:
    """The facts of a dataset's figures before there is one."""
    card = card_of(dataset)
    if card is None or card.metric is None:
        return ["", "", 0.0, ""]
    better = 1.0 if card.primary.higher_is_better else -1.0
    return [card.primary.name, card.primary.unit, better, card.server or ""]


def card_of(dataset: str) -> Card | None:
    """A dataset's card; none where this version has no such card."""
    try:
        card = catalog.load("dataset", dataset)
    except UserError:
        return None
    return card if isinstance(card, Card) else None
