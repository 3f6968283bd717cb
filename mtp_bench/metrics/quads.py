"""Exact areas that quadrangles share, in float64, many pairs at once.

A quadrangle counts each point as often as its outline winds around it. That is what the DOTA kit's
signed triangles come to (``polyiou.cpp``), and it gives crossed and concave outlines a meaning: of
a bow tie one wing counts +1, the other -1. A convex one is its own piece; any other is two signed
triangles from its first corner, so that all there is to cut are convex pieces.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mtp_bench.metrics.boxes import Array, Ints


@dataclass(frozen=True, eq=False)
class Shapes:
    """Quadrangles, wound so that no area is negative."""

    corners: Array
    """(n, 4, 2)"""
    areas: Array
    """(n,) net of the winding."""
    convex: NDArray[np.bool_]
    """(n,)"""
    hulls: Array
    """(n, 4): left, top, right, bottom."""

    def take(self, which: NDArray[Any]) -> "Shapes":
        columns = (self.corners, self.areas, self.convex, self.hulls)
        return Shapes(*(column[which] for column in columns))


def _cross(a: Array, b: Array) -> Array:
    return np.asarray(a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0])


def _areas(quads: Array) -> Array:
    sides = quads[:, 1:] - quads[:, :1]
    return (_cross(sides[:, 0], sides[:, 1]) + _cross(sides[:, 1], sides[:, 2])) / 2


def shapes(quads: Array) -> Shapes:
    """(n, 4, 2) corners in turn, from any corner and in either sense."""
    quads = np.where((_areas(quads) < 0)[:, None, None], quads[:, ::-1], quads)
    areas = _areas(quads)  # from its own first corner, so that one shares all with itself
    sides = np.roll(quads, -1, axis=1) - quads
    convex = (_cross(sides, np.roll(sides, -1, axis=1)) >= 0).all(axis=1) & (areas != 0)
    hulls = np.concatenate([quads.min(axis=1), quads.max(axis=1)], axis=1)
    return Shapes(quads, np.abs(areas), convex, hulls)


def shared(first: Shapes, second: Shapes) -> Array:
    """(n,) area that each shape of one shares with the shape of the other in its place."""
    origin = second.corners[:, :1]  # integers stay integers, large coordinates become small
    a, b = first.corners - origin, second.corners - origin
    total = np.zeros(len(a))
    for where_a, piece_a, sign_a in _pieces(a, first.convex):
        for where_b, piece_b, sign_b in _pieces(b, second.convex):
            both = where_a & where_b
            if both.any():
                found = _cut(piece_a[both], piece_b[both])
                total[both] += sign_a[both] * sign_b[both] * found
    return total


def _pieces(
    quads: Array, convex: NDArray[np.bool_]
) -> Iterator[tuple[NDArray[np.bool_], Array, Array]]:
    """Which shapes have such a piece, the pieces (n, 4, 2), their signs."""
    yield convex, quads, np.ones(len(quads))
    if not convex.all():
        for triangle in ([0, 1, 2, 2], [0, 2, 3, 3]):
            piece = quads[:, triangle]
            area = _areas(piece)
            piece = np.where((area < 0)[:, None, None], piece[:, ::-1], piece)
            yield ~convex & (area != 0), piece, np.sign(area)


def _cut(subject: Array, knife: Array) -> Array:
    """(n,) area of each convex piece (n, 4, 2) inside the other: Sutherland and Hodgman's cuts.

    All outlines lie behind each other in one array, each as long as it is.
    """
    points: Array = subject.reshape(-1, 2)
    owners: Ints = np.repeat(np.arange(len(subject)), 4)
    for side in range(4):
        start = knife[:, side]
        edge = knife[:, (side + 1) % 4] - start
        points, owners = _halved(points, owners, start, edge)
    corners = _cross(points, points[_following(owners)])
    return np.bincount(owners, corners, minlength=len(subject)).astype(np.float64) / 2


def _following(owners: Ints) -> Ints:
    """Index of the point after each, round its own outline."""
    firsts = np.flatnonzero(np.diff(owners, prepend=-1))
    after = np.arange(1, len(owners) + 1)
    after[np.append(firsts[1:], len(owners))[: len(firsts)] - 1] = firsts
    return after


def _halved(points: Array, owners: Ints, start: Array, edge: Array) -> tuple[Array, Ints]:
    """What of each outline is to the left of its line."""
    depth = _cross(edge[owners], points - start[owners])
    kept = depth >= 0
    after = _following(owners)
    crossing = kept != kept[after]
    ends = np.cumsum(kept.astype(np.int64) + crossing)
    left = np.empty((ends[-1] if len(ends) else 0, 2))
    left_owners = np.empty(len(left), dtype=np.int64)
    left[ends[kept] - 1 - crossing[kept]] = points[kept]
    left_owners[ends[kept] - 1 - crossing[kept]] = owners[kept]
    here, there = np.flatnonzero(crossing), after[crossing]
    share = depth[here] / (depth[here] - depth[there])
    left[ends[here] - 1] = points[here] + share[:, None] * (points[there] - points[here])
    left_owners[ends[here] - 1] = owners[here]
    return left, left_owners
