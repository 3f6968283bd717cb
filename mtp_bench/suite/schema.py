"""The nouns, frozen: Suite, Protocol, JobSpec, Resources, JobFile. Data only."""

import json
from pathlib import PurePosixPath
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    Strict,
    create_model,
    model_validator,
)

SPEC_VERSION = 1
"""Hashed into every job id; raised only when the meaning of an equal spec changes."""

Task = Literal[
    "classification", "detection", "rotated_detection", "segmentation", "change_detection"
]
DataVariant = Literal["release", "subset", "miniature"]


class Model(BaseModel):
    """Frozen, strict, closed to unknown keys. Validate the JSON form: lists become tuples."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


def _inside(path: str) -> str:
    parts = PurePosixPath(path)
    if parts.is_absolute() or ".." in parts.parts or "\\" in path:
        raise ValueError("must be a path inside the weights folder (no leading '/', no '..')")
    return path


def _free(name: str) -> str:
    if name in ("records", "scores", "forgotten"):
        raise ValueError(f"'{name}' is a folder of results/: choose another name")
    return name


def _as_tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list | tuple) else (value,)


RelativePath = Annotated[str, Field(min_length=1), AfterValidator(_inside)]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=80)]
Fraction = Annotated[float, Field(gt=0, le=1)]
Momentum = Annotated[float, Field(ge=0, lt=1)]
Positive = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(ge=1)]
RGB = Annotated[tuple[float, float, float], Strict(False)]
"""Red, green, blue in 0..255. Lenient about list or tuple: a validator above hides the JSON."""
OneOrMore = Annotated[tuple[str, ...], BeforeValidator(_as_tuple), Field(min_length=1)]


def exactly_one(*keys: str) -> Any:
    """A validator of a model: one of these keys is given, and no other."""

    def check(model: Any) -> Any:
        if sum(getattr(model, key) is not None for key in keys) != 1:
            *first, last = (f"'{key}'" for key in keys)
            raise ValueError(f"give exactly one of {', '.join(first)} and {last}")
        return model

    return model_validator(mode="after")(check)


def _check_statistics(mean: tuple[float, ...] | None, std: tuple[float, ...] | None) -> None:
    if (mean is None) != (std is None):
        raise ValueError("give both 'mean' and 'std', or neither")
    if std is not None and min(std) <= 0:
        raise ValueError("'std' must be above 0")


class Normalisation(Model):
    """How a picture's values become a backbone's input: as they were in its pretraining."""

    mean: RGB
    std: RGB
    """In 0..255, red, green, blue, whatever the order of the channels."""
    channel_order: Literal["rgb", "bgr"] = "rgb"


class Span(Model):
    """A length of training: epochs or iterations, exactly one of them."""

    epochs: Count | None = None
    iterations: Count | None = None

    _exactly_one = exactly_one("epochs", "iterations")


class Detector(Model):
    """The detector around a backbone; the sizes that published settings fix are in ``tasks``."""

    kind: Literal["faster_rcnn", "retinanet", "oriented_rcnn"]
    channels: Count = 256
    """Of the feature pyramid and of what stands on it."""
    fc_channels: Count = 1024
    """Of the two layers that judge a RoI."""
    roi_size: Count = 7
    """Side of the grid that a RoI is read in."""
    anchors: Count = 256
    """Of an image, that train the first stage."""
    rois: Count = 512
    """Of an image, that train the second stage."""
    proposals: Count | None = None
    """Passed from the first stage to the second; null: as published, one or two thousand."""
    anchor_scale: Count = 8
    """Side of an anchor in strides; RetinaNet has its own."""


class Tiling(Model):
    """How scenes are cut, where not as the dataset's card says."""

    size: Count
    gap: Annotated[int, Field(ge=0)] = 0
    """Pixels that neighbours share."""
    scales: tuple[Positive, ...] = (1.0,)

    @model_validator(mode="after")
    def _advances(self) -> Self:
        if self.gap >= self.size:
            raise ValueError("'gap' must be below 'size': windows would not advance")
        return self


class TestSettings(Model):
    """How a trained model is judged; hashed apart: another judge is not another training."""

    __test__ = False

    image_size: Count
    resize: Count | None = None
    """Short edge before the centre crop of ``image_size``; null: resize straight to it."""
    batch_size: Count = 64

    @model_validator(mode="after")
    def _covers(self) -> Self:
        if self.resize is not None and self.resize < self.image_size:
            raise ValueError("'resize' must not be below 'image_size': the crop would be padded")
        return self


