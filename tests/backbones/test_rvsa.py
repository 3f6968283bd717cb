"""RVSA is what was published: a literal form, numbers of the published modules, their names."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from mtp_bench.backbones import blockwise
from mtp_bench.backbones.rvsa import PUBLISHED, SIZES, Rvsa, Size
from mtp_bench.backbones.rvsa_attention import (
    FullAttention,
    WindowAttention,
    by_grid,
    by_rows,
    fused,
)
from tests.backbones import literal_rvsa
from tests.backbones.filling import fill
from tests.backbones.vectors import Expected, check, results, summary

SMALL = Size(48, 4, 3, 2, 7, (0, 1, 2, 3))
HEADS = ("sampling_offsets", "sampling_scales", "sampling_angles")

VECTORS: dict[str, Expected] = {
    "rvsa_attention_7x7": {
        "out": (12.1595838086, 873.099143533),
        "grad_x": (0.185610916488, 973.902275872),
        "grad.sampling_offsets.2.bias": (36.2508958542, 123.5552133),
        "grad.sampling_scales.2.bias": (-25.1502119838, 48.5080523479),
        "grad.sampling_angles.2.bias": (6.8255697179, 11.3060819435),
        "grad.rel_pos_h": (-7.03950706873, 211.954448651),
        "grad.rel_pos_w": (2.70788927917, 205.839566331),
    },
    "rvsa_attention_14x14": {
        "out": (-11.024888866, 3607.45619194),
        "grad_x": (-10.7116098651, 4783.58614479),
        "grad.sampling_offsets.2.bias": (191.699305513, 306.496079519),
        "grad.sampling_scales.2.bias": (-64.2712171682, 222.149528933),
        "grad.sampling_angles.2.bias": (12.9696382214, 170.714874315),
        "grad.rel_pos_h": (12.8030814268, 531.462607561),
        "grad.rel_pos_w": (-48.5254265311, 489.233346298),
    },
    "rvsa_attention_8x15": {
        "out": (8.58456555534, 1492.24355668),
        "grad_x": (8.08779074353, 2507.9006779),
        "grad.sampling_offsets.2.bias": (-68.2624159392, 346.505602493),
        "grad.sampling_scales.2.bias": (-5.27330527942, 82.6475983635),
        "grad.sampling_angles.2.bias": (-53.4174614748, 104.819223654),
        "grad.rel_pos_h": (6.74282818368, 210.543513438),
        "grad.rel_pos_w": (25.8598059196, 308.764082911),
        "grad.relative_position_bias_table": (1.56949601219, 84.2236657012),
    },
    "full_attention_5x5": {
        "out": (3.09246830451, 587.45912196),
        "grad_x": (1.78440281482, 513.165533449),
        "grad.full_attn_rel_pos_h": (-4.92329499285, 59.2067853547),
        "grad.full_attn_rel_pos_w": (1.13637948555, 62.8411413562),
    },
    "rvsa_segmentation_224": {
        "out0.stride8": (4.31998500292, 644.456186452),
        "out1.stride4": (-9.01283090017, 1347.70866016),
        "out2.stride2": (-57.968802974, 2918.35295277),
        "out3": (-0.401522037948, 4277.90551257),
        "grad_x.stride8": (-0.349189895491, 914.405635527),
        "grad.blocks.2.attn.sampling_offsets.2.weight": (6.02429440601, 1968.0447387),
        "grad.blocks.3.attn.full_attn_rel_pos_h": (1.4051570434, 48.2509892694),
    },
    "rvsa_segmentation_144": {
        "out0.stride4": (-9.34671908503, 1034.09206451),
        "out1.stride2": (-7.08173668818, 2214.83860582),
        "out2": (28.6001812339, 4707.46445906),
        "out3": (31.2008893889, 1394.45903893),
        "grad_x.stride8": (0.841377206065, 334.001263689),
        "grad.blocks.0.attn.sampling_offsets.2.bias": (-14.2046234041, 390.967429161),
        "grad.blocks.0.attn.sampling_scales.2.bias": (93.39602215, 149.978742016),
        "grad.blocks.0.attn.sampling_angles.2.bias": (-11.6057792402, 82.5952483006),
        "grad.blocks.1.attn.full_attn_rel_pos_w": (3.78155369904, 140.037170794),
        "grad.fpn1.1.ln.weight": (12.022432058, 313.241264447),
    },
    "rvsa_detection_144": {
        "out0.stride4": (-12.2099897447, 959.185306092),
        "out1.stride2": (17.4150633952, 2309.67816108),
        "out2": (59.9804143905, 4980.51240804),
        "out3": (12.4906949337, 1331.44687568),
        "grad_x.stride8": (-6.6761289409, 346.786397607),
        "grad.blocks.0.attn.sampling_offsets.2.bias": (-87.6977847175, 322.878280653),
        "grad.blocks.0.attn.sampling_scales.2.bias": (36.5946106872, 201.033122035),
        "grad.blocks.0.attn.sampling_angles.2.bias": (50.2150042751, 127.890246273),
        "grad.blocks.3.attn.qkv.bias": (-1.39508911343, 134.615839457),
    },
    "rvsa_detection_last_layer_144": {
        "out0.stride4": (-3.84259247915, 950.470711483),
        "out1.stride2": (-14.9116984833, 1548.0835106),
        "out2": (-25.4227164371, 3121.35278066),
        "out3": (19.7011487108, 762.760235337),
        "grad_x.stride8": (-6.14488526518, 289.834965512),
        "grad.norm.weight": (16.4697665797, 343.41525723),
        "grad.fpn2.0.bias": (2.71185039141, 472.885583666),
    },
    "rvsa_classification_112": {
        "out0": (-0.703908143765, 2366.40370489),
        "out1": (-25.0156968102, 2700.81559672),
        "out2": (-1.80404364839, 2947.08524597),
        "out3": (11.6897369091, 3201.26766126),
        "grad_x.stride8": (-8.25831877444, 360.306430571),
        "grad.blocks.0.attn.sampling_offsets.2.bias": (39.7880802034, 550.117483313),
        "grad.blocks.0.attn.sampling_scales.2.bias": (-123.528962993, 368.521170623),
        "grad.blocks.0.attn.sampling_angles.2.bias": (-23.2771696064, 174.552358183),
    },
    "rvsa_pretraining_144": {
        "out0.stride4": (-2.23617633747, 1063.60914765),
        "out1.stride2": (-35.1926281332, 2231.67077933),
        "out2": (-56.0615890337, 4754.56794748),
        "out3": (66.7805980634, 1355.68291394),
        "grad_x.stride8": (-1.03335482907, 324.290106609),
        "grad.blocks.1.attn.full_attn_rel_pos_w": (7.9626479192, 144.732184298),
    },
}
INTERPOLATED = {
    "position": (18.5514086474, 1539.75060295),
    "shorter": (3.1549792322, 121.15896348),
    "longer": (8.2573448643, 929.964154695),
}


def randomize(module: nn.Module, seed: int = 0) -> None:
    """Every parameter away from where it starts, so that no term is left out by being zero."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(0.4 * torch.randn(parameter.shape, generator=generator))


