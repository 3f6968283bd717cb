"""Run one job from its ``job.json``: the same call on every executor, or by hand.

python -m mtp_bench.worker runs/<job>/job.json
"""

import importlib
import os
import platform
import signal
import socket
import sys
import time
import traceback
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from mtp_bench import __version__, catalog
from mtp_bench.errors import UserError
from mtp_bench.store import attempts, faults, lock, records, states
from mtp_bench.store.control import Control, Interrupted, LostLock, StopRequest
from mtp_bench.store.paths import JobPaths, job_paths
from mtp_bench.store.provenance import code_state, packages
from mtp_bench.store.states import State, StateFile
from mtp_bench.suite.identity import job_id
from mtp_bench.suite.schema import JobFile

THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
"""Read by libraries while they are loaded: set before a worker starts."""
SAME = ("accumulation", "config_sha256", "micro_batch", "probe", "seeds")
"""What is told of a job's result under the names that it has there."""
TRY_LATER = 75
EXIT: dict[str, int] = {"done": 0, "pending": TRY_LATER, "running": TRY_LATER}
"""Exit code by the state a worker leaves; any other is 1."""


def read_job(path: Path) -> JobFile:
    """``job.json``, checked against its own identity."""
    try:
        job = JobFile.model_validate_json(path.read_text())
    except (OSError, ValidationError) as error:
        raise UserError(f"{path}: not a job file ({str(error).splitlines()[0]})") from None
    if job_id(job.spec) != job.id:
        raise UserError(
            f"{path}: the id {job.id} is not that of its spec ({job_id(job.spec)}): plan the suite "
            "again"
        )
    return job


def execute(path: Path, stop: StopRequest | None = None) -> State:
    """Take the job, run it, leave its record; returns the state that the disk then shows.

    A job that is done, or that another living worker holds, is left alone.
    """
    job = read_job(path)
    paths = job_paths(job.roots, job.id)
    stop = stop or StopRequest()
    if int(os.environ.get("RANK", "0")) > 0:
        return _follow(job, paths, stop)
    taken = lock.acquire(paths.run)
    if taken is None:
        return "running"
    with taken:
        if paths.record.exists():
            return "done"
        return _attempt(job, paths, Control(taken, paths.cancel, stop))


def _follow(job: JobFile, paths: JobPaths, stop: StopRequest) -> State:
    """One of the other processes of a distributed job: it computes; the first one writes."""
    if paths.record.exists():
        return "done"
    stop.listen()
    try:
        _run(job, paths, Control(None, paths.cancel, stop))
    except Interrupted:
        pass
    except Exception as error:
        traceback.print_exc()
        state, message = attempts.judge_crash(error, job)
        if state != "pending":  # else the first process has lost the same peer
            states.leave_word(paths, state, message)
            time.sleep(attempts.WORD_SECONDS)  # its end would take the first process along
            raise
    return "running"


def _attempt(job: JobFile, paths: JobPaths, control: Control) -> State:
    control.stop.listen()
    before = states.read_state_file(paths)
    if before.state == "cancelled":
        return "cancelled"
    begun = attempts.newest_checkpoint(paths)
    closed = tuple(a if a.ended else attempts.close_lost(a, paths) for a in before.attempts)
    end, idle = _unmet(job), attempts.got_nowhere(closed, begun)
    if end is None and idle is not None:  # counted once: when the user retries, it starts again
        closed = (*closed[:-1], closed[-1].model_copy(update={"outcome": "timeout"}))
        end = ("timeout", idle)
    if end is not None:  # before anything was begun
        print(f"{job.id}: {end[0]}: {end[1]}", flush=True)
        update = {"state": end[0], "message": end[1], "attempts": closed}
        states.write_state(paths, before.model_copy(update=update))
        return end[0]
    attempt = records.Attempt(
        started=states.now(),
        ended=None,
        host=socket.gethostname(),
        outcome="running",
        from_iteration=begun,
        seconds=0.0,
        gpus=job.resources.processes if job.resources.device == "cuda" else 0,
        slurm=attempts.scheduler_id(),
    )
    update = {"state": "running", "message": "", "attempts": (*closed, attempt)}
    state = before.model_copy(update=update)
    paths.word.unlink(missing_ok=True)
    states.write_state(paths, state)
    started = time.monotonic()
    outcome, message = _outcome(job, paths, control, state, started)
    if outcome != "done":
        print(f"{job.id}: {outcome}: {message}", flush=True)
    try:
        control.may_write()
    except LostLock:
        return "running"
    ended = states.end_attempt(state, outcome, message, time.monotonic() - started)
    states.write_state(paths, ended)
    return outcome


