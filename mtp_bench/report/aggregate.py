"""DataFrame → DataFrame, pure: values over seeds become cells, deltas to a baseline, and costs.

Every function takes the lines of ``frame.planned_frame``, of any number of suites at once; the keys
below keep suites, tasks, data variants and synthetic data apart.
"""

import pandas as pd

TABLE = ["suite", "task", "data", "synthetic"]
COLUMN = [*TABLE, "dataset", "metric", "unit", "sign", "judge"]
ROW = [*TABLE, "backbone", "recipe"]
CELL = [*COLUMN, "backbone", "recipe"]
RATES = ("train_rate", "inference_rate")
PEAKS = ("device_bytes", "rss_bytes")
HOURS = ("gpu_hours", "cpu_hours")
JUDGED_SEEN = 2
"""Of ``pretraining.SEEN``."""
MEAN = ""
"""The dataset of the cells that average over a table's datasets; no dataset has an empty name."""
T_975 = (12.706205, 4.302653, 3.182446, 2.776445, 2.570582, 2.446912, 2.364624, 2.306004, 2.262157)
"""Student's 97.5 % quantiles of 1 to 9 degrees of freedom."""


def cells(jobs: pd.DataFrame) -> pd.DataFrame:
    """One line a cell, the means over datasets among them, with all that a board says of it."""
    named = [*CELL, "baseline", "seed", "value", "done", "seen"]
    values = pd.concat([jobs[named], means(jobs)[named]], ignore_index=True)
    grouped = values.groupby(CELL, sort=False)
    table = grouped["value"].agg(planned="size", n="count", mean="mean", std="std").reset_index()
    # What is done and has no figure waits for its judge.
    table["awaiting"] = grouped["done"].sum().to_numpy() - table["n"]
    quantile = table["n"].map({n: t_975(n - 1) for n in set(table["n"]) if n > 1})
    half = quantile * table["std"] / table["n"] ** 0.5
    table["ci_low"], table["ci_high"] = table["mean"] - half, table["mean"] + half
    table["seen"] = grouped["seen"].max().fillna(0).to_numpy()
    table["best"] = _best(table)
    table = table.merge(deltas(values), on=CELL, how="left")
    return table.merge(costs(jobs, CELL), on=CELL, how="left")


def _best(table: pd.DataFrame) -> "pd.Series[bool]":
    """Where a column's best mean stands; a figure alone in its column is not called the best.

    Nor is one of images that its pretraining has seen.
    """
    score = (table["mean"] * table["sign"]).where(table["seen"] < JUDGED_SEEN)
    column = score.groupby([table[key] for key in COLUMN], sort=False)
    return score.eq(column.transform("max")) & column.transform("count").gt(1)


def means(jobs: pd.DataFrame) -> pd.DataFrame:
    """The average over all datasets of a table, seed by seed; a row that lacks a dataset has none.

    Only where the table's datasets share one metric and judge: an average of unlike things is no
    figure.
    """
    columns = jobs[COLUMN].drop_duplicates()
    grouped = columns.groupby(TABLE, sort=False)
    alike = grouped[["metric", "unit", "judge"]].nunique().eq(1).all(axis="columns")
    tables = grouped.agg(width=("dataset", "size"))
    tables = tables[(tables["width"] > 1) & alike]
    per_job = jobs.groupby([*CELL, "baseline", "seed"], sort=False)
    per_seed = per_job.agg(value=("value", "mean"), seen=("seen", "max")).reset_index()
    keys = [*(key for key in CELL if key != "dataset"), "baseline", "seed"]
    averages = per_seed.groupby(keys, sort=False).agg(
        value=("value", "mean"), found=("value", "count"), seen=("seen", "max")
    )
    rows = averages.reset_index().merge(tables["width"].reset_index(), on=TABLE)
    rows["value"] = rows["value"].where(rows["found"] == rows["width"])
    return rows.assign(dataset=MEAN, done=rows["value"].notna())


def deltas(values: pd.DataFrame) -> pd.DataFrame:
    """Each cell minus its backbone's baseline: the mean over the seeds that both have (``pairs``).

    Where they share no seed it is the difference of the means, with ``pairs`` 0.
    """
    keys = [*CELL, "baseline", "seed"]
    per_seed = values.dropna(subset="value").groupby(keys, sort=False)["value"].mean().reset_index()
    base = per_seed[per_seed["baseline"]].drop(columns=["recipe", "baseline"])
    others = per_seed[~per_seed["baseline"]].drop(columns="baseline")
    own = [*COLUMN, "backbone"]
    paired = others.merge(base, on=[*own, "seed"], suffixes=("", "_base"))
    paired["delta"] = paired["value"] - paired["value_base"]
    table = others.groupby(CELL, sort=False)["value"].mean().reset_index()
    levels = base.groupby(own, sort=False)["value"].mean().reset_index()
    table = table.merge(levels, on=own, suffixes=("", "_base"))
    by_seed = paired.groupby(CELL, sort=False)["delta"].agg(delta="mean", pairs="size")
    table = table.merge(by_seed.reset_index(), on=CELL, how="left")
    table["delta"] = table["delta"].fillna(table["value"] - table["value_base"])
    table["pairs"] = table["pairs"].fillna(0)
    return table[[*CELL, "delta", "pairs"]]


def costs(jobs: pd.DataFrame, keys: list[str]) -> pd.DataFrame:
    """What the finished jobs of each group cost: median rates, highest peaks, hours summed."""
    how = dict.fromkeys(RATES, "median") | dict.fromkeys((*PEAKS, "parameters"), "max")
    done = jobs[jobs["done"]].groupby(keys, sort=False)
    return done.agg(how | dict.fromkeys(HOURS, "sum")).reset_index()


def t_975(freedom: int) -> float:
    """Student's 97.5 % quantile, without scipy, which takes its time to import."""
    if freedom < 1:
        raise ValueError("a spread needs two values or more")
    if freedom <= len(T_975):
        return T_975[freedom - 1]
    # Cornish-Fisher in 1 / freedom (Abramowitz and Stegun 26.7.5), right to four decimals.
    z = 1.9599639845
    terms = (
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
        (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92160,
    )
    return z + sum(term / float(freedom) ** power for power, term in enumerate(terms, 1))


def rows(jobs: pd.DataFrame) -> pd.DataFrame:
    """One line a row, backbone and recipe: its costs, and what it is marked as."""
    marks = jobs.groupby(ROW, sort=False).agg(baseline=("baseline", "any"), after=("after", "any"))
    return marks.reset_index().merge(costs(jobs, ROW), on=ROW, how="left")
