"""Labels as a task looks at them before a training, and the settings that it refuses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mtp_bench import catalog
from mtp_bench.datasets import loading
from mtp_bench.errors import UserError
from mtp_bench.suite.protocol import Decoder, TestSettings
from mtp_bench.tasks import masks
from mtp_bench.tasks.task import Context
from tests.tiny_labels import DECODERS, SIDE, SIZES, context_of, prepare, write_pictures


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures, prepared."""
    root = tmp_path_factory.mktemp("pictures")
    write_pictures(root)
    for dataset in DECODERS:
        prepare(context_of(root, dataset))
    return root


def loaded(context: Context) -> loading.Loaded:
    return loading.load(loading.source_of(context.spec, context.roots))


def test_labels_are_counted_as_they_are_trained_on(written: Path) -> None:
    here = loaded(context_of(written, "LoveDA"))
    counts = masks.label_histogram(here)
    assert list(counts) == [*here.card.classes, "ignored"]
    assert sum(counts.values()) == sum(wide * high for wide, high in SIZES)
    blocks = sum((high // 2) * (wide // 4) for wide, high in SIZES)
    assert counts["ignored"] == counts["water"] == blocks
    pairs = masks.label_histogram(loaded(context_of(written, "LEVIR-CD")))
    assert pairs == {"unchanged": 96 * 96 - 2400, "changed": 2400, "ignored": 0}


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """Pictures that a test may spoil, not prepared yet."""
    write_pictures(tmp_path)
    return tmp_path


def blank(root: Path, pattern: str) -> None:
    for path in root.glob(pattern):
        with Image.open(path) as label:
            Image.fromarray(np.zeros_like(np.asarray(label))).save(path)


@pytest.mark.parametrize(
    ("dataset", "labels", "told"),
    [
        ("LoveDA", "LoveDA/Train/*/masks_png/*", "every pixel of 3 training labels is ignored"),
        ("LoveDA", "LoveDA/Val/*/masks_png/*", "every pixel of the test labels is ignored: {root}"),
        (
            "LEVIR-CD",
            "LEVIR-CD/test/label/*",
            "no test pixel is 'changed': its F1 is not defined: {root}",
        ),
    ],
)
def test_labels_that_tell_nothing_are_refused(
    own: Path, dataset: str, labels: str, told: str
) -> None:
    blank(own, labels)
    with pytest.raises(UserError) as error:
        prepare(context_of(own, dataset))
    assert error.value.lines == (f"{dataset}: {told.format(root=own / dataset)}",)


def test_a_pair_that_has_not_changed_is_trained_on(own: Path) -> None:
    blank(own, "LEVIR-CD/train/label/*")
    context = context_of(own, "LEVIR-CD")
    prepare(context)
    assert masks.label_histogram(loaded(context))["changed"] == 0


def test_a_prepared_label_that_holds_no_class_is_refused(own: Path) -> None:
    context = context_of(own, "LoveDA")
    prepare(context)
    here = loaded(context)
    sample = here.by_split("train")["train"][1]
    label = masks.labels_of(sample).copy()
    label[0, 0] = 7
    Image.fromarray(label).save(str(sample.mask))
    told = f"LoveDA: prepared labels hold 7, which is no class: delete {here.folder}, prepare again"
    with pytest.raises(UserError) as error:
        masks.DATA.check(context.spec, context.roots)
    assert error.value.lines == (told,)


def test_windows_over_pictures_of_several_sizes_are_refused_in_one_batch(written: Path) -> None:
    def check(batch: int) -> None:
        test = TestSettings(image_size=SIDE, stride=32, batch_size=batch)
        context = context_of(written, "LoveDA", test=test)
        masks.DATA.check(context.spec, context.roots)

    check(1)
    with pytest.raises(UserError, match=r"test pictures have 3 sizes: .* to 1$"):
        check(2)


@pytest.mark.parametrize(
    ("dataset", "changes", "told"),
    [
        ("LoveDA", {"decoder": None}, "LoveDA: needs a decoder of kind upernet, not none"),
        (
            "LEVIR-CD",
            {"decoder": Decoder(kind="upernet")},
            "LEVIR-CD: needs a decoder of kind unet, not upernet",
        ),
        (
            "LoveDA",
            {"augmentation": "pairs"},
            "LoveDA: augmentation 'pairs' is not for segmentation: choose one of none, flips, "
            "scale_crop",
        ),
        (
            "LEVIR-CD",
            {"augmentation": "scale_crop"},
            "LEVIR-CD: augmentation 'scale_crop' is not for change detection: choose one of none, "
            "flips, pairs",
        ),
    ],
)
def test_settings_of_another_task_are_refused(
    written: Path, dataset: str, changes: dict[str, Any], told: str
) -> None:
    context = context_of(written, dataset, **changes)
    task = catalog.load("task", context.spec.task)
    with pytest.raises(UserError) as error:
        (task.model if "decoder" in changes else lambda c: task.dataset(c, "train"))(context)
    assert error.value.lines == (told,)
