"""Attempts that are killed at every point where it could hurt: no figure may change."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from mtp_bench.suite.schema import Resources

KILLED = -signal.SIGKILL

Bench = Any  # of conftest
MakeBench = Callable[..., Any]


def same(found: Bench, expected: Bench) -> None:
    """Every figure and every point of the curve, bit for bit."""
    assert found.record()["job"] == expected.record()["job"]
    assert found.record()["metrics"] == expected.record()["metrics"]
    assert found.record()["provenance"]["probe"] == expected.record()["provenance"]["probe"]
    assert found.curve() == expected.curve()


@pytest.mark.parametrize(
    "point",
    [
        "state.before",
        "state.after",
        "checkpoint.before@3",
        "checkpoint.written@3",
        "checkpoint.renamed@3",
        "checkpoint.delete.before@4",
        "checkpoint.delete.after@4",
        "record.before",
    ],
)
def test_two_kills_at_a_point_change_no_figure(
    point: str, bench: Bench, undisturbed: Bench
) -> None:
    assert [bench.attempt(MTP_BENCH_KILL_AT=point) for _ in range(2)] == [KILLED, KILLED]
    assert bench.attempt() == 0, bench.paths.log.read_text()
    same(bench, undisturbed)
    outcomes = [attempt["outcome"] for attempt in bench.record()["attempts"]]
    assert outcomes == ["lost"] * (len(outcomes) - 1) + ["done"]
    kept = sorted(path.name for path in bench.paths.checkpoints.iterdir())
    assert kept == ["iter_39.pth", "iter_40.pth"]


def test_a_kill_after_the_record_leaves_a_finished_job(bench: Bench, undisturbed: Bench) -> None:
    assert bench.attempt(MTP_BENCH_KILL_AT="record.after") == KILLED
    written = bench.paths.record.stat().st_mtime_ns
    assert bench.attempt() == 0
    assert bench.paths.record.stat().st_mtime_ns == written
    same(bench, undisturbed)


def test_a_kill_at_the_last_checkpoint_trains_nothing_again(
    bench: Bench, undisturbed: Bench
) -> None:
    assert bench.attempt(MTP_BENCH_KILL_AT="checkpoint.renamed@40") == KILLED
    written = (bench.paths.checkpoints / "iter_40.pth").stat().st_mtime_ns
    assert bench.attempt() == 0
    assert (bench.paths.checkpoints / "iter_40.pth").stat().st_mtime_ns == written
    same(bench, undisturbed)


def test_an_attempt_goes_on_where_the_last_one_saved(bench: Bench) -> None:
    bench.attempt(MTP_BENCH_KILL_AT="checkpoint.renamed@10")
    bench.attempt(MTP_BENCH_KILL_AT="checkpoint.renamed@5")
    assert bench.attempt() == 0
    assert [a["from_iteration"] for a in bench.record()["attempts"]] == [0, 10, 14]


@pytest.mark.parametrize("workers", [0, 2])
def test_loader_workers_change_no_figure(
    workers: int,
    tmp_path: Path,
    make_bench: MakeBench,
    undisturbed: Bench,
) -> None:
    bench = make_bench(tmp_path, Resources(checkpoint_seconds=0.0, loader_workers=workers))
    assert bench.attempt(MTP_BENCH_KILL_AT="checkpoint.renamed@7") == KILLED
    assert bench.attempt() == 0, bench.paths.log.read_text()
    same(bench, undisturbed)


def test_a_broken_newest_checkpoint_is_passed_over(bench: Bench, undisturbed: Bench) -> None:
    bench.attempt(MTP_BENCH_KILL_AT="record.before")
    newest = bench.paths.checkpoints / "iter_40.pth"
    newest.write_bytes(newest.read_bytes()[:1000])
    assert bench.attempt() == 0
    same(bench, undisturbed)
    assert "iter_40.pth: broken, passed over" in bench.paths.log.read_text()


class Planted:
    """Pickles to a call that leaves a file behind."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.target,))


def test_code_planted_in_a_checkpoint_is_not_run(
    bench: Bench, undisturbed: Bench, tmp_path: Path
) -> None:
    """Of mmengine, resume executes ``meta['config']`` and the loader unpickles what it is given."""
    bench.attempt(MTP_BENCH_KILL_AT="record.before")
    mark = tmp_path / "ran"
    newest, older = (bench.paths.checkpoints / f"iter_{n}.pth" for n in (40, 39))
    checkpoint = torch.load(older, weights_only=True)
    checkpoint["meta"]["config"] = f"import pathlib\npathlib.Path({str(mark)!r}).touch()\n"
    torch.save(checkpoint, older)
    torch.save({**checkpoint, "extra": Planted(mark)}, newest)
    assert bench.attempt() == 0
    same(bench, undisturbed)
    assert not mark.exists()


def test_accumulation_is_one_step_of_the_whole_batch(
    tmp_path: Path, make_bench: MakeBench, undisturbed: Bench
) -> None:
    """Four micro-batches of 2: the same data and rates, and saved only between steps."""
    bench = make_bench(tmp_path, Resources(checkpoint_seconds=0.0, micro_batch=2))
    assert bench.attempt(MTP_BENCH_KILL_AT="checkpoint.renamed@3") == KILLED
    assert {int(p.stem[5:]) % 4 for p in bench.paths.checkpoints.glob("iter_*.pth")} == {0}
    assert bench.attempt() == 0, bench.paths.log.read_text()
    assert bench.record()["provenance"]["accumulation"] == 4
    rates = [row["lr"] for row in bench.curve() if row["iteration"] % 4 == 0 and "lr" in row]
    assert rates == [row["lr"] for row in undisturbed.curve() if "lr" in row]