def _unmet(job: JobFile) -> tuple[State, str] | None:
    """What this job needs and is not done; a scheduler may have forgotten that it failed."""
    for need in job.needs:
        state = states.state_of(job_paths(job.roots, need))
        if state in states.FAILED:
            return "cancelled", f"needs {need}, which failed"
        if state != "done":
            return "pending", f"needs {need}, which is {state}"
    return None


def _outcome(
    job: JobFile, paths: JobPaths, control: Control, state: StateFile, started: float
) -> tuple[State, str]:
    try:
        result, peak = _run(job, paths, control)
        control.may_write()
        finished = states.end_attempt(state, "done", "", time.monotonic() - started)
        record, details = _record(job, finished, result, peak)
        faults.point("record.before")
        records.write_record(paths.records, record, details)
        faults.point("record.after")
        return "done", ""
    except Interrupted:
        return _stopped(paths, control.stop, state.attempts[-1].from_iteration)
    except LostLock:
        return "pending", "another worker has taken this job"
    except UserError as error:
        return "failed", "; ".join(error.lines)
    except Exception as error:  # whatever a job dies of must not take the run with it
        traceback.print_exc()
        return attempts.judge_crash(error, job)


def _stopped(paths: JobPaths, stop: StopRequest, begun: int) -> tuple[State, str]:
    if "cancelled" in stop.reasons:
        return "cancelled", "cancelled by the user"
    if "deadline" not in stop.reasons:
        return "pending", "stopped; it goes on from its checkpoint"
    reached = attempts.newest_checkpoint(paths)
    if reached <= begun:
        return "timeout", f"got no further than iteration {begun} within its time limit: raise it"
    return "pending", f"stopped before its time limit; it goes on from iteration {reached}"


def _run(job: JobFile, paths: JobPaths, control: Control) -> tuple[Any, Any]:
    """The job's own work; everything heavy is imported here."""
    torch = importlib.import_module("torch")
    if job.resources.threads:
        torch.set_num_threads(job.resources.threads)
    source_of = importlib.import_module("mtp_bench.recipes.start").source_of
    memory = importlib.import_module("mtp_bench.profiling.memory")
    training = importlib.import_module("mtp_bench.mm.training")
    source = training.source_fields(source_of(job.spec, job.roots))
    with memory.RssPeak().watching() as peak:
        result = training.run(job, paths, control, source)
    allocated = tuple(peak_of[0] for peak_of in result.device_peaks)
    reserved = tuple(peak_of[1] for peak_of in result.device_peaks)
    return result, records.Memory(
        kind="device" if reserved else "rss",
        peak_bytes=max(reserved, default=peak.bytes),
        device_allocated_bytes=allocated,
        device_reserved_bytes=reserved,
        rss_bytes=peak.bytes,
    )


