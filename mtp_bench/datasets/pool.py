"""Work spread over processes: results in order, and one line where a process dies."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from typing import TypeVar

from mtp_bench.errors import UserError

FEW = 200
"""So many annotations are read sooner than further processes start."""
T = TypeVar("T")
S = TypeVar("S")


def in_order(work: Callable[[S], T], things: Sequence[S], workers: int, died: str) -> Iterator[T]:
    """The results in the order of the things, whoever was done first.

    Raises:
        UserError: with ``died``, where a process was lost.
    """
    if workers < 2:
        yield from map(work, things)
        return
    try:
        with ProcessPoolExecutor(workers, mp_context=get_context("forkserver")) as pool:
            yield from pool.map(work, things)
    except BrokenProcessPool:
        raise UserError(died) from None
