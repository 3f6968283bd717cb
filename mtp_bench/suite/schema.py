"""The nouns, frozen: Suite, JobSpec, Resources, JobFile. Data only."""

import json
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from mtp_bench.suite.fields import (
    RGB,
    Count,
    Model,
    Name,
    OneOrMore,
    RelativePath,
    Sha256,
    check_statistics,
    exactly_one,
)
from mtp_bench.suite.protocol import Normalisation, Protocol, ProtocolPart

SPEC_VERSION = 1
"""Hashed into every job id; raised only when the meaning of an equal spec changes."""

Task = Literal[
    "classification", "detection", "rotated_detection", "segmentation", "change_detection"
]
DataVariant = Literal["release", "subset", "miniature"]


def _free(name: str) -> str:
    if name in ("records", "scores", "forgotten"):
        raise ValueError(f"'{name}' is a folder of results/: choose another name")
    return name


class Where(Model):
    """Which jobs a rule is for; keys mean *and*, the values of one key mean *or*."""

    task: OneOrMore | None = None
    dataset: OneOrMore | None = None
    backbone: OneOrMore | None = None
    stage: OneOrMore | None = None
    """Pretraining of these stages (mae, mtp); without it a rule is for fine-tuning."""


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
        check_statistics(self.mean, self.std)
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
    """A recipe of the user's: weights, a name for a chain, or a stage that is run otherwise."""

    weights: WeightsEntry | None = None
    chain: str | None = None
    stage: str | None = None
    """A stage of ours (mae, mtp); ``set`` are the settings that differ from the protocol's."""
    set: ProtocolPart | None = None

    _exactly_one = exactly_one("weights", "chain", "stage")

    @model_validator(mode="after")
    def _sets(self) -> Self:
        if (self.stage is None) != (self.set is None):
            raise ValueError("'stage' and 'set' go together")
        return self


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
    weights: dict[str, dict[str, WeightsEntry]] = Field(default_factory=dict)
    """Backbone → recipe → the file that the recipe is loaded from, instead of being run."""
    recipes: dict[Name, CustomRecipe] = Field(default_factory=dict)
    overrides: tuple[Rule, ...] = ()
    leave_out: tuple[Where, ...] = ()
    """Jobs of the grid that are no part of the question."""

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
    stage: str | None = None
    """Of a pretrain job: the stage (mae, mtp) whose code runs."""

    @property
    def weights(self) -> Weights | None:
        """The last file of the chain: stages that are run keep to what its pictures were."""
        return next((s.weights for s in reversed(self.stages) if s.weights is not None), None)

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
            f"{times} accumulated, learning rate {protocol.learning_rate:g} as the protocol has it"
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
