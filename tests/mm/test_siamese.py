"""Change detection's model: one encoder for both dates, their differences, a UNet on top."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from mmengine.config import ConfigDict
from mmengine.registry import DefaultScope
from mmengine.structures import PixelData
from torch import Tensor, nn
from torch.nn.functional import interpolate

from mtp_bench.backbones import create, torchvision_shim
from mtp_bench.backbones.weights import probe
from mtp_bench.errors import UserError
from mtp_bench.mm.backbone import build_backbone
from mtp_bench.mm.configs import context_of
from mtp_bench.suite.identity import job_id
from mtp_bench.suite.schema import JobFile, Resources, Roots
from mtp_bench.tasks.task import Context
from tests import tiny_labels

torchvision_shim.apply()

from mmseg.registry import MODELS  # noqa: E402
from mmseg.structures import SegDataSample  # noqa: E402

from mtp_bench.mm.optim import parameter_groups  # noqa: E402
from mtp_bench.mm.siamese import PairPreprocessor, Siamese  # noqa: E402
from mtp_bench.mm.unet_head import UNetHead  # noqa: E402

pytestmark = pytest.mark.mm

SIZE = 64
MEAN, STD = (100.0, 110.0, 120.0), (50.0, 55.0, 60.0)
LOSS = {"type": "mmseg.CrossEntropyLoss", "avg_non_ignore": True}
CELLS = {"timm/test_resnet": 1, "timm/test_vit": 2}
"""Backbone → side of the head's logits in sides of the picture."""


def siamese(name: str) -> Siamese:
    torch.manual_seed(3)
    options: dict[str, Any] = {"pyramid": "none"} if name == "timm/test_vit" else {}
    return Siamese(create(name, image_size=SIZE, **options))


def dates(count: int = 2) -> Tensor:
    return torch.randn(2, count, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(4))


