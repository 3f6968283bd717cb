"""DCNv3 in plain PyTorch: the published numbers, and what its definition says, in every form."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from mtp_bench.backbones.dcnv3 import Form, Geometry, dcnv3
from tests.backbones.filling import fill
from tests.backbones.vectors import Expected, check

FORMS: tuple[Form, ...] = ("whole", "points")

# Images, height, width; channels a group; geometry.
Case = tuple[tuple[int, int, int], int, Geometry]
PUBLISHED: dict[str, tuple[Case, Expected]] = {
    "plain": (
        ((2, 6, 7), 4, Geometry(2)),
        {
            "out": (3.148074744801, 340.530675417300),
            "values": (-10.689711163386, 328.057006502802),
            "offsets": (-4.501420129366, 607.672323560612),
            "masks": (-1.478122691035, 364.129936415091),
        },
    ),
    "stride 2": (
        ((1, 7, 8), 4, Geometry(2, stride=2)),
        {
            "out": (3.053923591201, 59.448070727160),
            "values": (2.384901433131, 96.862503489617),
            "offsets": (0.927058622209, 111.861462811291),
            "masks": (-1.136102076657, 63.986058291717),
        },
    ),
    "kernel 5": (
        ((1, 6, 5), 8, Geometry(1, 5, pad=2, scale=2.0)),
        {
            "out": (-8.231277847901, 114.489629481497),
            "values": (-6.332126732961, 97.236118358358),
            "offsets": (4.945072674742, 259.251587070685),
            "masks": (-4.215649219213, 83.918971271840),
        },
    ),
    "dilation 2": (
        ((1, 8, 7), 4, Geometry(3, pad=2, dilation=2, scale=1.5)),
        {
            "out": (-2.006553819307, 227.918138503986),
            "values": (6.674571559507, 239.265340841664),
            "offsets": (-14.801376451404, 639.079985490327),
            "masks": (0.787171800710, 239.284115453939),
        },
    ),
    "no centre": (
        ((1, 6, 6), 4, Geometry(2, remove_center=True)),
        {
            "out": (-9.293407633288, 116.854022462445),
            "values": (-5.822335189123, 136.711602752121),
            "offsets": (11.459351008275, 217.639836251816),
            "masks": (-3.980284255493, 122.470665895833),
        },
    ),
    "no pad": (
        ((1, 6, 7), 4, Geometry(2, pad=0)),
        {
            "out": (1.230763141847, 86.039065116680),
            "values": (2.788723913778, 130.227591612416),
            "offsets": (-1.213083706446, 153.157593440889),
            "masks": (2.150378948748, 94.256344826572),
        },
    ),
    # These three arrays were stored in float32.
    "XL": (
        ((1, 5, 9), 16, Geometry(4, scale=2.0)),
        {
            "out": (-18.5465741, 985.5914943),
            "values": (27.5129888, 1004.2436085),
            "offsets": (-28.8014495, 1621.1953762),
        },
    ),
}


def out_size(geometry: Geometry, side: int) -> int:
    reach = geometry.dilation * (geometry.kernel - 1) + 1
    return (side + 2 * geometry.pad - reach) // geometry.stride + 1


def inputs_of(case: Case, dtype: torch.dtype = torch.float64) -> list[Tensor]:
    (images, height, width), channels, geometry = case
    shape = images, out_size(geometry, height), out_size(geometry, width)
    count = geometry.groups * geometry.points
    values = fill((images, height, width, geometry.groups * channels), 1)
    offsets, masks = 2 * fill((*shape, 2 * count), 2), 0.5 + 0.5 * fill((*shape, count), 3)
    return [t.to(dtype).requires_grad_() for t in (values, offsets, masks)]


def call(inputs: Sequence[Tensor], geometry: Geometry, form: Form = "auto") -> Tensor:
    values, offsets, masks = inputs
    return dcnv3(values, offsets, masks, geometry, form)


def step(inputs: Sequence[Tensor], geometry: Geometry, form: Form) -> dict[str, Tensor]:
    out = call(inputs, geometry, form)
    found = torch.autograd.grad(out, inputs, fill(out.shape, 20000).to(out.dtype))
    return {"out": out.detach(), **dict(zip(("values", "offsets", "masks"), found, strict=True))}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", PUBLISHED)
def test_published_numbers(name: str, form: Form) -> None:
    case, expected = PUBLISHED[name]
    close = 1e-8 if name == "XL" else 1e-9
    check(step(inputs_of(case), case[2], form), expected, close)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    "geometry", [Geometry(2), Geometry(3, 2, stride=2, scale=1.5), Geometry(1, remove_center=True)]
)
def test_gradients_are_those_of_the_output(geometry: Geometry, form: Form) -> None:
    inputs = inputs_of(((2, 2, 3), 2, geometry))
    assert torch.autograd.gradcheck(lambda *tensors: call(tensors, geometry, form), inputs)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    ("geometry", "dilation", "pad"),
    [
        (Geometry(2), 1, 1),
        (Geometry(2, 5, stride=2, pad=2), 1, 2),
        (Geometry(2, pad=2, dilation=2), 2, 2),
        # The scale stretches the kernel about its middle.
        (Geometry(2, scale=2.0), 2, 2),
    ],
)
def test_without_offsets_it_is_a_mean_over_the_window(
    geometry: Geometry, dilation: int, pad: int, form: Form
) -> None:
    values, offsets, masks = inputs_of(((2, 7, 6), 3, geometry))
    out = dcnv3(values, 0 * offsets, torch.full_like(masks, 1 / geometry.points), geometry, form)
    kernel = torch.full((6, 1, geometry.kernel, geometry.kernel), 1 / geometry.points).double()
    expected = functional.conv2d(
        values.movedim(3, 1), kernel, None, geometry.stride, pad, dilation, groups=6
    )
    torch.testing.assert_close(out, expected.movedim(1, 3))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    ("without_centre", "point", "right", "down"),
    [(False, 0, -1, -1), (False, 1, -1, 0), (False, 3, 0, -1), (True, 3, 0, -1), (True, 4, 0, 1)],
)
def test_points_run_down_the_columns_and_offsets_are_x_then_y(
    without_centre: bool, point: int, right: int, down: int, form: Form
) -> None:
    geometry = Geometry(2, remove_center=without_centre)
    values, offsets, masks = (t.detach() for t in inputs_of(((1, 6, 7), 3, geometry)))
    masks = torch.zeros_like(masks).unflatten(3, (2, -1))
    masks[..., point] = 1.0
    offsets = torch.zeros_like(offsets).unflatten(3, (2, -1, 2))
    offsets[..., point, 0] = 1.0
    out = dcnv3(values, offsets.flatten(3), masks.flatten(3), geometry, form)
    shifted = values.roll((-down, -right - 1), (1, 2))
    torch.testing.assert_close(out[:, 1:-1, 1:-2], shifted[:, 1:-1, 1:-2])


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_every_precision_is_near_the_exact_result(dtype: torch.dtype, form: Form) -> None:
    case = (2, 6, 130), 4, Geometry(2)
    rounded = inputs_of(case, dtype)
    exact = step([t.detach().double().requires_grad_() for t in rounded], case[2], form)
    close = 1e-4 if dtype == torch.float32 else 2e-2
    for name, found in step(rounded, case[2], form).items():
        assert found.dtype == dtype
        if name != "offsets":  # their derivative jumps where rounding puts a point on a pixel
            error = (found.double() - exact[name]).abs().max() / exact[name].abs().max()
            assert error < close, name


@pytest.mark.parametrize("form", FORMS)
def test_under_autocast_masks_take_the_precision_of_the_values(form: Form) -> None:
    case = (1, 4, 4), 4, Geometry(2)
    values, offsets, masks = inputs_of(case, torch.float32)
    low = (values.bfloat16(), offsets.bfloat16())
    with torch.autocast("cpu", torch.bfloat16):
        out = dcnv3(*low, masks, case[2], form)
    assert out.dtype == torch.bfloat16
    torch.testing.assert_close(out, dcnv3(*low, masks.bfloat16(), case[2], form), rtol=0, atol=0)
    out.sum().backward()
    assert masks.grad is not None
    assert masks.grad.dtype == torch.float32


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    "case", [((1, 1, 1), 2, Geometry(1, 1, pad=0)), ((2, 4, 3), 2, Geometry(5))]
)
def test_a_second_backward_pass_finds_everything_untouched(case: Case, form: Form) -> None:
    inputs = inputs_of(case)
    out = call(inputs, case[2], form)
    first = torch.autograd.grad(out.sum(), inputs, retain_graph=True)
    torch.testing.assert_close(torch.autograd.grad(out.sum(), inputs), first, rtol=0, atol=0)


@pytest.mark.parametrize("side", [16, 128])
def test_the_samples_are_kept_on_small_maps_only(side: int) -> None:
    case = (1, side, side), 16, Geometry(4)
    inputs, kept = inputs_of(case, torch.float32), list[tuple[int, ...]]()

    def pack(tensor: Tensor) -> Tensor:
        kept.append(tensor.shape)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        call(inputs, case[2])
    samples = math.prod((1, 4, 16, 9, side, side))
    assert (max(map(math.prod, kept)) == samples) == (side == 16)


@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")  # dynamo's
@pytest.mark.parametrize("form", FORMS)
def test_it_compiles_in_one_piece(form: Form) -> None:
    case, _ = PUBLISHED["plain"]
    inputs = inputs_of(case)
    compiled = torch.compile(
        lambda *tensors: call(tensors, case[2], form), backend="aot_eager", fullgraph=True
    )
    weights = fill((*inputs[1].shape[:3], inputs[0].shape[3]), 20000)
    found = torch.autograd.grad(compiled(*inputs), inputs, weights)
    expected = [tensor for name, tensor in step(inputs, case[2], form).items() if name != "out"]
    torch.testing.assert_close(found, tuple(expected))
