"""What a recipe gives to a job: where its backbone's first weights come from."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Source:
    """First weights: a file, or timm's own for a backbone of timm's (``path`` is then None)."""

    path: str | None
    recipe: str
    """The stage that made them."""
    sha256: str | None = None
    allow_partial: bool = False
    normalisation: dict[str, Any] | None = None
    """What the pictures were that made them: a ``Normalisation``'s fields."""
