"""What this process runs on: device and driver, as the record names them."""

import platform
from contextlib import suppress
from pathlib import Path

import torch

from mtp_bench.profiling.nvidia import query


def device_name(device: str) -> str:
    """The GPU's name, or the processor's model."""
    if device == "cuda":
        return str(torch.cuda.get_device_name(0))
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def driver_version(device: str) -> str | None:
    """The NVIDIA driver's version; None on a CPU or where nobody tells."""
    return next(iter(query("driver_version")), None) if device == "cuda" else None
