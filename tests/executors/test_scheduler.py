"""What is read from SLURM's answers, given by stand-ins that answer as SLURM 22.05 does."""

from __future__ import annotations

from pathlib import Path

import pytest

from mtp_bench.executors import scheduler
from mtp_bench.executors.scheduler import NoAnswer, Seen

UNKNOWN = "slurm_load_jobs error: Invalid job id specified"
AWAY = "slurm_load_jobs error: Unable to contact slurm controller (connect failure)"


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder for stand-ins, the only one that is searched."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:/bin:/usr/bin")
    for name in ("squeue", "scontrol", "sacct", "scancel"):
        answer(folder, name, error=UNKNOWN)
    return folder


def answer(folder: Path, name: str, text: str = "", error: str = "") -> None:
    script = folder / name
    lines = ["#!/bin/sh", f"echo \"$@\" >> '{folder}/asked'", "cat <<'END'", text, "END"]
    script.write_text("\n".join([*lines, f"echo '{error}' >&2", f"exit {1 if error else 0}", ""]))
    script.chmod(0o755)


def test_waiting_tasks_that_are_told_in_one_row(slurm: Path) -> None:
    row = "JobId=7 ArrayJobId=7 ArrayTaskId={} JobName=n JobState={} Reason={} ExitCode=0:0"
    waiting = row.format("2-3,7%4", "CANCELLED", "None")
    answer(slurm, "scontrol", f"{waiting}\n{row.format('0', 'FAILED', 'NonZeroExitCode')}")
    found = scheduler.endings(["7"])
    assert set(found) == {"7_2", "7_3", "7_7", "7_0"}
    assert found["7_3"] == Seen("CANCELLED", "None", "", "0:0", "n")


def test_accounting_tells_who_cancelled_and_what_starved(slurm: Path) -> None:
    rows = [
        "7_0|CANCELLED by 1000|0:0|None assigned|n",
        "7_[1-2%4]|CANCELLED|0:0|None assigned|n",
        "7_3|FAILED|1:0|n1|n",
        "7_3.batch|FAILED|1:0|n1|batch",
        "7_3.0|OUT_OF_MEMORY|0:125|n1|python",
    ]
    answer(slurm, "sacct", "\n".join(rows))
    found = scheduler.endings(["7"])
    assert found["7_0"].reason == ""
    assert found["7_2"].reason == "DependencyNeverSatisfied"
    assert found["7_3"].state == "OUT_OF_MEMORY"


def test_a_forgotten_job_is_no_silence(slurm: Path) -> None:
    assert scheduler.queue(["7"]) == {}
    answer(slurm, "squeue", error=AWAY)
    with pytest.raises(NoAnswer, match="connect failure"):
        scheduler.queue(["7"])


def test_a_user_s_own_defaults_do_not_change_the_question(
    slurm: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SQUEUE_STATES", "RUNNING")
    (slurm / "squeue").write_text('#!/bin/sh\necho "7_1|${SQUEUE_STATES:-all}|None|n1|n"\n')
    assert scheduler.queue(["7"]) == {"7_1": Seen("all", "None", "n1", "", "n")}


def test_facts(slurm: Path) -> None:
    told = "ClusterName             = here\nMaxArraySize  = 0\nPrivateData   = accounts,jobs"
    answer(slurm, "scontrol", told)
    assert scheduler.facts() == scheduler.Facts("here", 1, private=True)


def test_a_refusal_keeps_no_other_job_in_the_queue(slurm: Path) -> None:
    answer(slurm, "scancel", error="scancel: error: Kill job error on job id 5: Access denied")
    with pytest.raises(NoAnswer, match="Access denied"):
        scheduler.cancel([str(number) for number in range(2 * scheduler.AT_ONCE)])
    assert len((slurm / "asked").read_text().splitlines()) == 2