def _record(
    job: JobFile, state: StateFile, result: Any, memory: records.Memory
) -> tuple[records.Record, dict[str, Any]]:
    rate = importlib.import_module("mtp_bench.profiling.rates").rate
    times = result.timings
    train = rate(times.train_seconds, times.train_images)
    test = rate(times.test_seconds, times.test_images)
    trained = sum(times.train_seconds)
    *before, last = state.attempts
    last = last.model_copy(update={"from_iteration": result.resumed_at})
    record = records.Record(
        job=job.id,
        spec=job.spec,
        synthetic=job.spec.data == "miniature",
        primary=result.judged.primary,
        awaiting=result.judged.awaiting,
        metrics={
            name: records.Metric(value=value, unit=unit, higher_is_better=higher)
            for name, (value, unit, higher) in result.judged.metrics.items()
        },
        throughput=records.Throughput(
            train_images_per_s=records.Rate(**train) if train else None,
            inference_images_per_s=records.Rate(**test) if test else None,
            data_wait_share=times.waited / trained if trained else None,
        ),
        memory=memory,
        compute=records.Compute(
            parameters=result.parameters,
            trainable_parameters=result.trainable,
            wall_hours=sum(attempt.seconds for attempt in state.attempts) / 3600,
            gpu_hours=sum(attempt.seconds * attempt.gpus for attempt in state.attempts) / 3600,
        ),
        provenance=_provenance(job, result),
        attempts=(*before, last),
        warnings=(*_of_classes(job, result), *result.warnings),
        finished=states.now(),
        artifact=result.artifact,
    )
    report = result.load_report
    details = {
        "job": job.id,
        "load_report": report.as_json() if report else None,
        "split_source": result.data.split_source,
        **_definition(job, result.judged.primary),
        "resources": job.resources.model_dump(),
        "packages": packages(),
        **({"training_label_pixels": result.data.labels} if result.data.labels else {}),
        **result.judged.details,
        **({"conflict": result.details} if result.details else {}),
    }
    return record, details


def _of_classes(job: JobFile, result: Any) -> tuple[str, ...]:
    """Miniatures show some of the classes by design."""
    return () if job.spec.data == "miniature" else tuple(result.judged.warnings)


def _definition(job: JobFile, name: str) -> dict[str, str]:
    """What the figure is; of a pretraining its stage says it."""
    if job.spec.kind == "pretrain":
        return {}
    card = catalog.load("dataset", job.spec.dataset)
    here = card.judged_here
    told = here.definition if here and here.name == name else card.primary.definition
    return {"metric_definition": str(told)}


def _provenance(job: JobFile, result: Any) -> records.Provenance:
    machine = importlib.import_module("mtp_bench.profiling.machine")
    torch = importlib.import_module("torch")
    commit, dirty = code_state()
    report = result.load_report
    return records.Provenance(
        version=__version__,
        commit=commit,
        dirty=dirty,
        command=job.command,
        python=platform.python_version(),
        torch=torch.__version__,
        host=socket.gethostname(),
        device=machine.device_name(job.resources.device),
        driver=machine.driver_version(job.resources.device),
        processes=job.resources.processes,
        threads=job.resources.threads,
        effective_batch=job.resources.processes * result.micro_batch * result.accumulation,
        learning_rate=job.spec.settings.learning_rate,
        data_fingerprint=result.data.fingerprint,
        data_counts=dict(result.data.counts),
        data_defects=dict(result.data.defects),
        split_source=result.data.split_source,
        **result.normalisation.model_dump(),
        weights=records.WeightsUsed(
            source=report.source,
            sha256=report.sha256,
            matched_share=report.share,
            partial_allowed=report.partial_allowed,
        )
        if report
        else None,
        **{key: getattr(result, key) for key in SAME},
    )


def into_log(path: Path) -> None:
    """Everything this process prints from now on, C code included, goes to the job's log."""
    path.parent.mkdir(parents=True, exist_ok=True)
    log = path.open("a", buffering=1)  # stays open until the process ends
    os.dup2(log.fileno(), 1)
    os.dup2(log.fileno(), 2)
    sys.stdout = sys.stderr = log


def run_in_process(job_file: str, environment: dict[str, str]) -> None:
    """Entry point of a fresh process of the local executor; exits with the state's code."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the executor's to answer
    os.environ.update(environment)
    path = Path(job_file)
    into_log(path.parent / "log.txt")
    code = 1
    try:
        code = EXIT.get(execute(path), 1)
    except UserError as error:
        print("\n".join(error.lines), flush=True)
    except Exception:
        traceback.print_exc()
    sys.stdout.flush()
    os._exit(code)


def main() -> int:
    """Run the job file that the command line names, printing to the terminal."""
    if len(sys.argv) != 2:
        print("usage: python -m mtp_bench.worker runs/<job>/job.json", file=sys.stderr)
        return 2
    try:
        return EXIT.get(execute(Path(sys.argv[1])), 1)
    except UserError as error:
        print("\n".join(error.lines), file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
