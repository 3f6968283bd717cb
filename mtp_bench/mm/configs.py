"""From a job to the whole mmengine config of its training: plain data, which also runs alone."""

import math
from collections.abc import Sequence
from typing import Any

import torch

from mtp_bench import backbones
from mtp_bench.datasets.access import card_of
from mtp_bench.datasets.samples import DataFacts
from mtp_bench.errors import UserError
from mtp_bench.mm.job_hook import Course
from mtp_bench.store.paths import JobPaths
from mtp_bench.suite.identity import seed_for
from mtp_bench.suite.protocol import Normalisation, Protocol, Span
from mtp_bench.suite.schema import JobFile, JobSpec
from mtp_bench.tasks.task import Config as Plain
from mtp_bench.tasks.task import Context, Role, Task

UNCLIPPED = 1e30


def context_of(job: JobFile, source: dict[str, Any] | None) -> Context:
    """What a job's config depends on; without its source all but the backbone's first weights."""
    spec, protocol = job.spec, job.spec.settings
    seeds = {
        p: seed_for(spec.dataset, spec.seed, p)
        for p in ("backbone", "head", "data", "train", "fraction")
    }
    told = source["normalisation"] if source else None
    made_with = Normalisation.model_validate(told) if told else None
    normalisation = backbones.normalisation(
        protocol, spec.backbone, made_with, pretrained=source is not None
    )
    backbone = {
        "name": spec.backbone,
        "image_size": protocol.image_size,
        "drop_path": protocol.drop_path,
        "checkpointing": protocol.checkpointing,
        "seed": seeds["backbone"],
        "weights": {k: v for k, v in source.items() if k != "normalisation"} if source else None,
        **_options(spec),
    }
    sync = job.resources.processes > 1 and job.resources.device == "cuda"
    return Context(
        spec,
        card_of(spec.dataset),
        job.roots,
        backbone,
        normalisation,
        seeds,
        sync_norm=sync,
        accumulation=split_batch(job)[1],
    )


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


def split_batch(job: JobFile) -> tuple[int, int]:
    try:
        return job.resources.split(job.spec.settings.batch_size)
    except ValueError as error:
        raise UserError(f"{job.id}: {error}") from None


def _iterations(span: Span, epoch: int) -> int:
    return span.iterations if span.iterations is not None else (span.epochs or 0) * epoch


def make_config(
    job: JobFile,
    context: Context,
    task: Task,
    data: DataFacts,
    paths: JobPaths,
    skipped: Sequence[int] = (),
) -> tuple[Plain, Course]:
    """The whole mmengine config of a job, plain data, and its course.

    An epoch is ceil(images / batch) iterations, as a loader without dropped batches counts it.
    """
    protocol = job.spec.settings
    micro, accumulation = split_batch(job)
    _check_batch(job, context, task, micro)
    epoch = math.ceil(data.train_images / protocol.batch_size)
    total = _iterations(protocol.length, epoch)
    course = Course(
        total * accumulation,
        epoch * accumulation,
        accumulation,
        context.seeds["train"],
        job.resources.checkpoint_seconds,
        pretraining=job.spec.stage is not None,
        skipped=tuple(skipped),
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
                "dataset": task.dataset(context, "train"),
                "seed": context.seeds["data"],
            },
            "sampler": {
                "type": "mtp_bench.mm.draws.DrawSampler",
                "micro_batch": micro,
                **({"skipped": list(skipped)} if skipped else {}),
            },
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


def _check_batch(job: JobFile, context: Context, task: Task, micro: int) -> None:
    """Refuse pictures at once that sets cannot share, or that batch norm is nothing for."""
    parts, least = task.parts(job.spec.settings), task.least_batch(job.spec.settings)
    if micro % parts:
        raise UserError(
            f"{job.id}: {micro} pictures at once cannot be of {parts} sets alike: give a "
            f"--micro-batch that is a multiple of {parts}"
        )
    if micro // parts < least and not context.sync_norm:
        raise UserError(
            f"{job.id}: {micro} picture at once leaves its batch norm one value of each: give "
            f"--micro-batch {least * parts} or more"
        )


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
    common = {"lr": protocol.learning_rate, "weight_decay": protocol.weight_decay}
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
    # Of pretraining the norm is logged, which mmengine takes where it clips.
    most = protocol.clip_norm or (UNCLIPPED if job.spec.stage else None)
    return {
        **kind[protocol.precision],
        "optimizer": optimizer,
        "clip_grad": {"max_norm": most} if most else None,
        "accumulative_counts": accumulation,
        "constructor": "mtp_bench.mm.optim.LayerDecayConstructor",
        "paramwise_cfg": {"layer_decay": protocol.layer_decay},
    }
