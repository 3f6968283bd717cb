"""One fine-tuning job through an mmengine Runner: config, exact resume, final judgement."""

import dataclasses
import hashlib
import math
import multiprocessing
import os
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed
from mmengine.config import Config
from mmengine.dist import all_gather_object, is_main_process
from mmengine.runner import Runner

from mtp_bench import backbones, catalog
from mtp_bench.backbones import torchvision_shim
from mtp_bench.backbones import weights as weights_module
from mtp_bench.datasets.access import card_of
from mtp_bench.datasets.pixels import first_line
from mtp_bench.datasets.samples import DataFacts
from mtp_bench.errors import UserError
from mtp_bench.mm import checkpoints, loader
from mtp_bench.mm.job_hook import Course, JobHook, Timings
from mtp_bench.profiling.memory import device_peak
from mtp_bench.store import scalars
from mtp_bench.store.control import Control
from mtp_bench.store.files import write_atomically
from mtp_bench.store.paths import JobPaths
from mtp_bench.suite.identity import seed_for
from mtp_bench.suite.protocol import Normalisation, Protocol, Span
from mtp_bench.suite.schema import JobFile, JobSpec
from mtp_bench.tasks import map_pictures, pictures
from mtp_bench.tasks.task import Config as Plain
from mtp_bench.tasks.task import Context, Judged, Role, Task

STUCK = 3
"""Validations with one and the same figure that are worth a warning."""


@dataclass(frozen=True)
class Result:
    """What a fine-tuning job leaves for its record."""

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
    task: Task = catalog.load("task", job.spec.task)
    data = task.data.facts(context)
    config, course = make_config(job, context, task, data, paths)
    text = Config(config).pretty_text
    if int(os.environ.get("RANK", "0")) == 0:
        write_atomically(paths.config, text)
    counts = ", ".join(f"{count:,} {split}" for split, count in data.counts.items())
    print(
        f"{job.id}: {counts} images ({data.split_source}); {course.total} iterations on "
        f"{job.resources.device}; {job.resources.batch_line(job.spec.settings)}",
        flush=True,
    )
    found = checkpoints.newest_whole(paths.checkpoints)
    if found is not None:
        config.update(resume=True, load_from=str(found[0]))
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
    metric.folder = paths.predictions
    runner.train()
    if hook.last is None:  # resumed after the last iteration: nothing was validated in this process
        runner.val_loop.run()
    if task.settle is not None and is_main_process():
        _draw(job, task, paths)
    if task.held_back(context):
        runner.test_evaluator.metrics[0].folder = paths.predictions
        runner.test()
    judged: Judged = metric.judged
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
        micro_batch=_split(job)[0],
        accumulation=course.accumulation,
        config_sha256=hashlib.sha256(text.encode()).hexdigest(),
        resumed_at=found[1] if found else 0,
        warnings=_warnings(job, task, paths, judged),
        device_peaks=tuple(peak for peak in all_gather_object(device_peak()) if peak),
    )


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
    if task.least_batch > 1 and job.resources.processes > 1 and job.resources.device == "cpu":
        found.append("batch norm counted over each process's own pictures: on a CPU it cannot else")
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


def context_of(job: JobFile, source: dict[str, Any] | None) -> Context:
    """What a job's config depends on; without its source all but the backbone's first weights."""
    spec, protocol = job.spec, job.spec.settings
    seeds = {
        p: seed_for(spec.dataset, spec.seed, p)
        for p in ("backbone", "head", "data", "train", "fraction")
    }
    normalisation = backbones.normalisation(
        protocol, spec.backbone, spec.weights, pretrained=source is not None
    )
    backbone = {
        "name": spec.backbone,
        "image_size": protocol.image_size,
        "drop_path": protocol.drop_path,
        "checkpointing": protocol.checkpointing,
        "seed": seeds["backbone"],
        "weights": source,
        **_options(spec),
    }
    sync = job.resources.processes > 1 and job.resources.device == "cuda"
    return Context(spec, card_of(spec.dataset), job.roots, backbone, normalisation, seeds, sync)


def _options(spec: JobSpec) -> dict[str, Any]:
    """What the task, or the protocol, makes of the backbone."""
    usual = backbones.for_task(spec.backbone, spec.task)
    if not spec.settings.pyramid:
        return usual
    strides = backbones.for_task(spec.backbone, "segmentation")
    if spec.task != "change_detection" or strides == usual:
        raise UserError(
            f"{spec.dataset}, {spec.backbone}: 'pyramid' is for change detection with a plain "
            "transformer, whose maps have one stride else"
        )
    return strides


def _split(job: JobFile) -> tuple[int, int]:
    try:
        return job.resources.split(job.spec.settings.batch_size)
    except ValueError as error:
        raise UserError(f"{job.id}: {error}") from None


def _iterations(span: Span, epoch: int) -> int:
    return span.iterations if span.iterations is not None else (span.epochs or 0) * epoch


