"""Everything a plan needs and this machine has not, in one list, each with what to do."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from mtp_bench import catalog
from mtp_bench.store.paths import find_folder, job_paths, weights_fix, weights_path
from mtp_bench.suite.plan import Plan
from mtp_bench.suite.schema import JobSpec, Roots


@dataclass(frozen=True)
class Missing:
    """One thing that jobs need."""

    kind: Literal["data", "weights", "code"]
    name: str
    jobs: tuple[str, ...]
    fix: str


def find_missing(plan: Plan, roots: Roots) -> tuple[Missing, ...]:
    """Data, weights and code that the jobs of a plan need, looked for where the roots say."""
    found: dict[tuple[str, str], tuple[str, list[str]]] = {}
    for job in plan.jobs:
        if job_paths(roots, job.id).record.exists():
            continue
        for kind, name, fix in _needs(job.spec, roots):
            found.setdefault((kind, name), (fix, []))[1].append(job.id)
        for part in job.lacks:
            fix = "not part of this version of mtp-bench: update it, or leave the jobs out (--only)"
            found.setdefault(("code", part), (fix, []))[1].append(job.id)
    order = {"data": 0, "weights": 1, "code": 2}
    rows = sorted(found.items(), key=lambda item: order[item[0][0]])
    return tuple(
        Missing(kind, name, tuple(jobs), fix)  # type: ignore[arg-type]
        for (kind, name), (fix, jobs) in rows
    )


def _needs(spec: JobSpec, roots: Roots) -> Iterator[tuple[str, str, str]]:
    if spec.data != "miniature":
        facts = catalog.find("dataset", spec.dataset).facts
        folder, data = facts["folder"], Path(roots.data) if roots.data else None
        if data is None:
            fix = f"get {facts['source']}, unpack it in DIR/{folder}, and say --data DIR"
            yield "data", spec.dataset, fix
        elif find_folder(data, folder) is None:
            yield "data", spec.dataset, f"get {facts['source']} and unpack it in {data / folder}"
    for weights in (stage.weights for stage in spec.stages):
        if weights is not None and weights_path(weights, roots.weights) is None:
            yield "weights", weights.file, weights_fix(weights, roots.weights)
