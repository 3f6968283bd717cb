"""Aggregation on small tables that were worked by hand."""

from __future__ import annotations

from math import isnan
from typing import Any

import pandas as pd
import pytest
from scipy.special import stdtrit

from mtp_bench.report.aggregate import MEAN, cells, rows, t_975

NONE = float("nan")
COSTS = {"train_rate": 10.0, "inference_rate": 20.0, "device_bytes": NONE, "rss_bytes": 5.0}
COSTS |= {"parameters": 1e6, "gpu_hours": 0.0, "cpu_hours": 0.5}


def job(dataset: str, recipe: str, seed: int, value: float, **changes: Any) -> dict[str, Any]:
    line = {"suite": "s", "task": "t", "data": "release", "synthetic": False, "dataset": dataset}
    line |= {"metric": "accuracy", "unit": "%", "sign": 1.0, "backbone": "b", "recipe": recipe}
    line |= {"baseline": recipe == "scratch", "after": False, "seed": seed, "value": value}
    return line | {"judge": "", "seen": 0.0, "done": value == value} | COSTS | changes


def cell(table: pd.DataFrame, dataset: str, recipe: str, **more: Any) -> dict[str, Any]:
    for key, value in {"dataset": dataset, "recipe": recipe, **more}.items():
        table = table[table[key] == value]
    (line,) = table.to_dict("records")
    return {str(key): value for key, value in line.items()}


# Seeds 0, 1, 2; '-' has no record.
#            A                   B                 C                 mean of the row
# scratch    50 52 54  52 ± 2    60 60 60  60 ± 0  70 74 72  72 ± 2  60 62 62  61.33 ± 1.15
# imp        60 61 -   60.5±.71  66 69 63  66 ± 3  80 -  -   80      68.67 -  -
#    delta   10  9     9.5, k=2   6  9  3   6, k=3 10        10, k=1   8.67      k=1
# mae        -  -  -             70 72 74  72 ± 2  -  -  -           none: lacks A and C
#    delta                       10 12 14  12, k=3
GRID = {
    ("A", "scratch"): (50.0, 52.0, 54.0),
    ("A", "imp"): (60.0, 61.0, NONE),
    ("A", "mae"): (NONE, NONE, NONE),
    ("B", "scratch"): (60.0, 60.0, 60.0),
    ("B", "imp"): (66.0, 69.0, 63.0),
    ("B", "mae"): (70.0, 72.0, 74.0),
    ("C", "scratch"): (70.0, 74.0, 72.0),
    ("C", "imp"): (80.0, NONE, NONE),
    ("C", "mae"): (NONE, NONE, NONE),
}
JOBS = pd.DataFrame([job(*key, s, v) for key, values in GRID.items() for s, v in enumerate(values)])
EXPECTED = {
    # n, mean, std, delta, pairs, best
    ("A", "scratch"): (3, 52.0, 2.0, NONE, NONE, False),
    ("A", "imp"): (2, 60.5, 0.5**0.5, 9.5, 2, True),
    ("A", "mae"): (0, NONE, NONE, NONE, NONE, False),
    ("B", "scratch"): (3, 60.0, 0.0, NONE, NONE, False),
    ("B", "imp"): (3, 66.0, 3.0, 6.0, 3, False),
    ("B", "mae"): (3, 72.0, 2.0, 12.0, 3, True),
    ("C", "scratch"): (3, 72.0, 2.0, NONE, NONE, False),
    ("C", "imp"): (1, 80.0, NONE, 10.0, 1, True),
    ("C", "mae"): (0, NONE, NONE, NONE, NONE, False),
    (MEAN, "scratch"): (3, 184 / 3, (4 / 3) ** 0.5, NONE, NONE, False),
    (MEAN, "imp"): (1, 206 / 3, NONE, 26 / 3, 1, True),
    (MEAN, "mae"): (0, NONE, NONE, NONE, NONE, False),
}


@pytest.mark.parametrize("key", EXPECTED, ids=str)
def test_three_by_three(key: tuple[str, str]) -> None:
    found = cell(cells(JOBS), *key)
    names = ("n", "mean", "std", "delta", "pairs", "best")
    assert [found[name] for name in names] == pytest.approx(EXPECTED[key], nan_ok=True)
    assert found["planned"] == 3


def test_interval_is_students() -> None:
    found = cell(cells(JOBS), "A", "scratch")
    assert (found["ci_low"], found["ci_high"]) == pytest.approx((47.0317, 56.9683), abs=1e-4)
    assert isnan(cell(cells(JOBS), "C", "imp")["ci_low"])


def test_quantiles_are_those_of_scipy() -> None:
    for freedom in (1, 2, 3, 9, 10, 11, 30, 200):
        assert t_975(freedom) == pytest.approx(stdtrit(freedom, 0.975), abs=1e-4)
    with pytest.raises(ValueError, match="two values"):
        t_975(0)


