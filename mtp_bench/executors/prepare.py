"""What a run does before its first job: make every dataset ready, write ``job.json``."""

import json
import math
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from mtp_bench import backbones, catalog
from mtp_bench.datasets.access import render_missing
from mtp_bench.errors import UserError
from mtp_bench.store.files import make_folder, read_model, write_atomically
from mtp_bench.store.lock import holder
from mtp_bench.store.paths import job_paths
from mtp_bench.store.states import state_of
from mtp_bench.suite.plan import Job, Plan
from mtp_bench.suite.schema import JobFile, JobSpec, Resources, Roots
from mtp_bench.suite.site import KINDS, Kind, SiteProfile

COORDINATES = ("kind", "task", "dataset", "backbone", "recipe", "seed")
WAIT_SECONDS = 0.5
Say = Callable[[str, int, int], None]
"""Hears what is done, and how much of how much; 0 of 0 where that is not known."""


def _checkpoint_seconds() -> float:
    """How often a job saves, where ``MTP_BENCH_CHECKPOINT_SECONDS`` says so."""
    said = os.environ.get("MTP_BENCH_CHECKPOINT_SECONDS", "120")
    try:
        seconds = float(said)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < math.inf:
        raise UserError(f"MTP_BENCH_CHECKPOINT_SECONDS={said}: must be a number of seconds")
    return seconds


def share_of(processes: int, cpus: int, micro_batch: int | None, *, gpus: bool) -> Resources:
    """What a job is given: ``cpus`` for each of its processes, and a GPU where it has ``gpus``."""
    return Resources(
        processes=processes,
        device="cuda" if gpus else "cpu",
        threads=cpus,
        loader_workers=min(8, max(1, cpus - 1)) if gpus else 0,
        micro_batch=micro_batch,
        checkpoint_seconds=_checkpoint_seconds(),
    )


def site_resources(
    site: SiteProfile, processes: int | None, micro_batch: int | None
) -> dict[Kind, Resources]:
    """By kind of job. ``processes``, which overrules the site's, must fill its nodes evenly."""
    found = {}
    for kind in KINDS:
        count = processes or site.processes_of(kind)
        site.layout(count)
        found[kind] = share_of(count, site.cpus, micro_batch, gpus=site.gpus is not None)
    return found


def check_resources(plan: Plan, by_kind: Mapping[Kind, Resources]) -> list[str]:
    """How batches are made up, where not as in the protocols; what cannot run here is refused."""
    problems: dict[str, None] = {}
    told: dict[str, None] = {}
    for job in plan.jobs:
        protocol, cell = job.spec.protocol, f"{job.spec.dataset}, {job.spec.backbone}"
        if protocol is None:
            continue
        resources = by_kind[job.spec.kind]
        if protocol.precision == "fp16" and resources.device == "cpu":
            problems[f"{cell}: fp16 needs a GPU: use precision bf16 or fp32"] = None
        try:
            line = resources.batch_line(protocol)
            if resources.processes > 1 or resources.micro_batch:
                told[f"{job.spec.dataset}: {line}"] = None
        except ValueError as error:
            problems[f"{cell}: {error}"] = None
    if problems:
        raise UserError(*problems)
    return list(told)


def prepare_data(plan: Plan, roots: Roots, say: Say, workers: int | None = None) -> list[str]:
    """Make the data of every job that is not done ready, so that bad data stops no job later.

    Uses so many processes, or one a core. What another process is preparing is waited for.
    Returns the datasets' names.

    Raises:
        UserError: with every defect of every dataset, or weights that the pictures do not suit.
    """
    _check_pictures(plan)
    count = workers or len(os.sched_getaffinity(0))
    return _each_dataset(plan, roots, lambda spec: _prepare(spec, roots, count, say))


def check_data(plan: Plan, roots: Roots, say: Say, command: str) -> None:
    """The same where jobs are only submitted: miniatures, which take seconds, are made.

    Raises:
        UserError: as ``prepare_data``, and for what is not prepared; ``command`` prepares it.
    """

    def ready(spec: JobSpec) -> None:
        if spec.data == "miniature":
            _prepare(spec, roots, 1, say)
        else:
            catalog.training_of(spec).data.check(spec, roots)

    _check_pictures(plan)
    try:
        _each_dataset(plan, roots, ready)
    except UserError as error:
        told = f"nothing is submitted before the data is ready: {command}"
        raise UserError(*error.lines, told) from None


