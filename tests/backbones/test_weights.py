"""Weights that are loaded wholly or refused: released layouts, other sizes, and bad files."""

from __future__ import annotations

import argparse
import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from mtp_bench.backbones import create, for_task, load_weights, torchvision_shim
from mtp_bench.backbones.files import read_state, sha256_of
from mtp_bench.backbones.weights import load_state, probe
from mtp_bench.errors import UserError

torchvision_shim.apply()

import timm  # noqa: E402

State = dict[str, torch.Tensor]
TASKS = ("classification", "change_detection", "segmentation", "detection", "rotated_detection")


@pytest.fixture
def resnet() -> nn.Module:
    torch.manual_seed(0)
    return create("timm/test_resnet", image_size=32)


def state_of(backbone: nn.Module) -> dict[str, torch.Tensor]:
    inner: Any = getattr(backbone, "inner", backbone)
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
    report = load_weights(resnet, path, "own")
    assert report.share == 1.0
    assert probe(resnet, 32) != before


def test_a_partial_load_is_refused_and_changes_nothing(resnet: nn.Module, tmp_path: Path) -> None:
    state = state_of(resnet)
    largest = max(state, key=lambda k: state[k].numel())
    path = tmp_path / "part.safetensors"
    save_file({k: v + 1 for k, v in state.items() if k != largest}, path)
    with pytest.raises(UserError) as caught:
        load_weights(resnet, path, "own")
    assert "under 90% is refused" in caught.value.lines[0]
    assert largest in caught.value.lines[0]
    assert all(torch.equal(v, state[k]) for k, v in state_of(resnet).items())
    report = load_weights(resnet, path, "own", allow_partial=True)
    assert report.missing == (largest,)
    assert report.partial_allowed