@pytest.mark.parametrize("name", CELLS)
def test_equal_dates_do_not_differ_and_their_order_is_nothing(name: str) -> None:
    model, (first, second) = siamese(name).eval(), dates()
    same = model(torch.cat([first, first], dim=1))
    assert all(not each.any() for each in same)
    one, other = (model(torch.cat(pair, dim=1)) for pair in ((first, second), (second, first)))
    for a, b, channels, stride in zip(one, other, model.channels, model.strides, strict=True):
        assert torch.allclose(a, b, atol=1e-5)
        assert a.any()
        assert a.shape == (2, channels, SIZE // stride, SIZE // stride)
        assert a.is_contiguous()


def test_the_maps_differ_as_those_of_each_date_alone() -> None:
    model, (first, second) = siamese("timm/test_vit").eval(), dates()
    together = model(torch.cat([first, second], dim=1))
    apart = zip(model.encoder(first), model.encoder(second), strict=True)
    for found, (a, b) in zip(together, apart, strict=True):
        assert torch.allclose(found, (a - b).abs(), atol=1e-5)


def test_a_parameter_has_one_gradient_of_both_dates() -> None:
    model, (first, second) = siamese("timm/test_vit"), dates()
    sum(each.sum() for each in model(torch.cat([first, second], dim=1))).backward()
    given = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    assert "encoder.inner.patch_embed.proj.weight" in given
    model.zero_grad()
    maps = zip(model.encoder(first), model.encoder(second), strict=True)
    torch.stack([(a - b).abs().sum() for a, b in maps]).sum().backward()
    for name, p in model.named_parameters():
        if name in given:
            assert p.grad is not None
            assert torch.allclose(p.grad, given[name], rtol=1e-3, atol=1e-3), name


def test_layers_and_probe_are_the_encoders() -> None:
    whole, bare = nn.Module(), nn.Module()
    whole.backbone = siamese("timm/test_vit")
    bare.backbone = whole.backbone.encoder
    rates = [
        [(group["lr"], len(group["params"])) for group in parameter_groups(model, 1.0, 0.05, 0.9)]
        for model in (whole, bare)
    ]
    assert rates[0] == rates[1]
    assert len({rate for rate, _ in rates[0]}) > 3
    assert all(name.startswith("backbone.encoder.inner.") for name in whole.state_dict())
    assert len(probe(whole.backbone.encoder, SIZE)) == 16


def test_blocks_take_what_they_get_from_below_and_the_next_map() -> None:
    head = unet((8, 16, 32, 64), (40, 20, 10, 5))
    shapes = [[tuple(layer.conv.weight.shape[:2]) for layer in block] for block in head.blocks]
    assert shapes == [
        [(40, 64 + 32), (40, 40)],
        [(20, 40 + 16), (20, 20)],
        [(10, 20 + 8), (10, 10)],
        [(5, 10), (5, 5)],
    ]
    assert all(m.bias is None for m in head.blocks.modules() if isinstance(m, nn.Conv2d))
    assert head.conv_seg.weight.shape == (2, 5, 1, 1)
    assert head.dropout.p == 0.1


@pytest.mark.parametrize("source", range(4))
def test_a_map_goes_up_block_by_block(source: int) -> None:
    """Blocks that hand on one channel: the deepest map's, or from the third, second, first on."""
    head = unet((1, 1, 1, 1), (1, 1, 1, 1)).eval()
    for number, block in enumerate(head.blocks):
        for layer in block:
            nn.init.dirac_(layer.conv.weight)  # hands on what comes from below
        if number == source - 1:
            block[0].conv.weight.data = block[0].conv.weight.flip(1)  # the new map instead
    maps = [torch.rand(1, 1, 4, 4, generator=torch.Generator().manual_seed(i)) for i in range(4)]
    with torch.no_grad():
        head.conv_seg.weight.fill_(1.0)
        head.conv_seg.bias.zero_()
        found = head(maps)
    taken = maps[3 - source]
    if source:
        side = 4 * 2**source
        taken = interpolate(taken, (side, side), mode="bilinear", align_corners=False)
    taken = taken.repeat_interleave(64 // taken.shape[2], 2)
    taken = taken.repeat_interleave(64 // taken.shape[3], 3)
    expected = interpolate(taken, (128, 128), mode="bilinear", align_corners=False)
    assert torch.allclose(found, expected.expand_as(found), atol=1e-3)


def unet(channels: tuple[int, ...], decoder: tuple[int, ...] = (32, 16, 8, 8)) -> Any:
    return UNetHead(
        channels, 2, decoder_channels=decoder, norm_cfg={"type": "BN"}, loss_decode=LOSS
    )


@pytest.mark.parametrize(("name", "times"), CELLS.items())
def test_logits_are_as_large_as_published(name: str, times: int) -> None:
    model = siamese(name)
    first, second = dates()
    logits = unet(model.channels)(model(torch.cat([first, second], dim=1)))
    assert logits.shape == (2, 2, times * SIZE, times * SIZE)


@pytest.mark.parametrize("scope", ["mmdet", "mmseg"])
@pytest.mark.parametrize(("name", "label"), [("timm/test_resnet", SIZE), ("timm/test_vit", 24)])
def test_an_encoder_decoder_learns_and_predicts_at_the_labels_size(
    name: str, label: int, scope: str
) -> None:
    model = segmentor(name, scope)
    torch.manual_seed(5)
    truth = torch.zeros(1, label, label, dtype=torch.long)
    truth[:, : label // 2] = 1
    pairs = [torch.randint(0, 256, (6, SIZE, SIZE), dtype=torch.uint8) for _ in range(2)]
    meta = {"ori_shape": (label, label), "img_shape": (SIZE, SIZE)}
    samples = [SegDataSample(metainfo=dict(meta)) for _ in pairs]
    for sample in samples:
        sample.set_data({"gt_sem_seg": PixelData(data=truth.clone())})
    optimiser = torch.optim.AdamW(model.parameters(), 1e-3)
    losses = []
    for _ in range(4):
        batch = model.data_preprocessor({"inputs": pairs, "data_samples": samples}, training=True)
        loss = model(**batch, mode="loss")["decode.loss_ce"]
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]
    model.eval()
    batch = model.data_preprocessor({"inputs": pairs, "data_samples": samples})
    with torch.no_grad():
        found = model(**batch, mode="predict")
    assert [each.pred_sem_seg.data.shape for each in found] == 2 * [(1, label, label)]
    assert set(found[0].pred_sem_seg.data.unique().tolist()) <= {0, 1}


def segmentor(name: str, scope: str) -> Any:
    backbone = siamese(name)
    config = {
        "type": "mmseg.EncoderDecoder",
        "backbone": {"type": "torch.nn.Identity"},
        "data_preprocessor": {
            "type": "mtp_bench.mm.siamese.PairPreprocessor",
            "mean": MEAN,
            "std": STD,
            "size_divisor": 32,
        },
        "decode_head": {
            "type": "mtp_bench.mm.unet_head.UNetHead",
            "in_channels": backbone.channels,
            "num_classes": 2,
            "decoder_channels": (32, 16, 8, 8),
            "norm_cfg": {"type": "BN"},
            "loss_decode": LOSS,
        },
        "test_cfg": {"mode": "whole"},
    }
    with DefaultScope.overwrite_default_scope(scope):
        model = MODELS.build(ConfigDict(config))
        model.init_weights()
    model.backbone = backbone
    return model


@pytest.mark.parametrize("order", ["rgb", "bgr"])
def test_each_date_is_normalised_and_turned_alone(order: str) -> None:
    turn = -1 if order == "bgr" else 1
    process = PairPreprocessor(
        MEAN[::turn],
        STD[::turn],
        rgb_to_bgr=order == "bgr",
        size_divisor=8,
        test_cfg={"size": (8, 8)},
    )
    # A pair whose values are two deviations above, then one below the mean, channel by channel.
    colour = [m + 2 * s for m, s in zip(MEAN, STD, strict=True)]
    colour += [m - s for m, s in zip(MEAN, STD, strict=True)]
    pair = torch.tensor(colour).byte()[:, None, None].expand(6, 4, 6)
    sample = SegDataSample(metainfo={"ori_shape": (4, 6), "img_shape": (4, 6)})
    sample.set_data({"gt_sem_seg": PixelData(data=torch.ones(1, 4, 6))})
    batch = process({"inputs": [pair], "data_samples": [sample]}, training=True)
    assert batch["inputs"].shape == (1, 6, 8, 8)
    assert batch["inputs"][0, :, :4, :6].amax(dim=(1, 2)).tolist() == [2, 2, 2, -1, -1, -1]
    assert not batch["inputs"][0, :, 4:].any()
    label = batch["data_samples"][0].gt_sem_seg.data
    assert (label[:, :4, :6] == 1).all()
    assert int((label == 255).sum()) == 64 - 24
    tested = process({"inputs": [pair], "data_samples": [sample]})
    assert torch.equal(tested["inputs"], batch["inputs"])
    # Distinct values, to see the order of the channels themselves.
    plain = PairPreprocessor((0, 0, 0), (1, 1, 1), rgb_to_bgr=order == "bgr")
    values = torch.arange(6, dtype=torch.uint8)[:, None, None]
    found = plain({"inputs": [values], "data_samples": [sample]})["inputs"].flatten().tolist()
    assert found == ([2, 1, 0, 5, 4, 3] if order == "bgr" else [0, 1, 2, 3, 4, 5])


def context(dataset: str, backbone: str, **changes: Any) -> Context:
    spec = tiny_labels.spec_of(dataset, **changes).model_copy(update={"backbone": backbone})
    roots = Roots(runs="", results="", data=None, weights=None, cache="")
    made = JobFile(id=job_id(spec), spec=spec, resources=Resources(), roots=roots)
    return context_of(made, None)


def test_a_plain_transformer_has_one_stride_for_pairs_unless_it_is_asked() -> None:
    published = context("LEVIR-CD", "vit_t_rvsa").backbone
    pyramid = context("LEVIR-CD", "vit_t_rvsa", pyramid=True).backbone
    shapes = []
    for config in (published, pyramid):
        body, _ = build_backbone(**config)
        with torch.no_grad():
            maps = body(torch.zeros(1, 3, tiny_labels.SIDE, tiny_labels.SIDE))
        shapes.append([tiny_labels.SIDE // m.shape[-1] for m in maps])
    assert shapes == [[16] * 4, [4, 8, 16, 32]]


@pytest.mark.parametrize(
    ("dataset", "backbone"), [("LoveDA", "vit_t_rvsa"), ("LEVIR-CD", "internimage_pico")]
)
def test_a_pyramid_where_there_is_one_already_is_refused(dataset: str, backbone: str) -> None:
    with pytest.raises(UserError, match="'pyramid' is for change detection with a plain"):
        context(dataset, backbone, pyramid=True)
