"""What a run does before its first job: render or read every dataset, write ``job.json``."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from mtp_bench.datasets.access import read_data, render_missing
from mtp_bench.errors import UserError
from mtp_bench.store.files import make_folder, write_atomically
from mtp_bench.store.paths import job_paths
from mtp_bench.store.states import state_of
from mtp_bench.suite.plan import Job, Plan
from mtp_bench.suite.schema import JobFile, Resources, Roots
from mtp_bench.suite.site import KINDS, Kind, SiteProfile

Say = Callable[[str, int, int], None]


def checkpoint_seconds() -> float:
    """How often a job saves, where ``MTP_BENCH_CHECKPOINT_SECONDS`` says so."""
    said = os.environ.get("MTP_BENCH_CHECKPOINT_SECONDS", "120")
    try:
        seconds = float(said)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < math.inf:
        raise UserError(f"MTP_BENCH_CHECKPOINT_SECONDS={said}: must be a number of seconds")
    return seconds


def site_resources(
    site: SiteProfile, processes: int | None, micro_batch: int | None
) -> dict[Kind, Resources]:
    """What each kind of job is given on a cluster; ``processes`` overrules the site's own number.

    Raises:
        UserError: where they cannot fill the site's nodes evenly.
    """
    found = {}
    for kind in KINDS:
        count = processes or site.processes_of(kind)
        site.layout(count)
        gpus = site.gpus is not None
        found[kind] = Resources(
            processes=count,
            device="cuda" if gpus else "cpu",
            threads=site.cpus,
            loader_workers=min(8, max(1, site.cpus - 1)) if gpus else 0,
            micro_batch=micro_batch,
            checkpoint_seconds=checkpoint_seconds(),
        )
    return found


def check_resources(plan: Plan, by_kind: Mapping[Kind, Resources]) -> list[str]:
    """Refuse before the first job what this machine, or site, cannot run as it is asked to.

    Returns how the batches are made up, where that is another way than the protocols' own.
    """
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
        except ValueError as error:
            problems[f"{cell}: {error}"] = None
        else:
            if resources.processes > 1 or resources.micro_batch:
                told[f"{job.spec.dataset}: {line}"] = None
    if problems:
        raise UserError(*problems)
    return list(told)


def prepare_data(plan: Plan, roots: Roots, say: Say) -> None:
    """Render missing miniatures and read every dataset, so that bad data stops no job later.

    Raises:
        UserError: with every defect of every dataset.
    """
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


def write_job(job: Job, resources: Resources, roots: Roots, command: tuple[str, ...]) -> Path:
    """The job's ``job.json``; one that has begun keeps its threads, which change the sums."""
    paths = job_paths(roots, job.id)
    make_folder(paths.run)
    if any(paths.checkpoints.glob("iter_*.pth")):
        resources = _as_begun(paths.job_file, resources)
    file = JobFile(
        id=job.id,
        spec=job.spec,
        resources=resources,
        roots=roots,
        command=command,
        needs=job.needs,
    )
    write_atomically(paths.job_file, file.model_dump_json(indent=1))
    return paths.job_file


def _as_begun(path: Path, wanted: Resources) -> Resources:
    try:
        before = JobFile.model_validate_json(path.read_text()).resources
    except (OSError, ValidationError):
        return wanted
    if before.device != wanted.device:
        return wanted
    kept = before.model_dump(include={"threads", "micro_batch"})
    return wanted.model_copy(update=kept)


def plan_document(plan: Plan, roots: Roots) -> dict[str, Any]:
    """A plan as JSON, for ``plan --json`` and for ``results/<suite>/plan.json``."""
    suite = plan.suite
    return {
        "schema": 1,
        "suite": suite.name,
        "title": suite.title,
        "protocol": suite.protocol,
        "data": suite.data,
        "baseline": suite.baseline,
        "jobs": [
            {
                "id": job.id,
                "kind": job.spec.kind,
                "task": job.spec.task,
                "dataset": job.spec.dataset,
                "backbone": job.spec.backbone,
                "recipe": job.spec.recipe,
                "seed": job.spec.seed,
                "state": state_of(job_paths(roots, job.id)),
                "needs": list(job.needs),
                "after": job.after,
            }
            for job in plan.jobs
        ],
        "skipped": [asdict(skip) for skip in plan.skipped],
    }


def write_plan(plan: Plan, suite_file: Path, roots: Roots) -> Path:
    """``results/<suite>/plan.json``: what the report takes its rows, columns and gaps from."""
    folder = Path(roots.results) / plan.suite.name
    make_folder(folder)
    path = folder / "plan.json"
    relative = os.path.relpath(suite_file.absolute(), folder)  # no path of this machine
    document = {**plan_document(plan, roots), "file": relative}
    write_atomically(path, json.dumps(document, indent=1))
    return path