def _each_dataset(plan: Plan, roots: Roots, act: Callable[[JobSpec], None]) -> list[str]:
    """Do it once for all jobs that read the same; names of datasets, or all problems at once."""
    wanted: dict[Any, JobSpec] = {}
    for job in plan.jobs:
        spec, protocol = job.spec, job.spec.protocol
        if protocol is not None and state_of(job_paths(roots, job.id)) != "done":
            data = (spec.task, spec.dataset, spec.data, protocol.tiling, protocol.train_on_val)
            mae, mtp = protocol.mae, protocol.mtp
            own = (mae and mae.folder, mtp and (mtp.subsets, mtp.exclude))
            wanted.setdefault((*data, *own), spec)
    problems: dict[str, None] = {}
    for spec in wanted.values():
        try:
            act(spec)
        except UserError as error:
            problems.update(dict.fromkeys(error.lines))
    if problems:
        raise UserError(*problems)
    return list(dict.fromkeys(spec.dataset for spec in wanted.values()))


def _prepare(spec: JobSpec, roots: Roots, workers: int, say: Say) -> None:
    name, cache = spec.dataset, Path(roots.cache)
    say(f"reading {name}", 0, 0)
    if spec.data == "miniature":
        for part in catalog.find("dataset", name).facts.get("parts", (name,)):
            rendering = f"rendering the miniature of {part}"
            render_missing(part, cache, partial(say, rendering))
    data = catalog.training_of(spec).data
    while True:
        try:
            data.prepare(spec, roots, workers, lambda n, of: say(f"preparing {name}", n, of))
            return
        except UserError as error:
            drafts = (cache / "prepared").glob(f".{name}-*.draft")
            taken = next((path for path in drafts if str(path) in str(error)), None)
            who = holder(taken) if taken else None
            if taken is None or who is None:
                raise
        say(f"waiting for process {who.pid} on {who.host}, which prepares {name}", 0, 0)
        while holder(taken) is not None:
            time.sleep(WAIT_SECONDS)


def _check_pictures(plan: Plan) -> None:
    problems: dict[str, None] = {}
    for spec in (job.spec for job in plan.jobs):
        if spec.protocol is None or spec.protocol.mean is None or not spec.stages:
            continue
        try:
            norm = spec.weights.normalisation if spec.weights else None
            backbones.normalisation(spec.protocol, spec.backbone, norm, pretrained=True)
        except UserError as error:
            problems[f"{spec.dataset}, {spec.recipe}: {error}"] = None
    if problems:
        raise UserError(*problems)


def write_job(job: Job, resources: Resources, roots: Roots, command: tuple[str, ...]) -> Path:
    """The job's ``job.json``; one that has begun keeps its threads, which change the sums."""
    paths = job_paths(roots, job.id)
    make_folder(paths.run)
    if any(paths.checkpoints.glob("iter_*.pth")):
        resources = _as_begun(paths.job_file, resources)
    file = JobFile(
        id=job.id, spec=job.spec, resources=resources, roots=roots, command=command, needs=job.needs
    )
    write_atomically(paths.job_file, file.model_dump_json(indent=1))
    return paths.job_file


def _as_begun(path: Path, wanted: Resources) -> Resources:
    before = read_model(JobFile, path)
    if before is None or before.resources.device != wanted.device:
        return wanted
    kept = before.resources.model_dump(include={"threads", "micro_batch"})
    return wanted.model_copy(update=kept)


def plan_document(plan: Plan, roots: Roots) -> dict[str, Any]:
    """A plan as JSON, for ``plan --json`` and for ``results/<suite>/plan.json``."""
    suite = plan.suite
    return {
        "schema": 1,
        "suite": suite.name,
        **{key: getattr(suite, key) for key in ("title", "protocol", "data", "baseline")},
        "jobs": [
            {
                "id": job.id,
                **{key: getattr(job.spec, key) for key in COORDINATES},
                "state": state_of(job_paths(roots, job.id)),
                "needs": list(job.needs),
                "after": job.after,
            }
            for job in plan.jobs
        ],
        "skipped": [asdict(skip) for skip in plan.skipped],
    }


def write_plan(plan: Plan, suite_file: Path, roots: Roots) -> None:
    """``results/<suite>/plan.json``: what the report takes its rows, columns and gaps from."""
    folder = Path(roots.results) / plan.suite.name
    make_folder(folder)
    relative = os.path.relpath(suite_file.absolute(), folder)  # no path of this machine
    document = {**plan_document(plan, roots), "file": relative}
    write_atomically(folder / "plan.json", json.dumps(document, indent=1))
