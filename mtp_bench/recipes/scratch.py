"""``scratch``: no weights at all, the baseline."""

from mtp_bench.recipes.source import Source


def prepare(backbone: str) -> Source | None:
    """Nothing to start from."""
    return None
