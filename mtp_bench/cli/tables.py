"""Plain tables, and a bar for what takes long."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol


class Heard(Protocol):
    """Takes (done, total)."""

    def __call__(self, done: int, total: int) -> None: ...


def print_table(rows: Sequence[Sequence[str]], indent: str = "") -> None:
    """Rows of equal length in aligned columns; the last column is not padded."""
    rows = [[_printable(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        print((indent + "  ".join(cells)).rstrip())


def _printable(cell: str) -> str:
    """A name may hold line breaks, or bytes that are no text."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in cell)


@contextmanager
def bar(name: str) -> Iterator[Heard]:
    """A progress bar on a terminal's stderr; nothing elsewhere."""
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as shown:
        task = shown.add_task(name, total=None)

        def hear(done: int, total: int) -> None:
            shown.update(task, completed=done, total=total)

        yield hear