def test_another_file_than_the_suite_says_is_refused(resnet: nn.Module, tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    torch.save(state_of(resnet), path)
    with pytest.raises(UserError, match="another file"):
        load_weights(resnet, path, "own", sha256="0" * 64)
    report = load_weights(resnet, path, "own", sha256=sha256_of(path))
    assert report.sha256 == sha256_of(path)


def test_position_and_patch_embeddings_of_other_sizes_are_interpolated() -> None:
    small, large = (create("timm/test_vit", image_size=size) for size in (64, 96))
    report = load_state(large, state_of(small), "small", "", recipe="imp")
    assert (report.reshaped, report.share, report.missing) == (("pos_embed",), 1.0, ())
    assert {name.partition(".")[0] for name in report.new} == {"pyramid"}
    with pytest.raises(UserError, match="only"):
        load_state(create("timm/test_vit2", image_size=64), state_of(small), "other", "")
    finer: Any = timm.create_model("vit_tiny_patch16_224", img_size=64, patch_size=14)
    report = load_state(
        create("timm/vit_tiny_patch16_224", image_size=64), finer.state_dict(), "", "", recipe="imp"
    )
    assert (report.share, report.reshaped) == (1.0, ("patch_embed.proj.weight",))


def test_other_releases_names_are_timms() -> None:
    """DINOv2's own file: layer scale and mask token under names that timm translates."""
    dino: Any = timm.create_model("vit_small_patch14_dinov2", img_size=56, num_classes=0)
    theirs = {"mask_token": torch.zeros(1, 384)}
    theirs |= {name.replace("norm.", "norm."): value for name, value in dino.state_dict().items()}
    backbone = create("timm/vit_small_patch14_dinov2", image_size=64)
    report = load_state(backbone, theirs, "dinov2_vits14_pretrain.pth", "", recipe="imp")
    assert (report.share, report.missing) == (1.0, ())


def plain_vit(size: int) -> State:
    """The keys of an MAE file for a transformer of vit_t_rvsa's width."""
    shape: dict[str, Any] = {"embed_dim": 128, "depth": 4, "num_heads": 4}
    model = timm.models.VisionTransformer(img_size=size, num_classes=0, **shape)
    decoder = {"mask_token": torch.zeros(1, 1, 8), "decoder_blocks.0.norm1.weight": torch.ones(8)}
    return {**model.state_dict(), **decoder}


@pytest.mark.parametrize("task", TASKS)
def test_a_released_mae_file_is_whole_but_for_what_rvsa_adds(task: str, tmp_path: Path) -> None:
    path = tmp_path / "vit-t-checkpoint-1599.pth"
    state = plain_vit(224)
    torch.save({"model": state, "epoch": 1599, "args": argparse.Namespace(lr=0.1)}, path)
    backbone = create("vit_t_rvsa", image_size=128, **for_task("vit_t_rvsa", task))
    report = load_weights(backbone, path, "mae")
    assert (report.share, report.missing, report.reshaped) == (1.0, (), ("pos_embed",))
    kinds = {name.split(".")[-1] if "attn" in name else name[:3] for name in report.new}
    tables = set() if "detection" in task.replace("change_", "") else {"full_attn_rel_pos_h"}
    assert kinds >= {"fpn", "rel_pos_h", "relative_position_bias_table", "weight"} | tables
    assert set(report.unexpected) >= {"cls_token", "mask_token", "decoder_blocks.0.norm1.weight"}
    loaded: Any = backbone.state_dict()
    assert torch.equal(loaded["blocks.3.mlp.fc2.weight"], state["blocks.3.mlp.fc2.weight"])


def mtp_file(path: Path, state: State) -> Path:
    """As MTP saved its files: with NumPy's losses inside."""
    losses = np.linspace(2, 1, 5)
    words = {"epoch": 3, "iteration": np.float64(80000), "loss_pretrain": losses}
    torch.save({**words, "state_dict": state}, path)
    return path


def renamed_by_numpy_2(path: Path) -> None:
    """The file as NumPy 1 wrote it."""
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name, blob in parts.items():
            archive.writestr(name, blob.replace(b"numpy._core.", b"numpy.core."))


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("numpy_1", [False, True])
def test_a_released_mtp_file_is_whole(task: str, numpy_1: bool, tmp_path: Path) -> None:
    pretrained = create("vit_t_rvsa", image_size=224, **for_task("vit_t_rvsa", "pretraining"))
    path = mtp_file(tmp_path / "encoder.pth", pretrained.state_dict())
    if numpy_1:
        renamed_by_numpy_2(path)
    backbone = create("vit_t_rvsa", image_size=128, **for_task("vit_t_rvsa", task))
    report = load_weights(backbone, path, "mtp")
    assert (report.share, report.missing, report.new) == (1.0, (), ())
    dropped = [name for name in report.unexpected if "full_attn_rel_pos" in name]
    assert len(dropped) == (4 if task in ("detection", "rotated_detection") else 0)
    assert ("full_attn_rel_pos" in report.summary()) == (task != "classification" or not dropped)


def test_a_whole_mtp_model_gives_its_encoder(tmp_path: Path) -> None:
    pretrained = create("internimage_pico", image_size=64)
    whole = {f"module.encoder.{k}": v for k, v in pretrained.state_dict().items()}
    others = {f"module.rotdetdecoder.fpn.{i}.weight": torch.zeros(3) for i in range(40)}
    path = mtp_file(tmp_path / "model.pth", {**whole, **others})
    report = load_weights(create("internimage_pico", image_size=64), path, "mtp")
    assert (report.share, len(report.unexpected)) == (1.0, 40)
    assert "40 unexpected: rotdetdecoder.fpn.*.weight (40)" in report.summary()


def test_a_classification_file_loses_its_classifier(tmp_path: Path) -> None:
    state = create("internimage_pico", image_size=64).state_dict()
    path = tmp_path / "internimage_pico_22kto1k_384.pth"
    torch.save({"model": {**state, "head.weight": torch.zeros(1000, 128)}}, path)
    report = load_weights(create("internimage_pico", image_size=64), path, "imp")
    assert (report.share, report.unexpected) == (1.0, ("head.weight",))


@pytest.mark.parametrize("name", ["vit_b_rvsa", "vit_l_rvsa", "internimage_xl"])
def test_files_of_the_papers_encoders_fit_every_task(name: str) -> None:
    """Names and shapes alone: their keys are held to the published ones elsewhere."""
    with torch.device("meta"):
        published = for_task(name, "pretraining")
        state = create(name, image_size=224, **published).state_dict()
        backbones = [create(name, image_size=224, **for_task(name, task)) for task in TASKS]
    for backbone in backbones:
        assert load_state(backbone, state, "released", "", recipe="mtp").share == 1.0


def test_tables_of_the_older_rvsa_files_are_found() -> None:
    backbone = create("vit_t_rvsa", image_size=128)
    old = {k.replace("full_attn_", ""): v + 1 for k, v in backbone.state_dict().items()}
    before = backbone.state_dict()["blocks.1.attn.full_attn_rel_pos_h"].clone()
    report = load_state(backbone, {f"encoder.{k}": v for k, v in old.items()}, "old", "")
    assert (report.share, report.missing) == (1.0, ())
    assert torch.equal(backbone.state_dict()["blocks.1.attn.full_attn_rel_pos_h"], before + 1)


def test_another_architecture_is_told_by_its_shapes() -> None:
    with torch.device("meta"):
        state = create("vit_s_rvsa", image_size=224).state_dict()
        backbone = create("vit_b_rvsa", image_size=224)
    with pytest.raises(UserError, match=r"\(384,\), not \(768,\)"):
        load_state(backbone, state, "vit_s.pth", "", recipe="mtp")


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
