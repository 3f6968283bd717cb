"""Training data by draw number: what draw *d* is depends on the seed and *d* alone.

That is what makes a resumed run equal to an undisturbed one, whatever the number of workers, and
the data order independent of the number of processes: the sampler counts draws and can skip, the
dataset maps a draw to an epoch's permutation and seeds the augmentation with (seed, draw).
"""

import contextlib
import random
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from mmengine.dist import get_dist_info
from mmengine.registry import DATASETS
from numpy.random.mtrand import get_bit_generator, set_bit_generator
from numpy.typing import NDArray
from torch.utils.data import Dataset, Sampler


class DrawSampler(Sampler[int]):
    """Endless draws for one process: its ``micro_batch`` of every global micro-batch.

    ``skipped``: global micro-batches that are left out, by their number.
    """

    def __init__(
        self,
        dataset: Dataset[Any],
        micro_batch: int,
        skipped: Sequence[int] = (),
        seed: int | None = None,
    ) -> None:
        del dataset, seed  # mmengine hands both to every sampler; a draw's meaning is the dataset's
        self._rank, self._processes = get_dist_info()
        self._micro_batch = micro_batch
        self._skipped = sorted(skipped)
        self._start = 0

    def skip(self, samples: int) -> None:
        """Go on after this many draws of this process; mmengine's loop calls it on resume."""
        self._start = samples

    def __iter__(self) -> Iterator[int]:
        count = self._start
        while True:
            batch, offset = divmod(count, self._micro_batch)
            batch = after_skips(batch, self._skipped)
            yield (batch * self._processes + self._rank) * self._micro_batch + offset
            count += 1


def after_skips(batch: int, skipped: Sequence[int]) -> int:
    """The number, among all micro-batches, of the one that stands at this place without some."""
    for left_out in sorted(skipped):
        if batch >= left_out:
            batch += 1
    return batch


_SPARE: list[np.random.MT19937] = []
"""Lent to NumPy while a block lasts: to read and write the state of its own takes far longer."""


@contextlib.contextmanager
def seeded(*entropy: int) -> Iterator[None]:
    """Python's, NumPy's and torch's generators seeded for a block, and as before afterwards.

    Only the second of a pair of normal numbers, which NumPy keeps beside its state, is forgotten.
    """
    first, second, third = (int(word) for word in np.random.SeedSequence(entropy).generate_state(3))
    python, numpy, pytorch = random.getstate(), get_bit_generator(), torch.get_rng_state()
    lent = _SPARE.pop() if _SPARE else np.random.MT19937()
    set_bit_generator(lent)
    random.seed(first)
    np.random.seed(second)  # the libraries' augmentations read the global generator
    torch.random.default_generator.manual_seed(third)
    try:
        yield
    finally:
        random.setstate(python)
        set_bit_generator(numpy)
        _SPARE.append(lent)
        torch.set_rng_state(pytorch)


class DrawnDataset(Dataset[Any]):
    """A dataset by draw number, endless: an epoch visits every sample, in its own order.

    A dataset with ``parts`` (how many samples each part has, one part after the other) is drawn
    from in turn: of three parts draw 3 k + p is the k-th of part p, which has its own epochs.
    """

    def __init__(self, dataset: dict[str, Any], seed: int) -> None:
        self._inner: Any = DATASETS.build(dataset)
        self._seed = seed
        counts: Sequence[int] = getattr(self._inner, "parts", None) or (len(self._inner),)
        self._parts = [_Part(number, count) for number, count in enumerate(counts)]
        self.metainfo = self._inner.metainfo

    def __len__(self) -> int:
        """Samples of one epoch."""
        return len(self._inner)

    def __getitem__(self, draw: int) -> Any:
        turn, number = divmod(draw, len(self._parts))
        part = self._parts[number]
        first = sum(each.count for each in self._parts[:number])
        index = part.index(turn, self._seed)
        with seeded(self._seed, draw):
            return self._inner[first + index]


class _Part:
    """The order of one part's samples, epoch by epoch."""

    def __init__(self, number: int, count: int) -> None:
        self._entropy = [number] if number else []
        self.count = count
        self._epoch = -1
        self._order: NDArray[np.int64] = np.empty(0, dtype=np.int64)

    def index(self, turn: int, seed: int) -> int:
        """Which sample the part's draw number ``turn`` is."""
        epoch, position = divmod(turn, self.count)
        if epoch != self._epoch:
            rng = np.random.default_rng([seed, epoch, *self._entropy])
            self._order = rng.permutation(self.count)
            self._epoch = epoch
        return int(self._order[position])
