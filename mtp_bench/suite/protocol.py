"""A protocol: every hyper-parameter of one training. Data only."""

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, Field, create_model, model_validator

from mtp_bench.suite.fields import (
    RGB,
    Count,
    Fraction,
    Model,
    Momentum,
    Positive,
    RelativePath,
    check_statistics,
    exactly_one,
)


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


class Decoder(Model):
    """What makes a label map of a backbone's feature maps."""

    kind: Literal["upernet", "unet"]
    channels: Count = 512
    """Of UperNet; of the first of UNet's four blocks, each of which has half of the one before."""
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.1


class Mae(Model):
    """Masked-autoencoder pretraining (He et al., CVPR 2022)."""

    mask: Annotated[float, Field(gt=0, lt=1)] = 0.75
    """Share of the patches that the encoder does not see."""
    normalise_patches: bool = False
    """Whether the pixels to be told are of each patch less its mean, over its deviation."""
    decoder_width: Count = 512
    decoder_depth: Count = 8
    decoder_heads: Count = 16
    crop: tuple[Fraction, Fraction] = (0.2, 1.0)
    """Least and largest share of a picture's area that is cut out and resized."""
    folder: RelativePath | None = None
    """Any folder of pictures under the data root, in place of the recipe's own dataset."""

    @model_validator(mode="after")
    def _crops(self) -> Self:
        if self.crop[0] > self.crop[1]:
            raise ValueError("'crop' gives the least share first")
        if self.decoder_width % self.decoder_heads or self.decoder_width % 4:
            raise ValueError("'decoder_width' must be a multiple of 'decoder_heads' and of 4")
        return self


Head = Literal["semantic", "instance", "rotated"]
HEADS: tuple[Head, ...] = ("semantic", "instance", "rotated")
Subset = Literal["SOTA-RBB", "SIOR", "FAST"]
SUBSETS: tuple[Subset, ...] = ("SOTA-RBB", "SIOR", "FAST")


class Mtp(Model):
    """Multi-task pretraining on SAMRS: which decoders, which sets, and what is looked at."""

    heads: Annotated[tuple[Head, ...], Field(min_length=1)] = HEADS
    subsets: Annotated[tuple[Subset, ...], Field(min_length=1)] = SUBSETS
    loss_weights: dict[Head, Positive] = Field(default_factory=dict)
    """Of a head's losses; 1 where it is not said."""
    scale: tuple[Positive, Positive] = (0.5, 2.0)
    """Least and largest scale of a picture, against one that fits ``image_size``."""
    mask_size: Count = 14
    """Side of the grid that a RoI's mask is read in; masks have twice that."""
    mask_convs: Count = 4
    exclude: Literal["none", "val"] = "none"
    """``val``: leave out pictures that are of DOTA's or FAIR1M's validation."""
    held_out: Count = 500
    """Pictures of each set that are judged and not trained on; at most a tenth of the set."""
    conflict_every: Count | None = None
    """Steps between two looks at how the heads' gradients of the encoder agree."""

    @model_validator(mode="after")
    def _each_once(self) -> Self:
        for key in ("heads", "subsets"):
            if len(set(getattr(self, key))) < len(getattr(self, key)):
                raise ValueError(f"'{key}' names one twice")
        if self.scale[0] > self.scale[1]:
            raise ValueError("'scale' gives the least first")
        return self


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
    stride: Count | None = None
    """Of label maps: pictures stay as large as they are, and windows of ``image_size`` slide over
    them, so far apart; what overlaps is averaged. Null: pictures are resized to ``image_size``."""

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
    lr_per: Count | None = None
    """The batch that ``lr`` is for: it is scaled with ``batch_size``. Null: for that itself."""
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
    augmentation: Literal[
        "randaugment",
        "dihedral",
        "flip",
        "flips",
        "flips_rotate",
        "scale_crop",
        "pairs",
        "crop_flip",
        "joint",
        "none",
    ]
    """Of pretraining ``crop_flip`` (mae) and ``joint`` (mtp), of classification the first two. Of
    boxes ``flip``: left and right; ``flips``: also up and down and both; ``flips_rotate``: and by
    any angle. Of label maps ``flips``; of one picture ``scale_crop``, of two ``pairs``: as MTP has
    them."""
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
    decoder: Decoder | None = None
    pyramid: bool = False
    """Of change detection with a plain transformer: four strides, as segmentation has them, where
    the published maps have one."""
    checkpointing: bool = False
    """Activations of the backbone are computed again in the backward pass: less memory."""
    mae: Mae | None = None
    mtp: Mtp | None = None
    tiling: Tiling | None = None
    train_on_val: bool = True
    """Where the labels of test are held back: train on validation as well, and leave judging to
    the server. False: judge here, on validation."""
    test: TestSettings

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        check_statistics(self.mean, self.std)
        if self.mtp is not None and self.batch_size % len(self.mtp.subsets):
            count = len(self.mtp.subsets)
            raise ValueError(f"'batch_size' must be a multiple of the {count} subsets of mtp")
        if (self.schedule == "step") != bool(self.milestones):
            raise ValueError("'milestones' go with schedule 'step', and it needs them")
        for unit in ("epochs", "iterations"):
            warm, all_of_it = getattr(self.warmup, unit, None), getattr(self.length, unit)
            if warm is not None and all_of_it is not None and warm > all_of_it:
                raise ValueError(f"'warmup' of {warm} {unit} is longer than 'length'")
        return self

    @property
    def learning_rate(self) -> float:
        """The largest rate, for this batch."""
        return self.lr * self.batch_size / self.lr_per if self.lr_per else self.lr


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
