"""Suite → Plan: the jobs with what each needs, and the pairs that cannot be.

Pure and deterministic: ids do not change with a file that appears, a device, a number of workers
or a site.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Any

from pydantic import ValidationError

from mtp_bench import catalog
from mtp_bench.errors import UserError, nearest
from mtp_bench.suite.chain import expand
from mtp_bench.suite.identity import job_id
from mtp_bench.suite.load import LoadedSuite
from mtp_bench.suite.schema import (
    CustomRecipe,
    JobSpec,
    Protocol,
    Rule,
    Stage,
    Suite,
    Weights,
    Where,
)

FILTERS = ("task", "dataset", "backbone", "recipe", "seed")


@dataclass(frozen=True)
class Job:
    """A job of a plan."""

    id: str
    spec: JobSpec
    needs: tuple[str, ...] = ()
    after: bool = False
    """The protocol's source did not train this backbone."""
    lacks: tuple[str, ...] = ()
    """Parts of mtp-bench that this job needs and this version has not."""


@dataclass(frozen=True)
class Skip:
    """A pair that cannot be."""

    backbone: str
    recipe: str
    dataset: str
    reason: str


@dataclass(frozen=True)
class Plan:
    """All jobs of a suite, each after what it needs."""

    suite: Suite
    jobs: tuple[Job, ...]
    skipped: tuple[Skip, ...] = ()

    def job(self, identity: str) -> Job:
        return next(job for job in self.jobs if job.id == identity)


@dataclass
class _Draft:
    """Jobs by id while a plan is made: equal jobs are one."""

    jobs: dict[str, Job] = field(default_factory=dict)
    skipped: list[Skip] = field(default_factory=list)
    problems: dict[str, None] = field(default_factory=dict)


def make_plan(loaded: LoadedSuite) -> Plan:
    """Expand a suite. ``UserError`` names settings that its protocol leaves open or wrong."""
    suite, draft = loaded.suite, _Draft()
    for dataset in datasets_of(suite):
        for backbone, recipes in suite.backbones.items():
            for recipe in recipes:
                _plan_cell(loaded, draft, (dataset, backbone, recipe))
    if draft.problems:
        raise UserError(*draft.problems)
    return Plan(suite, tuple(_pretraining_first(draft.jobs.values())), tuple(draft.skipped))


def datasets_of(suite: Suite) -> tuple[str, ...]:
    """The datasets a suite names, or all benchmarks of the tasks that it names."""
    if suite.datasets is not None:
        return suite.datasets
    wanted = suite.tasks or ()
    return tuple(
        name
        for task in wanted
        for name in catalog.names("dataset")
        if catalog.find("dataset", name).facts["task"] == task
    )


def _pretraining_first(jobs: Any) -> list[Job]:
    return sorted(jobs, key=lambda job: job.spec.kind != "pretrain")


def _plan_cell(loaded: LoadedSuite, draft: _Draft, cell: tuple[str, str, str]) -> None:
    suite = loaded.suite
    dataset, backbone, recipe = cell
    stages = expand(recipe, suite.recipes)
    reason = _impossible(suite, backbone, stages)
    if reason:
        draft.skipped.append(Skip(backbone, recipe, dataset, reason))
        return
    task = str(catalog.find("dataset", dataset).facts["task"])
    try:
        protocol = resolve(loaded, task, dataset, backbone)
    except UserError as error:
        draft.problems.update(dict.fromkeys(error.lines))
        return
    runs = bool(_to_run(suite, backbone, stages))
    for pretrain_seed, seed in product(suite.pretrain_seeds if runs else (0,), suite.seeds):
        links, needs = _stages(suite, draft, backbone, stages, pretrain_seed)
        spec = JobSpec(
            kind="finetune",
            backbone=backbone,
            recipe=recipe,
            stages=links,
            task=task,
            dataset=dataset,
            data=suite.data,
            protocol=protocol,
            seed=seed,
            pretrain_seed=pretrain_seed,
        )
        known = loaded.protocol.backbones
        after = known is not None and backbone not in known
        job = Job(job_id(spec), spec, needs, after, _lacks(spec))
        draft.jobs.setdefault(job.id, job)


def _impossible(suite: Suite, backbone: str, stages: Sequence[str]) -> str | None:
    facts = catalog.find("backbone", backbone).facts
    if "mae" in _to_run(suite, backbone, stages) and not facts.get("masked", True):
        return "mae masks tokens: it needs a plain vision transformer"
    return None


def _loaded_prefix(
    suite: Suite, backbone: str, stages: Sequence[str]
) -> tuple[int, Weights | None]:
    """How many of the first stages one file stands for, the longest that the suite names."""
    files = suite.weights.get(backbone, {})
    by_stages = {expand(name, suite.recipes): weights for name, weights in files.items()}
    for length in range(len(stages), 0, -1):
        if tuple(stages[:length]) in by_stages:
            return length, by_stages[tuple(stages[:length])]
    return 0, None


def _to_run(suite: Suite, backbone: str, stages: Sequence[str]) -> list[str]:
    length, _ = _loaded_prefix(suite, backbone, stages)
    return [stage for stage in stages[length:] if _runs_on(suite.recipes, stage)]


def _runs_on(recipes: Mapping[str, CustomRecipe], stage: str) -> str | None:
    if stage in recipes:
        return None
    runs_on = catalog.find("recipe stage", stage).facts.get("runs_on")
    return None if runs_on is None else str(runs_on)


