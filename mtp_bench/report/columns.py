"""The columns of a leaderboard and the fields of a cell: what each is called, how it is made."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from operator import itemgetter
from typing import Any, NamedTuple

from mtp_bench.report.aggregate import MEAN
from mtp_bench.report.board import Board, Head, Line, Row, SuiteBoard, Table
from mtp_bench.report.frame import card_of
from mtp_bench.report.pretraining import MARKS, SEEN

NONE = "\N{EN DASH}"
HERE = "val"
"""Where protocols judge here what they may leave to a server."""
GIB = 2**30
MEMORY = (("device_bytes", "device"), ("rss_bytes", "rss"))


class Shown(NamedTuple):
    """What a table shows in one place: a line, perhaps its column's best, and a second line."""

    text: str
    best: bool = False
    below: str = ""


@dataclass(frozen=True)
class Column:
    """A column of the table: its head, in one or two lines, and what a row shows in it."""

    head: str
    produce: Callable[[Row], Shown]
    label: bool = False
    """Names a row, and so stands on the left, wherever a wide table is cut."""


def columns(table: Table) -> tuple[Column, ...]:
    figures = tuple(Column(_title(h, table), partial(score, h)) for h in table.heads)
    return (*LABELS, *figures, *COSTS)


def _title(head: Head, table: Table) -> str:
    name = head.dataset or "mean over datasets"
    what = (head.metric, head.unit, head.judge, _judged_on(head))
    return f"{name}\n{', '.join(filter(None, what)) if head.metric else NONE}"


def _judged_on(head: Head) -> str:
    """The split, where it depends on who judges."""
    card = card_of(head.dataset)
    if card is None or card.metric is None:
        return ""
    if card.metric.tested and head.metric == card.metric.name:
        return card.metric.tested
    if card.judged_here is None:
        return ""
    if head.metric == card.judged_here.name:
        return HERE
    return "+".join(card.roles["test"]) if head.judge else ""


def _recipe(row: Row) -> Shown:
    baseline = " (baseline)" if row.marks["baseline"] else ""
    return Shown(f"{row.recipe}{baseline}{' §' if row.marks['after'] else ''}")


def score(head: Head, row: Row) -> Shown:
    """``61.20 ± 0.40 (n=3)``, and the difference to the baseline below."""
    cell = row.cells.get(head)
    if cell is None:
        return Shown(NONE)
    n, planned, awaiting = cell["n"], cell["planned"], cell["awaiting"]
    parts = (f"n={n}{f' of {planned}' * (n < planned)}", f"{awaiting} awaiting" * (awaiting > 0))
    count = f"({', '.join(filter(None, parts))})"
    if n == 0:
        return Shown(f"{'awaiting score' if awaiting else NONE} {count}")
    digits = 2 if head.unit == "%" else 4
    spread = f" ± {cell['std']:.{digits}f}" if n > 1 else ""
    below = ""
    if cell["delta"] is not None:
        how = f"k={cell['pairs']:.0f}" if cell["pairs"] else "unpaired"
        below = f"Δ {cell['delta']:+.{digits}f} ({how})"
    mark = MARKS[int(cell["seen"])]
    return Shown(f"{cell['mean']:.{digits}f}{spread} {count}{mark}", bool(cell["best"]), below)


def _rate(key: str, row: Row) -> Shown:
    rate = row.marks[key]
    return Shown(NONE if rate is None else f"{rate:,.0f}" if rate >= 100 else f"{rate:.1f}")


def _memory(row: Row) -> Shown:
    peaks = [f"{row.marks[k] / GIB:.2f} {kind}" for k, kind in MEMORY if row.marks[k] is not None]
    return Shown(" + ".join(peaks) or NONE)


def _parameters(row: Row) -> Shown:
    count = row.marks["parameters"]
    return Shown(NONE if count is None else f"{count / 1e6:.1f}")


