"""What jobs are on a real SLURM: arrays, chains, several processes, and random faults over many."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from mtp_bench.executors.cluster import act, look, watch
from mtp_bench.executors.dispatch import Cluster as Run
from mtp_bench.executors.outcome import retry_failed
from mtp_bench.executors.prepare import site_resources
from mtp_bench.store.lock import holder
from mtp_bench.suite.load import load_suite
from mtp_bench.suite.plan import Plan, make_plan
from mtp_bench.suite.schema import Roots
from mtp_bench.suite.site import load_site
from tests.slurm.cluster import Cluster, environment_of, until
from tests.slurm.place import Place

ROOT = Path(__file__).parents[2]


def test_two_hundred_jobs_that_somebody_else_finished(
    place: Place, undisturbed: Place, cluster: Cluster
) -> None:
    """Each starts, finds its record and ends, well, and leaves the record as it is."""
    place.change("seeds: 2", "seeds: 200")
    place.site(parallelism=8, sbatch={"hold": True})
    code, _, err = place.run("--detach")
    assert code == 0, err
    (submission,) = place.submissions()
    assert len(submission["jobs"]) == 200
    text = json.dumps(undisturbed.records()[0])
    place.records_folder.mkdir(parents=True)
    for job in submission["jobs"]:
        (place.records_folder / f"{job}.json").write_text(text)
    cluster.run("scontrol", "release", submission["slurm_id"])
    ours = place.tasks()
    assert len(ours) == 200

    def ended() -> bool:
        queue = cluster.queue()
        return all(queue.get(task) == "COMPLETED" for task in ours)

    until(ended, 240, "200 tasks to complete")
    assert place.states() == {"done": 200}
    found = {p.read_text() for p in place.records_folder.glob("*.json")}
    assert found == {text}


def chained(place: Place, failing: bool) -> tuple[Plan, Run]:
    """A plan whose second job needs its first; that one diverges where it is to fail."""
    one = "timm/test_vit: [scratch]"
    place.change(one, f"{one}\n  timm/test_vit2: [scratch]")
    place.change("seeds: 2", "seeds: 1")
    lr = "1e30" if failing else "1e-3"
    with place.suite.open("a") as stream:
        stream.write(f"overrides: [{{where: {{backbone: timm/test_vit}}, set: {{lr: {lr}}}}}]\n")
    plan = make_plan(load_suite(place.suite))
    first, second = plan.jobs
    plan = dataclasses.replace(plan, jobs=(first, dataclasses.replace(second, needs=(first.id,))))
    roots = Roots(
        runs=str(place.runs),
        results=str(place.folder / "results"),
        data=place.environment["MTP_BENCH_DATA"],
        weights=None,
        cache=place.environment["MTP_BENCH_CACHE"],
    )
    site = load_site(place.folder / "site.yaml")
    return plan, Run(plan, roots, site, site_resources(site, None, None), ("test",), print)


@pytest.fixture
def reached(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """SLURM's commands in this process reach the test cluster."""
    monkeypatch.setenv("SLURM_CONF", cluster.environment["SLURM_CONF"])


@pytest.mark.usefixtures("reached")
def test_a_chain_is_submitted_at_once_and_runs_in_order(place: Place) -> None:
    plan, run = chained(place, failing=False)
    look(run)
    assert len(act(run)) == 2
    summary = watch(run, lambda _: None)
    assert summary.failures == ()
    first, second = (place.record(job.id) for job in plan.jobs)
    assert first["attempts"][-1]["ended"] <= second["attempts"][0]["started"]


