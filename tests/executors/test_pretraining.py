"""Pretraining jobs from end to end on rendered scenes, and fine-tuning that starts from one."""

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
from safetensors.torch import load_file

from mtp_bench import catalog
from mtp_bench.executors.prepare import write_job
from mtp_bench.store.paths import job_paths
from mtp_bench.suite.load import load_suite
from mtp_bench.suite.plan import Job, make_plan
from mtp_bench.suite.schema import Resources, Roots
from tests.executors.conftest import Bench

KILLED = -signal.SIGKILL
SUITE = """\
name: chain
protocol: demo
data: miniature
backbones: {{vit_t_rvsa: [{recipe}]}}
datasets: [EuroSAT]
overrides:
  - set: {{length: {{iterations: 2}}, warmup: {{iterations: 1}}, validate_every: {{iterations: 2}}}}
  - where: {{stage: mae}}
    set: {{image_size: 64, length: {{iterations: {mae}}}, warmup: {{iterations: 2}}, batch_size: 8,
           validate_every: {{iterations: {mae}}}, test: {{image_size: 64, batch_size: 64}}}}
  - where: {{stage: mtp}}
    set: {{length: {{iterations: {steps}}}, warmup: {{iterations: 1}}, batch_size: 12,
           decoder: {{kind: upernet, channels: 32, dropout: 0.0}},
           validate_every: {{iterations: {steps}}}, mtp: {{conflict_every: 2, held_out: 2}}}}
"""
TERMS = {"semantic", "instance", "rotated"}
MakeChain = Callable[..., dict[str, Bench]]


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="session")
def make_chain(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> MakeChain:
    """Plans a recipe; its jobs by stage, the fine-tuning one as ``finetune``.

    ``steps`` of mtp, and where they are fewer than usual of mae; ``given``: resources of the last
    stage.
    """

    def make(recipe: str, steps: int = 4, **given: Any) -> dict[str, Bench]:
        folder = tmp_path_factory.mktemp("chain")
        (folder / "chain.yaml").write_text(
            SUITE.format(recipe=recipe, steps=steps, mae=6 if steps == 4 else steps)
        )
        roots = Roots(
            runs=str(folder / "runs"),
            results=str(folder / "results"),
            data=None,
            weights=None,
            cache=str(cache),
        )

        def ready(job: Job) -> Bench:
            catalog.training_of(job.spec).data.prepare(job.spec, roots, 1, None)
            own = given if job.spec.stage == recipe.rpartition("+")[2] else {}
            write_job(job, Resources(**{"checkpoint_seconds": 0.0, **own}), roots, ("test",))
            return Bench(job_paths(roots, job.id))

        plan = make_plan(load_suite(folder / "chain.yaml"))
        return {job.spec.stage or "finetune": ready(job) for job in plan.jobs}

    return make


def stage_of(make_chain: MakeChain, stage: str, **given: Any) -> Bench:
    """The job of a stage, what it needs already done."""
    jobs = make_chain("mae" if stage == "mae" else "mae+mtp", **given)
    if stage == "mtp":
        done(jobs["mae"])
    return jobs[stage]


@pytest.fixture(scope="session")
def calm(make_chain: MakeChain) -> dict[str, Bench]:
    """Each stage when nothing happens to it."""
    return {stage: done(stage_of(make_chain, stage)) for stage in ("mae", "mtp")}


def done(bench: Bench, **environment: str) -> Bench:
    assert bench.attempt(**environment) == 0, bench.paths.log.read_text()
    return bench


def test_a_chain_hands_its_backbone_on(make_chain: MakeChain) -> None:
    jobs = make_chain("mae+mtp")
    assert list(jobs) == ["mae", "mtp", "finetune"]
    for bench in jobs.values():
        done(bench)
    mae, mtp, last = (bench.record() for bench in jobs.values())
    assert mae["provenance"]["weights"] is None
    for made, user in ((mae, mtp), (mtp, last)):
        used = user["provenance"]["weights"]
        assert used["sha256"] == made["artifact"]
        assert used["matched_share"] == 1.0
        meta = json.loads((jobs[made["spec"]["stage"]].paths.meta).read_text())
        assert (meta["sha256"], meta["job"]) == (made["artifact"], made["job"])
        assert meta["mean"] == user["provenance"]["mean"]
    assert len({record["provenance"]["probe"] for record in (mae, mtp, last)}) == 3
    assert set(mtp["metrics"]) == {"mIoU", "mask_AP50", "mAP_mmrotate"}
    assert set(mae["metrics"]) == {"reconstruction_loss"}
    assert all(len(bench.paths.record.read_bytes()) < 4096 for bench in jobs.values())
    details = json.loads(jobs["mtp"].paths.details.read_text())
    assert details["conflict"]["cosine"].keys() == {
        "semantic~instance",
        "semantic~rotated",
        "instance~rotated",
    }
    assert details["conflict"]["gradient_norm"].keys() == TERMS
    row = jobs["mtp"].curve()[0]
    assert row["gradient_norm"] > 0
    assert len([name for name in row if "loss" in name]) > 9


@pytest.mark.parametrize(
    ("stage", "point"),
    [
        ("mae", "checkpoint.renamed@3"),
        ("mae", "artifact.before"),
        ("mae", "artifact.between"),
        ("mae", "record.before"),
        ("mtp", "checkpoint.renamed@3"),
        ("mtp", "artifact.between"),
    ],
)
def test_kills_change_no_figure(
    stage: str, point: str, make_chain: MakeChain, calm: dict[str, Bench]
) -> None:
    disturbed = stage_of(make_chain, stage)
    assert disturbed.attempt(MTP_BENCH_KILL_AT=point) == KILLED
    assert not disturbed.paths.record.exists()
    done(disturbed)
    assert disturbed.curve() == calm[stage].curve()
    assert disturbed.record()["metrics"] == calm[stage].record()["metrics"]
    assert disturbed.record()["artifact"] == calm[stage].record()["artifact"]


SCRIPT = """\
import sys, torch
from pathlib import Path
from mtp_bench import worker
from mtp_bench.mm import mae

calls, plain = [], mae.Mae.forward

def forward(self, *args, mode="tensor", **words):
    found = plain(self, *args, mode=mode, **words)
    if mode == "loss":
        calls.append(1)
        if len(calls) in {bad}:
            return {{"loss": found["loss"] * float("nan")}}
    return found

mae.Mae.forward = forward
sys.exit(worker.EXIT.get(worker.execute(Path({path!r})), 1))
"""


def spoilt(bench: Bench, bad: tuple[int, ...]) -> subprocess.CompletedProcess[str]:
    """The job, whose loss is no number at these calls."""
    script = SCRIPT.format(bad=bad, path=str(bench.paths.job_file))
    return subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )


