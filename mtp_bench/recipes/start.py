"""From a job's stages to the source of its backbone's first weights."""

from mtp_bench import catalog
from mtp_bench.errors import UserError
from mtp_bench.recipes.source import Source
from mtp_bench.store.paths import JobPaths, artifact_fix, job_paths, weights_fix, weights_path
from mtp_bench.store.scalars import read_progress
from mtp_bench.suite.schema import JobSpec, Roots


def source_of(spec: JobSpec, roots: Roots) -> Source | None:
    """Where the job's backbone starts from; None means from nothing.

    Raises:
        UserError: for a file that is not where the suite says.
    """
    if not spec.stages:
        return None
    last = spec.stages[-1]
    if last.weights is not None:
        named = last.weights
        path = weights_path(named, roots.weights)
        if path is None:
            raise UserError(f"weights {named.file}: missing: {weights_fix(named, roots.weights)}")
        norm = named.normalisation
        told = norm.model_dump(mode="json") if norm else None
        return Source(str(path), last.name, named.sha256, named.allow_partial, told)
    if last.pretrain is not None:
        return _made(last.pretrain, job_paths(roots, last.pretrain))
    source: Source | None = catalog.load("recipe stage", last.name)(spec.backbone)
    return source


def _made(job: str, paths: JobPaths) -> Source:
    """What a pretrain job left, by its own word of it."""
    meta = read_progress(paths.meta)
    if not meta or not paths.artifact.is_file():
        raise UserError(f"{paths.artifact}: missing, the weights of {job}: {artifact_fix(job)}")
    norm = {key: meta[key] for key in ("mean", "std", "channel_order")}
    return Source(str(paths.artifact), meta["stage"], meta["sha256"], normalisation=norm)
