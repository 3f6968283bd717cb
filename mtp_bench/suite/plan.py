"""Suite → Plan: the jobs with what each needs, and the pairs that cannot be.

Pure and deterministic: ids do not change with a file that appears, a device, a number of workers
or a site.
"""

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
from mtp_bench.suite.protocol import Protocol
from mtp_bench.suite.schema import JobSpec, Stage, Suite, Weights, Where
from mtp_bench.suite.strict_yaml import Loc

FILTERS = ("task", "dataset", "backbone", "recipe", "seed")


@dataclass(frozen=True)
class Job:
    id: str
    spec: JobSpec
    needs: tuple[str, ...] = ()
    after: bool = False
    """The protocol's source did not train this backbone."""
    lacks: tuple[str, ...] = ()
    """Parts of mtp-bench that this job needs and this version has not."""


@dataclass(frozen=True)
class Skip:
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


@dataclass
class _Draft:
    """Jobs by id while a plan is made: equal jobs are one."""

    jobs: dict[str, Job] = field(default_factory=dict)
    skipped: list[Skip] = field(default_factory=list)
    problems: dict[str, None] = field(default_factory=dict)


def make_plan(loaded: LoadedSuite) -> Plan:
    """Expand a suite. ``UserError`` names settings that its protocol leaves open or wrong."""
    suite, draft = loaded.suite, _Draft()
    for dataset in _datasets(suite):
        for backbone, recipes in suite.backbones.items():
            for recipe in recipes:
                _plan_cell(loaded, draft, (dataset, backbone, recipe))
    if draft.problems:
        raise UserError(*draft.problems)
    jobs = sorted(draft.jobs.values(), key=lambda job: job.spec.kind != "pretrain")
    return Plan(suite, tuple(jobs), tuple(draft.skipped))


def _datasets(suite: Suite) -> tuple[str, ...]:
    """The datasets a suite names, or all benchmarks of the tasks that it names."""
    return suite.datasets or tuple(
        name
        for task in suite.tasks or ()
        for name in catalog.names("dataset")
        if catalog.find("dataset", name).facts["task"] == task
    )


def _plan_cell(loaded: LoadedSuite, draft: _Draft, cell: tuple[str, str, str]) -> None:
    suite = loaded.suite
    dataset, backbone, recipe = cell
    stages = expand(recipe, suite.recipes)
    length, _ = _loaded_prefix(suite, backbone, stages)
    to_run = [stage for stage in stages[length:] if _runs_on(suite, stage)]
    if "mae" in to_run and not catalog.find("backbone", backbone).facts.get("masked", True):
        reason = "mae masks tokens: it needs a plain vision transformer"
        draft.skipped.append(Skip(backbone, recipe, dataset, reason))
        return
    task = str(catalog.find("dataset", dataset).facts["task"])
    try:
        protocol = _resolve(loaded, task, dataset, backbone)
    except UserError as error:
        draft.problems.update(dict.fromkeys(error.lines))
        return
    known = loaded.protocol.backbones
    after = known is not None and backbone not in known
    for pretrain_seed, seed in product(suite.pretrain_seeds if to_run else (0,), suite.seeds):
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
        job = Job(job_id(spec), spec, needs, after, _lacks(spec))
        draft.jobs.setdefault(job.id, job)


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


def _runs_on(suite: Suite, stage: str) -> str | None:
    """The dataset of a stage's own training; None where it is loaded."""
    facts = {} if stage in suite.recipes else catalog.find("recipe stage", stage).facts
    return facts.get("runs_on")


def _stages(
    suite: Suite, draft: _Draft, backbone: str, stages: Sequence[str], seed: int
) -> tuple[tuple[Stage, ...], tuple[str, ...]]:
    """The links of a chain as they are identified, and the pretrain job the last of them needs."""
    length, weights = _loaded_prefix(suite, backbone, stages)
    links: list[Stage] = []
    needs: tuple[str, ...] = ()
    if weights is not None:
        links.append(Stage(name="+".join(stages[:length]), weights=weights))
    for stage in stages[length:]:
        dataset = _runs_on(suite, stage)
        if dataset is None:
            own = suite.recipes.get(stage)
            links.append(Stage(name=stage, weights=own.weights if own else None))
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
        job = Job(job_id(spec), spec, needs, lacks=_lacks(spec))
        draft.jobs.setdefault(job.id, job)
        links.append(Stage(name=stage, pretrain=job.id))
        needs = (job.id,)
    return tuple(links), needs


def _lacks(spec: JobSpec) -> tuple[str, ...]:
    """What this version of mtp-bench has no code for, of all that a job needs."""
    last = ("recipe stage", spec.recipe.rpartition("+")[2])
    code = ("task", spec.task) if spec.kind == "finetune" else last
    wanted = (("backbone", spec.backbone), ("dataset", spec.dataset), code)
    return tuple(f"{kind} {name}" for kind, name in wanted if not catalog.has_code(kind, name))


def _resolve(loaded: LoadedSuite, task: str, dataset: str, backbone: str) -> Protocol | None:
    """The protocol of one cell, every setting decided; None while the task's code is missing."""
    if catalog.find("task", task).target is None:
        return None
    settings: dict[str, Any] = {}
    coordinates = {"task": task, "dataset": dataset, "backbone": backbone}
    last: dict[str, int] = {}
    for index, rule in enumerate((*loaded.protocol.rules, *loaded.suite.overrides)):
        if _selects(rule.where, coordinates):
            given = rule.set.model_dump(mode="json", exclude_unset=True)
            settings.update(given)
            last.update(dict.fromkeys(given, index - len(loaded.protocol.rules)))
    try:
        return Protocol.model_validate_json(json.dumps(settings))
    except ValidationError as error:
        raise UserError(*_open_settings(loaded, error, coordinates, last)) from None


def _selects(where: Where, coordinates: Mapping[str, str]) -> bool:
    named = ((getattr(where, key), value) for key, value in coordinates.items())
    return all(names is None or value in names for names, value in named)


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
    for complaint in (e for e in error.errors() if e["type"] != "missing"):
        key = str(complaint["loc"][0]) if complaint["loc"] else ""
        index = last.get(key, -1)
        loc: Loc = ("overrides", index, "set", key) if index >= 0 else ("overrides",)
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
            keys = ", ".join(FILTERS)
            raise UserError(f"--only {condition}: write KEY=VALUE with a key of: {keys}")
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
    for job in reversed(plan.jobs):  # each stands after what it needs
        if job.id in chosen:
            chosen.update(job.needs)
    return Plan(plan.suite, tuple(job for job in plan.jobs if job.id in chosen), plan.skipped)
