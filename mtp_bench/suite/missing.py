"""Everything a plan needs and this machine has not, in one list, each with what to do."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from mtp_bench import catalog
from mtp_bench.store.paths import artifact_fix, find_folder, job_paths, weights_fix, weights_path
from mtp_bench.suite.plan import Plan
from mtp_bench.suite.schema import JobSpec, Roots

Kind = Literal["data", "weights", "code"]  # in this order they are told


@dataclass(frozen=True)
class Missing:
    kind: Kind
    name: str
    jobs: tuple[str, ...]
    fix: str


def find_missing(plan: Plan, roots: Roots) -> tuple[Missing, ...]:
    """Data, weights and code that the jobs of a plan need, looked for where the roots say."""
    found: dict[tuple[Kind, str], tuple[str, list[str]]] = {}
    for job in plan.jobs:
        if job_paths(roots, job.id).record.exists():
            continue
        for kind, name, fix in _needs(job.spec, roots):
            found.setdefault((kind, name), (fix, []))[1].append(job.id)
        for part in job.lacks:
            fix = "not part of this version of mtp-bench: update it, or leave the jobs out (--only)"
            found.setdefault(("code", part), (fix, []))[1].append(job.id)
    all_of_it = (Missing(*key, tuple(jobs), fix) for key, (fix, jobs) in found.items())
    return tuple(sorted(all_of_it, key=lambda missing: get_args(Kind).index(missing.kind)))


def _needs(spec: JobSpec, roots: Roots) -> Iterator[tuple[Kind, str, str]]:
    if spec.data != "miniature":
        facts = catalog.find("dataset", spec.dataset).facts
        folder, data = facts["folder"], Path(roots.data) if roots.data else None
        own = spec.protocol.mae.folder if spec.protocol and spec.protocol.mae else None
        if own is not None:
            if data is None or not (data / own).is_dir():
                where = data / own if data else f"DIR/{own}, and say --data DIR"
                yield "data", own, f"put the pictures for mae in {where}"
        elif data is None:
            fix = f"get {facts['source']}, unpack it in DIR/{folder}, and say --data DIR"
            yield "data", spec.dataset, fix
        elif find_folder(data, folder) is None:
            yield "data", spec.dataset, f"get {facts['source']} and unpack it in {data / folder}"
    made = spec.stages[-1].pretrain if spec.stages else None
    if made is not None:
        paths = job_paths(roots, made)
        if paths.record.exists() and not paths.artifact.exists():
            yield "weights", str(paths.artifact), artifact_fix(made)
    for weights in (stage.weights for stage in spec.stages):
        if weights is not None and weights_path(weights, roots.weights) is None:
            yield "weights", weights.file, weights_fix(weights, roots.weights)
