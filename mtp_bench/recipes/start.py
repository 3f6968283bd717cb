"""From a job's stages to the source of its backbone's first weights."""

from mtp_bench import catalog
from mtp_bench.errors import UserError
from mtp_bench.recipes.source import Source
from mtp_bench.store.paths import job_paths, weights_fix, weights_path
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
        return Source(str(path), last.name, named.sha256, named.allow_partial)
    if last.pretrain is not None:
        path = job_paths(roots, last.pretrain).run / "backbone.safetensors"
        return Source(str(path), last.name)
    source: Source | None = catalog.load("recipe stage", last.name)(spec.backbone)
    return source
