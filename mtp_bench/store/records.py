"""The record a finished job leaves: schema, atomic writing, validated reading.

``results/records/<job>.json`` stays under 4 KB, so that ten thousand are read in a second; what is
bulky (per-class figures, confusion matrix, load report, packages) stands in
``<job>.details.json``.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError

from mtp_bench.errors import UserError
from mtp_bench.store.files import make_folder, write_atomically
from mtp_bench.suite.fields import Model
from mtp_bench.suite.schema import JobSpec

RECORD_VERSION = 1
"""Of the file's form; never hashed into a job id."""


class Metric(Model):
    value: float
    unit: str
    higher_is_better: bool


class Rate(Model):
    """Images a second over the iterations after the warm-up."""

    median: float
    p10: float
    p90: float
    samples: int


class Throughput(Model):
    train_images_per_s: Rate | None
    inference_images_per_s: Rate | None
    data_wait_share: float | None
    """Share of the training time spent waiting for the loader."""


class Memory(Model):
    kind: Literal["device", "rss"]
    peak_bytes: int
    """The devices' largest reserved memory, or the process tree's resident memory on a CPU."""
    device_allocated_bytes: tuple[int, ...] = ()
    device_reserved_bytes: tuple[int, ...] = ()
    rss_bytes: int


class Compute(Model):
    parameters: int
    trainable_parameters: int
    gpu_hours: float
    """Over all attempts; 0 on a CPU."""
    wall_hours: float
    """Over all attempts."""


class WeightsUsed(Model):
    """The file that the backbone really started from."""

    source: str
    sha256: str
    matched_share: float
    partial_allowed: bool = False


class Provenance(Model):
    version: str
    commit: str | None
    dirty: bool | None
    command: tuple[str, ...]
    python: str
    torch: str
    host: str
    device: str
    driver: str | None
    processes: int
    threads: int
    micro_batch: int
    accumulation: int
    effective_batch: int | None = None
    """Processes x micro-batch x accumulation; None in records older than the field."""
    learning_rate: float | None = None
    """The largest, for that batch; the protocol's."""
    seeds: dict[str, int]
    data_fingerprint: str
    data_counts: dict[str, int]
    data_defects: dict[str, int] = Field(default_factory=dict)
    """What reading met and did, by the card's policy: ``zero-area dropped`` → how often."""
    split_source: str
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    channel_order: Literal["rgb", "bgr"] = "rgb"
    weights: WeightsUsed | None
    probe: str
    """Hash of the backbone's output on a fixed input before training."""
    config_sha256: str


class Attempt(Model):
    started: str
    ended: str | None
    host: str
    outcome: str
    from_iteration: int
    seconds: float
    gpus: int = 0
    slurm: str | None = None
    """The scheduler's id of the job that made the attempt."""


class Record(Model):
    record_version: Literal[1] = 1
    job: str
    spec: JobSpec
    synthetic: bool
    primary: str
    awaiting: str | None = None
    """The judge that gives the primary figure, which then is no part of ``metrics``."""
    metrics: dict[str, Metric]
    throughput: Throughput
    memory: Memory
    compute: Compute
    provenance: Provenance
    attempts: tuple[Attempt, ...]
    warnings: tuple[str, ...] = ()
    finished: str
    artifact: str | None = None
    """SHA-256 of the backbone that a pretrain job left."""


def read_record(path: Path) -> Record:
    """One record, validated. ``UserError`` names the file and what is wrong with it."""
    blob = path.read_bytes()
    where = what = ""
    try:
        record = Record.model_validate_json(blob)
        if "record_version" in record.model_fields_set:
            return record
    except ValidationError as error:
        first = error.errors()[0]
        where, what = ".".join(str(part) for part in first["loc"]), first["msg"]
    fix = f"'mtp-bench forget {path.stem}' sets it aside"
    try:
        version = json.loads(blob.decode()).get("record_version")
    except (ValueError, AttributeError) as error:
        raise UserError(f"{path}: not a record ({error}): {fix}") from None
    if not isinstance(version, int):
        raise UserError(f"{path}: not a record: it has no record_version")
    if version > RECORD_VERSION:
        raise UserError(
            f"{path}: record version {version} is newer than this mtp-bench reads "
            f"({RECORD_VERSION}): update mtp-bench"
        )
    raise UserError(f"{path}: {where}: {what}: {fix}")


def write_record(folder: Path, record: Record, details: dict[str, Any]) -> None:
    """Details first, the record last: its presence means that the job is done."""
    make_folder(folder)
    text = json.dumps(details, sort_keys=True, separators=(",", ":"))
    write_atomically(folder / f"{record.job}.details.json", text)
    data = record.model_dump(mode="json")
    data["spec"] = record.spec.model_dump(mode="json", exclude_defaults=True)  # as it is hashed
    write_atomically(folder / f"{record.job}.json", json.dumps(data, separators=(",", ":")))


def record_paths(folder: Path) -> Iterator[Path]:
    """The records of a results folder, in order of name."""
    # By name and not by path, which takes a tenth of the time.
    names = (entry.name for entry in folder.iterdir()) if folder.is_dir() else ()
    for name in sorted(names):
        if name.endswith(".json") and not name.endswith(".details.json"):
            yield folder / name
