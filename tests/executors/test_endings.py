"""What becomes of a job that left the queue without a last word."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mtp_bench.executors.endings import Again, End, Trace, judge
from mtp_bench.executors.scheduler import Seen

TRACE = Trace(
    task="7_3",
    began=True,
    advanced=True,
    rss_bytes=0,
    memory="16G",
    last_words="last line (7_3_0_log.err)",
)


@pytest.mark.parametrize(
    "seen",
    [
        None,
        Seen("NODE_FAIL", nodes="n1"),
        Seen("BOOT_FAIL", nodes="n1"),
        Seen("PREEMPTED"),
        Seen("TIMEOUT"),
        Seen("DEADLINE"),
        Seen("COMPLETED"),
        Seen("A_STATE_OF_A_LATER_SLURM"),
        Seen("CANCELLED", "DependencyNeverSatisfied"),
        Seen("FAILED", "NonZeroExitCode", exit_code="75:0"),
        Seen("FAILED", "JobLaunchFailure", exit_code="0:53"),
        Seen("FAILED", "NonZeroExitCode", exit_code="137:0"),
        Seen("FAILED", "NonZeroExitCode", exit_code="0:9"),
    ],
)
def test_what_the_infrastructure_did_is_tried_again(seen: Seen | None) -> None:
    assert isinstance(judge(seen, TRACE), Again)


@pytest.mark.parametrize(
    ("seen", "state"),
    [
        (Seen("CANCELLED", "None"), "cancelled"),
        (Seen("OUT_OF_MEMORY"), "oom"),
        (Seen("FAILED", "NonZeroExitCode", exit_code="1:0"), "failed"),
        (Seen("FAILED", "NonZeroExitCode", exit_code="127:0"), "failed"),
        (Seen("FAILED", "NonZeroExitCode", exit_code="74:0"), "failed"),
        (Seen("FAILED", "RaisedSignal:11", exit_code="0:11"), "failed"),
    ],
)
def test_what_the_user_or_the_code_did_is_not(seen: Seen, state: str) -> None:
    verdict = judge(seen, TRACE)
    assert isinstance(verdict, End)
    assert verdict.state == state
    assert "7_3" in verdict.message


def test_bad_nodes_are_avoided() -> None:
    trace = replace(TRACE, advanced=False)
    lost = judge(Seen("NODE_FAIL", nodes="n1"), trace)
    assert lost == Again("SLURM job 7_3: NODE_FAIL on n1", "n1")
    several = judge(Seen("NODE_FAIL", nodes="n[1-2]"), trace)  # nobody knows which was bad
    assert several == Again("SLURM job 7_3: NODE_FAIL on n[1-2]")
    launch = judge(Seen("FAILED", "JobLaunchFailure", "n4", "0:53"), TRACE)
    assert isinstance(launch, Again)
    assert launch.avoid == "n4"


def test_a_job_killed_with_its_parent_is_none_of_its_tries() -> None:
    stopped = replace(TRACE, advanced=False)
    verdict = judge(Seen("CANCELLED", "DependencyNeverSatisfied"), stopped)
    assert isinstance(verdict, Again)
    assert not verdict.counts


def test_a_submission_that_was_not_complete_is_none_of_its_tries() -> None:
    tail = "RuntimeError: Waited for 60 seconds but could not find submitted jobs in path:\n/x"
    trace = replace(TRACE, began=False, advanced=False, tail=tail)
    verdict = judge(Seen("FAILED", "NonZeroExitCode", exit_code="1:0"), trace)
    assert isinstance(verdict, Again)
    assert not verdict.counts


@pytest.mark.parametrize("advanced", [True, False])
def test_what_got_further_is_no_failed_try(advanced: bool) -> None:
    verdict = judge(Seen("FAILED", exit_code="137:0"), replace(TRACE, advanced=advanced))
    assert isinstance(verdict, Again)
    assert verdict.counts is not advanced


@pytest.mark.parametrize("state", ["TIMEOUT", "DEADLINE"])
def test_out_of_time_without_progress_would_be_so_for_ever(state: str) -> None:
    verdict = judge(Seen(state), replace(TRACE, advanced=False))
    assert isinstance(verdict, End)
    assert verdict.state == "timeout"


@pytest.mark.parametrize(
    "line",
    [
        "slurmstepd: error: Detected 1 oom_kill event in StepId=7_3.0.",
        "slurmstepd: error: Detected 1 oom-kill event(s) in step 7.batch cgroup.",
        "srun: error: n1: task 0: Out Of Memory",
    ],
)
def test_memory_is_told_by_the_log_where_the_job_only_says_failed(line: str) -> None:
    trace = replace(TRACE, tail=f"more\n{line}\nmore", rss_bytes=17 * 2**30)
    verdict = judge(Seen("FAILED", "NonZeroExitCode", exit_code="137:0"), trace)
    assert isinstance(verdict, End)
    assert verdict.state == "oom"
    assert "17.00 GiB of 16G" in verdict.message
    assert "'memory'" in verdict.message