def _stages(
    suite: Suite, draft: _Draft, backbone: str, stages: Sequence[str], seed: int
) -> tuple[tuple[Stage, ...], tuple[str, ...]]:
    """The links of a chain as they are identified, and the pretrain job the last of them needs."""
    length, weights = _loaded_prefix(suite, backbone, stages)
    links: list[Stage] = []
    if weights is not None:
        links.append(Stage(name="+".join(stages[:length]), weights=weights))
    for stage in stages[length:]:
        dataset = _runs_on(suite.recipes, stage)
        if dataset is None:
            links.append(_loaded_stage(suite, stage))
            continue
        spec = JobSpec(
            kind="pretrain",
            backbone=backbone,
            stages=tuple(links),
            task="pretraining",
            recipe="+".join(stages[: stages.index(stage) + 1]),
            dataset=dataset,
            data=suite.data,
            protocol=None,
            seed=seed,
            pretrain_seed=seed,
        )
        needs = tuple(link.pretrain for link in links[-1:] if link.pretrain)
        job = Job(job_id(spec), spec, needs, lacks=_lacks(spec))
        draft.jobs.setdefault(job.id, job)
        links.append(Stage(name=stage, pretrain=job.id))
    return tuple(links), tuple(link.pretrain for link in links[-1:] if link.pretrain)


def _loaded_stage(suite: Suite, stage: str) -> Stage:
    recipe = suite.recipes.get(stage)
    return Stage(name=stage, weights=recipe.weights if recipe else None)


def _lacks(spec: JobSpec) -> tuple[str, ...]:
    """What this version of mtp-bench has no code for, of all that a job needs."""
    wanted = [("backbone", spec.backbone), ("dataset", spec.dataset)]
    if spec.kind == "finetune":
        wanted.append(("task", spec.task))
    else:
        wanted.append(("recipe stage", spec.recipe.rpartition("+")[2]))
    return tuple(
        f"{kind} {name}" for kind, name in wanted if catalog.find(kind, name).target is None
    )


def resolve(loaded: LoadedSuite, task: str, dataset: str, backbone: str) -> Protocol | None:
    """The protocol of one cell, every setting decided; None while the task's code is missing."""
    if catalog.find("task", task).target is None:
        return None
    settings: dict[str, Any] = {}
    coordinates = {"task": task, "dataset": dataset, "backbone": backbone}
    last: dict[str, int] = {}
    for index, rule in enumerate((*loaded.protocol.rules, *loaded.suite.overrides)):
        if selects(rule.where, coordinates):
            given = _given(rule)
            settings.update(given)
            last.update(dict.fromkeys(given, index - len(loaded.protocol.rules)))
    try:
        return Protocol.model_validate_json(json.dumps(settings))
    except ValidationError as error:
        raise UserError(*_open_settings(loaded, error, coordinates, last)) from None


def selects(where: Where, coordinates: Mapping[str, str]) -> bool:
    """Whether a rule is for a job with these coordinates."""
    return all(
        getattr(where, key) is None or value in getattr(where, key)
        for key, value in coordinates.items()
    )


def _given(rule: Rule) -> dict[str, Any]:
    data: dict[str, Any] = rule.set.model_dump(mode="json", exclude_unset=True)
    return data


def _open_settings(
    loaded: LoadedSuite, error: ValidationError, cell: Mapping[str, str], last: Mapping[str, int]
) -> Iterator[str]:
    missing = [str(e["loc"][0]) for e in error.errors() if e["type"] == "missing"]
    if missing:
        yield loaded.document.problem(
            ("backbones", cell["backbone"]),
            f"protocol '{loaded.protocol.name}' leaves {', '.join(missing)} open for this backbone "
            f"on {cell['dataset']}: state them under overrides",
            at_key=True,
        )
    for complaint in error.errors():
        if complaint["type"] == "missing":
            continue
        key = str(complaint["loc"][0]) if complaint["loc"] else ""
        index = last.get(key, -1)
        loc: tuple[str | int, ...] = (
            ("overrides", index, "set", key) if index >= 0 else ("overrides",)
        )
        message = complaint["msg"].removeprefix("Value error, ")
        where = f"{cell['dataset']}, {cell['backbone']}"
        yield loaded.document.problem(loc, f"{where}: {message}")


def select(plan: Plan, only: Sequence[str]) -> Plan:
    """The jobs that all of ``KEY=VALUE`` allow, with everything that those need.

    One key twice means either; different keys mean both.
    """
    if not only:
        return plan
    wanted: dict[str, set[str]] = {}
    for condition in only:
        key, equals, value = condition.partition("=")
        if not equals or key not in FILTERS:
            raise UserError(
                f"--only {condition}: write KEY=VALUE with a key of: {', '.join(FILTERS)}"
            )
        known = sorted({str(getattr(job.spec, key)) for job in plan.jobs})
        if value not in known:
            raise UserError(f"--only {condition}: no job has it: {nearest(value, known)}")
        wanted.setdefault(key, set()).add(value)
    chosen = {
        job.id
        for job in plan.jobs
        if job.spec.kind == "finetune"
        and all(str(getattr(job.spec, key)) in values for key, values in wanted.items())
    }
    if not chosen:
        raise UserError(f"--only {' --only '.join(only)}: no job is left")
    return Plan(
        plan.suite, tuple(j for j in plan.jobs if j.id in _with_needs(plan, chosen)), plan.skipped
    )


def _with_needs(plan: Plan, chosen: set[str]) -> set[str]:
    by_id = {job.id: job for job in plan.jobs}
    todo, found = list(chosen), set()
    while todo:
        identity = todo.pop()
        if identity not in found:
            found.add(identity)
            todo += by_id[identity].needs
    return found
