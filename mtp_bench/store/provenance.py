"""Which code made a record."""

import subprocess
from importlib import metadata
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent.parent


def _git(*words: str) -> str | None:
    try:
        command = ["git", "-C", str(PACKAGE), *words]
        answer = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return answer.stdout.strip() if answer.returncode == 0 else None


def code_state() -> tuple[str | None, bool | None]:
    """Commit of the checkout that runs, and whether files differ; None outside a checkout."""
    top = _git("rev-parse", "--show-toplevel")
    if top is None or not PACKAGE.is_relative_to(top) or _git("ls-files", str(PACKAGE)) == "":
        return None, None
    status = _git("status", "--porcelain", "--untracked-files=no")
    return _git("rev-parse", "HEAD"), None if status is None else bool(status)


def packages() -> dict[str, str]:
    """All installed distributions and their versions, for a record's details."""
    found = {d.metadata["Name"]: d.version for d in metadata.distributions() if d.metadata["Name"]}
    return dict(sorted(found.items(), key=lambda item: item[0].lower()))