@pytest.mark.usefixtures("reached")
def test_what_needs_a_failed_job_is_cancelled_and_named(place: Place, cluster: Cluster) -> None:
    plan, run = chained(place, failing=True)
    look(run)
    act(run)
    summary = watch(run, lambda _: None)
    first, second = plan.jobs
    told = {failure.job: failure for failure in summary.failures}
    assert told[first.id].state == "failed"
    assert "the loss is" in told[first.id].message
    assert told[second.id].state == "cancelled"
    assert told[second.id].message == f"needs {first.id}, which failed"
    (task,) = (task for task, job in place.tasks().items() if job == second.id)
    # Told from the disk at once; SLURM itself sees to it in its next round.
    until(
        lambda: cluster.details(task)["Reason"] == "DependencyNeverSatisfied",
        60,
        f"{task} is cancelled for what it needs",
    )
    assert place.records() == []
    assert not (place.runs / second.id / "log.txt").exists()  # it was never started
    # Nothing is repeated but what the user asks for, and then in the same order.
    assert len(retry_failed(plan, run.roots)) == 2
    again = watch(run, lambda _: None)
    assert {f.job: f.state for f in again.failures} == {first.id: "failed", second.id: "cancelled"}


STAGE = """\
  - where: {stage: mae}
    set:
      image_size: 32
      length: {iterations: 150}
      batch_size: 8
      lr: 1e-3
      layer_decay: null
      drop_path: 0.0
      augmentation: crop_flip
      validate_every: {iterations: 150}
      test: {image_size: 32}
      mae: {folder: EuroSAT, decoder_width: 32, decoder_depth: 1, decoder_heads: 2}
"""


def test_pretraining_feeds_fine_tuning_whatever_is_killed(place: Place) -> None:
    """Each phase loses its worker once: both jobs go on, and nothing is done twice."""
    place.change("[scratch]", "[mae]")
    place.change("seeds: 2", "seeds: 1")
    with (place.folder / "tiny.protocol.yaml").open("a") as stream:
        stream.write(STAGE)
    place.environment["MTP_BENCH_CHECKPOINT_SECONDS"] = "0"
    watching = place.start_run()
    killed = []
    for kind in ("pretrain", "eurosat"):

        def at_work(kind: str = kind) -> str | None:
            jobs = (job for job in place.tasks().values() if job.startswith(kind))
            return next((j for j in jobs if place.iteration(j) > 10), None)

        job = until(at_work, 120, f"{kind} at work")
        found = holder(place.runs / str(job))
        assert found is not None
        os.kill(found.pid, signal.SIGKILL)
        killed.append(str(job))
    code, _, err = place.ended(watching)
    assert code == 0, err
    made, used = (place.record(job) for job in killed)
    assert used["provenance"]["weights"]["sha256"] == made["artifact"]
    assert made["attempts"][-1]["ended"] <= used["attempts"][0]["started"]
    for record in (made, used):
        outcomes = [attempt["outcome"] for attempt in record["attempts"]]
        assert outcomes[-1] == "done"
        assert outcomes.count("done") == 1
        assert len(outcomes) == 2
        iterations = [row["iteration"] for row in place.curve(record["job"]) if "loss" in row]
        assert iterations == sorted(set(iterations))


def optimizer_state(place: Place, job: str) -> list[torch.Tensor]:
    """AdamW's first moments after one step: a tenth of its gradients, in fp32."""
    path = place.runs / job / "checkpoints" / "iter_1.pth"
    found: Any = torch.load(path, weights_only=True)["optimizer"]
    return [state["exp_avg"] for _, state in sorted(found["state"].items())]


@pytest.mark.parametrize("per_node", [1, 2])
def test_two_processes_train_as_one(per_node: int, place: Place, tmp_path: Path) -> None:
    """Gloo, on one node and on two: the same data, learning rate, loss and gradient."""
    place.change("seeds: 2", "seeds: 1")
    place.change_protocol("iterations: 150", "iterations: 2")
    place.change_protocol("warmup: {iterations: 5}", "warmup: {iterations: 1}")
    place.change_protocol("validate_every: {iterations: 15}", "validate_every: {iterations: 2}")
    place.change_protocol("drop_path: 0.2", "drop_path: 0.0")
    place.environment["MTP_BENCH_CHECKPOINT_SECONDS"] = "0"
    curves, gradients, records, told = [], [], [], ""
    for processes in (1, 2):
        place.environment["MTP_BENCH_RUNS"] = str(tmp_path / f"runs-{processes}")
        place.environment["MTP_BENCH_RESULTS"] = str(tmp_path / f"results-{processes}")
        place.site(processes=processes, processes_per_node=per_node)
        code, _, told = place.run()
        assert code == 0, told
        (record,) = place.records()
        records.append(record)
        curves.append([row for row in place.curve(record["job"]) if "loss" in row])
        gradients.append(optimizer_state(place, record["job"]))
    assert "batch 8 = 2 process(es) x 4 images x 1 accumulated, learning rate 0.001" in told
    alone, together = (record["provenance"] for record in records)
    assert (alone["processes"], together["processes"]) == (1, 2)
    assert alone["effective_batch"] == together["effective_batch"] == 8
    assert alone["learning_rate"] == together["learning_rate"] == 1e-3
    assert [row["lr"] for row in curves[0]] == [row["lr"] for row in curves[1]]
    assert curves[1][0]["loss"] == pytest.approx(curves[0][0]["loss"], rel=1e-5)
    assert curves[1][1]["loss"] == pytest.approx(curves[0][1]["loss"], rel=1e-3)
    assert len(gradients[0]) == len(gradients[1]) > 10
    for one, other in zip(*gradients, strict=True):
        assert float((one - other).norm()) <= 1e-5 * float(one.norm()) + 1e-12


