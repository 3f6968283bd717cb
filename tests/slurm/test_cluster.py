"""The test cluster is fit for the other SLURM tests, and a good guest on the machine."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.slurm.cluster import (
    CANNOT_BE_HAD,
    SCRIPTS,
    Cluster,
    environment_of,
    prepare,
    script,
    until,
)


def submit(cluster: Cluster, command: str, *options: str) -> str:
    return cluster.run(
        "sbatch", "--parsable", "--mem=100", "--output=/dev/null", *options, "--wrap", command
    )


def processes_of(cluster: Cluster) -> list[int]:
    """Daemons and jobs, by what start.sh and SLURM put in their environment."""
    mark = f"MTP_SLURM_DAEMON={cluster.state}"
    pids = (int(folder.name) for folder in Path("/proc").glob("[0-9]*"))
    return [*cluster.job_processes(), *(pid for pid in pids if mark in environment_of(pid))]


def test_an_array_runs(cluster: Cluster, tmp_path: Path) -> None:
    array = submit(cluster, f"echo $CUDA_VISIBLE_DEVICES > {tmp_path}/$SLURM_ARRAY_TASK_ID",
                   "--array=0-7", "--gres=gpu:2")  # fmt: skip
    tasks = [f"{array}_{index}" for index in range(8)]
    for task in tasks:
        cluster.wait_for(task, "COMPLETED")
    seen = {(tmp_path / str(index)).read_text().strip() for index in range(8)}
    assert seen <= {"0,1", "2,3"}
    until(
        lambda: (
            cluster.run("sacct", "-n", "-X", "-j", array, "-o", "state").split()
            == ["COMPLETED"] * 8
        ),
        30,
        "accounting has the whole array",
    )


def test_a_requeued_job_runs_again(cluster: Cluster, tmp_path: Path) -> None:
    job = submit(cluster, f"echo $SLURM_RESTART_COUNT >> {tmp_path}/starts; sleep 300")
    starts = tmp_path / "starts"
    until(starts.exists, 20, "the job has started")
    cluster.run("scontrol", "requeue", job)
    until(lambda: starts.read_text().split("\n") == ["", "1", ""], 20, "the job has started again")
    assert cluster.details(job)["Restarts"] == "1"


def test_killed_daemons_come_back_and_their_jobs_go_on(cluster: Cluster) -> None:
    job = submit(cluster, "sleep 300", "--nodelist=n2")
    cluster.wait_for(job, "RUNNING")
    before = cluster.pids()
    cluster.kill("slurmd-n2")
    cluster.kill("slurmctld")
    assert set(before) - set(cluster.pids()) == {"slurmd-n2", "slurmctld"}
    cluster.start_missing()
    assert set(cluster.pids()) == set(before)
    assert cluster.queue()[job] == "RUNNING"
    assert cluster.details(job)["Restarts"] == "0"


def test_settle_ends_stubborn_jobs_and_resumes_nodes(cluster: Cluster) -> None:
    job = submit(cluster, "trap '' TERM; while :; do sleep 1; done", "--nodelist=n1")
    held = submit(cluster, "true", "--hold")
    cluster.wait_for(job, "RUNNING")
    cluster.set_node("n4", "drain")
    started = time.monotonic()
    cluster.settle()
    assert time.monotonic() - started < 9  # KillWait is 10
    assert cluster.queue()[held] == "CANCELLED"
    assert "drain" not in cluster.run("sinfo", "-h", "-o", "%T")


def test_starting_again_does_nothing(cluster: Cluster) -> None:
    before = cluster.pids()
    started = time.monotonic()
    cluster.start_missing()
    assert time.monotonic() - started < 2
    assert cluster.pids() == before


def test_the_plain_cluster_has_no_accounting_and_forgets(plain_cluster: Cluster) -> None:
    job = submit(plain_cluster, "true")
    plain_cluster.wait_for(job, "COMPLETED")
    with pytest.raises(RuntimeError, match="accounting storage is disabled"):
        plain_cluster.run("sacct", "-j", job)
    with pytest.raises(RuntimeError, match="Invalid job array specification"):
        submit(plain_cluster, "true", "--array=0-21")
    until(lambda: job not in plain_cluster.queue(), 60, "the controller forgets the job")


@pytest.fixture
def small(cluster: Cluster) -> Iterator[Cluster]:
    """A third cluster to stop, beside one that has to stay."""
    third = prepare("small", nodes=1, ACCOUNTING="none", CGROUP="no")
    started = script("start.sh", third.environment)
    assert started.returncode == 0, started.stderr
    yield third
    script("stop.sh", third.environment, "--purge")


def test_stopping_leaves_nothing_of_ours_and_all_of_others(
    cluster: Cluster, small: Cluster
) -> None:
    others = cluster.pids()
    running = submit(cluster, "sleep 300")
    job = submit(small, "trap '' TERM; setsid sleep 300 & while :; do sleep 1; done")
    cluster.wait_for(running, "RUNNING")
    small.wait_for(job, "RUNNING")
    assert len(processes_of(small)) > 3
    names = Path("/etc/hosts").read_text()

    assert script("stop.sh", small.environment, "--purge").returncode == 0

    assert not processes_of(small)
    assert not small.state.exists()
    assert str(small.state) in names
    assert str(small.state) not in Path("/etc/hosts").read_text()
    assert cluster.pids() == others
    assert cluster.queue()[running] == "RUNNING"
    assert script("stop.sh", small.environment).returncode == 0  # once more is no error


def test_without_root_it_says_so_in_one_line() -> None:
    as_nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
    with tempfile.TemporaryDirectory() as folder:
        # Nobody may not read a checkout that is in root's home.
        copy = shutil.copytree(SCRIPTS, Path(folder) / "scripts")
        Path(folder).chmod(0o755)
        done = subprocess.run(
            [*(as_nobody if os.getuid() == 0 else []), str(copy / "start.sh")],
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.returncode == CANNOT_BE_HAD
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1
    assert "root" in done.stderr
