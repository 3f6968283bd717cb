"""InternImage gives the published numbers and names, and works as a job uses it."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import Tensor, nn

from mtp_bench.backbones.dcnv3 import Form
from mtp_bench.backbones.internimage import SIZES, Block, DeformableLayer, InternImage, Size
from tests.backbones.filling import fill, fill_parameters
from tests.backbones.vectors import (
    Expected,
    assert_channels_last_gives_the_same,
    assert_checkpointing_keeps_less,
    assert_close_in_bf16,
    assert_drop_path_is_for_training_only,
    check,
    results,
    step,
    summary,
)

POST = Size(16, (1, 1, 2, 1), (1, 2, 4, 8), 2.0, 1.0, True)
PRE = Size(16, (1, 1, 2, 1), (1, 2, 4, 8), 1.0, None, False)
FORMS: tuple[Form, ...] = ("whole", "points")

VECTORS: dict[str, Expected] = {
    "dcnv3_module": {
        "out": (0.186945020539, 265.410076113),
        "grad_x": (-13.3313276019, 401.709313441),
        "grad.dw_conv.0.weight": (-1.06761246769, 475.212243626),
        "grad.dw_conv.1.1.weight": (0.253207523342, 42.85645299),
        "grad.offset.weight": (-5.6566756743, 1493.56793848),
        "grad.mask.weight": (-11.8920268349, 198.58879398),
        "grad.mask.bias": (-3.13501786412, 10.7577412542),
        "grad.input_proj.weight": (19.5936535777, 643.7188579),
        "grad.output_proj.weight": (-2.00305103445, 624.694760398),
    },
    "internimage_tiny_post_norm": {
        "out0": (40.874002819, 5976.54163458),
        "out1": (-5.53474302392, 3082.54906595),
        "out2": (11.3775285271, 1813.03474208),
        "out3": (-20.4414004559, 798.828817003),
        "grad_x.stride2": (-14.1028376615, 2878.7695399),
        "grad.levels.0.blocks.0.dcn.offset.weight": (-193.993756482, 3946.0916676),
        "grad.levels.2.blocks.1.dcn.dw_conv.0.weight": (8.25575387007, 1143.26479888),
        "grad.levels.3.blocks.0.mlp.fc2.bias": (-1.58044468956, 102.560019911),
        "grad.levels.1.downsample.norm.1.bias": (34.8678896277, 488.125590213),
        "grad.levels.0.blocks.0.gamma1": (-14.6876551238, 262.675410227),
    },
    "internimage_tiny_pre_norm": {
        "out0": (33.1015992532, 4878.86872646),
        "out1": (43.5760698723, 2544.90427495),
        "out2": (25.7815830433, 1229.21863855),
        "out3": (16.0423639828, 605.659877926),
        "grad_x.stride2": (4.36391758177, 1207.4010268),
        "grad.levels.0.blocks.0.dcn.offset.weight": (30.0021048477, 823.415069244),
        "grad.levels.2.blocks.1.dcn.dw_conv.0.weight": (1.81437317807, 214.299411569),
        "grad.levels.3.blocks.0.mlp.fc2.bias": (1.82556018626, 124.305474353),
        "grad.levels.1.downsample.norm.1.bias": (16.2344446548, 231.07391627),
        "grad.levels.0.norm.0.weight": (-43.0258302676, 217.587291295),
    },
}


def build(name: str, form: Form) -> tuple[nn.Module, tuple[int, ...]]:
    """A vector's module and the shape of its input."""
    if name == "dcnv3_module":
        return DeformableLayer(32, 2, 2.0, form), (2, 6, 5, 32)
    size = POST if name == "internimage_tiny_post_norm" else PRE
    return InternImage(size, form=form), (1, 3, 64, 96)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", VECTORS)
def test_published_numbers(name: str, form: Form) -> None:
    module, shape = build(name, form)
    check(results(module, shape), VECTORS[name])


KEYS = {
    "internimage_t": (625, 28754672, "b39d395a166a75b9767e"),
    "internimage_s": (743, 48502560, "fc6767bba35070b71ebb"),
    "internimage_b": (743, 94909920, "e3241acde9ef819e9410"),
    "internimage_l": (831, 218952370, "1ffb5e16c6b31991cc88"),
    "internimage_xl": (875, 328971228, "e8e2b9fad2b287e8e148"),
}


