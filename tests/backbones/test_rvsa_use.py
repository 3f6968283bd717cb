"""RVSA as a job uses it: half precision, compiling, checkpointing, other sizes, drop path."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from mtp_bench.backbones import create
from mtp_bench.backbones.rvsa import PUBLISHED, SIZES, Rvsa, Size
from mtp_bench.errors import UserError
from tests.backbones.filling import fill, fill_parameters
from tests.backbones.vectors import (
    assert_channels_last_gives_the_same,
    assert_checkpointing_keeps_less,
    assert_close_in_bf16,
    assert_drop_path_is_for_training_only,
    assert_same_step,
    step,
)

SMALL = Size(48, 4, 3, 2, 7, (0, 1, 2, 3))


def small(variant: str = "segmentation", image_size: int = 144, **words: float) -> Rvsa:
    """A small backbone in float32 whose sampling heads and tables are not zero."""
    model = Rvsa(SMALL, image_size=image_size, **PUBLISHED[variant], **words)  # type: ignore[arg-type]
    fill_parameters(model)
    return model


def images(height: int = 144, width: int = 144) -> Tensor:
    return fill((2, 3, height, width), 1).float()


@pytest.mark.parametrize("variant", PUBLISHED)
def test_maps_have_the_channels_and_strides_that_are_told(variant: str) -> None:
    model = small(variant)
    maps = model(images())
    told = zip(model.channels, model.strides, strict=True)
    assert [m.shape for m in maps] == [(2, c, 144 // s, 144 // s) for c, s in told]
    assert all(m.is_contiguous() for m in maps)


@pytest.mark.parametrize("variant", ["segmentation", "detection"])
def test_bfloat16_stays_close(variant: str) -> None:
    model = small(variant).eval()
    assert_close_in_bf16(step(model, images(), bf16=True), step(model, images()))


# Dynamo itself makes the one, and asks for the other of what enters a graph after a break.
@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")
@pytest.mark.parametrize("tables", [True, False])
def test_compiled_it_gives_the_same(tables: bool) -> None:
    """One block of windows and one of full attention; without tables, in one graph."""
    size = Size(24, 2, 3, 2, 7, (0, 1, 2, 3))
    model, compiled = (
        Rvsa(size, image_size=128, tables=tables, pyramid="last", norm=True) for _ in range(2)
    )
    for each in (model, compiled):
        fill_parameters(each)
    torch.compiler.reset()
    compiled.compile(backend="aot_eager", fullgraph=not tables)
    assert_same_step(step(compiled, images(128, 128)), step(model, images(128, 128)))


def test_channels_last_images_give_the_same() -> None:
    assert_channels_last_gives_the_same(small(), images())


def test_checkpointing_keeps_less_and_changes_no_gradient() -> None:
    model, other = small("classification"), small("classification", checkpointing=True)
    assert_checkpointing_keeps_less(model, other, images())


def test_exact_takes_one_size_only() -> None:
    model = Rvsa(SMALL, image_size=144, **PUBLISHED["segmentation"], exact=True)
    model(images())
    with pytest.raises(UserError, match="160 x 144"):
        model(images(144, 160))


@pytest.mark.parametrize("size", [(96, 96), (144, 240), (64, 128)])
@pytest.mark.parametrize("variant", ["segmentation", "detection"])
def test_other_sizes(variant: str, size: tuple[int, int]) -> None:
    """Down to fewer than 7 tokens a side, where the published code divides by zero."""
    maps = small(variant)(images(*size))
    assert maps[0].shape == (2, 48, size[0] // 4, size[1] // 4)
    assert all(m.isfinite().all() for m in maps)


def test_another_size_is_as_if_built_for_it() -> None:
    model, other = small(image_size=144), small(image_size=208)
    state = {
        name: value if (resized := other.resize(name, value)) is None else resized
        for name, value in model.state_dict().items()
    }
    other.load_state_dict(state)
    assert other.pos_embed.shape[1] == 13 * 13
    for got, expected in zip(model(images(208, 208)), other(images(208, 208)), strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_numbers_that_are_none_come_through(bad: float) -> None:
    """A run that diverges tells so by its loss."""
    pictures = images()
    pictures[0, 0, 3, 4] = bad
    maps = small()(pictures)
    assert all(m[0].isnan().any() and m[1].isfinite().all() for m in maps)


def test_a_size_that_patches_do_not_fill() -> None:
    with pytest.raises(UserError, match="multiple of 16"):
        create("vit_t_rvsa", image_size=100)
    with pytest.raises(UserError, match="multiples of 16"):
        small()(images(144, 150))


def test_drop_path_is_for_training_only() -> None:
    assert_drop_path_is_for_training_only(small(drop_path=0.3), small(), images())


def test_drop_path_grows_with_depth() -> None:
    model = small(drop_path=0.3)
    rates = [getattr(block.drop_path, "drop_prob", 0.0) for block in model.blocks]
    assert rates == pytest.approx([0.0, 0.1, 0.2, 0.3])


def test_layers_for_layer_wise_decay() -> None:
    model = small("detection_last_layer")
    ids = {name: model.layer_id(name) for name, _ in model.named_parameters()}
    assert model.layers == 4
    assert {ids["pos_embed"], ids["patch_embed.proj.bias"]} == {0}
    assert ids["blocks.0.norm1.weight"] == 1
    assert ids["blocks.2.attn.sampling_offsets.2.weight"] == 3
    assert ids["blocks.3.mlp.fc2.bias"] == 4
    assert {ids["fpn1.0.weight"], ids["norm.bias"]} == {5}


@pytest.mark.parametrize("variant", ["classification", "pretraining", "detection_last_layer"])
def test_what_is_not_used_asks_for_no_gradient(variant: str) -> None:
    model = small(variant)
    _, gradients = step(model, images())
    asking = {name for name, p in model.named_parameters() if p.requires_grad}
    assert gradients.keys() == asking
    assert all(gradient.any() for gradient in gradients.values())


@pytest.mark.parametrize("name", SIZES)
def test_sizes_fit_together(name: str) -> None:
    size = SIZES[name]
    assert size.width % size.heads == 0
    assert size.depth % size.every == 0
    assert sorted(size.taps) == list(size.taps)
    assert size.taps[-1] == size.depth - 1
