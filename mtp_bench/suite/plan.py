"""Suite → Plan: the jobs with what each needs, and the pairs that cannot be.

Pure and deterministic: ids do not change with a file that appears, a device, a number of workers
or a site.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Any

from pydantic import ValidationError

from mtp_bench import catalog
from mtp_bench.errors import UserError, nearest
from mtp_bench.suite.chain import base_of, expand, runs_on
from mtp_bench.suite.identity import job_id
from mtp_bench.suite.load import LoadedSuite
from mtp_bench.suite.protocol import Protocol
from mtp_bench.suite.schema import JobSpec, Rule, Stage, Suite, Weights, Where
from mtp_bench.suite.strict_yaml import Loc

NOT_PLAIN = re.compile(r"timm/((?!(vit|deit3?)_|test_vit)|.*(_r26_|_r50_|hybrid|rope|relpos))")
"""Of timm's models those whose tokens cannot be left out one by one."""
SECTIONS = frozenset({"mae", "mtp"})
"""Settings whose parts are given one by one; any other is given as a whole."""
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
    to_run = [stage for stage in stages[length:] if runs_on(stage, suite.recipes)]
    task = str(catalog.find("dataset", dataset).facts["task"])
    coordinates = {"task": task, "dataset": dataset, "backbone": backbone}
    if any(_selects(where, coordinates) for where in suite.leave_out):
        return
    reason = _impossible(suite, backbone, to_run)
    if reason:
        draft.skipped.append(Skip(backbone, recipe, dataset, reason))
        return
    try:
        protocol = _resolve(loaded, coordinates)
        links = {
            seed: _stages(loaded, draft, backbone, stages, seed) for seed in _seeds(suite, to_run)
        }
    except UserError as error:
        draft.problems.update(dict.fromkeys(error.lines))
        return
    known = loaded.protocol.backbones
    after = known is not None and backbone not in known
    for (pretrain_seed, (chain, needs)), seed in product(links.items(), suite.seeds):
        spec = JobSpec(
            kind="finetune",
            backbone=backbone,
            recipe=recipe,
            stages=chain,
            task=task,
            dataset=dataset,
            data=suite.data,
            protocol=protocol,
            seed=seed,
            pretrain_seed=pretrain_seed,
        )
        job = Job(job_id(spec), spec, needs, after, _lacks(spec))
        draft.jobs.setdefault(job.id, job)


def _seeds(suite: Suite, to_run: Sequence[str]) -> tuple[int, ...]:
    """Repetitions of the pretraining, where there is one."""
    return suite.pretrain_seeds if to_run else (0,)


def _impossible(suite: Suite, backbone: str, to_run: Sequence[str]) -> str | None:
    """Why a cell of the grid has no job."""
    plain = catalog.find("backbone", backbone).facts.get("masked", True)
    if any(base_of(stage, suite.recipes) == "mae" for stage in to_run) and not (
        plain and not NOT_PLAIN.match(backbone)
    ):
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


def _stages(
    loaded: LoadedSuite, draft: _Draft, backbone: str, stages: Sequence[str], seed: int
) -> tuple[tuple[Stage, ...], tuple[str, ...]]:
    """The links of a chain as they are identified, and the pretrain job the last of them needs."""
    suite = loaded.suite
    length, weights = _loaded_prefix(suite, backbone, stages)
    links: list[Stage] = []
    needs: tuple[str, ...] = ()
    if weights is not None:
        links.append(Stage(name="+".join(stages[:length]), weights=weights))
    for index, stage in enumerate(stages[length:], length):
        dataset, base = runs_on(stage, suite.recipes), base_of(stage, suite.recipes)
        if dataset is None or base is None:
            own = suite.recipes.get(stage)
            links.append(Stage(name=stage, weights=own.weights if own else None))
            continue
        own_settings = suite.recipes[stage].set if stage in suite.recipes else None
        cell = {"stage": base, "dataset": dataset, "backbone": backbone}
        spec = JobSpec(
            kind="pretrain",
            backbone=backbone,
            stages=tuple(links),
            task="pretraining",
            stage=base,
            recipe="+".join(stages[: index + 1]),
            dataset=dataset,
            data=suite.data,
            protocol=_resolve(loaded, cell, own_settings, ("recipes", stage, "set")),
            seed=seed,
            pretrain_seed=seed,
        )
        known = loaded.protocol.backbones
        after = known is not None and backbone not in known
        job = Job(job_id(spec), spec, needs, after, lacks=_lacks(spec))
        draft.jobs.setdefault(job.id, job)
        links.append(Stage(name=stage, pretrain=job.id))
        needs = (job.id,)
    return tuple(links), needs


