"""A protocol as short as one can be, for tests that need one and do not train under it."""

from typing import Any

from mtp_bench.suite.protocol import Protocol, Span, TestSettings


def short_protocol(size: int, length: Span, batch_size: int, **changes: Any) -> Protocol:
    """``length`` is also how often it validates; ``changes``: other settings."""
    given: dict[str, Any] = {
        "image_size": size,
        "length": length,
        "batch_size": batch_size,
        "lr": 1e-3,
        "layer_decay": None,
        "drop_path": 0.0,
        "augmentation": "none",
        "validate_every": length,
        "test": TestSettings(image_size=size),
    }
    return Protocol(**given | changes)
