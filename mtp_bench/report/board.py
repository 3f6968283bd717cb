"""The board: every suite's tables as they are shown, what is missing, and what to beware of.

``build`` reads results/ and computes; the ``to_<format>`` modules only print.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from mtp_bench import catalog
from mtp_bench.report import aggregate, notes, pretraining
from mtp_bench.report.frame import PlanFile, Problem, planned_frame, read_plans, read_records
from mtp_bench.store.files import write_atomically
from mtp_bench.store.records import Record

Line = Mapping[str, Any]
"""One line of a frame: a cell, a row's costs, or something missing. What is unknown is None."""

OF_RECORD = ("source", "val_seen", "seen", "test_images", "split_source", "hardware")
JOB = [*aggregate.CELL, "job", "seed", "value", "done", *OF_RECORD]
"""What tables and notes need of each job."""


class Head(NamedTuple):
    """A column of figures; that of the means over datasets has ``aggregate.MEAN`` for a dataset."""

    dataset: str
    metric: str
    unit: str
    judge: str
    """The server that gave the figures; empty: computed here."""


@dataclass(frozen=True)
class Row:
    backbone: str
    recipe: str
    marks: Line
    """``baseline``, ``after`` and the costs."""
    cells: Mapping[Head, Line]
    """Only what was planned; a pair that was skipped has no cell."""


