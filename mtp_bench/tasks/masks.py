"""What segmentation and change detection share: the model's config, the data's, its labels."""

from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mtp_bench.datasets import loading
from mtp_bench.datasets.cards.card import IGNORE, Card
from mtp_bench.datasets.loading import Loaded
from mtp_bench.datasets.manifest import Sample
from mtp_bench.datasets.samples import DataFacts
from mtp_bench.datasets.tiling import file_name, tile_name
from mtp_bench.errors import UserError
from mtp_bench.metrics.confusion import Ints, confusion
from mtp_bench.suite.protocol import Protocol, TestSettings
from mtp_bench.tasks.common import input_statistics, prepared_data
from mtp_bench.tasks.task import Config, Context, LabelMap, Role

LOOKED_AT = 64
"""Training labels whose values are counted before a training."""


def model(context: Context, kind: str) -> Config:
    """The encoder-decoder's config, for ``mm.segmentor.build``: one date, or with ``unet`` two."""
    settings = context.spec.settings
    decoder, side = settings.decoder, settings.image_size
    if decoder is None or decoder.kind != kind:
        told = "none" if decoder is None else decoder.kind
        raise UserError(f"{context.card.name}: needs a decoder of kind {kind}, not {told}")
    dates = 2 if kind == "unet" else 1
    head: Config = {
        "num_classes": len(context.card.classes),
        "dropout_ratio": decoder.dropout,
        "norm_cfg": {"type": "SyncBN" if context.sync_norm else "BN", "requires_grad": True},
        "align_corners": False,
        # Its mean is over all pixels, ignored ones included: mmseg's default, as published.
        "loss_decode": {"type": "mmseg.CrossEntropyLoss", "use_sigmoid": False, "loss_weight": 1.0},
    }
    own: Config = {
        "type": "mmseg.UPerHead",
        "in_index": [0, 1, 2, 3],
        "pool_scales": (1, 2, 3, 6),
        "channels": decoder.channels,
    }
    if kind == "unet":
        widths = [decoder.channels // 2**block for block in range(4)]
        own = {"type": "mtp_bench.mm.unet_head.UNetHead", "decoder_channels": widths}
    slide = {"mode": "slide", "crop_size": (settings.test.image_size,) * 2}
    stride = settings.test.stride
    return {
        "type": "mtp_bench.mm.segmentor.build",
        "backbone": context.backbone,
        "head_seed": context.seeds["head"],
        "frozen": settings.frozen == "backbone",
        "dates": dates,
        "segmentor": {
            "type": "mmseg.EncoderDecoder",
            "data_preprocessor": {
                "type": PREPROCESSORS[dates],
                **input_statistics(context.normalisation),
                "size": (side, side),
                "pad_val": 0,
                "seg_pad_val": IGNORE,
                "test_cfg": {"size": (settings.test.image_size,) * 2},
            },
            "decode_head": {**own, **head},
            "train_cfg": {},
            "test_cfg": {**slide, "stride": (stride, stride)} if stride else {"mode": "whole"},
        },
    }


PREPROCESSORS = {1: "mmseg.SegDataPreProcessor", 2: "mtp_bench.mm.siamese.PairPreprocessor"}


def dataset(context: Context, role: Role, steps: Sequence[Config], dates: int) -> Config:
    """One role's config; ``steps`` are the transforms before packing."""
    return {
        "type": "mtp_bench.mm.masks.MaskImages",
        "source": vars(loading.source_of(context.spec, context.roots)),
        "role": role,
        "transforms": list(steps),
        "dates": dates,
        "share": context.spec.settings.train_fraction,
        "fraction_seed": context.seeds["fraction"],
    }


def settle(card: Card, found: LabelMap) -> tuple[Ints | None, NDArray[np.uint8]]:
    """A confusion matrix, where there is a truth; kept: the predicted map."""
    if found.truth is None:
        return None, found.predicted
    return confusion(found.truth, found.predicted, len(card.classes), IGNORE), found.predicted


def _check(loaded: Loaded, protocol: Protocol) -> None:
    label_histogram(loaded)
    check_test(loaded)
    check_batches(loaded, protocol.test)


def check_batches(loaded: Loaded, test: TestSettings) -> None:
    """Refuse windows over pictures of several sizes at once: nothing resizes them to one."""
    if test.stride is None or test.batch_size == 1 or loaded.card.task != "segmentation":
        return
    sizes = {sample.size for role in ("test", "server") for _, sample in loaded.samples(role)}
    if len(sizes) > 1:
        raise UserError(
            f"{loaded.card.name}: its test pictures have {len(sizes)} sizes: windows with "
            "'stride' slide over one at once: set batch_size of test to 1"
        )


def label_histogram(loaded: Loaded) -> dict[str, int]:
    """Pixels of each class, and ignored ones, of some training labels as they are trained on.

    Raises:
        UserError: for a value that is no class, or where all is ignored.
    """
    card, counts = loaded.card, Counter[int]()
    samples = [s for _, s in loaded.samples("train") if s.mask]
    seen = samples[:: max(1, len(samples) // LOOKED_AT)][:LOOKED_AT]
    for sample in seen:
        values, pixels = np.unique(labels_of(sample), return_counts=True)
        counts.update(dict(zip(values.tolist(), pixels.tolist(), strict=True)))
    strange = sorted(set(counts) - {*range(len(card.classes)), IGNORE})
    if strange:
        raise UserError(
            f"{card.name}: prepared labels hold {strange[0]}, which is no class: delete "
            f"{loaded.folder}, prepare again"
        )
    if not set(counts) - {IGNORE}:
        raise UserError(f"{card.name}: every pixel of {len(seen)} training labels is ignored")
    named = {name: counts[label] for label, name in enumerate(card.classes)}
    return {**named, "ignored": counts[IGNORE]}


def check_test(loaded: Loaded) -> None:
    """Refuse what no figure can be made of: nothing counts, or of pairs nothing has changed."""
    card, change = loaded.card, loaded.card.task == "change_detection"
    for _, sample in loaded.samples("test"):
        labels = labels_of(sample) if sample.mask else np.array([IGNORE])
        if (labels == 1).any() if change else (labels != IGNORE).any():
            return
    told = "every pixel of the test labels is ignored"
    if change:
        told = "no test pixel is 'changed': its F1 is not defined"
    raise UserError(f"{card.name}: {told}: {loaded.root}")


def labels_of(sample: Sample) -> NDArray[np.uint8]:
    """(height, width) classes of a prepared sample, ``IGNORE`` where nothing counts."""
    with Image.open(str(sample.mask)) as image:
        return np.asarray(image)


def name_of(sample: Sample) -> str:
    """What its predicted map is called, after its split."""
    if sample.window is None:
        return file_name(sample.scene)
    return tile_name(sample.scene, sample.window)


def _facts(context: Context, loaded: Loaded) -> DataFacts:
    samples = training(loaded, context.spec.settings.train_fraction, context.seeds["fraction"])
    return loading.facts(loaded, samples, label_histogram(loaded))


def training(loaded: Loaded, share: float, seed: int) -> list[Sample]:
    """What is trained on: all that has a label."""
    return loading.share_of([s for _, s in loaded.samples("train") if s.mask], share, seed)


DATA = prepared_data(_check, _facts)
