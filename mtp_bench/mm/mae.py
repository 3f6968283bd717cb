"""Masked-autoencoder pretraining of plain vision transformers (He et al., CVPR 2022).

The encoder sees a quarter of the patches; a small decoder tells the pixels of the others. Which
patches a picture shows is drawn with it, so that it depends on the draw alone.
"""

from functools import partial
from typing import Any

import numpy as np
import torch
from mmengine.model import BaseModel
from torch import Tensor, nn

from mtp_bench.backbones import torchvision_shim
from mtp_bench.backbones.lean import recomputed
from mtp_bench.backbones.rvsa import EPS, PATCH, SIZES
from mtp_bench.errors import UserError

torchvision_shim.apply()

import timm  # noqa: E402
from timm.models.vision_transformer import Block, VisionTransformer  # noqa: E402

NORM: Any = partial(nn.LayerNorm, eps=EPS)


def plain(name: str, image_size: int, drop_path: float = 0.0) -> Any:
    """The plain transformer of a backbone's size, with a class token and no head.

    Raises:
        UserError: for a backbone whose tokens cannot be left out one by one.
    """
    if name in SIZES:
        size = SIZES[name]
        return VisionTransformer(
            img_size=image_size,
            patch_size=PATCH,
            embed_dim=size.width,
            depth=size.depth,
            num_heads=size.heads,
            num_classes=0,
            drop_path_rate=drop_path,
            norm_layer=NORM,
        )
    refused = f"{name}: mae masks tokens: it needs a plain vision transformer with a class token"
    if not name.startswith("timm/"):
        raise UserError(refused)
    words: dict[str, Any] = {"num_classes": 0, "drop_path_rate": drop_path}
    try:
        vit: Any = timm.create_model(name.removeprefix("timm/"), img_size=image_size, **words)
    except TypeError:
        raise UserError(refused) from None
    if type(vit) is not VisionTransformer or vit.num_prefix_tokens != 1 or vit.pos_embed is None:
        raise UserError(refused)
    return vit


class Encoder(nn.Module):
    """A plain transformer on some of a picture's patches, with fixed positions."""

    def __init__(self, name: str, image_size: int, drop_path: float, checkpointing: bool) -> None:
        super().__init__()
        self.vit = plain(name, image_size, drop_path)
        self._checkpointing = checkpointing
        self.layers = len(self.vit.blocks)
        self.patch, _ = self.vit.patch_embed.patch_size
        if image_size % self.patch:
            raise UserError(f"{name}: image_size {image_size} is no multiple of {self.patch}")
        self.grid = image_size // self.patch
        width, own = self.vit.embed_dim, self.vit.pos_embed
        known = positions(width, self.grid)[None]
        self.vit.pos_embed = nn.Parameter(known[:, known.shape[1] - own.shape[1] :], False)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                _xavier(module)
        # As a linear layer over a patch's pixels, which is what it is.
        nn.init.xavier_uniform_(self.vit.patch_embed.proj.weight.flatten(1))
        nn.init.normal_(self.vit.cls_token, std=0.02)

    def encode(self, images: Tensor, shown: Tensor | None = None) -> Tensor:
        """(B, 3, S, S) → (B, 1 + k, D), the class token first; ``shown``: (B, k) patches."""
        tokens, where = self.vit.patch_embed(images), self.vit.pos_embed
        if tokens.ndim == 4:  # of timm's models for pictures of any size
            tokens = tokens.flatten(1, 2)
        tokens = tokens + where[:, -tokens.shape[1] :]
        if shown is not None:
            tokens = tokens.gather(1, shown[..., None].expand(-1, -1, tokens.shape[2]))
        first = self.vit.cls_token
        if where.shape[1] > self.grid**2:
            first = first + where[:, :1]
        tokens = torch.cat([first.expand(len(tokens), -1, -1), tokens], dim=1)
        tokens = self.vit.norm_pre(tokens)
        for block in self.vit.blocks:
            tokens = recomputed(block, tokens, wanted=self._checkpointing)
        out: Tensor = self.vit.norm(tokens)
        return out

    def forward(self, images: Tensor) -> list[Tensor]:
        """One map of the whole picture (B, D, S/P, S/P)."""
        tokens = self.encode(images)[:, 1:].transpose(1, 2)
        return [tokens.unflatten(2, (self.grid, self.grid))]

    def layer_id(self, parameter: str) -> int:
        """Patches, class token and positions 0, block i i + 1, the norm above all."""
        first, *rest = parameter.removeprefix("vit.").split(".")
        if first == "blocks":
            return int(rest[0]) + 1
        return self.layers + 1 if first.startswith("norm") else 0