@pytest.mark.parametrize("name", KEYS)
def test_published_keys(name: str) -> None:
    with torch.device("meta"):
        model = InternImage(SIZES[name])
    assert summary(model) == KEYS[name]


def small(
    size: Size = POST, *, drop_path: float = 0.0, checkpointing: bool = False, form: Form = "auto"
) -> InternImage:
    """A small one in float32 whose offsets and masks are not zero."""
    model = InternImage(size, drop_path=drop_path, checkpointing=checkpointing, form=form)
    fill_parameters(model)
    return model


def images(height: int = 64, width: int = 96) -> Tensor:
    return fill((2, 3, height, width), 1).float()


def test_maps_have_the_channels_and_strides_that_are_told() -> None:
    model = small()
    maps = model(images())
    told = zip(model.channels, model.strides, strict=True)
    assert [m.shape for m in maps] == [(2, c, 64 // s, 96 // s) for c, s in told]
    assert all(m.is_contiguous() for m in maps)


def test_sides_that_no_stride_divides() -> None:
    """Every strided convolution rounds up."""
    maps = small()(images(50, 70))
    assert [m.shape[2:] for m in maps] == [(13, 18), (7, 9), (4, 5), (2, 3)]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("size", [POST, PRE])
def test_bfloat16_stays_close(size: Size, form: Form) -> None:
    """With offsets of half a pixel: on noise, an offset's rounding grows with the offset."""
    model = small(size, form=form).eval()
    for name, parameter in model.named_parameters():
        if ".offset." in name:
            parameter.data *= 0.5
    assert_close_in_bf16(step(model, images(), bf16=True), step(model, images()))


# Dynamo itself makes one to follow an autograd function.
@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")
def test_a_compiled_block_gives_the_same() -> None:
    found = []
    for compiling in (True, False):
        block = next(module for module in small().modules() if isinstance(module, Block))
        torch.compiler.reset()
        if compiling:
            block.compile(backend="aot_eager")
        maps = fill((2, 6, 8, 16), 1).float().requires_grad_()
        out = block(maps)
        (out * fill(out.shape, 2)).sum().backward()
        found.append([out, maps.grad, *(parameter.grad for parameter in block.parameters())])
    for one, other in zip(*found, strict=True):
        assert one is not None
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)


def test_channels_last_images_give_the_same() -> None:
    assert_channels_last_gives_the_same(small(), images())


def test_checkpointing_keeps_less_and_changes_no_gradient() -> None:
    model, other = small(), small(checkpointing=True)
    assert_checkpointing_keeps_less(model, other, images())


def test_drop_path_is_for_training_only() -> None:
    assert_drop_path_is_for_training_only(small(drop_path=0.3), small(), images())


@pytest.mark.parametrize("size", [POST, PRE])
def test_every_parameter_gets_a_gradient(size: Size) -> None:
    model = small(size)
    _, gradients = step(model, images())
    assert gradients.keys() == dict(model.named_parameters()).keys()
    assert all(gradient.any() for gradient in gradients.values())


def test_a_fresh_layer_takes_the_mean_of_the_kernel() -> None:
    """Offsets and masks start at zero: nine equal shares of the pixels around, two apart."""
    modules = InternImage(dataclasses.replace(POST, channels=32)).modules()
    layer = next(module for module in modules if isinstance(module, DeformableLayer))
    maps = fill((1, 9, 9, 32), 1).float()
    values = layer.input_proj(maps)
    around = [values[:, 4 + 2 * y, 4 + 2 * x] for y in (-1, 0, 1) for x in (-1, 0, 1)]
    expected = layer.output_proj(torch.stack(around).mean(0))
    torch.testing.assert_close(layer(maps)[:, 4, 4], expected, rtol=1e-4, atol=1e-5)


def test_layers_for_layer_wise_decay() -> None:
    model = small()
    ids = {name: model.layer_id(name) for name, _ in model.named_parameters()}
    assert model.layers == 5
    assert ids["patch_embed.norm1.1.weight"] == 0
    assert ids["levels.0.blocks.0.gamma1"] == 1
    assert ids["levels.2.blocks.1.dcn.mask.bias"] == 4
    assert ids["levels.0.downsample.conv.weight"] == ids["levels.1.blocks.0.gamma1"] == 2
    assert ids["levels.3.blocks.0.mlp.fc2.bias"] == 5
    assert small(PRE).layer_id("levels.3.norm.0.weight") == 6
