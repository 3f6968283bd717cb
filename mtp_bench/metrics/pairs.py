"""Which boxes of one scene overlap, and by how much, without looking at every pair."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import shapely

from mtp_bench.metrics.boxes import Array, Ints
from mtp_bench.metrics.quads import Shapes, shared

ROOM = 2_000_000
"""Pairs held at once, at most, as long as one box does not overlap more."""


def apart(*sides: tuple[Ints, Array]) -> list[Array]:
    """Labels and (n, 4) hulls → hulls moved aside by class, so that no two classes ever meet."""
    every = np.concatenate([hulls for _, hulls in sides])
    span = float(np.ptp(every)) + 2 if len(every) else 0.0
    return [hulls + span * labels[:, None] * [1, 0, 1, 0] for labels, hulls in sides]


@dataclass(frozen=True, eq=False)
class Places:
    """Hulls that others are looked up in."""

    hulls: Array
    tree: shapely.STRtree

    def batches(self, hulls: Array, most: int) -> Iterator[slice]:
        """Consecutive rows whose overlaps in x alone have room, ``most`` rows at most."""
        left, right = np.sort(self.hulls[:, 0]), np.sort(self.hulls[:, 2])
        beyond = np.searchsorted(right, hulls[:, 0])
        ends = np.cumsum(np.searchsorted(left, hulls[:, 2], side="right") - beyond)
        start = 0
        while start < len(hulls):
            taken = ends[start - 1] if start else 0
            stop = int(np.searchsorted(ends, taken + ROOM, side="right"))
            stop = min(max(stop, start + 1), start + most, len(hulls))
            yield slice(start, stop)
            start = stop

    def meeting(self, hulls: Array) -> tuple[Ints, Ints]:
        """(k,) row of ``hulls`` and (k,) own row of every two that touch."""
        i, j = self.tree.query(shapely.box(*hulls.T))
        return i, j


def places(hulls: Array) -> Places:
    return Places(hulls, shapely.STRtree(np.asarray(shapely.box(*hulls.T))))


def overlaps(
    first: Shapes, second: Shapes, pairs: tuple[Ints, Ints], least: float
) -> tuple[Ints, Ints, Array]:
    """Of the pairs those whose IoU is not below ``least`` (> 0), and their IoU.

    It is the shared area by the sum of both less the shared. With outlines that cross themselves
    that may be any number, infinite or nan; of two without area it is nan.
    """
    i, j = pairs
    a, b = first.areas[i], second.areas[j]
    left, right = first.hulls[i], second.hulls[j]
    sides = np.minimum(left[:, 2:], right[:, 2:]) - np.maximum(left[:, :2], right[:, :2])
    most = np.minimum(np.minimum(a, b), sides.prod(axis=1))
    # Of convex outlines neither can share more than this; of others it says nothing.
    hopeless = most < (1 - 1e-9) * least * (a + b - most)
    kept = ~(hopeless & first.convex[i] & second.convex[j])
    i, j, a, b = i[kept], j[kept], a[kept], b[kept]
    both = shared(first.take(i), second.take(j))
    with np.errstate(divide="ignore", invalid="ignore"):
        iou = both / (a + b - both)
    kept = ~(iou < least)
    return i[kept], j[kept], iou[kept]