def _lacks(spec: JobSpec) -> tuple[str, ...]:
    """What this version of mtp-bench has no code for, of all that a job needs."""
    code = ("recipe stage", spec.stage) if spec.stage else ("task", spec.task)
    wanted = (("backbone", spec.backbone), ("dataset", spec.dataset), code)
    return tuple(f"{kind} {name}" for kind, name in wanted if not catalog.has_code(kind, name))


def _resolve(
    loaded: LoadedSuite, cell: Mapping[str, str], own: Any = None, own_loc: Loc = ()
) -> Protocol | None:
    """The protocol of one cell, every setting decided; None while the cell's code is missing.

    ``own``: settings of a user's variant of a stage, which stand at ``own_loc`` and win.
    """
    kind = "recipe stage" if "stage" in cell else "task"
    if catalog.find(kind, cell.get("stage") or cell["task"]).target is None:
        return None
    settings: dict[str, Any] = {cell["stage"]: {}} if "stage" in cell else {}
    last: dict[str, Loc] = {}
    rules: list[tuple[Rule, Loc]] = [(rule, ()) for rule in loaded.protocol.rules]
    rules += [(rule, ("overrides", i, "set")) for i, rule in enumerate(loaded.suite.overrides)]
    chosen = [(rule.set, loc) for rule, loc in rules if _selects(rule.where, cell)]
    for part, loc in [*chosen, *([(own, own_loc)] if own is not None else [])]:
        given = part.model_dump(mode="json", exclude_unset=True)
        for key in SECTIONS & given.keys():
            given[key] = {**(settings.get(key) or {}), **(given[key] or {})}
        settings.update(given)
        last.update(dict.fromkeys(given, loc))
    try:
        return Protocol.model_validate_json(json.dumps(settings))
    except ValidationError as error:
        raise UserError(*_open_settings(loaded, error, cell, last)) from None


def _selects(where: Where, cell: Mapping[str, str]) -> bool:
    """A key that a cell has not, as ``stage`` in fine-tuning, selects nothing of it."""
    if "stage" in cell and where.stage is None:
        return False
    keys = ("task", "dataset", "backbone", "stage")
    named = ((getattr(where, key), cell.get(key)) for key in keys)
    return all(names is None or value in names for names, value in named)


def _open_settings(
    loaded: LoadedSuite, error: ValidationError, cell: Mapping[str, str], last: Mapping[str, Loc]
) -> Iterator[str]:
    where = f"{cell['dataset']}, {cell['backbone']}"
    missing = [str(e["loc"][0]) for e in error.errors() if e["type"] == "missing"]
    if missing:
        here = f"for {cell['stage']}" if "stage" in cell else f"on {cell['dataset']}"
        yield loaded.document.problem(
            ("backbones", cell["backbone"]),
            f"protocol '{loaded.protocol.name}' leaves {', '.join(missing)} open for this backbone "
            f"{here}: state them under overrides",
            at_key=True,
        )
    for complaint in (e for e in error.errors() if e["type"] != "missing"):
        key = str(complaint["loc"][0]) if complaint["loc"] else ""
        place = last.get(key, ())
        loc: Loc = (*place, key) if place else ("overrides",)
        message = complaint["msg"].removeprefix("Value error, ")
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