def _xavier(layer: nn.Linear) -> None:
    nn.init.xavier_uniform_(layer.weight)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)


def positions(width: int, grid: int) -> Tensor:
    """(1 + grid², width): zeros for the class token, then each patch's sines and cosines.

    The first half tells x, the second y; MAE's ``get_2d_sincos_pos_embed``.
    """
    quarter = width // 4
    omega = 1 / 10_000 ** (np.arange(quarter, dtype=np.float64) / quarter)
    y, x = np.divmod(np.arange(grid * grid), grid)
    parts = [f(np.outer(axis, omega)) for axis in (x, y) for f in (np.sin, np.cos)]
    table = np.concatenate([np.zeros((1, width)), np.concatenate(parts, axis=1)])
    return torch.from_numpy(table).float()


class Mae(BaseModel):
    """Encoder and decoder. Inputs (B, 3, S, S), already normalised.

    ``orders``: (B, N) a permutation of the patches, of which the first are shown.
    """

    def __init__(self, backbone: dict[str, Any], head_seed: int, mae: dict[str, Any]) -> None:
        super().__init__()
        self.load_report = None
        self._mask, self._normalise = mae["mask"], mae["normalise_patches"]
        size, width = backbone["image_size"], mae["decoder_width"]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(backbone["seed"])
            drop, light = backbone["drop_path"], backbone["checkpointing"]
            self.backbone = Encoder(backbone["name"], size, drop, light)
            torch.manual_seed(head_seed)
            self.enter = nn.Linear(self.backbone.vit.embed_dim, width)
            self.mask_token = nn.Parameter(torch.zeros(1, 1, width))
            self.decoder = nn.Sequential(
                *(
                    Block(width, mae["decoder_heads"], qkv_bias=True, norm_layer=NORM)
                    for _ in range(mae["decoder_depth"])
                ),
                NORM(width),
                nn.Linear(width, 3 * self.backbone.patch**2),
            )
            for module in (self.enter, *self.decoder.modules()):
                if isinstance(module, nn.Linear):
                    _xavier(module)
            nn.init.normal_(self.mask_token, std=0.02)
        self.register_buffer("places", positions(width, self.backbone.grid)[None])

    def init_weights(self) -> None:
        """Weights are in place once the model is built; mmengine would draw anew."""

    def forward(self, inputs: Tensor, orders: Tensor, indices: Tensor, mode: str = "tensor") -> Any:
        """``loss``: the loss; ``predict``: (index, loss) pairs; ``tensor``: pixels (B, N, 3 P²)."""
        shown = orders[:, : self.shown]
        told = self.decode(self.backbone.encode(inputs, shown), orders)
        if mode == "tensor":
            return told
        losses = self.losses(inputs, told, orders)
        if mode == "loss":
            return {"loss": losses.mean()}
        return list(zip(indices.tolist(), losses.tolist(), strict=True))

    @property
    def shown(self) -> int:
        """Patches that the encoder sees; at least one, and not all."""
        patches: int = self.backbone.grid**2
        return int(min(max(1, int(patches * (1 - self._mask))), patches - 1))

    def decode(self, tokens: Tensor, orders: Tensor) -> Tensor:
        """Tokens of class and shown patches → pixels of every patch, in the picture's order."""
        tokens = self.enter(tokens)
        hidden = self.mask_token.expand(len(tokens), orders.shape[1] - self.shown, -1)
        shuffled = torch.cat([tokens[:, 1:], hidden.to(tokens.dtype)], dim=1)
        back = orders.argsort(dim=1)[..., None].expand(-1, -1, tokens.shape[2])
        tokens = torch.cat([tokens[:, :1], shuffled.gather(1, back)], dim=1)
        out: Tensor = self.decoder(tokens + self.places)
        return out[:, 1:]

    def losses(self, images: Tensor, told: Tensor, orders: Tensor) -> Tensor:
        """(B,) mean squared error over the pixels of the patches that were hidden."""
        wanted = patches_of(images, self.backbone.patch)
        if self._normalise:
            mean, var = wanted.mean(dim=2, keepdim=True), wanted.var(dim=2, keepdim=True)
            wanted = (wanted - mean) / (var + 1e-6).sqrt()
        error = (told.float() - wanted.float()).square().mean(dim=2)
        return error.gather(1, orders[:, self.shown :]).mean(dim=1)


def patches_of(images: Tensor, patch: int) -> Tensor:
    """(B, 3, S, S) → (B, N, 3 P²): pixels of each patch row by row, their channels together."""
    batch, grid = len(images), images.shape[2] // patch
    parts = images.reshape(batch, 3, grid, patch, grid, patch)
    return parts.permute(0, 2, 4, 3, 5, 1).reshape(batch, grid * grid, -1)
