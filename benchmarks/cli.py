"""How fast the command line answers: help against importing typer and rich, and planning.

    python benchmarks/cli.py [REPEATS]

Prints medians of interleaved runs, in seconds. Targets: help under 0.4 s and at most twice the bare
import; ``plan suites/full.yaml`` under 1 s.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
COMMANDS = {
    "import typer, rich": ["-c", "import typer, rich"],
    "mtp-bench --help": ["-m", "mtp_bench", "--help"],
    "mtp-bench plan full": ["-m", "mtp_bench", "plan", str(ROOT / "suites" / "full.yaml")],
    "mtp-bench plan demo": ["-m", "mtp_bench", "plan", str(ROOT / "suites" / "demo.yaml")],
}


def seconds(words: list[str], folder: str) -> float:
    """Wall time of one run, its output thrown away."""
    start = time.perf_counter()
    subprocess.run([sys.executable, *words], cwd=folder, capture_output=True, check=False)
    return time.perf_counter() - start


def main() -> None:
    repeats = int(sys.argv[1]) if len(sys.argv) > 1 else 9
    taken: dict[str, list[float]] = {name: [] for name in COMMANDS}
    with tempfile.TemporaryDirectory() as folder:
        for turn in range(repeats + 1):
            for name, words in COMMANDS.items():
                once = seconds(words, folder)
                if turn:  # the first turn warms the file cache
                    taken[name].append(once)
    bare = statistics.median(taken["import typer, rich"])
    for name, values in taken.items():
        median = statistics.median(values)
        spread = f"{min(values):.3f} to {max(values):.3f}"
        print(f"{name:22} {median:.3f} s ({spread}; {median / bare:.2f} x the bare import)")


if __name__ == "__main__":
    main()
