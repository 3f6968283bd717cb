"""Rates and memory, as every record reports them."""

from __future__ import annotations

import numpy as np
import pytest

from mtp_bench.profiling.memory import RssPeak, device_peak
from mtp_bench.profiling.rates import rate


def test_rates_leave_the_warm_up_out() -> None:
    found = rate([10.0] * 5 + [0.5] * 20, [8] * 25)
    assert found == {"median": 16, "p10": 16, "p90": 16, "samples": 20}


def test_rates_of_few_steps_and_of_none() -> None:
    few = rate([1.0, 2.0], [4, 4])
    assert few is not None
    assert (few["samples"], few["median"]) == (2, 3.0)
    assert rate([], []) is None


def test_the_peak_is_seen_even_after_it_is_gone() -> None:
    with RssPeak().watching() as peak:
        before = peak.bytes
        block = np.ones(30_000_000)
        peak.sample()
        del block
    assert peak.bytes - before > 200e6


def test_a_cpu_has_no_device_peak(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert device_peak() is None
