"""What NVIDIA's own tool says of this machine's GPUs, without importing torch."""

import subprocess


def query(field: str) -> list[str]:
    """One answer for each GPU; none where there is no driver."""
    words = ["nvidia-smi", f"--query-gpu={field}", "--format=csv,noheader"]
    try:
        answer = subprocess.run(words, capture_output=True, text=True, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return []
    return answer.stdout.split() if answer.returncode == 0 else []
