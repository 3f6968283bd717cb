"""The board as text. With a width, a wide table is cut into blocks that repeat the rows' names.

Laid out here and not by rich: its tables need 1.6 s for the rows of 10,000 records.
"""

import textwrap
from collections.abc import Iterable, Mapping, Sequence

from mtp_bench.report.board import Board, Table
from mtp_bench.report.columns import Column, Shown, columns, missing_lines
from mtp_bench.report.pretraining import HEAD, texts

GAP = "  "
BOLD, PLAIN = "\033[1m", "\033[0m"


def render(board: Board, colour: bool = False, width: int | None = None) -> str:
    lines: list[str] = []
    for suite in board.suites:
        for table in suite.tables:
            title = textwrap.wrap(table.title, width or len(table.title))
            lines += [*(_bold(line, colour) for line in title), ""]
            for block in _blocks(table, colour, width):
                lines += [*block, ""]
            lines += _list("", table.notes, width)
        lines += _list(f"{HEAD.format(suite.name)}:", texts(suite.pretraining), width)
        lines += _list(f"Missing in {suite.name}:", missing_lines(suite), width)
    lines += _list("Warnings:", board.warnings(), width)
    return "".join(f"{line.rstrip()}\n" for line in lines)


def _bold(text: str, colour: bool) -> str:
    return f"{BOLD}{text}{PLAIN}" if colour else text


def _list(head: str, items: Iterable[str], width: int | None) -> list[str]:
    lines = []
    for item in items:
        room = max(width - 2, 20) if width else len(item) + 1
        wrapped = textwrap.wrap(item, room, break_on_hyphens=False)
        lines += [f"{'  ' if i else '- '}{line}" for i, line in enumerate(wrapped)]
    return [*[head] * bool(head), *lines, ""] if lines else []


def _blocks(table: Table, colour: bool, width: int | None) -> list[list[str]]:
    """As many columns beside each other as fit, and the others below, under the same rows."""
    shown = {column: [column.produce(row) for row in table.rows] for column in columns(table)}
    names = [column for column in shown if column.label]
    figures = [column for column in shown if not column.label]
    blocks: list[list[Column]] = [[*names, *figures[:1]]]
    for column in figures[1:]:
        beside = [*blocks[-1], column]
        used = sum(_wide(c, shown[c]) for c in beside) + len(GAP) * (len(beside) - 1)
        if width is None or used <= width:
            blocks[-1] = beside
        else:
            blocks.append([*names, column])
    return [_lines({column: shown[column] for column in block}, colour) for block in blocks]


def _wide(column: Column, cells: Sequence[Shown]) -> int:
    texts = [*column.head.split("\n"), *(text for c in cells for text in (c.text, c.below))]
    # A place behind every figure for the mark of the best, so that figures stay below each other.
    return max(map(len, texts)) + (not column.label)


def _lines(block: Mapping[Column, Sequence[Shown]], colour: bool) -> list[str]:
    """Two lines of head, a rule, and one or two lines a row."""
    deep = [any(cell.below for cell in row) for row in zip(*block.values(), strict=True)]
    done: list[list[str]] = []
    for column, cells in block.items():
        wide = _wide(column, cells)
        lines = [_pad(text, column, wide) for text in [*column.head.split("\n"), ""][:2]]
        lines.append("─" * wide)
        for cell, two in zip(cells, deep, strict=True):
            text = _pad(cell.text, column, wide)
            if cell.best:
                text = _bold(text, True) if colour else f"{text[:-1]}*"
            lines += [text, _pad(cell.below, column, wide)] if two else [text]
        done.append(lines)
    return [GAP.join(line) for line in zip(*done, strict=True)]


def _pad(text: str, column: Column, wide: int) -> str:
    return text.ljust(wide) if column.label else f"{text:>{wide - 1}} "
