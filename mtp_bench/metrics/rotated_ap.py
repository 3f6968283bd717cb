"""The two mean average precisions of rotated boxes: the DOTA kit's and mmrotate's.

Both reduce a scene at once to statistics, of which ``ap.figures`` makes the figure; what differs
between the two stands in docs/metrics.md.
"""

import numpy as np

from mtp_bench.metrics.ap import SceneStats, judge
from mtp_bench.metrics.boxes import Array, Detections, Truths, corners, rotated
from mtp_bench.metrics.quads import Shapes, shapes


def kit_scene(truths: Truths, detections: Detections, classes: int) -> SceneStats:
    """``mAP_kit`` of a whole scene, after DOTA's kit (``dota_evaluation_task1.py``).

    Quadrangles as annotated; IoU above 0.5; a truth with any flag counts for nothing. The kit's
    look at the upright hulls beforehand passes over pairs that share nothing, as ours does.
    """
    found = shapes(corners(detections.boxes))
    return judge((detections, found), (truths, shapes(corners(truths.boxes))), classes, above=True)


def mmrotate_scene(truths: Truths, detections: Detections, classes: int) -> SceneStats:
    """``mAP_mmrotate`` of a scene or tile, after mmrotate's ``eval_rbbox_map`` (DOTAMetric).

    Truths as least rectangles around their corners; IoU of 0.5 or more. Of truths that a detection
    overlaps equally, one that counts goes before a flagged one.
    """
    truths = truths.take(np.argsort(truths.difficult != 0, kind="stable"))
    found, true = _rectangles(detections.boxes), _rectangles(truths.boxes)
    return judge((detections, found), (truths, true), classes, above=False)


def _rectangles(boxes: Array) -> Shapes:
    return shapes(corners(rotated(corners(boxes)) if boxes.shape[1] == 8 else boxes))
