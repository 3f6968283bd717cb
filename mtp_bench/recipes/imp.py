"""``imp`` without a file: timm's own ImageNet weights of a timm model."""

from mtp_bench.errors import UserError
from mtp_bench.recipes.source import Source


def prepare(backbone: str) -> Source | None:
    """Timm's loader, which fetches the weights, or finds them in its cache."""
    if not backbone.startswith("timm/"):
        raise UserError(
            f"imp of '{backbone}': no weights file named: add to the suite weights: "
            f"{{{backbone}: {{imp: FILE}}}}"
        )
    return Source(None, "imp")
