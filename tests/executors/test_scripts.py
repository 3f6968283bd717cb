"""Batch scripts and refusals of ``run --executor slurm``, where there is no SLURM at all."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

SITE = """\
partition: gpu
account: me
gpus: {request: gres, name: "gpu:a100"}
processes_per_node: 4
cpus: 6
memory: 30G
time: {finetune: "12:00:00", pretrain: "1-00"}
parallelism: 5
activate: {conda: env}
sbatch: {nice: 10, mail-type: FAIL}
srun: [--mpi=none]
"""
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(tmp_path: Path, write_suite: Callable[[Path], Path], tiny_data: Path) -> Run:
    """``run`` on a suite of three jobs, with nothing of SLURM in the path."""
    suite = write_suite(tmp_path)
    with suite.open("a") as stream:
        stream.write("seeds: 3\n")
    (tmp_path / "site.yaml").write_text(SITE)
    (tmp_path / "bin").mkdir()
    environment = {k: v for k, v in os.environ.items() if not k.startswith("MTP_BENCH")}

    def call(*words: str) -> tuple[int, str, str]:
        done = subprocess.run(
            [sys.executable, "-m", "mtp_bench", "run", suite.name, *words],
            cwd=tmp_path,
            env={**environment, "MTP_BENCH_DATA": str(tiny_data), "PATH": str(tmp_path / "bin")},
            capture_output=True,
            text=True,
            check=False,
        )
        return done.returncode, done.stdout, done.stderr

    return call


def flags(script: str) -> dict[str, str]:
    found = re.findall(r"^#SBATCH --([a-z-]+)(?:=(.*))?$", script, re.MULTILINE)
    return {name: value.strip("'") for name, value in found}


def test_a_dry_run_prints_the_scripts_and_writes_nothing(run: Run, tmp_path: Path) -> None:
    code, out, err = run("--executor", "slurm", "--site", "site.yaml", "--dry-run")
    assert code == 0, err
    told = flags(out)
    assert told["array"] == "0-2%3"
    assert told["time"] == "720"
    assert told["gres"] == "gpu:a100:1"
    assert (told["nodes"], told["ntasks-per-node"], told["cpus-per-task"]) == ("1", "1", "6")
    assert told["mem"] == "30G"
    assert (told["partition"], told["account"]) == ("gpu", "me")
    assert (told["nice"], told["mail-type"]) == ("10", "FAIL")
    assert {"requeue", "signal", "open-mode"} <= set(told)
    assert not {"wckey", "dependency", "kill-on-invalid-dep", "begin"} & set(told)
    assert "conda activate env" in out
    assert "export OMP_NUM_THREADS=6" in out
    assert "--kill-on-bad-exit=1" in out
    assert "--mpi=none python -u -m submitit.core._submit" in out
    assert not (tmp_path / "runs").exists()


def test_several_nodes(run: Run) -> None:
    words = ("--executor", "slurm", "--site", "site.yaml", "--dry-run", "--gpus-per-job", "8")
    code, out, err = run(*words)
    assert code == 0, err
    told = flags(out)
    assert (told["nodes"], told["ntasks-per-node"], told["gres"]) == ("2", "4", "gpu:a100:4")
    assert told["mem"] == "120G"
    assert "batch 8 = 8 process(es) x 1 images x 1 accumulated, learning rate 0.001" in err


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--detach",), "--site and --detach are for --executor slurm"),
        (("--site", "site.yaml"), "--site and --detach are for --executor slurm"),
        (("--executor", "slurm", "--site", "site.yaml", "--workers", "2"), "--workers is for this"),
        (("--executor", "slurm"), "slurm/default.yaml: no such site profile"),
        (("--executor", "slurm", "--site", "sit.yaml"), "did you mean 'site.yaml'?"),
        (("--executor", "slurm", "--site", "site.yaml"), "sbatch: not found: run this where"),
        (
            ("--executor", "slurm", "--site", "site.yaml", "--gpus-per-job", "6"),
            "6 processes do not fill nodes of 4 evenly: take 4 or 8",
        ),
    ],
)
def test_refusals_are_one_line(words: tuple[str, ...], told: str, run: Run) -> None:
    code, out, err = run(*words)
    assert code == 2, err
    assert out == ""
    assert told in err
    assert len(err.splitlines()) == 1


def test_a_profile_with_mistakes_tells_them_all(run: Run, tmp_path: Path) -> None:
    (tmp_path / "site.yaml").write_text("time: soon\npartion: gpu\n")
    code, _, err = run("--executor", "slurm", "--site", "site.yaml")
    assert code == 2
    assert err.splitlines()[0].startswith("site.yaml:1:7: time: must be minutes")
    assert err.splitlines()[1] == "site.yaml:2:1: partion: unknown key: did you mean 'partition'?"
