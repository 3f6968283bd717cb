"""The board as Markdown: for each task a pipe table and its notes, then what is missing."""

from collections.abc import Iterable

from mtp_bench.report.board import Board, Table
from mtp_bench.report.columns import Shown, columns, missing_lines
from mtp_bench.report.pretraining import HEAD, texts


def render(board: Board) -> str:
    blocks: list[str] = []
    for suite in board.suites:
        for table in suite.tables:
            blocks += [f"## {_plain(table.title)}", _table(table), _list(table.notes)]
        if suite.pretraining:
            blocks += [f"### {HEAD.format(suite.name)}", _list(texts(suite.pretraining))]
        if suite.missing:
            blocks += [f"### Missing in {suite.name}", _list(missing_lines(suite))]
    if board.warnings():
        blocks += ["### Warnings", _list(board.warnings())]
    return "\n\n".join(blocks) + "\n"


def _table(table: Table) -> str:
    shown = columns(table)
    heads = [_plain(column.head).replace("\n", "<br>") for column in shown]
    rule = [":---" if column.label else "---:" for column in shown]
    rows = [[_cell(column.produce(row)) for column in shown] for row in table.rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in [heads, rule, *rows])


def _cell(shown: Shown) -> str:
    text = _plain(shown.text)
    text = f"**{text}**" if shown.best else text
    return f"{text}<br>{_plain(shown.below)}" if shown.below else text


def _list(lines: Iterable[str]) -> str:
    return "\n".join(f"- {_plain(' '.join(line.split()))}" for line in lines)


def _plain(text: str) -> str:
    """Names and messages are the user's: nothing of them is markup."""
    for sign in "\\|*_`<[":
        text = text.replace(sign, f"\\{sign}")
    return text