class Protocol(Model):
    """Every hyper-parameter of one training, fully resolved."""

    image_size: Count
    length: Span
    batch_size: Count
    """Effective batch: over all processes and accumulation steps."""
    optimizer: Literal["adamw", "sgd"] = "adamw"
    lr: Positive
    betas: tuple[Momentum, Momentum] = (0.9, 0.999)
    """AdamW's; with sgd the first is the momentum."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.05
    layer_decay: Fraction | None
    """Layer-wise decay of the learning rate; null: every layer at ``lr``."""
    drop_path: Annotated[float, Field(ge=0, lt=1)]
    warmup: Span | None = None
    warmup_start: Fraction = 1e-6
    """First learning rate as a share of ``lr``; it rises linearly, iteration by iteration."""
    schedule: Literal["cosine", "step", "constant"] = "cosine"
    milestones: tuple[Count, ...] = ()
    """With ``step``: when the rate falls to a tenth, in the unit of ``length``."""
    schedule_step: Literal["iteration", "epoch"] = "iteration"
    """How often the schedule after the warm-up moves."""
    clip_norm: Positive | None = None
    augmentation: Literal["randaugment", "dihedral", "flip", "flips", "flips_rotate", "none"]
    """Of classification the first two. Of boxes ``flip``: left and right; ``flips``: also up and
    down and both; ``flips_rotate``: and by any angle."""
    right_angles: tuple[str, ...] = ()
    """With ``flips_rotate``: pictures with these classes are turned by quarters alone."""
    mean: RGB | None = None
    std: RGB | None = None
    """Input statistics; null: those that the weights or the backbone were made with."""
    own_statistics: bool = False
    """Use ``mean`` and ``std`` even for weights that were made with others."""
    validate_every: Span
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    frozen: Literal["none", "backbone"] = "none"
    train_fraction: Fraction = 1.0
    """Share of each class's training images, for few-label studies; of detection of all images."""
    detector: Detector | None = None
    checkpointing: bool = False
    """Activations of the backbone are computed again in the backward pass: less memory."""
    tiling: Tiling | None = None
    train_on_val: bool = True
    """Where the labels of test are held back: train on validation as well, and leave judging to
    the server. False: judge here, on validation."""
    test: TestSettings

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        _check_statistics(self.mean, self.std)
        if (self.schedule == "step") != bool(self.milestones):
            raise ValueError("'milestones' go with schedule 'step', and it needs them")
        for unit in ("epochs", "iterations"):
            warm, all_of_it = getattr(self.warmup, unit, None), getattr(self.length, unit)
            if warm is not None and all_of_it is not None and warm > all_of_it:
                raise ValueError(f"'warmup' of {warm} {unit} is longer than 'length'")
        return self


def _part_of(model: type[BaseModel], name: str) -> type[BaseModel]:
    """The same fields, each optional; what was given stands in ``model_fields_set``."""
    fields: dict[str, Any] = {}
    for key, info in model.model_fields.items():
        annotation: Any = info.annotation
        for constraint in info.metadata:
            annotation = Annotated[annotation, constraint]
        fields[key] = (annotation, None)
    part: type[BaseModel] = create_model(name, __base__=Model, **fields)
    return part


ProtocolPart: Any = _part_of(Protocol, "ProtocolPart")


class Where(Model):
    """Which jobs a rule is for; keys mean *and*, the values of one key mean *or*."""

    task: OneOrMore | None = None
    dataset: OneOrMore | None = None
    backbone: OneOrMore | None = None


class Rule(Model):
    """Settings for the jobs that ``where`` selects; a later rule wins."""

    where: Where = Where()
    set: ProtocolPart


class ProtocolFile(Model):
    """A protocol as written: a name and rules, the general ones first."""

    name: Name
    title: str = ""
    backbones: tuple[str, ...] | None = None
    """Backbones that the source of this protocol trained; others are marked as 'after' it."""
    rules: Annotated[tuple[Rule, ...], Field(min_length=1)]


class Weights(Model):
    """A file that a recipe stage is loaded from."""

    file: RelativePath
    """Relative to the weights folder, or inside ``package``."""
    package: Name | None = None
    """An installed Python distribution that carries the file."""
    sha256: Sha256 | None = None
    allow_partial: bool = False
    """Accept a file of which under 90 % of the backbone's parameters match."""
    mean: RGB | None = None
    std: RGB | None = None
    """Of the pictures that the weights were made with, in ``value_range``; null: as usual."""
    value_range: Literal[1, 255] = 255
    """What white was; weights made on pictures of 0..1 state their mean in it."""
    channel_order: Literal["rgb", "bgr"] = "rgb"

    @model_validator(mode="after")
    def _both_statistics(self) -> Self:
        _check_statistics(self.mean, self.std)
        if self.mean is None and (self.value_range, self.channel_order) != (255, "rgb"):
            raise ValueError("'value_range' and 'channel_order' go with 'mean' and 'std'")
        return self

    @property
    def normalisation(self) -> Normalisation | None:
        """What they expect; None where the suite does not say."""
        if self.mean is None or self.std is None:
            return None
        scale = 255 / self.value_range
        (r, g, b), (sr, sg, sb) = self.mean, self.std
        mean, std = (scale * r, scale * g, scale * b), (scale * sr, scale * sg, scale * sb)
        return Normalisation(mean=mean, std=std, channel_order=self.channel_order)


def _weights(value: Any) -> Any:
    return {"file": value} if isinstance(value, str) else value


WeightsEntry = Annotated[Weights, BeforeValidator(_weights)]


