"""The board as CSV: one line a cell, with the fields of the JSON form but for the single values."""

import csv
import io

from mtp_bench.report.board import Board
from mtp_bench.report.columns import FIELDS, data_cells


def render(board: Board) -> str:
    fields = [*(name for name in FIELDS if name != "values"), "suite", "protocol", "data"]
    stream = io.StringIO()
    writer = csv.DictWriter(stream, fields, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(data_cells(board))
    return stream.getvalue()
