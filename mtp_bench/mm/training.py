"""One training job through an mmengine Runner: config, exact resume, judgement, its backbone."""

import dataclasses
import hashlib
import multiprocessing
import os
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed
from mmengine.config import Config
from mmengine.dist import all_gather_object, is_main_process
from mmengine.runner import Runner

from mtp_bench import catalog
from mtp_bench.backbones import torchvision_shim
from mtp_bench.backbones import weights as weights_module
from mtp_bench.datasets.pixels import first_line
from mtp_bench.datasets.samples import DataFacts
from mtp_bench.errors import UserError
from mtp_bench.mm import artifacts, checkpoints, divergence, loader
from mtp_bench.mm.configs import context_of, make_config, split_batch
from mtp_bench.mm.job_hook import Course, JobHook, Timings
from mtp_bench.profiling.memory import device_peak
from mtp_bench.store import scalars
from mtp_bench.store.control import Control
from mtp_bench.store.files import write_atomically
from mtp_bench.store.paths import JobPaths
from mtp_bench.suite.protocol import Normalisation
from mtp_bench.suite.schema import JobFile
from mtp_bench.tasks import map_pictures, pictures
from mtp_bench.tasks.task import Config as Plain
from mtp_bench.tasks.task import Context, Judged, Task

STUCK = 3
"""Validations with one and the same figure that are worth a warning."""


@dataclass(frozen=True)
class Result:
    """What a job leaves for its record."""

    judged: Judged
    timings: Timings
    parameters: int
    trainable: int
    probe: str
    load_report: weights_module.LoadReport | None
    data: DataFacts
    seeds: dict[str, int]
    normalisation: Normalisation
    micro_batch: int
    accumulation: int
    config_sha256: str
    resumed_at: int
    warnings: tuple[str, ...]
    device_peaks: tuple[tuple[int, int], ...]
    """Peak allocated and reserved bytes of each process on its GPU; empty on a CPU."""
    artifact: str | None = None
    """SHA-256 of the backbone that a pretrain job leaves."""
    details: dict[str, Any] = dataclasses.field(default_factory=dict)


def run(job: JobFile, paths: JobPaths, control: Control, source: dict[str, Any] | None) -> Result:
    """Train and judge. ``source``: a ``Source``'s fields; None starts from nothing.

    Raises:
        Interrupted: after a stop request, with the checkpoint written.
        TrainingFailed: when the training itself goes wrong.
    """
    loader.install()
    torchvision_shim.apply()
    multiprocessing.set_start_method("fork", force=True)  # the Runner would, with a warning
    _check_device(job)
    if job.resources.processes > 1:
        _join_processes(job.resources.device)
    context = context_of(job, source)
    task: Task = catalog.training_of(job.spec)
    data = task.data.facts(context)
    counts = ", ".join(f"{count:,} {split}" for split, count in data.counts.items())
    print(f"{job.id}: {counts} images ({data.split_source})", flush=True)
    skipped = list(divergence.skipped(paths))
    while True:
        config, course = make_config(job, context, task, data, paths, skipped)
        try:
            return _train(job, task, context, data, (config, course), (paths, control))
        except divergence.Diverged as error:
            skipped.append(error.micro_batch)


