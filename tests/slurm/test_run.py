"""Real jobs on a real SLURM through the real command line: what disturbs them changes no figure."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest

from tests.slurm.cluster import Cluster, until
from tests.slurm.place import LONG, Place, fill, read_only, same

pytestmark = [pytest.mark.slurm, pytest.mark.slow]


def test_an_array_runs_to_its_records(place: Place, undisturbed: Place) -> None:
    code, _, err = place.run()
    assert code == 0, err
    same(place, undisturbed)
    assert len(place.submissions()) == 1  # one array
    assert place.states() == {"done": 2}
    assert {a["slurm"] for r in place.records() for a in r["attempts"]} == set(place.tasks())
    code, _, err = place.run()
    assert code == 0, err
    assert len(place.submissions()) == 1  # nothing was left to submit


def test_requeue_in_the_middle(place: Place, undisturbed: Place, cluster: Cluster) -> None:
    watching = place.start_run()
    job, task = place.training(past=10)
    cluster.run("scontrol", "requeue", task)
    assert watching.wait(300) == 0
    same(place, undisturbed)
    record = place.record(job)
    assert len(record["attempts"]) == 2
    assert record["attempts"][1]["from_iteration"] > 0


def test_scancel_cancels_and_is_named(place: Place, cluster: Cluster) -> None:
    place.change_protocol("iterations: 150", "iterations: 600")  # still training when it comes
    watching = place.start_run()
    job, task = place.training(past=5)
    cluster.run("scancel", task)
    code, _, err = place.ended(watching)
    assert code == 1, err
    assert f"cancelled: {job}: cancelled in SLURM (SLURM job {task})" in err
    assert place.states() == {"done": 1, "cancelled": 1}
    code, _, err = place.run("--retry-failed")
    assert code == 0, err
    assert place.states() == {"done": 2}
    assert place.record(job)["attempts"][1]["from_iteration"] > 0


def test_scancel_of_an_arrays_last_task_leaves_the_others(place: Place, cluster: Cluster) -> None:
    """SLURM gives the array's own number to its last task."""
    place.change_protocol("iterations: 150", "iterations: 600")
    watching = place.start_run()
    place.training(past=5)
    task, job = sorted(place.tasks().items())[-1]
    until(lambda: place.iteration(job) > 5, 60, "training")
    cluster.run("scancel", task)
    code, _, err = place.ended(watching)
    assert code == 1, err
    assert f"cancelled: {job}: cancelled in SLURM (SLURM job {task})" in err
    assert place.states() == {"done": 1, "cancelled": 1}
    (other,) = place.records()
    assert len(other["attempts"]) == 1


def test_time_limit(place: Place, undisturbed_long: Place) -> None:
    """A minute's limit, of which SLURM warns after about half; the job takes longer than that."""
    place.change_protocol("iterations: 150", f"iterations: {LONG}")
    place.site(time=1, stop_before="0:20")
    code, _, err = place.run("--only", "seed=0")
    assert code == 0, err
    (record,) = place.records()
    same(place, undisturbed_long, only=record["job"])
    assert len(record["attempts"]) > 1
    assert {a["outcome"] for a in record["attempts"][:-1]} == {"pending"}
    assert len(place.submissions()) == 1


@pytest.mark.parametrize(("requeue", "submissions"), [(True, 1), (False, 2)])
def test_a_warning_makes_a_job_stop_and_go_on(
    requeue: bool, submissions: int, place: Place, undisturbed: Place, cluster: Cluster
) -> None:
    """By itself where the site allows that, else by being submitted again."""
    place.site(requeue=requeue)
    watching = place.start_run("--only", "seed=0")
    job, task = place.training(past=10)
    cluster.run("scancel", "--signal=USR2", task)
    code, _, err = place.ended(watching)
    assert code == 0, err
    same(place, undisturbed, only=job)
    assert [a["outcome"] for a in place.record(job)["attempts"]] == ["pending", "done"]
    assert len(place.submissions()) == submissions


def test_slurmd_away_and_back(place: Place, undisturbed: Place, cluster: Cluster) -> None:
    watching = place.start_run()
    job, task = place.training(past=5)
    node = cluster.details(task)["NodeList"]
    cluster.kill(f"slurmd-{node}", signal.SIGKILL)
    until(lambda: place.iteration(job) > 40, 60, "the job to go on without its slurmd")
    cluster.start_missing()
    assert watching.wait(300) == 0
    same(place, undisturbed)


