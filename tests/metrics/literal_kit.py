"""DOTA's evaluation read to the letter, slow and plain: ``polyiou.cpp`` and ``voc_eval``."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

Point = tuple[float, float]
NEAR = 1e-8


class Object(NamedTuple):
    quad: Sequence[float]
    difficult: int


class Found(NamedTuple):
    scene: int
    score: float
    quad: Sequence[float]


def sign(value: float) -> int:
    return (value > NEAR) - (value < -NEAR)


def cross(o: Point, a: Point, b: Point) -> float:
    return (a[0] - o[0]) * (b[1] - o[1]) - (b[0] - o[0]) * (a[1] - o[1])


def area(points: Sequence[Point]) -> float:
    after = [*points[1:], points[0]] if points else []
    return sum(p[0] * q[1] - p[1] * q[0] for p, q in zip(points, after, strict=True)) / 2


def same(p: Point, q: Point) -> bool:
    return sign(p[0] - q[0]) == 0 and sign(p[1] - q[1]) == 0


def met(a: Point, b: Point, c: Point, d: Point) -> Point:
    """Where line ab meets line cd, whose ends are on different sides of it."""
    s, t = cross(a, b, c), cross(a, b, d)
    return (c[0] * t - d[0] * s) / (t - s), (c[1] * t - d[1] * s) / (t - s)


def left_of(points: list[Point], a: Point, b: Point) -> list[Point]:
    made: list[Point] = []
    for p, q in zip(points, [*points[1:], *points[:1]], strict=True):
        here, there = sign(cross(a, b, p)), sign(cross(a, b, q))
        if here > 0:
            made.append(p)
        if here != there:
            made.append(met(a, b, p, q))
    kept = [p for i, p in enumerate(made) if i == 0 or not same(p, made[i - 1])]
    while len(kept) > 1 and same(kept[-1], kept[0]):
        kept.pop()
    return kept


def shared_by_triangles(a: Point, b: Point, c: Point, d: Point) -> float:
    """Signed area that triangle oab shares with triangle ocd, o being the origin."""
    origin = (0.0, 0.0)
    first, second = sign(cross(origin, a, b)), sign(cross(origin, c, d))
    if first == 0 or second == 0:
        return 0.0
    if first < 0:
        a, b = b, a
    if second < 0:
        c, d = d, c
    points = [origin, a, b]
    for start, end in ((origin, c), (c, d), (d, origin)):
        points = left_of(points, start, end)
    return first * second * abs(area(points))


def iou(p: Sequence[float], q: Sequence[float]) -> float:
    one, two = ([(x[i], x[i + 1]) for i in (0, 2, 4, 6)] for x in (p, q))
    one = one[::-1] if area(one) < 0 else one
    two = two[::-1] if area(two) < 0 else two
    both = sum(
        shared_by_triangles(one[i], one[(i + 1) % 4], two[j], two[(j + 1) % 4])
        for i in range(4)
        for j in range(4)
    )
    union = abs(area(one)) + abs(area(two)) - both
    if union == 0:
        return math.nan if both == 0 else math.copysign(math.inf, both)
    return both / union


def hulls_overlap(p: Sequence[float], q: Sequence[float]) -> bool:
    """Of upright hulls that are right - left + 1 wide."""
    wide = min(max(p[0::2]), max(q[0::2])) - max(min(p[0::2]), min(q[0::2])) + 1
    high = min(max(p[1::2]), max(q[1::2])) - max(min(p[1::2]), min(q[1::2])) + 1
    return max(wide, 0.0) * max(high, 0.0) > 0


def average_precision(scenes: Sequence[Sequence[Object]], found: Sequence[Found]) -> float:
    """Of one class at IoU 0.5, eleven points; nan without an object that counts."""
    total = sum(not truth.difficult for scene in scenes for truth in scene)
    taken = [[False] * len(scene) for scene in scenes]
    right = wrong = 0
    curve: list[tuple[float, float]] = []
    for detection in sorted(found, key=lambda d: -d.score):
        scene = scenes[detection.scene]
        values = [
            (iou(truth.quad, detection.quad), number)
            for number, truth in enumerate(scene)
            if hulls_overlap(truth.quad, detection.quad)
        ]
        if any(math.isnan(value) for value, _ in values):
            values = []  # numpy's max is nan, and no more than 0.5
        best, number = max(values, key=lambda v: (v[0], -v[1]), default=(-math.inf, -1))
        if best > 0.5:
            if not scene[number].difficult:
                right += not taken[detection.scene][number]
                wrong += taken[detection.scene][number]
                taken[detection.scene][number] = True
        else:
            wrong += 1
        curve.append((right / total if total else math.nan, right / max(right + wrong, 2.3e-16)))
    if not total:
        return math.nan
    steps = [0.1 * n for n in range(11)]
    return sum(max((p for r, p in curve if r >= t), default=0) / 11 for t in steps)