def make_config(
    job: JobFile, context: Context, task: Task, data: DataFacts, paths: JobPaths
) -> tuple[Plain, Course]:
    """The whole mmengine config of a job, plain data, and its course.

    An epoch is ceil(images / batch) iterations, as a loader without dropped batches counts it.
    """
    protocol = job.spec.settings
    train = task.dataset(context, "train")
    micro, accumulation = _split(job)
    if micro < task.least_batch and not context.sync_norm:
        raise UserError(
            f"{job.id}: {micro} picture at once leaves its batch norm one value of each: give "
            f"--micro-batch {task.least_batch} or more"
        )
    epoch = math.ceil(data.train_images / protocol.batch_size)
    total = _iterations(protocol.length, epoch)
    course = Course(
        total * accumulation,
        epoch * accumulation,
        accumulation,
        context.seeds["train"],
        job.resources.checkpoint_seconds,
    )
    workers = {
        "num_workers": job.resources.loader_workers,
        "persistent_workers": job.resources.loader_workers > 0,
        "collate_fn": {"type": task.collate},
    }
    config: Plain = {
        "custom_imports": {"imports": ["mtp_bench.mm.standalone"]},
        "default_scope": task.scope,
        "experiment_name": job.id,
        "work_dir": str(paths.run / "mmengine"),
        "log_level": "ERROR",
        "launcher": "pytorch" if job.resources.processes > 1 else "none",
        "env_cfg": {"dist_cfg": {"backend": "nccl" if job.resources.device == "cuda" else "gloo"}},
        "randomness": {"seed": context.seeds["train"]},
        "model": task.model(context),
        "model_wrapper_cfg": _wrapper(job),
        "train_dataloader": {
            **workers,
            "batch_size": micro,
            "dataset": {
                "type": "mtp_bench.mm.draws.DrawnDataset",
                "dataset": train,
                "seed": context.seeds["data"],
            },
            "sampler": {"type": "mtp_bench.mm.draws.DrawSampler", "micro_batch": micro},
        },
        **_evaluation("val", job, context, task, workers),
        "train_cfg": {
            "type": "mmengine.IterBasedTrainLoop",
            "max_iters": total * accumulation,
            "val_interval": _iterations(protocol.validate_every, epoch) * accumulation,
        },
        "optim_wrapper": _optim_wrapper(job, accumulation),
        "default_hooks": dict.fromkeys(
            ("timer", "logger", "param_scheduler", "checkpoint", "sampler_seed")
        ),
        "custom_hooks": [_schedule(protocol, epoch, total, accumulation)],
        "visualizer": {"type": "mmengine.Visualizer", "vis_backends": None},
    }
    if task.held_back(context):
        config |= _evaluation("test", job, context, task, workers)
    return config, course


def _evaluation(loop: str, job: JobFile, context: Context, task: Task, workers: Plain) -> Plain:
    """Mmengine's validation is of what is judged here, its test of what a server judges."""
    role: Role = "test" if loop == "val" else "server"
    sampler = {"type": "mmengine.DefaultSampler", "shuffle": False}
    if task.settle is not None:
        sampler = {"type": "mtp_bench.mm.scenes.SceneSampler"}
    spec = job.spec.model_dump(mode="json", exclude_defaults=True)
    metric = {"type": "mtp_bench.mm.predictions.Predictions", "spec": spec, "role": role}
    return {
        f"{loop}_dataloader": {
            **workers,
            "batch_size": job.spec.settings.test.batch_size,
            "dataset": task.dataset(context, role),
            "sampler": sampler,
        },
        f"{loop}_cfg": {"type": "mmengine.ValLoop" if loop == "val" else "mmengine.TestLoop"},
        f"{loop}_evaluator": metric,
    }


def _wrapper(job: JobFile) -> Plain | None:
    """On a GPU mmengine's own; on CPUs its wrapper must not name devices."""
    if job.resources.processes == 1 or job.resources.device == "cuda":
        return None
    kind = "mmengine.MMDistributedDataParallel"
    return {"type": kind, "device_ids": None, "broadcast_buffers": False}


def _schedule(protocol: Protocol, epoch: int, total: int, accumulation: int) -> Plain:
    marks = protocol.milestones
    return {
        "type": "mtp_bench.mm.schedule.ScheduleHook",
        "accumulation": accumulation,
        "total": total,
        "warmup": _iterations(protocol.warmup, epoch) if protocol.warmup else 0,
        "start": protocol.warmup_start,
        "kind": protocol.schedule,
        "step": epoch if protocol.schedule_step == "epoch" else 1,
        "milestones": [mark * (epoch if protocol.length.epochs else 1) for mark in marks],
    }


def _optim_wrapper(job: JobFile, accumulation: int) -> Plain:
    protocol = job.spec.settings
    common = {"lr": protocol.lr, "weight_decay": protocol.weight_decay}
    optimizer = (
        {"type": "AdamW", "betas": protocol.betas, **common}
        if protocol.optimizer == "adamw"
        else {"type": "SGD", "momentum": protocol.betas[0], **common}
    )
    kind: dict[str, Plain] = {
        "fp32": {"type": "mmengine.OptimWrapper"},
        "bf16": {"type": "mtp_bench.mm.optim.Bfloat16OptimWrapper"},
        "fp16": {"type": "mmengine.AmpOptimWrapper", "dtype": "float16"},
    }
    if protocol.precision == "fp16" and not torch.cuda.is_available():
        raise UserError(f"{job.id}: fp16 needs a GPU: use precision bf16 or fp32 on a CPU")
    return {
        **kind[protocol.precision],
        "optimizer": optimizer,
        "clip_grad": {"max_norm": protocol.clip_norm} if protocol.clip_norm else None,
        "accumulative_counts": accumulation,
        "constructor": "mtp_bench.mm.optim.LayerDecayConstructor",
        "paramwise_cfg": {"layer_decay": protocol.layer_decay},
    }


def source_fields(source: Any) -> dict[str, Any] | None:
    """A ``Source`` as plain data, for configs."""
    return None if source is None else dataclasses.asdict(source)