def test_controller_away(place: Place, undisturbed: Place, cluster: Cluster) -> None:
    """Jobs end, and the run with them, by what stands on the disk."""
    watching = place.start_run()
    job, _ = place.training(past=5)
    cluster.kill("slurmctld")
    code, out, err = place.call("status", "tiny")
    assert code == 0
    assert "SLURM does not answer" in err
    assert f"running    {job}" in out
    code, _, err = place.ended(watching)
    assert code == 0, err
    same(place, undisturbed)


def test_controller_restarted(place: Place, undisturbed: Place, cluster: Cluster) -> None:
    place.site(parallelism=1)
    watching = place.start_run()
    place.training(past=5)
    cluster.kill("slurmctld")
    cluster.start_missing()
    code, _, err = place.ended(watching)
    assert code == 0, err
    same(place, undisturbed)
    assert all(len(record["attempts"]) == 1 for record in place.records())


def test_node_set_down(place: Place, undisturbed: Place, cluster: Cluster) -> None:
    watching = place.start_run()
    job, task = place.training(past=10)
    node = cluster.details(task)["NodeList"]
    cluster.set_node(node, "down")
    others = {"n1", "n2", "n3", "n4"} - {node}
    until(lambda: cluster.details(task)["NodeList"] in others, 60, "another node")
    cluster.set_node(node, "resume")
    assert watching.wait(300) == 0
    same(place, undisturbed)
    assert len(place.record(job)["attempts"]) == 2


def test_preemption(place: Place, undisturbed: Place, cluster: Cluster) -> None:
    place.site(partition="low")
    watching = place.start_run()
    place.training(past=10)
    whole = ("--partition=high", "--exclusive", "--nodes=4", "--output=/dev/null")
    cluster.run("sbatch", *whole, "--wrap=true")
    code, _, err = place.ended(watching)
    assert code == 0, err
    same(place, undisturbed)
    assert any(len(record["attempts"]) > 1 for record in place.records())


def test_login_process_killed(place: Place, undisturbed: Place) -> None:
    watching = place.start_run()
    place.training(past=5)
    os.killpg(watching.pid, signal.SIGKILL)
    watching.wait()
    code, out, _ = place.call("status", "tiny")
    assert code == 0
    assert "running" in out
    code, _, err = place.run()
    assert code == 0, err
    same(place, undisturbed)
    assert len(place.submissions()) == 1
    assert all(len(record["attempts"]) == 1 for record in place.records())


@pytest.mark.parametrize("point", ["submit.intent", "submit.before", "submit.after"])
def test_killed_while_it_submits(point: str, place: Place, undisturbed: Place) -> None:
    place.run("--detach", MTP_BENCH_KILL_AT=point)
    code, _, err = place.run()
    assert code == 0, err
    same(place, undisturbed)
    taken = [s for s in place.submissions() if s["slurm_id"]]
    assert len(taken) == 1
    assert all(len(record["attempts"]) == 1 for record in place.records())


def test_two_people_run_the_same_suite(place: Place, undisturbed: Place) -> None:
    watching = [place.start_run() for _ in range(2)]
    ended = [place.ended(process) for process in watching]
    assert [code for code, _, _ in ended] == [0, 0], ended
    same(place, undisturbed)
    assert sum(len(s["jobs"]) for s in place.submissions()) == 2


def test_cancel_takes_jobs_out_of_the_queue(place: Place, cluster: Cluster) -> None:
    code, out, err = place.run("--detach")
    assert code == 0, err
    job, _ = place.training(past=5)
    code, out, err = place.call("cancel", "tiny")
    assert code == 0, err
    assert f"asked to stop: {job}" in out
    until(lambda: place.states() == {"cancelled": 2}, 60, "all to be cancelled")
    until(lambda: not place.queued(), 60, "an empty queue")
    assert place.records() == []


def test_a_full_disk_is_one_line_and_loses_nothing(
    place: Place, undisturbed: Place, small_disk: Path
) -> None:
    place.environment["MTP_BENCH_RUNS"] = str(small_disk / "runs")
    place.environment["MTP_BENCH_CHECKPOINT_SECONDS"] = "0"
    watching = place.start_run("--only", "seed=0")
    job, _ = place.training(past=10)
    filler = fill(small_disk)
    code, _, err = place.ended(watching)
    assert code == 1
    assert "No space left on device" in err, err
    assert f"failed: {job}" in err
    filler.unlink()
    code, _, err = place.run("--retry-failed", "--only", "seed=0")
    assert code == 0, err
    same(place, undisturbed, only=job)
    assert place.record(job)["attempts"][-1]["from_iteration"] > 0