class CustomRecipe(Model):
    """A recipe of the user's: weights of their own, or a name for a chain of stages."""

    weights: WeightsEntry | None = None
    chain: str | None = None

    _exactly_one = exactly_one("weights", "chain")


MOST_SEEDS = 1000


def _seeds(value: Any) -> Any:
    if isinstance(value, int) and not isinstance(value, bool):
        if not 1 <= value <= MOST_SEEDS:
            raise ValueError(f"must be a count from 1 to {MOST_SEEDS}, not {value}")
        return tuple(range(value))
    if not isinstance(value, list | tuple):
        raise ValueError(f"must be a count, or a list of numbers, not {json.dumps(value)}")
    return tuple(value)


Seeds = Annotated[
    tuple[Annotated[int, Field(ge=0, lt=2**31)], ...],
    BeforeValidator(_seeds),
    Field(min_length=1, max_length=MOST_SEEDS),
]


class Suite(Model):
    """A question: which backbones and recipes, on which datasets, under which protocol."""

    name: Annotated[Name, AfterValidator(_free)]
    title: str = ""
    protocol: Annotated[str, Field(min_length=1)]
    """``paper``, ``demo``, or the path of a protocol file, relative to the suite."""
    data: DataVariant = "release"
    backbones: Annotated[dict[str, OneOrMore], Field(min_length=1)]
    """Backbone → its recipes."""
    datasets: Annotated[tuple[str, ...], Field(min_length=1)] | None = None
    tasks: Annotated[tuple[Task, ...], Field(min_length=1)] | None = None
    seeds: Seeds = (0,)
    """A count, or the repetitions themselves."""
    pretrain_seeds: Seeds = (0,)
    baseline: str | dict[str, str] | None = None
    """The recipe that others are compared with: one, or one per backbone."""
    weights: dict[str, dict[str, WeightsEntry]] = {}
    """Backbone → recipe → the file that the recipe is loaded from, instead of being run."""
    recipes: dict[Name, CustomRecipe] = {}
    overrides: tuple[Rule, ...] = ()

    _datasets_or_tasks = exactly_one("datasets", "tasks")


class Stage(Model):
    """One link of a recipe as it is identified: loaded from a file, or made by a pretrain job."""

    name: str
    weights: Weights | None = None
    pretrain: str | None = None
    """Id of the job that makes it. Neither: timm's own loader."""


class JobSpec(Model):
    """What a job *is*; the hash of this is its identity."""

    kind: Literal["pretrain", "finetune"]
    backbone: str
    recipe: str
    stages: tuple[Stage, ...]
    task: str
    dataset: str
    data: DataVariant
    protocol: Protocol | None
    """None while the code of the job's task or stage is missing: it can be planned, not run."""
    seed: Annotated[int, Field(ge=0)]
    pretrain_seed: Annotated[int, Field(ge=0)] = 0

    @property
    def weights(self) -> Weights | None:
        """The file that the last stage is loaded from, where the suite names one."""
        return self.stages[-1].weights if self.stages else None

    @property
    def settings(self) -> Protocol:
        """The protocol of a job that can be run."""
        if self.protocol is None:
            raise ValueError(f"{self.dataset}, {self.recipe}: planned without a protocol")
        return self.protocol


class Resources(Model):
    """How a job runs; never part of what it is."""

    processes: Count = 1
    device: Literal["cpu", "cuda"] = "cpu"
    threads: Annotated[int, Field(ge=0)] = 1
    """Threads of each process on the CPU; 0 leaves torch's own choice."""
    loader_workers: Annotated[int, Field(ge=0)] = 0
    micro_batch: Count | None = None
    """Images a process takes at once; what lacks to the protocol's batch is accumulated."""
    checkpoint_seconds: Annotated[float, Field(ge=0)] = 120.0

    def split(self, batch: int) -> tuple[int, int]:
        """Images a process takes at once, and how many times it does in one step.

        Raises:
            ValueError: where processes and micro-batches cannot make up the batch.
        """
        micro = self.micro_batch or batch // self.processes
        if micro == 0 or batch % (micro * self.processes):
            raise ValueError(
                f"a batch of {batch} is no multiple of {self.processes} processes x "
                f"{max(micro, 1)} images: choose other numbers (--gpus-per-job, --micro-batch)"
            )
        return micro, batch // (micro * self.processes)

    def batch_line(self, protocol: Protocol) -> str:
        """How the effective batch is made up, and the learning rate that goes with it."""
        micro, times = self.split(protocol.batch_size)
        return (
            f"batch {protocol.batch_size} = {self.processes} process(es) x {micro} images x "
            f"{times} accumulated, learning rate {protocol.lr:g} as the protocol has it for it"
        )


class Roots(Model):
    """The folders of one invocation, as absolute paths."""

    runs: str
    results: str
    data: str | None
    weights: str | None
    cache: str


class JobFile(Model):
    """``job.json``: all that a worker needs, and all that crosses to another process or node."""

    version: Literal[1] = 1
    id: str
    spec: JobSpec
    resources: Resources
    roots: Roots
    command: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()
    """Jobs whose records must be there before this one starts."""
