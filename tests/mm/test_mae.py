"""Masked autoencoding: what the loss sees, what is drawn, and what other backbones load of it."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from mtp_bench.backbones import create, for_task
from mtp_bench.backbones.weights import load_state
from mtp_bench.errors import UserError
from mtp_bench.mm.mae import Mae, patches_of, plain, positions
from mtp_bench.recipes.mae import export

SMALL = {"decoder_width": 32, "decoder_depth": 1, "decoder_heads": 2}
SIDE, PATCHES = 64, 16


def model(name: str = "vit_t_rvsa", **more: Any) -> Mae:
    backbone = {"name": name, "image_size": SIDE, "drop_path": 0.0, "checkpointing": False}
    settings = {"mask": 0.75, "normalise_patches": False, **SMALL, **more}
    return Mae({**backbone, "seed": 1, "weights": None}, 2, settings)


def batch(count: int = 2) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(count, 3, SIDE, SIDE, generator=generator)
    orders = torch.stack([torch.randperm(PATCHES, generator=generator) for _ in range(count)])
    return images, orders, torch.arange(count)


@pytest.mark.parametrize("normalise", [False, True])
def test_the_loss_sees_hidden_patches_alone(normalise: bool) -> None:
    mae, (images, orders, _) = model(normalise_patches=normalise), batch()
    told = mae(images, orders, _).detach().requires_grad_()
    mae.losses(images, told, orders).sum().backward()
    assert told.grad is not None
    seen = told.grad.abs().sum(dim=2)
    assert mae.shown == PATCHES // 4
    assert (seen.gather(1, orders[:, : mae.shown]) == 0).all()
    assert (seen.gather(1, orders[:, mae.shown :]) > 0).all()


def test_the_encoder_sees_shown_patches_alone() -> None:
    mae, (images, orders, indices) = model().eval(), batch()
    changed = images.clone()
    for picture, order in zip(changed, orders, strict=True):
        for hidden in order[mae.shown :].tolist():
            y, x = divmod(hidden, SIDE // 16)
            picture[:, 16 * y : 16 * y + 16, 16 * x : 16 * x + 16] = 7.0
    with torch.no_grad():
        assert torch.equal(mae(images, orders, indices), mae(changed, orders, indices))
        assert not torch.allclose(mae(images, orders, indices), mae(images + 1, orders, indices))


def test_losses_are_the_published_ones_by_hand() -> None:
    """Told zeros alone: the mean square of the hidden pixels; of normalised ones, almost 1."""
    images, orders, _ = batch()
    plain_loss = model().losses(images, torch.zeros(2, PATCHES, 768), orders)
    for picture, order, loss in zip(images, orders, plain_loss, strict=True):
        hidden = torch.zeros(4, 4)
        hidden.view(-1)[order[4:]] = 1
        mask = hidden.repeat_interleave(16, 0).repeat_interleave(16, 1)
        wanted = (picture.square() * mask).sum() / (3 * mask.sum())
        assert float(loss) == pytest.approx(float(wanted), rel=1e-5)
    scaled = model(normalise_patches=True).losses(images, torch.zeros(2, PATCHES, 768), orders)
    assert scaled.tolist() == pytest.approx([767 / 768] * 2, rel=1e-5)


def test_patches_are_read_row_by_row_with_channels_together() -> None:
    images = torch.arange(3 * 4 * 4).reshape(1, 3, 4, 4)
    assert patches_of(images, 2)[0, 1].tolist() == [2, 18, 34, 3, 19, 35, 6, 22, 38, 7, 23, 39]


def test_positions_are_maes_own() -> None:
    """X in the first half, y in the second, sines before cosines; zeros for the class token."""
    table = positions(8, 3)
    assert table.shape == (10, 8)
    assert (table[0] == 0).all()
    x, y = 2, 1
    wanted = [f(axis * w) for axis in (x, y) for f in (math.sin, math.cos) for w in (1, 0.01)]
    assert table[1 + 3 * y + x].tolist() == pytest.approx(wanted, abs=1e-6)


def test_a_few_steps_lower_the_loss() -> None:
    mae, (images, orders, indices) = model(), batch(4)
    images = images.mean(dim=(2, 3), keepdim=True).expand(-1, -1, SIDE, SIDE) * 20
    optimizer = torch.optim.AdamW((p for p in mae.parameters() if p.requires_grad), lr=1e-3)
    losses = []
    for _ in range(15):
        loss = mae(images, orders, indices, mode="loss")["loss"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.5 * losses[0]


@pytest.mark.parametrize("name", ["vit_t_rvsa", "timm/vit_tiny_patch16_224", "timm/test_vit"])
def test_backbones_start_from_it_bit_for_bit(name: str) -> None:
    state = export(model(name))
    backbone = create(name, image_size=SIDE, **for_task(name, "segmentation"))
    report = load_state(backbone, state, "mae", "0", recipe="mae")
    assert report.share == 1.0
    assert not report.missing
    own = {key.removeprefix("inner."): value for key, value in backbone.state_dict().items()}
    compared = [key for key in state if key in own and own[key].shape == state[key].shape]
    assert len(compared) > 30
    assert all(torch.equal(own[key], state[key]) for key in compared)
    if "rvsa" in name:
        assert torch.equal(own["pos_embed"], state["pos_embed"][:, 1:])
        assert any("sampling" in key for key in report.new)


@pytest.mark.parametrize(
    "name", ["internimage_pico", "timm/resnet18", "timm/swin_tiny_patch4_window7_224"]
)
def test_what_has_no_plain_tokens_is_refused(name: str) -> None:
    with pytest.raises(UserError, match="mae masks tokens: it needs a plain vision transformer"):
        plain(name, 64)


def test_checkpointing_changes_no_gradient(tmp_path: Path) -> None:
    found = []
    for light in (False, True):
        mae, given = model(), batch()
        mae.backbone._checkpointing = light
        mae(*given, mode="loss")["loss"].backward()
        found.append(mae.backbone.vit.patch_embed.proj.weight.grad)
    assert torch.equal(*found)
