"""What this process runs on: device and driver, as the record names them."""

from __future__ import annotations

import platform
import shutil
import subprocess
from pathlib import Path

import torch


def device_name(device: str) -> str:
    """The GPU's name, or the processor's model."""
    if device == "cuda":
        return str(torch.cuda.get_device_name(0))
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def driver_version(device: str) -> str | None:
    """The NVIDIA driver's version; None on a CPU or where nobody tells."""
    tool = shutil.which("nvidia-smi")
    if device != "cuda" or tool is None:
        return None
    answer = subprocess.run(
        [tool, "--query-gpu=driver_version", "--format=csv,noheader"],
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    return answer.stdout.splitlines()[0].strip() if answer.stdout else None
