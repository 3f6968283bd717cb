"""The board for other programs, as JSON: one document, one line a cell; null is unknown."""

import json
from collections.abc import Iterable

from mtp_bench.report.board import Board, Line
from mtp_bench.report.columns import data_cells

SCHEMA = 1


def render(board: Board) -> str:
    missing = {
        (line["job"], line["dataset"], line["backbone"], line["recipe"]): line
        for suite in board.suites
        for line in suite.missing
    }
    suites = json.dumps([suite.name for suite in board.suites])
    cells, lacking = _lines(data_cells(board)), _lines(missing.values())
    head = f'"schema": {SCHEMA},\n"suites": {suites}'
    made = _lines({line["job"]: line for s in board.suites for line in s.pretraining}.values())
    body = f'"cells": [{cells}],\n"pretraining": [{made}],\n"missing": [{lacking}]'
    return f"{{{head},\n{body}}}\n"


def _lines(items: Iterable[Line]) -> str:
    """One line an item: a change is seen in a diff, and the fast encoder does not indent."""
    return ",\n".join(json.dumps(item, ensure_ascii=False, allow_nan=False) for item in items)