def normal(*shape: int, seed: int = 1) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def compare(
    module: nn.Module, tokens: Tensor, size: tuple[int, int], literal: Callable[..., Tensor]
) -> None:
    """Output and all gradients of the module and of the literal form with its parameters."""
    factors = normal(*tokens.shape, seed=2)
    ours = tokens.clone().requires_grad_()
    out = module(ours, *size)
    (out * factors).sum().backward()
    copies = {n: p.detach().clone().requires_grad_() for n, p in module.named_parameters()}
    theirs = tokens.clone().requires_grad_()
    expected = literal(copies, theirs, size)
    (expected * factors).sum().backward()
    torch.testing.assert_close(out, expected, rtol=1e-9, atol=1e-11)
    torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-9, atol=1e-11)
    for name, parameter in module.named_parameters():
        gradient = copies[name].grad
        assert gradient is not None
        assert gradient.any(), name
        torch.testing.assert_close(parameter.grad, gradient, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize(
    ("size", "window"),
    [((7, 7), 7), ((8, 15), 7), ((16, 9), 7), ((14, 7), 7), ((9, 6), 4), ((8, 12), 4)],
)
def test_window_attention_is_the_literal_one(size: tuple[int, int], window: int) -> None:
    module = WindowAttention(8, 2, window).double()
    randomize(module)
    tokens = normal(2, size[0] * size[1], 8)

    def literal(
        parameters: literal_rvsa.Parameters, images: Tensor, size: tuple[int, int]
    ) -> Tensor:
        return literal_rvsa.window_attention(parameters, images, size, 2, window)

    compare(module, tokens, size, literal)


@pytest.mark.parametrize(("size", "rows"), [((5, 5), 9), ((4, 4), 7), ((3, 6), None)])
def test_full_attention_is_the_literal_one(size: tuple[int, int], rows: int | None) -> None:
    module = FullAttention(12, 3, rows).double()
    randomize(module)

    def literal(
        parameters: literal_rvsa.Parameters, images: Tensor, size: tuple[int, int]
    ) -> Tensor:
        return literal_rvsa.full_attention(parameters, images, size, 3)

    compare(module, normal(2, size[0] * size[1], 12), size, literal)


def test_both_ways_to_sample_are_one() -> None:
    """The GPU's and the CPU's; some of the points lie outside the map."""
    height, width, heads = 6, 10, 2
    found = []
    for way in (by_grid, by_rows):
        qkv = normal(2, height * width, 3 * 8).requires_grad_()
        points = (12 * fill((2, 1, 2, heads, 49, 2), 3) + 4).requires_grad_()
        keys, values = way(qkv, points, height, width)
        (keys * fill(keys.shape, 4) + values * fill(values.shape, 5)).sum().backward()
        assert qkv.grad is not None
        assert points.grad is not None
        found.append((keys, values, qkv.grad, points.grad))
    for one, other in zip(*found, strict=True):
        assert one.abs().max() > 0.1
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("block", [70, 10**6])
def test_both_full_attentions_are_one(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The GPU's and the CPU's, whose smaller block takes four of the fifteen rows."""
    monkeypatch.setattr(blockwise, "BLOCK", block)
    height, width, count = 5, 3, 15
    found = []
    for way in (fused, blockwise.attend):
        shapes = [(2, 2, count, 4)] * 3 + [(2, 2, count, height), (2, 2, count, width)]
        words = [normal(*s, seed=n).requires_grad_() for n, s in enumerate(shapes)]
        out = way(*words)
        (out * fill(out.shape, 1)).sum().backward()
        found.append([out, *(word.grad for word in words)])
    for one, other in zip(*found, strict=True):
        assert one is not None
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-11)


def build(name: str) -> tuple[nn.Module, tuple[int, ...], tuple[int, ...]]:
    """A vector's module, the shape of its input, and the other words of its call."""
    kind, _, rest = name.partition("_")
    variant, _, size = rest.rpartition("_")
    if kind == "full":
        return FullAttention(48, 3, 9), (2, 25, 48), (5, 5)
    if variant == "attention":
        height, width = map(int, size.split("x"))
        return WindowAttention(48, 3), (2, height * width, 48), (height, width)
    side = int(size)
    return Rvsa(SMALL, image_size=side, **PUBLISHED[variant]), (1, 3, side, side), ()


@pytest.mark.parametrize("name", VECTORS)
def test_published_numbers(name: str) -> None:
    module, shape, words = build(name)
    check(results(module, shape, *words), VECTORS[name])


def test_published_interpolation() -> None:
    """Of the position embedding from 14 x 14 to 9 x 9, and of tables of other lengths."""
    table = "blocks.1.attn.full_attn_rel_pos_h"
    model = Rvsa(SMALL, image_size=144, **PUBLISHED["segmentation"])
    longer = Rvsa(SMALL, image_size=1024, **PUBLISHED["segmentation"])
    found = {
        "position": model.resize("pos_embed", fill((1, 197, 48), 7)[:, 1:]),
        "shorter": model.resize(table, fill((27, 16), 8)),
        "longer": longer.resize(table, fill((55, 16), 8)),
    }
    resized = {name: value for name, value in found.items() if value is not None}
    check(resized, INTERPOLATED)


def plain(module: WindowAttention, query: Tensor, other: Tensor) -> Tensor:
    """Window attention without sampling: queries of one map, keys and values of another.

    Both are maps of q, k, v (images, height, width, 3 · channels) of whole windows.
    """
    images, height, width, channels = (*query.shape[:3], query.shape[3] // 3)
    heads = module.relative_position_bias_table.shape[1]

    def cut(maps: Tensor) -> Tensor:
        cells = maps.reshape(images, height // 7, 7, width // 7, 7, heads, -1)
        return cells.permute(0, 1, 3, 5, 2, 4, 6).reshape(-1, heads, 49, channels // heads)

    q, k, v = cut(query[..., :channels]), *map(cut, other[..., channels:].chunk(2, -1))
    y, x = torch.arange(49) // 7, torch.arange(49) % 7
    tables = module.rel_pos_h[y[:, None] - y + 6] + module.rel_pos_w[x[:, None] - x + 6]
    swin = module.relative_position_bias_table[module.relative_position_index].permute(2, 0, 1)
    bias = torch.einsum("nhqc,qkc->nhqk", q, tables) + swin
    out = functional.scaled_dot_product_attention(q, k, v, attn_mask=bias)
    out = out.reshape(images, height // 7, width // 7, heads, 7, 7, -1)
    out = out.permute(0, 1, 4, 2, 5, 3, 6).reshape(images, height * width, channels)
    projected: Tensor = module.proj(out)
    return projected


def test_zero_sampling_heads_give_plain_windows() -> None:
    module = WindowAttention(12, 3).double()
    randomize(module)
    tokens = normal(2, 14 * 21, 12)
    for name in HEADS:
        nn.init.zeros_(getattr(module, name)[2].weight)
        nn.init.zeros_(getattr(module, name)[2].bias)
    maps = module.qkv(tokens).reshape(2, 14, 21, 36)
    torch.testing.assert_close(
        module(tokens, 14, 21), plain(module, maps, maps), rtol=1e-9, atol=1e-11
    )


@pytest.mark.parametrize(("right", "down"), [(1, 0), (0, -2), (-3, 4), (9, 0)])
def test_an_offset_by_whole_pixels_shifts_keys_and_values(right: int, down: int) -> None:
    """As published, x counts in windows of the height and y in those of the width."""
    height, width = 14, 21
    module = WindowAttention(12, 3).double()
    randomize(module)
    for name in HEADS:
        nn.init.zeros_(getattr(module, name)[2].weight)
        nn.init.zeros_(getattr(module, name)[2].bias)
    move = [right * 2 / (width - 1) * (height // 7), down * 2 / (height - 1) * (width // 7)]
    module.sampling_offsets[2].bias.data = torch.tensor(move * 3, dtype=torch.float64)
    tokens = normal(2, height * width, 12)
    maps = module.qkv(tokens).reshape(2, height, width, 36)
    shifted = functional.pad(maps, (0, 0, 10, 10, 10, 10))
    shifted = shifted[:, 10 + down : 10 + down + height, 10 + right : 10 + right + width]
    torch.testing.assert_close(
        module(tokens, height, width), plain(module, maps, shifted), rtol=1e-9, atol=1e-11
    )


def test_a_shift_by_a_window_shifts_the_output() -> None:
    """Away from the sides, which samples of these heads do not reach."""
    module = WindowAttention(12, 3).double()
    randomize(module)
    for name in HEADS:
        getattr(module, name)[2].weight.data *= 0.1
        getattr(module, name)[2].bias.data *= 0.1
    image = normal(1, 14, 42, 12)
    still, moved = (
        module(each.reshape(1, -1, 12), 14, 42).reshape(1, 14, 42, 12)
        for each in (image, image.roll(7, dims=2))
    )
    torch.testing.assert_close(still[:, :, 7:28], moved[:, :, 14:35], rtol=1e-9, atol=1e-11)


# Number of keys, of parameters, and a hash of the sorted lines "name shape dtype".
KEYS = {
    ("vit_b_rvsa", "pretraining"): (245, 93291328, "d6662181e43166e350b3"),
    ("vit_b_rvsa", "segmentation"): (243, 93289792, "a76f0e69d2446bcbe951"),
    ("vit_b_rvsa", "change_detection"): (245, 93291328, "d6662181e43166e350b3"),
    ("vit_b_rvsa", "classification"): (245, 93291328, "d6662181e43166e350b3"),
    ("vit_b_rvsa", "detection"): (235, 93275968, "fa577eebb521847617d6"),
    ("vit_b_rvsa", "rotated_detection"): (235, 93275968, "fa577eebb521847617d6"),
    ("vit_b_rvsa", "detection_last_layer"): (237, 93277504, "509d7ab0e3c787b75ce8"),
    ("vit_l_rvsa", "pretraining"): (509, 317628800, "633f55b8806bdca0f710"),
    ("vit_l_rvsa", "segmentation"): (507, 317626752, "3d7c85fc3c8002b22610"),
    ("vit_l_rvsa", "change_detection"): (509, 317628800, "633f55b8806bdca0f710"),
    ("vit_l_rvsa", "classification"): (509, 317628800, "633f55b8806bdca0f710"),
    ("vit_l_rvsa", "detection"): (499, 317612928, "f800a8b183f696574a85"),
    ("vit_l_rvsa", "rotated_detection"): (499, 317612928, "f800a8b183f696574a85"),
    ("vit_l_rvsa", "detection_last_layer"): (501, 317614976, "31456c05334d4b170913"),
}


@pytest.mark.parametrize(("name", "variant"), KEYS)
def test_published_keys(name: str, variant: str) -> None:
    with torch.device("meta"):
        model = Rvsa(SIZES[name], image_size=224, **PUBLISHED[variant])
    assert summary(model) == KEYS[name, variant]
