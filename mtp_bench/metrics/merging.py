"""Many detections of one object, as overlapping tiles give them, become one."""

import numpy as np

from mtp_bench.metrics.boxes import Detections, corners
from mtp_bench.metrics.pairs import apart, overlaps, places
from mtp_bench.metrics.quads import shapes

STEP = 1024
"""Boxes looked up at once: the later ones that a surer box takes away are never compared."""


def merge(detections: Detections, iou: float) -> Detections:
    """Non-maximum suppression of each class of a whole scene, as mmcv's ``nms_rotated``.

    From the surest on, a box is left out that overlaps a kept one by more than ``iou`` (> 0), by
    exact polygons in float64. Of equally sure boxes the order of ``Detections.sorted`` decides, in
    which the kept ones come back, whatever order they came in.
    """
    detections = detections.sorted()
    outlines = shapes(corners(detections.boxes))
    (hulls,) = apart((detections.labels, outlines.hulls))
    boxes, alive = places(hulls), np.ones(len(detections), dtype=bool)
    for batch in boxes.batches(hulls, STEP):
        rows = np.arange(batch.start, batch.stop)[alive[batch]]
        i, j = boxes.meeting(hulls[rows])
        i = rows[i]
        near = (i < j) & (j < batch.stop)
        over, under, value = overlaps(outlines, outlines, (i[near], j[near]), iou)
        over, under = over[value > iou], under[value > iou]
        order = np.argsort(over, kind="stable")
        for first, second in zip(over[order].tolist(), under[order].tolist(), strict=True):
            alive[second] &= not alive[first]
        far = (j >= batch.stop) & alive[i] & alive[j]
        _, under, value = overlaps(outlines, outlines, (i[far], j[far]), iou)
        alive[under[value > iou]] = False
    return detections.take(alive)