def test_difference_without_a_common_seed_is_unpaired() -> None:
    jobs = pd.DataFrame([job("A", "scratch", 0, 50.0), job("A", "imp", 1, 57.0)])
    found = cell(cells(jobs), "A", "imp")
    assert (found["delta"], found["pairs"]) == (7.0, 0)


def test_each_backbone_has_its_own_baseline() -> None:
    other = [job("A", "scratch", 0, 20.0, backbone="c"), job("A", "imp", 0, 21.0, backbone="c")]
    table = cells(pd.concat([JOBS, pd.DataFrame(other)]))
    assert cell(table, "A", "imp", backbone="c")["delta"] == 1.0
    assert cell(table, "A", "imp", backbone="b")["delta"] == 9.5


def test_lowest_is_best_where_lower_is_better() -> None:
    jobs = pd.DataFrame(
        [job("A", "scratch", 0, 3.0, sign=-1.0), job("A", "imp", 0, 2.0, sign=-1.0)]
    )
    assert cell(cells(jobs), "A", "imp")["best"]
    assert not cell(cells(jobs), "A", "scratch")["best"]


def test_what_was_seen_while_it_was_judged_is_never_the_best() -> None:
    jobs = [
        job("A", r, 0, v, seen=s) for r, v, s in (("x", 90, 2.0), ("y", 80, 1.0), ("z", 70, 0.0))
    ]
    table = cells(pd.DataFrame(jobs))
    assert {r: cell(table, "A", r)["best"] for r in "xyz"} == {"x": False, "y": True, "z": False}


def test_a_lone_figure_is_not_the_best_of_its_column() -> None:
    assert not cell(cells(pd.DataFrame([job("A", "imp", 0, 9.0)])), "A", "imp")["best"]


def test_unlike_metrics_are_not_averaged() -> None:
    jobs = pd.DataFrame([job("A", "imp", 0, 9.0), job("B", "imp", 0, 8.0, metric="mIoU")])
    assert set(cells(jobs)["dataset"]) == {"A", "B"}


def test_figures_of_two_judges_are_neither_averaged_nor_ranked() -> None:
    server = {"metric": "mAP", "judge": "DOTA server"}
    other = [job("A", "imp", 0, 80.0, **server), job("A", "mae", 0, 70.0, **server)]
    here = [job("A", "imp", 1, 60.0, metric="mAP"), job("A", "mae", 1, 90.0, metric="mAP")]
    table = cells(pd.DataFrame([*other, *here]))
    assert table["mean"].tolist() == [80.0, 70.0, 60.0, 90.0]
    assert table["best"].tolist() == [True, False, False, True]
    two = cells(pd.DataFrame([other[0], job("B", "imp", 0, 70.0, metric="mAP")]))
    assert MEAN not in set(two["dataset"])
    one = cells(pd.DataFrame([other[0], job("B", "imp", 0, 70.0, **server)]))
    assert cell(one, MEAN, "imp")["mean"] == 75.0


def test_a_job_that_waits_for_its_judge_is_counted_apart_and_costs() -> None:
    waits = {"metric": "mAP", "judge": "DOTA server", "done": True}
    jobs = [job("A", "imp", 0, 80.0, **waits), job("A", "imp", 1, NONE, **waits)]
    jobs += [job("B", "imp", seed, 60.0, **waits) for seed in range(2)]
    table = cells(pd.DataFrame([*jobs, job("A", "imp", 2, NONE, **waits | {"done": False})]))
    found = cell(table, "A", "imp")
    assert (found["n"], found["awaiting"], found["planned"], found["mean"]) == (1, 1, 3, 80.0)
    assert found["cpu_hours"] == 1.0
    mean = cell(table, MEAN, "imp")
    assert (mean["n"], mean["awaiting"], mean["mean"]) == (1, 0, 70.0)


def test_synthetic_and_real_values_never_meet() -> None:
    jobs = pd.DataFrame([job("A", "imp", 0, 10.0), job("A", "imp", 1, 90.0, synthetic=True)])
    assert cells(jobs)["mean"].tolist() == [10.0, 90.0]


def test_costs_are_those_of_finished_jobs() -> None:
    jobs = pd.DataFrame(
        [
            job("A", "imp", 0, 1.0, train_rate=10.0, rss_bytes=7.0, cpu_hours=1.0),
            job("A", "imp", 1, 1.0, train_rate=30.0, rss_bytes=9.0, cpu_hours=2.0),
            job("A", "imp", 2, NONE, train_rate=NONE, rss_bytes=NONE, cpu_hours=NONE),
        ]
    )
    (row,) = rows(jobs).to_dict("records")
    assert (row["train_rate"], row["rss_bytes"], row["cpu_hours"]) == (20.0, 9.0, 3.0)
    assert isnan(row["device_bytes"])