def test_read_only_results_are_one_line_and_lose_nothing(
    place: Place, undisturbed: Place, small_disk: Path
) -> None:
    results = small_disk / "results"
    place.environment["MTP_BENCH_RESULTS"] = str(results)
    watching = place.start_run("--only", "seed=0")
    job, _ = place.training(past=5)
    with read_only(small_disk):
        code, _, err = place.ended(watching)
        assert code == 1
        assert "Read-only file system" in err
    code, _, err = place.run("--retry-failed", "--only", "seed=0")
    assert code == 0, err
    same(place, undisturbed, only=job)
    assert place.record(job)["attempts"][-1]["from_iteration"] == 150


def test_out_of_memory_says_what_was_given(place: Place, cluster: Cluster) -> None:
    if not cluster.limits_memory():
        pytest.skip("nothing enforces --mem here: cgroup v1 cannot be used on this machine")
    place.site(memory="300M")
    code, _, err = place.run("--only", "seed=0")
    assert code == 1
    assert "oom: " in err
    assert "300M for each process: raise 'memory'" in err
    assert len(place.submissions()) == 1  # not tried again by itself


def test_accounting_off_and_a_forgotten_job(place: Place, plain_cluster: Cluster) -> None:
    place.on(plain_cluster)
    code, _, err = place.run("--detach", "--only", "seed=0")
    assert code == 0, err
    job, task = place.training(past=5)
    plain_cluster.run("scancel", task)
    until(lambda: task not in plain_cluster.queue(), 90, "the controller to forget it")
    code, out, _ = place.call("status", "tiny", "--json")
    (row,) = [row for row in json.loads(out)["jobs"] if row["id"] == job]
    assert row["state"] == "pending"
    assert "without a word" in row["message"]
    code, _, err = place.run("--only", "seed=0")
    assert code == 0, err
    assert len(place.record(job)["attempts"]) == 2


def test_cancel_with_the_controller_away(place: Place, plain_cluster: Cluster) -> None:
    place.on(plain_cluster)
    place.site(parallelism=1)
    code, _, err = place.run("--detach")
    assert code == 0, err
    job, _ = place.training(past=5)
    plain_cluster.kill("slurmctld")
    code, out, err = place.call("cancel", "tiny")
    assert code == 0, err
    assert f"asked to stop: {job}" in out
    assert out.count("cancelled: ") == 1
    assert "SLURM does not answer" in err
    assert "of 1 jobs some stay in its queue" in err
    plain_cluster.start_missing()
    until(lambda: place.states() == {"cancelled": 2}, 60, "both to be cancelled")
    until(lambda: not place.queued(), 150, "an empty queue")
    assert place.records() == []


def test_a_wrong_python_is_told_and_not_tried_again(place: Place) -> None:
    place.site(python="/nowhere/python")
    code, _, err = place.run("--only", "seed=0")
    assert code == 1
    assert "failed: " in err
    assert "ended before its worker began" in err
    assert "/nowhere/python" in err
    (submission,) = place.submissions()
    code, out, _ = place.call("logs", submission["jobs"][0])  # SLURM's, as the job has none
    assert code == 0
    assert "/nowhere/python" in out


def test_what_is_killed_again_and_again_is_given_up(place: Place) -> None:
    script = place.folder / "python"
    script.write_text("#!/bin/sh\nkill -9 $$\n")
    script.chmod(0o755)
    place.site(python=str(script), retries=2, backoff="0:01")
    code, _, err = place.run("--only", "seed=0")
    assert code == 1
    assert err.count("again: ") == 2
    assert "was killed; given up after 2 more tries" in err
    assert len(place.submissions()) == 3


def test_what_slurm_refuses_is_one_line_and_leaves_nothing(place: Place) -> None:
    place.site(partition="nowhere")
    code, _, err = place.run("--detach")
    assert code == 2
    assert err == "SLURM refuses 2 jobs: invalid partition specified: nowhere\n"
    assert place.states() == {"pending": 2}
    assert place.queued() == {}
    place.site()
    code, _, err = place.run("--detach", "--only", "seed=0")
    assert code == 0, err
    assert place.states()["pending"] == 1


def test_waiting_arrays_that_are_cancelled_stay_so(place: Place, plain_cluster: Cluster) -> None:
    """Arrays end at index 20 there, so that thirty jobs are two."""
    place.on(plain_cluster)
    place.change("seeds: 2", "seeds: 30")
    place.site(sbatch={"hold": True})
    code, _, err = place.run("--detach")
    assert code == 0, err
    assert [len(s["jobs"]) for s in place.submissions()] == [21, 9]
    assert place.states() == {"submitted": 30}
    plain_cluster.run("scancel", *[s["slurm_id"] for s in place.submissions()])
    code, _, err = place.run()
    assert code == 1
    assert err.count(": cancelled in SLURM (SLURM job ") == 30
    assert place.states() == {"cancelled": 30}
    assert len(place.submissions()) == 2