def _train(
    job: JobFile,
    task: Task,
    context: Context,
    data: DataFacts,
    how: tuple[Plain, Course],
    where: tuple[JobPaths, Control],
) -> Result:
    """From the newest checkpoint to the end."""
    (config, course), (paths, control) = how, where
    text = Config(config).pretty_text
    if int(os.environ.get("RANK", "0")) == 0:
        write_atomically(paths.config, text)
    print(
        f"{job.id}: {course.total} iterations on "
        f"{job.resources.device}; {job.resources.batch_line(job.spec.settings)}",
        flush=True,
    )
    found = checkpoints.newest_whole(paths.checkpoints)
    if found is not None:
        config = {**config, "resume": True, "load_from": str(found[0])}
    runner = Runner.from_cfg(Config(config))
    model: Any = getattr(runner.model, "module", runner.model)
    weights = model.load_report.sha256 if model.load_report else "none"
    hook = JobHook(
        control, paths, course, {"weights": weights, "accumulation": course.accumulation}
    )
    runner.register_hook(hook, priority="LOWEST")
    encoder = getattr(model.backbone, "encoder", model.backbone)  # of two dates
    probe = weights_module.probe(encoder, job.spec.settings.image_size)
    if model.load_report is not None:
        print(model.load_report.summary(), flush=True)
    metric: Any = runner.val_evaluator.metrics[0]
    metric.folder = None if job.spec.stage else paths.predictions
    runner.train()
    if hook.last is None:  # resumed after the last iteration: nothing was validated in this process
        runner.val_loop.run()
    if task.settle is not None and metric.folder is not None and is_main_process():
        _draw(job, task, paths)
    if task.held_back(context):
        runner.test_evaluator.metrics[0].folder = paths.predictions
        runner.test()
    judged: Judged = metric.judged
    artifact = _export(job, task, model, paths, context.normalisation) if task.export else None
    return Result(
        judged=judged,
        timings=hook.timings,
        parameters=sum(p.numel() for p in model.parameters()),
        trainable=sum(p.numel() for p in model.parameters() if p.requires_grad),
        probe=probe,
        load_report=model.load_report,
        data=data,
        seeds=context.seeds,
        normalisation=context.normalisation,
        micro_batch=split_batch(job)[0],
        accumulation=course.accumulation,
        config_sha256=hashlib.sha256(text.encode()).hexdigest(),
        resumed_at=found[1] if found else 0,
        warnings=_warnings(job, task, paths, judged),
        device_peaks=tuple(peak for peak in all_gather_object(device_peak()) if peak),
        artifact=artifact,
        details=divergence.conflict_figures(paths.scalars),
    )


def _export(
    job: JobFile, task: Task, model: Any, paths: JobPaths, norm: Normalisation
) -> str | None:
    """The trained backbone, and what is to be known of it; the main process writes."""
    if task.export is None or not is_main_process():
        return None
    spec = job.spec
    told: Plain = {"job": job.id, "backbone": spec.backbone, "recipe": spec.recipe}
    told |= {"stage": spec.stage, "image_size": spec.settings.image_size}
    return artifacts.write(paths, task.export(model), told | norm.model_dump(mode="json"))


def _draw(job: JobFile, task: Task, paths: JobPaths) -> None:
    """Each process has written its predictions before any had figures. A job needs no pictures."""
    try:
        if task.scope == "mmseg":
            folder = paths.predictions / "test"
            map_pictures.draw_worst(job.spec, job.roots, folder, paths.pictures)
        else:
            ranks = range(job.resources.processes)
            files = [paths.predictions / f"test.{rank}.jsonl" for rank in ranks]
            there = [path for path in files if path.is_file()]
            pictures.draw_worst(job.spec, job.roots, there, paths.pictures)
    except Exception as error:  # whatever it is must not cost the record
        print(f"{job.id}: drew no pictures ({first_line(error)})", flush=True)


def _warnings(job: JobFile, task: Task, paths: JobPaths, judged: Judged | None) -> tuple[str, ...]:
    """What a reader of the figures should know of this training."""
    found = []
    if (
        task.least_batch(job.spec.settings) > 1
        and job.resources.processes > 1
        and job.resources.device == "cpu"
    ):
        found.append("batch norm counted over each process's own pictures: on a CPU it cannot else")
    found += divergence.told(paths)
    rows = list(scalars.read(paths.scalars))
    names = (judged.primary, *judged.metrics) if judged else ()  # a server's is on no curve
    name = next((name for name in names if any(name in row for row in rows)), "")
    curve = [row[name] for row in rows if name in row]
    if len(curve) >= STUCK and len(set(curve[-STUCK:])) == 1:
        found.append(f"{name} is {curve[-1]:g} in each of the last {STUCK} validations")
    return tuple(found)


def _check_device(job: JobFile) -> None:
    wanted, started = job.resources.processes, int(os.environ.get("WORLD_SIZE", "1"))
    if wanted != started:
        raise UserError(f"{job.id}: wants {wanted} processes, and {started} were started")
    if job.resources.device == "cuda" and not torch.cuda.is_available():
        raise UserError(
            f"{job.id}: wants a GPU, and torch {torch.__version__} finds none: see mtp-bench doctor"
        )


def _join_processes(device: str) -> None:
    """As the environment says (torchrun's variables); mmengine's own way needs a GPU."""
    if device == "cuda":
        # Where a scheduler shows each process one GPU, that one is number 0 for all of them.
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]) % torch.cuda.device_count())
    torch.distributed.init_process_group("nccl" if device == "cuda" else "gloo")


def source_fields(source: Any) -> dict[str, Any] | None:
    """A ``Source`` as plain data, for configs."""
    return None if source is None else dataclasses.asdict(source)