def test_a_loss_that_is_no_number_costs_one_restart(
    make_chain: MakeChain, calm: dict[str, Bench]
) -> None:
    bench = stage_of(make_chain, "mae")
    ended = spoilt(bench, (4,))
    assert ended.returncode == 0, ended.stdout + ended.stderr
    told = "the loss was nan at iteration 4: one restart without the draws of its micro-batch 3"
    assert bench.record()["warnings"] == [told]
    kept = torch.load(next(bench.paths.diverged.iterdir()), weights_only=True)
    assert kept["iteration"] == 4
    assert kept["inputs"].shape == (8, 3, 64, 64)
    # Iteration 4 has the batch that would have been the fifth, and so on.
    jobs = (bench, calm["mae"])
    losses, undisturbed = ([row["loss"] for row in b.curve() if "loss" in row] for b in jobs)
    assert losses[:3] == undisturbed[:3]
    assert losses[3] != undisturbed[3]


def test_a_loss_that_stays_no_number_fails_the_job(make_chain: MakeChain) -> None:
    bench = stage_of(make_chain, "mae")
    ended = spoilt(bench, (4, 6))
    assert ended.returncode == 1
    assert (
        "failed: the loss is nan at iteration 5, after a restart without the draws of micro-batch 3"
        in ended.stdout
    )
    assert not bench.paths.record.exists()
    assert len(list(bench.paths.diverged.iterdir())) == 2


@pytest.mark.parametrize(("stage", "micro_batch"), [("mae", None), ("mtp", 6)])
def test_two_processes_pretrain_as_one(
    stage: str, micro_batch: int | None, make_chain: MakeChain
) -> None:
    """Gloo: each term of the loss and the gradient of the first step.

    Of mtp one process takes the same two micro-batches: a RoI head divides by its own pictures, and
    on a CPU batch norm counts over a process's own.
    """
    one = done(stage_of(make_chain, stage, steps=2, micro_batch=micro_batch))
    two = stage_of(make_chain, stage, steps=2, processes=2)
    assert two.attempt_together(2) == 0, two.paths.log.read_text()
    parts = 1 if micro_batch is None else 2
    first, together = one.curve()[:parts], two.curve()[0]
    for name in (name for name in together if "loss" in name):
        mean = sum(row[name] for row in first) / parts
        assert together[name] == pytest.approx(mean, rel=1e-5), name
    after = (one.paths.checkpoints / f"iter_{parts}.pth", two.paths.checkpoints / "iter_1.pth")
    for alone, shared in zip(*(gradients(path) for path in after), strict=True):
        assert float((alone - shared).norm()) <= 1e-5 * float(alone.norm()) + 1e-9
    assert load_file(two.paths.artifact).keys() == load_file(one.paths.artifact).keys()


def gradients(path: Path) -> list[torch.Tensor]:
    """AdamW's first moments after one step: a tenth of its gradients."""
    found: Any = torch.load(path, weights_only=True)["optimizer"]
    return [state["exp_avg"] for _, state in sorted(found["state"].items())]


def test_batches_that_sets_cannot_share_are_refused(make_chain: MakeChain) -> None:
    bench = stage_of(make_chain, "mtp", micro_batch=4)
    assert bench.attempt() == 1
    told = "4 pictures at once cannot be of 3 sets alike: give a --micro-batch that is a multiple"
    assert told in bench.paths.log.read_text()


def test_weights_that_are_gone_are_named(make_chain: MakeChain) -> None:
    jobs = make_chain("mae")
    done(jobs["mae"])
    jobs["mae"].paths.artifact.unlink()
    assert jobs["finetune"].attempt() == 1
    told = f"missing, the weights of {jobs['mae'].paths.job}: put them back, or run it again"
    assert told in jobs["finetune"].paths.log.read_text()