def test_two_processes_share_one_job(tmp_path: Path, make_bench: MakeBench) -> None:
    """Gloo on the CPU: the data order, rates and first loss of one process, and one record."""
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    one = make_bench(tmp_path / "one", Resources(), "drop_path: 0.0")
    assert one.attempt() == 0
    two = make_bench(tmp_path / "two", Resources(processes=2), "drop_path: 0.0")
    assert two.attempt_together(2) == 0, two.paths.log.read_text()
    provenance = two.record()["provenance"]
    assert (provenance["processes"], provenance["micro_batch"]) == (2, 4)
    assert len(two.record()["attempts"]) == 1
    alone, together = one.curve(), two.curve()
    assert [row.get("lr") for row in together] == [row.get("lr") for row in alone]
    assert together[0]["loss"] == pytest.approx(alone[0]["loss"], rel=1e-5)
    assert together[3]["loss"] == pytest.approx(alone[3]["loss"], rel=1e-2)


def test_a_linear_probe_in_bfloat16_on_half_of_the_images(
    tmp_path: Path, make_bench: MakeBench
) -> None:
    settings = "frozen: backbone, precision: bf16, train_fraction: 0.5, layer_decay: null"
    bench = make_bench(tmp_path, Resources(), settings)
    assert bench.attempt() == 0, bench.paths.log.read_text()
    record = bench.record()
    channels, classes = 64, 10
    assert record["compute"]["trainable_parameters"] == (channels + 1) * classes
    assert record["provenance"]["data_counts"] == {"train": 30, "test": 20}
    (path,) = bench.paths.checkpoints.iterdir()
    state = torch.load(path, weights_only=True)["state_dict"]
    assert {tensor.dtype for tensor in state.values()} == {torch.float32}


def test_half_precision_needs_a_gpu(tmp_path: Path, make_bench: MakeBench) -> None:
    bench = make_bench(tmp_path, Resources(), "precision: fp16")
    if not torch.cuda.is_available():
        assert bench.attempt() == 1
        assert "fp16 needs a GPU: use precision bf16 or fp32" in bench.paths.log.read_text()


def test_a_batch_that_cannot_be_split_is_refused(tmp_path: Path, make_bench: MakeBench) -> None:
    bench = make_bench(tmp_path, Resources(processes=1, micro_batch=3))
    assert bench.attempt() == 1
    assert "a batch of 8 is no multiple of 1 processes x 3" in bench.paths.log.read_text()


def test_fewer_processes_than_the_job_wants_are_refused(
    tmp_path: Path, make_bench: MakeBench
) -> None:
    """The rest of the batch would be missing without a word."""
    bench = make_bench(tmp_path, Resources(processes=2))
    assert bench.attempt() == 1
    assert "wants 2 processes, and 1 were started" in bench.paths.log.read_text()


def test_a_job_goes_on_only_as_it_began(bench: Bench) -> None:
    """Iterations count micro-batches: with another number of them, all positions would shift."""
    bench.attempt(MTP_BENCH_KILL_AT="checkpoint.renamed@4")
    job = json.loads(bench.paths.job_file.read_text())
    job["resources"]["micro_batch"] = 4
    bench.paths.job_file.write_text(json.dumps(job))
    assert bench.attempt() == 1
    assert "began with accumulation 1, goes on with 2" in bench.paths.log.read_text()


def test_a_job_file_runs_by_hand_with_the_same_figures(bench: Bench, undisturbed: Bench) -> None:
    subprocess.run([sys.executable, "-m", "mtp_bench.worker", bench.paths.job_file], check=True)
    same(bench, undisturbed)


def test_fixed_statistics_run_by_hand_too(tmp_path: Path, make_bench: MakeBench) -> None:
    """As under the paper's protocol: nothing but the job itself then looks at timm first."""
    settings = "mean: [124, 116, 104], std: [58, 57, 57], length: {iterations: 6}"
    bench = make_bench(tmp_path, Resources(), settings)
    subprocess.run([sys.executable, "-m", "mtp_bench.worker", bench.paths.job_file], check=True)
    assert bench.record()["provenance"]["mean"] == [124, 116, 104]


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda text: text[:50], "not a job file"),
        (lambda text: text.replace('"seed": 0', '"seed": 1', 1), "is not that of its spec"),
    ],
)
def test_a_spoilt_job_file_is_told(spoil: Callable[[str], str], message: str, bench: Bench) -> None:
    bench.paths.job_file.write_text(spoil(bench.paths.job_file.read_text()))
    ended = subprocess.run(
        [sys.executable, "-m", "mtp_bench.worker", bench.paths.job_file],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 2
    assert message in ended.stderr
    assert len(ended.stderr.splitlines()) == 1


def test_details_hold_what_is_too_big_for_a_record(undisturbed: Bench) -> None:
    details = json.loads(undisturbed.paths.details.read_text())
    assert sum(map(sum, details["confusion"])) == 20
    assert len(details["predictions"]) == 20
    assert details["packages"]["timm"]
    assert set(details["per_class_accuracy"]) == set(details["classes"])
