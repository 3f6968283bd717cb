"""Images a second from timed steps after a warm-up: median, 10th and 90th percentile."""

from collections.abc import Sequence

import numpy as np

WARM_UP_STEPS = 5


def rate(seconds: Sequence[float], images: Sequence[int]) -> dict[str, float | int] | None:
    """Rates after the warm-up (5 steps, or a quarter where there are few); None for no step."""
    if not seconds:
        return None
    skip = min(WARM_UP_STEPS, len(seconds) // 4)
    each = np.asarray(images[skip:]) / np.maximum(np.asarray(seconds[skip:]), 1e-9)
    p10, median, p90 = np.percentile(each, [10, 50, 90])
    return {"median": float(median), "p10": float(p10), "p90": float(p90), "samples": len(each)}
