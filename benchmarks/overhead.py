"""What the harness costs beside mmengine's own loop, and what that is of a ten-minute job.

    python benchmarks/overhead.py [--iterations 40 160] [--repeats 3]

The same config runs as a job (forked from a preloaded forkserver, as ``run`` does it) and with
mmengine's Runner alone in a process that is forked likewise; interleaved, at two lengths. CPU
seconds, which other processes on the machine disturb least, give the cost of an iteration and the
fixed cost of a job by the slope and the offset of the difference. Writing checkpoints, every 120 s
in a ten-minute job, is timed apart.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import resource
import statistics
import tempfile
import time
from pathlib import Path

PROTOCOL = """\
name: overhead
rules:
  - set:
      image_size: 128
      length: {{iterations: {iterations}}}
      batch_size: 8
      lr: 1e-3
      layer_decay: null
      drop_path: 0.0
      augmentation: dihedral
      validate_every: {{iterations: {iterations}}}
      test: {{image_size: 128, batch_size: 32}}
"""
SUITE = """\
name: overhead
protocol: overhead.protocol.yaml
data: miniature
backbones: {timm/tf_efficientnet_lite0: [scratch]}
datasets: [EuroSAT]
"""
JOB_SECONDS = 600.0
CHECKPOINTS = 5


def write_job(folder: Path, iterations: int) -> Path:
    """A planned job of so many iterations."""
    from mtp_bench.executors.prepare import write_job
    from mtp_bench.store.paths import cache_root
    from mtp_bench.suite.load import load_suite
    from mtp_bench.suite.plan import make_plan
    from mtp_bench.suite.schema import Resources, Roots

    folder.mkdir(parents=True)
    (folder / "overhead.protocol.yaml").write_text(PROTOCOL.format(iterations=iterations))
    (folder / "overhead.yaml").write_text(SUITE)
    (job,) = make_plan(load_suite(folder / "overhead.yaml")).jobs
    roots = Roots(
        runs=str(folder / "runs"),
        results=str(folder / "results"),
        data=None,
        weights=None,
        cache=str(cache_root()),
    )
    return write_job(job, Resources(checkpoint_seconds=1e9), roots, ("benchmark",))


def plain(config: str, answer: str) -> None:
    """The Runner of mmengine alone, in this process."""
    import torch
    from mmengine.config import Config
    from mmengine.runner import Runner

    torch.set_num_threads(1)
    Runner.from_cfg(Config.fromfile(config)).train()
    report(answer)


def harness(job_file: str, answer: str) -> None:
    """The worker, in this process."""
    from mtp_bench.worker import execute

    execute(Path(job_file))
    report(answer)


def report(answer: str) -> None:
    used = resource.getrusage(resource.RUSAGE_SELF)
    Path(answer).write_text(json.dumps(used.ru_utime + used.ru_stime))


def cpu_seconds(target: object, *words: str) -> float:
    """CPU seconds of one forked process."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["mtp_bench.mm.preload"])
    with tempfile.NamedTemporaryFile(suffix=".json") as answer:
        process = context.Process(target=target, args=(*words, answer.name))  # type: ignore[arg-type]
        process.start()
        process.join()
        return float(json.loads(Path(answer.name).read_text()))


def checkpoint_seconds(run: Path) -> float:
    """Wall time of writing the job's checkpoint once more, durably."""
    import torch

    (path,) = run.glob("checkpoints/iter_*.pth")
    checkpoint = torch.load(path, weights_only=True)
    start = time.perf_counter()
    with path.with_suffix(".again").open("wb") as stream:
        torch.save(checkpoint, stream)
        stream.flush()
        os.fsync(stream.fileno())
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--iterations", type=int, nargs=2, default=[40, 160])
    parser.add_argument("--repeats", type=int, default=3)
    chosen = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    extra: dict[int, list[float]] = {n: [] for n in chosen.iterations}
    each: list[float] = []
    saving = 0.0
    with tempfile.TemporaryDirectory() as room:
        for turn in range(chosen.repeats):
            for count in chosen.iterations:
                job_file = write_job(Path(room) / f"{turn}-{count}", count)
                ours = cpu_seconds(harness, str(job_file))
                alone = cpu_seconds(plain, str(job_file.parent / "config.py"))
                extra[count].append(ours - alone)
                each.append(alone / count)
                saving = checkpoint_seconds(job_file.parent)
                print(f"{count} iterations: {ours:.2f} CPU-s as a job, {alone:.2f} alone")
    short, long = chosen.iterations
    slope = (statistics.median(extra[long]) - statistics.median(extra[short])) / (long - short)
    fixed = statistics.median(extra[short]) - slope * short
    iterations = JOB_SECONDS / statistics.median(each)
    total = fixed + max(0.0, slope) * iterations + CHECKPOINTS * saving
    print(f"fixed {fixed:.2f} s, {1000 * slope:.2f} ms an iteration, {saving:.2f} s a checkpoint")
    print(f"of a ten-minute job: {total:.2f} s = {100 * total / JOB_SECONDS:.2f} %")


if __name__ == "__main__":
    main()
