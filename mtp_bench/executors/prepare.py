"""What a run does before its first job: render or read every dataset, write ``job.json``."""

import json
import math
import os
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from mtp_bench import backbones
from mtp_bench.datasets.access import read_data, render_missing
from mtp_bench.errors import UserError
from mtp_bench.store.files import make_folder, read_model, write_atomically
from mtp_bench.store.paths import job_paths
from mtp_bench.store.states import state_of
from mtp_bench.suite.plan import Job, Plan
from mtp_bench.suite.schema import JobFile, Resources, Roots
from mtp_bench.suite.site import KINDS, Kind, SiteProfile

COORDINATES = ("kind", "task", "dataset", "backbone", "recipe", "seed")


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


def prepare_data(plan: Plan, roots: Roots, say: Callable[[str, int, int], None]) -> None:
    """Render missing miniatures and read every dataset, so that bad data stops no job later.

    Raises:
        UserError: with every defect of every dataset, or weights that the pictures do not suit.
    """
    _check_pictures(plan)
    wanted = {
        (job.spec.dataset, job.spec.data): None
        for job in plan.jobs
        if job.spec.kind == "finetune" and state_of(job_paths(roots, job.id)) != "done"
    }
    cache, data = Path(roots.cache), Path(roots.data) if roots.data else None
    problems: list[str] = []
    for name, variant in wanted:
        try:
            if variant == "miniature":
                render_missing(name, cache, lambda done, total, n=name: say(n, done, total))  # type: ignore[misc]
            read_data(name, variant, data, cache)
        except UserError as error:
            problems += error.lines
    if problems:
        raise UserError(*problems)


def _check_pictures(plan: Plan) -> None:
    problems: dict[str, None] = {}
    for spec in (job.spec for job in plan.jobs):
        if spec.protocol is None or spec.protocol.mean is None or not spec.stages:
            continue
        try:
            backbones.normalisation(spec.protocol, spec.backbone, spec.weights, pretrained=True)
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