def _hours(row: Row) -> Shown:
    kinds = (("gpu_hours", "GPU-h"), ("cpu_hours", "CPU wall-h"))
    spent = [(row.marks[k], kind) for k, kind in kinds if row.marks[k]]
    texts = (f"{h:,.1f} {kind}" if h >= 10 else f"{h:.2g} {kind}" for h, kind in spent)
    return Shown(" + ".join(texts) or NONE)


LABELS = (
    Column("backbone", lambda row: Shown(row.backbone), label=True),
    Column("recipe", _recipe, label=True),
)
COSTS = (
    Column("train\nimages/s", partial(_rate, "train_rate")),
    Column("inference\nimages/s", partial(_rate, "inference_rate")),
    Column("peak memory\nGiB", _memory),
    Column("parameters\nM", _parameters),
    Column("fine-tuning\nhours", _hours),
)


def _peak(cell: Line) -> tuple[int | None, str | None]:
    peaks = ((cell[key], kind) for key, kind in MEMORY if cell[key] is not None)
    return next(((int(peak), kind) for peak, kind in peaks), (None, None))


FIELDS: Mapping[str, Callable[[Line], Any]] = {
    **{name: itemgetter(name) for name in ("task", "dataset", "backbone", "recipe")},
    "metric": lambda cell: cell["metric"] or None,
    "unit": lambda cell: cell["unit"] or None,
    "judge": lambda cell: cell["judge"] or None,
    "higher_is_better": lambda cell: cell["sign"] > 0 if cell["sign"] else None,
    **{name: itemgetter(name) for name in ("n", "awaiting", "mean", "std", "ci_low", "ci_high")},
    "values": itemgetter("values"),
    "seen": lambda cell: SEEN[int(cell["seen"])],
    "synthetic": itemgetter("synthetic"),
    "train_images_per_s": itemgetter("train_rate"),
    "inference_images_per_s": itemgetter("inference_rate"),
    "peak_memory_bytes": lambda cell: _peak(cell)[0],
    "memory_kind": lambda cell: _peak(cell)[1],
    "gpu_hours": itemgetter("gpu_hours"),
}
"""A cell as other programs read it, in JSON and CSV; null is unknown."""


def data_cells(board: Board) -> list[dict[str, Any]]:
    """Every cell once, also where suites share it; without the averages over datasets."""
    found: dict[tuple[Any, ...], dict[str, Any]] = {}
    for suite in board.suites:
        own = {"suite": suite.name, "protocol": suite.protocol, "data": suite.data}
        places = ((head, row) for t in suite.tables for head in t.heads for row in t.rows)
        for head, row in places:
            if head.dataset != MEAN and (cell := row.cells.get(head)):
                jobs = tuple(value["job"] for value in cell["values"])
                key = (*head, row.backbone, row.recipe, cell["synthetic"], jobs)
                data = {name: produce(cell) for name, produce in FIELDS.items()}
                found.setdefault(key, data | own)
    return list(found.values())


def missing_lines(suite: SuiteBoard) -> Iterator[str]:
    """``timm/resnet50 imp, failed: EuroSAT seeds 1, 2; RESISC45 seed 0``, then pairs left out."""
    row = itemgetter("kind", "backbone", "recipe", "state")
    jobs = sorted((line for line in suite.missing if line["job"] is not None), key=row)
    for (kind, backbone, recipe, state), group in groupby(jobs, row):
        seeds: dict[str, list[str]] = {}
        for line in group:
            seeds.setdefault(line["dataset"], []).append(str(line["seed"]))
        parts = [f"{d} seed{'s' * (len(s) > 1)} {', '.join(s)}" for d, s in seeds.items()]
        pretrain = "pretraining of " if kind == "pretrain" else ""
        yield f"{pretrain}{backbone} {recipe}, {state}: {'; '.join(parts)}"
    for line in suite.missing:
        if line["job"] is None:
            pair = f"{line['backbone']} {line['recipe']} on {line['dataset']}"
            yield f"{pair}, skipped: {line['reason']}"
