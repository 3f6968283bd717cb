"""Real jobs through the real command line: killed, resumed, twice at once, cancelled, failing."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from mtp_bench.store import scalars

TIMEOUT = 120.0


class Place:
    """A working folder with a suite, and the command line used in it."""

    def __init__(self, suite: Path, data: Path) -> None:
        self.folder = suite.parent
        self.suite = suite
        self.started: list[subprocess.Popen[str]] = []
        self.environment = {
            **{k: v for k, v in os.environ.items() if not k.startswith("MTP_BENCH")},
            "MTP_BENCH_DATA": str(data),
            "MTP_BENCH_CACHE": str(self.folder / "cache"),
        }

    def start(self, *words: str, **environment: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-m", "mtp_bench", *words],
            cwd=self.folder,
            env=self.environment | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self.started.append(process)
        return process

    def call(self, *words: str, **environment: str) -> tuple[int, str, str]:
        process = self.start(*words, **environment)
        out, err = process.communicate(timeout=TIMEOUT)
        return process.returncode, out, err

    def run(self, *words: str, **environment: str) -> tuple[int, str, str]:
        return self.call("run", self.suite.name, *words, **environment)

    def records(self) -> list[dict[str, Any]]:
        paths = sorted((self.folder / "results" / "records").glob("*.json"))
        return [json.loads(p.read_text()) for p in paths if ".details." not in p.name]

    def job_folder(self) -> Path:
        (found,) = (self.folder / "runs").glob("*/job.json")
        return found.parent

    def curve(self) -> list[dict[str, Any]]:
        return list(scalars.read(self.job_folder() / "scalars.jsonl"))

    def change(self, old: str, new: str, name: str | None = None) -> None:
        path = self.folder / name if name else self.suite
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new))


Undisturbed = tuple[dict[str, Any], list[dict[str, Any]]]
Write = Callable[[Path], Path]


@pytest.fixture
def place(tmp_path: Path, write_suite: Write, tiny_data: Path) -> Iterator[Place]:
    here = Place(write_suite(tmp_path), tiny_data)
    yield here
    for process in here.started:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        for stream in (process.stdout, process.stderr):
            if stream is not None:
                stream.close()


@pytest.fixture(scope="module")
def undisturbed(
    tmp_path_factory: pytest.TempPathFactory, write_suite: Write, tiny_data: Path
) -> Undisturbed:
    """The record and the curve of the tiny job when nothing happens to it."""
    here = Place(write_suite(tmp_path_factory.mktemp("undisturbed")), tiny_data)
    code, _, err = here.run()
    assert code == 0, err
    (record,) = here.records()
    return record, here.curve()


def until(condition: Callable[[], Any], what: str) -> Any:
    """Poll for something that another process does."""
    deadline = time.monotonic() + TIMEOUT
    while time.monotonic() < deadline:
        found = condition()
        if found:
            return found
        time.sleep(0.02)
    pytest.fail(f"waited in vain for {what}")


def test_a_record_says_all_that_made_it(undisturbed: Undisturbed) -> None:
    record, curve = undisturbed
    assert record["metrics"]["accuracy"]["unit"] == "%"
    assert record["provenance"]["data_counts"] == {"train": 60, "test": 20}
    assert record["provenance"]["weights"] is None
    assert record["throughput"]["train_images_per_s"]["median"] > 0
    assert 0 <= record["throughput"]["data_wait_share"] <= 1
    assert record["memory"]["kind"] == "rss"
    assert record["memory"]["peak_bytes"] > 1e8
    assert len(record["attempts"]) == 1
    assert not record["synthetic"]
    assert len(json.dumps(record, separators=(",", ":"))) < 4096
    assert [row["iteration"] for row in curve if "loss" in row] == list(range(1, 41))
    assert [row["iteration"] for row in curve if "accuracy" in row] == [15, 30, 40]


def same_as(undisturbed: Undisturbed, place: Place) -> None:
    """One record, with every figure and every point of the curve as if nothing had happened."""
    (record,) = place.records()
    assert record["job"] == undisturbed[0]["job"]
    assert record["metrics"] == undisturbed[0]["metrics"]
    assert record["provenance"]["probe"] == undisturbed[0]["provenance"]["probe"]
    assert place.curve() == undisturbed[1]


def worker_pid(place: Place, after: int) -> int | None:
    """The process that holds the job's lock, once the lock's number is above ``after``."""
    locks = sorted((place.folder / "runs").glob("*/lock.*"), key=lambda p: int(p.suffix[1:]))
    if not locks or int(locks[-1].suffix[1:]) <= after:
        return None
    return int(json.loads(locks[-1].read_text())["pid"])


def iterations(place: Place) -> int:
    found = list((place.folder / "runs").glob("*/scalars.jsonl"))
    return max((row["iteration"] for row in scalars.read(found[0])), default=0) if found else 0


def test_a_worker_killed_twice_in_mid_epoch_ends_as_if_undisturbed(
    place: Place, undisturbed: Undisturbed
) -> None:
    place.environment["MTP_BENCH_CHECKPOINT_SECONDS"] = "0"
    process = place.start("run", place.suite.name)
    for death, iteration in ((0, 3), (1, 7)):
        pid = until(lambda n=death: worker_pid(place, n), "a worker")  # type: ignore[misc]
        until(lambda n=iteration: iterations(place) >= n, f"iteration {iteration}")  # type: ignore[misc]
        os.kill(pid, signal.SIGKILL)
    _, err = process.communicate(timeout=TIMEOUT)
    assert process.returncode == 0, err
    same_as(undisturbed, place)
    (record,) = place.records()
    assert [attempt["outcome"] for attempt in record["attempts"]] == ["lost", "lost", "done"]


def test_two_runs_at_once_run_no_job_twice(place: Place, undisturbed: Undisturbed) -> None:
    first, second = (place.start("run", place.suite.name) for _ in range(2))
    for process in (first, second):
        _, err = process.communicate(timeout=TIMEOUT)
        assert process.returncode == 0, err
    same_as(undisturbed, place)
    (record,) = place.records()
    assert len(record["attempts"]) == 1


def test_a_second_run_waits_for_the_orphan_of_a_killed_one(
    place: Place, undisturbed: Undisturbed
) -> None:
    first = place.start("run", place.suite.name)
    until(lambda: iterations(place) >= 1, "the first iteration")
    first.kill()
    code, _, err = place.run()
    assert code == 0, err
    same_as(undisturbed, place)


def test_ctrl_c_stops_with_a_checkpoint_and_the_same_command_goes_on(
    place: Place, undisturbed: Undisturbed
) -> None:
    place.environment["MTP_BENCH_CHECKPOINT_SECONDS"] = "0"
    process = place.start("run", place.suite.name)
    until(lambda: iterations(place) >= 2, "the second iteration")
    os.killpg(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=TIMEOUT)
    assert process.returncode == 1
    assert "stopped; the same command goes on from here" in err
    assert "Traceback" not in err
    assert not place.records()
    code, _, err = place.run()
    assert code == 0, err
    same_as(undisturbed, place)
    (record,) = place.records()
    assert record["attempts"][-1]["from_iteration"] >= 2


def test_a_stop_while_a_job_starts_is_not_lost(place: Place) -> None:
    place.change("iterations: 40", "iterations: 4000", "tiny.protocol.yaml")
    process = place.start("run", place.suite.name)
    until(lambda: list((place.folder / "runs").glob("*/job.json")), "the job file")
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=TIMEOUT)
    assert process.returncode == 1
    assert "stopped; the same command goes on from here" in err


def test_ctrl_c_while_the_libraries_load_is_quiet(place: Place) -> None:
    process = place.start("run", place.suite.name)
    until(lambda: list((place.folder / "runs").glob("*/job.json")), "the job file")
    os.killpg(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=TIMEOUT)
    assert process.returncode == 1
    assert "Traceback" not in err


def test_one_broken_folder_stops_no_other_job(place: Place) -> None:
    place.change("[scratch]", "[scratch, mine]")
    with place.suite.open("a") as stream:
        stream.write("recipes: {mine: {weights: a.pth}}\n")
    (place.folder / "weights").mkdir()
    (place.folder / "weights" / "a.pth").touch()
    code, out, err = place.call("plan", "tiny.yaml", "--json", "--weights", "weights")
    assert code == 0, err
    (broken,) = (job["id"] for job in json.loads(out)["jobs"] if job["recipe"] == "mine")
    (place.folder / "runs").mkdir()
    (place.folder / "runs" / broken).touch()
    code, _, err = place.run("--weights", "weights")
    assert code == 1
    assert f"failed: {broken}: " in err
    assert "cannot be made a folder" in err
    assert "Traceback" not in err
    (record,) = place.records()
    assert record["spec"]["recipe"] == "scratch"


def test_cancel_stops_a_running_job_until_it_is_retried(place: Place) -> None:
    place.change("iterations: 40", "iterations: 400", "tiny.protocol.yaml")
    process = place.start("run", place.suite.name)
    until(lambda: iterations(place) >= 1, "the first iteration")
    code, out, err = place.call("cancel", "tiny")
    assert (code, out.startswith("asked to stop: ")) == (0, True), err
    _, err = process.communicate(timeout=TIMEOUT)
    assert process.returncode == 1
    assert "cancelled by the user" in err
    code, out, _ = place.call("status", "tiny", "--json")
    assert [job["state"] for job in json.loads(out)["jobs"]] == ["cancelled"]
    assert place.run()[0] == 1
    assert not place.records()
    code, _, err = place.run("--retry-failed")
    assert code == 0, err
    (record,) = place.records()
    assert [attempt["outcome"] for attempt in record["attempts"]] == ["cancelled", "done"]
    assert record["attempts"][-1]["from_iteration"] >= 1


def test_a_finished_job_is_never_run_again_unless_forgotten(place: Place) -> None:
    assert place.run()[0] == 0
    (before,) = place.records()
    code, _, err = place.run()
    assert (code, place.records()) == (0, [before]), err
    code, out, err = place.call("forget", before["job"])
    assert code == 0, err
    assert out.count("set aside") == 3
    assert not place.records()
    assert place.run()[0] == 0
    (after,) = place.records()
    assert after["finished"] >= before["finished"]
    assert after["metrics"] == before["metrics"]


def test_a_failing_job_stops_no_other_and_is_told_in_one_line(place: Place) -> None:
    place.change("[scratch]", "[scratch, imp]")
    (place.folder / "weights").mkdir()
    (place.folder / "weights" / "a.pth").write_text("<html>not found</html>")
    with place.suite.open("a") as stream:
        stream.write("weights: {timm/test_vit: {imp: a.pth}}\n")
    code, _, err = place.run("--weights", "weights")
    assert code == 1
    told = [line for line in err.splitlines() if line.startswith("failed: eurosat")]
    assert any("a web page, not weights" in line and "log.txt" in line for line in told)
    assert "Traceback" not in err
    (record,) = place.records()
    assert record["spec"]["recipe"] == "scratch"
    code, _, err = place.run("--weights", "weights")
    assert code == 1
    assert "--retry-failed" in err


def test_a_diverging_loss_fails_the_job_with_advice(place: Place) -> None:
    place.change("lr: 1e-3", "lr: 1e30", "tiny.protocol.yaml")
    code, _, err = place.run()
    assert code == 1
    assert "lower lr or set clip_norm, in overrides" in err


PLAIN = """
import sys
from mmengine.config import Config
from mmengine.runner import Runner
runner = Runner.from_cfg(Config.fromfile(sys.argv[1]))
runner.train()
print("accuracy", runner.val_evaluator.metrics[0].judged.metrics["accuracy"][0])
"""


def test_the_config_that_a_job_leaves_runs_with_mmengine_alone(place: Place) -> None:
    place.change("drop_path: 0.2", "drop_path: 0.0", "tiny.protocol.yaml")
    assert place.run()[0] == 0
    (record,) = place.records()
    ended = subprocess.run(
        [sys.executable, "-c", PLAIN, str(place.job_folder() / "config.py")],
        env=place.environment | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    assert f"accuracy {record['metrics']['accuracy']['value']}" in ended.stdout