def test_a_lost_process_is_not_the_job_s_fault(place: Place, cluster: Cluster) -> None:
    place.site(processes=2, processes_per_node=2)
    watching = place.start_run("--only", "seed=0")
    job, _ = place.training(past=10)
    second = [
        pid
        for pid in cluster.job_processes()
        if {"SLURM_PROCID=1", "RANK=1"} & set(environment_of(pid)) and is_python(pid)
    ]
    os.kill(second[0], signal.SIGKILL)
    code, _, err = place.ended(watching)
    assert code == 0, err
    assert [a["outcome"] for a in place.record(job)["attempts"]][-1] == "done"
    assert len(place.record(job)["attempts"]) == 2


def is_python(pid: int) -> bool:
    return b"submitit.core._submit" in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")


def test_cancel_reaches_every_process(place: Place) -> None:
    place.site(processes=2, processes_per_node=2)
    code, _, err = place.run("--detach", "--only", "seed=0")
    assert code == 0, err
    job, _ = place.training(past=10)
    code, out, err = place.call("cancel", "tiny", "--only", "seed=0")
    assert f"asked to stop: {job}" in out
    until(lambda: place.states() == {"cancelled": 1, "pending": 1}, 60, "the job to be cancelled")
    until(lambda: not place.queued(), 60, "an empty queue")


def test_random_faults(cluster: Cluster) -> None:
    """Twenty over forty jobs; benchmarks/faults.py takes any number."""
    done = subprocess.run(
        [sys.executable, str(ROOT / "benchmarks" / "faults.py"), "20"],
        env=cluster.environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_demo_gives_the_board_that_it_gives_here(tmp_path: Path, cluster: Cluster) -> None:
    """One job on each dataset of the README's suite, on the cluster and on this machine."""
    environment = {k: v for k, v in cluster.environment.items() if not k.startswith("MTP_BENCH_R")}
    figures = ("dataset", "backbone", "recipe", "metric", "n", "mean", "std", "synthetic")
    boards: list[list[dict[str, Any]]] = []
    chosen = ["--only", "recipe=imp", "--only", "seed=0"]
    for where in (["--executor", "slurm", "--site", "local"], []):
        folder = tmp_path / f"{len(boards)}"
        results = ["--results", str(folder / "results")]
        board = folder / "board.json"
        for words in (
            ["run", "suites/demo.yaml", *where, *results, *chosen, "--runs", str(folder / "runs")],
            ["report", "demo", *results, "--format", "json", "--output", str(board)],
        ):
            ours = [sys.executable, "-m", "mtp_bench", *words]
            done = subprocess.run(
                ours, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
            )
            assert done.returncode == 0, done.stderr
        cells = json.loads(board.read_text())["cells"]
        boards.append([{key: cell[key] for key in figures} for cell in cells])
    wanted = ["EuroSAT", "DIOR", "DIOR-R", "LoveDA", "LEVIR-CD"]
    assert [cell["dataset"] for cell in boards[0] if cell["n"]] == wanted
    assert boards[0] == boards[1]
