"""Peak memory: the devices' by torch's counters, the process tree's resident set by sampling."""

import contextlib
import threading
from collections.abc import Iterator
from typing import Self

import psutil
import torch

SAMPLE_SECONDS = 0.5


class RssPeak:
    """Largest resident memory of this process and its children, sampled twice a second."""

    def __init__(self) -> None:
        self._process = psutil.Process()
        self._stop = threading.Event()
        self.bytes = 0

    def sample(self) -> None:
        total = self._process.memory_info().rss
        for child in self._process.children(recursive=True):
            with contextlib.suppress(psutil.Error):
                total += child.memory_info().rss
        self.bytes = max(self.bytes, total)

    def _loop(self) -> None:
        while not self._stop.wait(SAMPLE_SECONDS):
            self.sample()

    @contextlib.contextmanager
    def watching(self) -> Iterator[Self]:
        thread = threading.Thread(target=self._loop, daemon=True, name="memory")
        thread.start()
        try:
            yield self
        finally:
            self._stop.set()
            thread.join()
            self.sample()


def device_peak() -> tuple[int, int] | None:
    """Peak allocated and reserved bytes of this process on its GPU; None on a CPU."""
    if not torch.cuda.is_available():
        return None
    return torch.cuda.max_memory_allocated(), torch.cuda.max_memory_reserved()
