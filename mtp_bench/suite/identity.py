"""Names and seeds that follow from what a job is, and from nothing else."""

from __future__ import annotations

import hashlib
import json
import re
from typing import Any

from mtp_bench.suite.schema import SPEC_VERSION, JobSpec


def canonical(data: Any) -> str:
    """JSON with sorted keys and no spaces: equal data, equal text."""
    return json.dumps(data, sort_keys=True, separators=(",", ":"), ensure_ascii=True)


def _digest(data: Any) -> str:
    return hashlib.sha256(canonical(data).encode()).hexdigest()


def upgrade(spec: dict[str, Any]) -> dict[str, Any]:
    """Lift a spec as an older version wrote it, so that a field with a default repeats no job."""
    return JobSpec.model_validate_json(json.dumps(spec)).model_dump(mode="json")


def training_digest(spec: JobSpec) -> str:
    """SHA-256 of all that decides the trained weights: the spec without its test settings."""
    return _digest([SPEC_VERSION, spec.model_dump(mode="json", exclude={"protocol": {"test"}})])


def job_id(spec: JobSpec) -> str:
    """Readable coordinates and 8 hex of the training part's and the test part's hash.

    The same from a planned job and from a finished record.
    """
    test = spec.protocol.test.model_dump(mode="json") if spec.protocol else None
    tail = _digest([training_digest(spec), test])[:8]
    parts = [spec.dataset, spec.backbone, spec.recipe, f"s{spec.seed}"]
    if spec.kind == "pretrain":
        parts.insert(0, "pretrain")
    words = "-".join(re.sub(r"[^a-z0-9_+.]+", ".", part.lower()).strip(".") for part in parts)
    return f"{words}-{tail}"


def seed_for(dataset: str, repetition: int, purpose: str = "") -> int:
    """A 31-bit seed from dataset and repetition, the same for every recipe: runs are paired."""
    return int(_digest([dataset, repetition, purpose])[:8], 16) & 0x7FFFFFFF
