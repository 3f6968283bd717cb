"""Work spread over processes: results in order, and one line where a process dies."""

import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import connection, forkserver, get_context, parent_process, resource_tracker
from typing import TypeVar

from mtp_bench.errors import UserError

FEW = 200
"""So many annotations are read sooner than further processes start."""
T = TypeVar("T")
S = TypeVar("S")


def serve() -> None:
    """Start the forkserver deaf to Ctrl-C, which would end it while it still imports.

    It and all that it forks inherit the mask; here a Ctrl-C waits until the mask is lifted, and is
    not lost.
    """
    resource_tracker.ensure_running()  # its own start lifts the mask
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        forkserver.ensure_running()
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})


def _end_with_parent() -> None:
    """A process whose parent was killed would wait for work for ever."""
    parent = parent_process()
    if parent is not None:
        threading.Thread(target=_watch, args=(parent.sentinel,), daemon=True).start()


def _watch(sentinel: int) -> None:
    connection.wait([sentinel])
    os._exit(1)


def in_order(work: Callable[[S], T], things: Sequence[S], workers: int, died: str) -> Iterator[T]:
    """The results in the order of the things, whoever was done first.

    Raises:
        UserError: with ``died``, where a process was lost.
    """
    if workers < 2:
        yield from map(work, things)
        return
    serve()
    context = get_context("forkserver")
    try:
        with ProcessPoolExecutor(workers, context, initializer=_end_with_parent) as pool:
            yield from pool.map(work, things)
    except BrokenProcessPool:
        raise UserError(died) from None