@dataclass(frozen=True)
class Table:
    """A leaderboard: one suite, one task, and never synthetic beside real data."""

    title: str
    heads: tuple[Head, ...]
    rows: tuple[Row, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class SuiteBoard:
    name: str
    protocol: str
    data: str
    tables: tuple[Table, ...]
    pretraining: tuple[Line, ...]
    """Its finished pretrain jobs."""
    missing: tuple[Line, ...]
    warnings: tuple[str, ...]


@dataclass(frozen=True)
class Board:
    suites: tuple[SuiteBoard, ...]
    problems: tuple[str, ...]
    """Records and scores that cannot be used and belong to none of these suites."""

    def warnings(self) -> tuple[str, ...]:
        """All of them, each once."""
        own = [line for suite in self.suites for line in suite.warnings]
        return tuple(dict.fromkeys([*own, *self.problems]))


def build(results: Path, suites: Sequence[str]) -> Board:
    """The board of these suites, or of all that have a plan in ``results``."""
    plans = read_plans(results, suites)
    planned = {job.id for plan in plans for job in plan.jobs}
    records, pretrained, problems = read_records(results / "records", planned if suites else None)
    jobs = planned_frame(plans, records)
    tables = _tables(plans, jobs)
    warned = notes.warnings(jobs)
    done = {*records["job"], *pretrained}
    boards = []
    for plan in plans:
        missing, mine = _missing(plan, done, problems), {job.id for job in plan.jobs}
        own = [problem.line for problem in problems if problem.job in mine]
        warnings = (*own, *warned.get(plan.suite, ()))
        head = (plan.suite, plan.protocol, plan.data)
        made = tuple(_pretraining(plan, pretrained, results / "records"))
        shown = (tuple(tables[plan.suite]), made, tuple(missing))
        boards.append(SuiteBoard(*head, *shown, warnings))
    return Board(tuple(boards), tuple(p.line for p in problems if p.job not in planned))


def write(board: Board, results: Path) -> list[Path]:
    """Leave ``results/<suite>/leaderboard.*`` in every format that is a file's."""
    written = []
    for name in catalog.names("format"):
        suffix = catalog.find("format", name).facts.get("suffix")
        if suffix is None:
            continue
        render = catalog.load("format", name)
        for suite in board.suites:
            path = results / suite.name / f"leaderboard.{suffix}"
            write_atomically(path, render(Board((suite,), ())))
            written.append(path)
    return written


def _pretraining(plan: PlanFile, found: Mapping[str, Record], records: Path) -> Iterator[Line]:
    for job in plan.jobs:
        if job.id in found:
            users = sum(job.id in other.needs for other in plan.jobs)
            yield pretraining.line(found[job.id], users, pretraining.conflict_of(records, job.id))


def _missing(plan: PlanFile, done: set[str], problems: Sequence[Problem]) -> list[Line]:
    """Jobs without a usable record, then pairs that the plan left out."""
    reasons = {problem.job: problem.line for problem in problems}
    found: list[Line] = []
    for job in plan.jobs:
        if job.id not in done:
            # Where the plan saw it done, somebody removed the record since.
            state = "no record" if job.state == "done" else job.state
            state = "unusable record" if job.id in reasons else state
            line = job.model_dump(include={"kind", "task", "dataset", "backbone", "recipe", "seed"})
            found.append({"job": job.id, **line, "state": state, "reason": reasons.get(job.id)})
    tasks = {job.dataset: job.task for job in plan.jobs}
    for pair in plan.skipped:
        line = {"job": None, "kind": "finetune", "task": tasks.get(pair.dataset)}
        line |= {"backbone": pair.backbone, "recipe": pair.recipe, "dataset": pair.dataset}
        found.append({**line, "seed": None, "state": "skipped", "reason": pair.reason})
    return found


def _lines(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Lines as dicts of plain Python values, with None for NaN; column by column, for speed."""
    columns = []
    for name in frame.columns:
        values = frame[name].to_numpy(object).tolist()
        columns.append([None if value != value else value for value in values])  # NaN alone
    return [dict(zip(frame.columns, line, strict=True)) for line in zip(*columns, strict=True)]


def _by_table(frame: pd.DataFrame) -> dict[Any, list[dict[str, Any]]]:
    return {key: _lines(part) for key, part in frame.groupby(aggregate.TABLE, sort=False)}


def _tables(plans: Sequence[PlanFile], jobs: pd.DataFrame) -> dict[str, list[Table]]:
    lines, cells = _by_table(jobs[JOB]), _by_table(aggregate.cells(jobs))
    by_suite = {plan.suite: plan for plan in plans}
    tables: dict[str, list[Table]] = defaultdict(list)
    for key, rows in _by_table(aggregate.rows(jobs)).items():
        suite, task, _, synthetic = key
        title = notes.title(by_suite[suite], task, synthetic)
        tables[suite].append(_table(title, rows, cells[key], lines[key]))
    return tables


def _table(
    title: str, rows: list[dict[str, Any]], cells: list[dict[str, Any]], jobs: list[dict[str, Any]]
) -> Table:
    values: dict[tuple[Any, ...], list[Line]] = defaultdict(list)
    for job in jobs:
        if job["value"] is not None:
            value = {"seed": job["seed"], "value": job["value"], "job": job["job"]}
            values[_head(job), job["backbone"], job["recipe"]].append(value)
    by_row: dict[tuple[str, str], dict[Head, Line]] = defaultdict(dict)
    for cell in cells:
        found = values[_head(cell), cell["backbone"], cell["recipe"]]
        cell["values"] = sorted(found, key=lambda value: (value["seed"], value["job"]))
        by_row[cell["backbone"], cell["recipe"]][_head(cell)] = cell
    backbones = list(dict.fromkeys(row["backbone"] for row in rows))
    # Backbone by backbone as planned, each backbone's baseline first.
    rows.sort(key=lambda row: (backbones.index(row["backbone"]), not row["baseline"]))
    names = [(row["backbone"], row["recipe"]) for row in rows]
    shown = tuple(Row(*name, row, by_row[name]) for name, row in zip(names, rows, strict=True))
    heads = tuple(dict.fromkeys(_head(cell) for cell in cells))
    return Table(title, heads, shown, notes.under(jobs, cells, rows))


def _head(line: Line) -> Head:
    return Head(line["dataset"], line["metric"], line["unit"], line["judge"])
