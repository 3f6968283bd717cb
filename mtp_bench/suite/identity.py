"""Names and seeds that follow from what a job is, and from nothing else."""

import hashlib
import json
import re
from functools import lru_cache
from typing import Any

from mtp_bench.suite.schema import SPEC_VERSION, JobSpec

_encode = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode


def canonical(data: Any) -> str:
    """JSON with sorted keys and no spaces: equal data, equal text."""
    return _encode(data)


def _digest(data: Any) -> str:
    return hashlib.sha256(canonical(data).encode()).hexdigest()


def upgrade(spec: dict[str, Any]) -> dict[str, Any]:
    """Lift a spec as an older version wrote it, so that a field with a default repeats no job."""
    return JobSpec.model_validate_json(json.dumps(spec)).model_dump(mode="json")


def training_digest(spec: JobSpec) -> str:
    """SHA-256 of all that decides the trained weights: the spec without its test settings."""
    return _parts(spec)[0]


def _parts(spec: JobSpec) -> tuple[str, Any]:
    """The training part's hash, and the test part."""
    # Without what is as ever: a new field with a default repeats no job.
    data = spec.model_dump(mode="json", exclude_defaults=True)
    test = data["protocol"].pop("test") if data["protocol"] else None
    return _digest([SPEC_VERSION, data]), test


@lru_cache(maxsize=4096)
def _word(part: str) -> str:
    return re.sub(r"[^a-z0-9_+.]+", ".", part.lower()).strip(".")


def job_id(spec: JobSpec) -> str:
    """Readable coordinates and 8 hex of the training part's and the test part's hash.

    The same from a planned job and from a finished record.
    """
    tail = _digest(list(_parts(spec)))[:8]
    parts = [spec.dataset, spec.backbone, spec.recipe, f"s{spec.seed}"]
    if spec.kind == "pretrain":
        parts.insert(0, "pretrain")
    return f"{'-'.join(map(_word, parts))}-{tail}"


def seed_for(dataset: str, repetition: int, purpose: str = "") -> int:
    """A 31-bit seed from dataset and repetition, the same for every recipe: runs are paired."""
    return int(_digest([dataset, repetition, purpose])[:8], 16) & 0x7FFFFFFF
