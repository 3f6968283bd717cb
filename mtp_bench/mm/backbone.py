"""A backbone inside an OpenMMLab model: made by a seed, then its weights, with a report."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from mtp_bench import backbones
from mtp_bench.backbones import weights as weights_module
from mtp_bench.backbones.files import sha256_of_state
from mtp_bench.backbones.weights import LoadReport
from mtp_bench.errors import UserError


def build_backbone(
    name: str, seed: int, weights: dict[str, Any] | None, **options: Any
) -> tuple[nn.Module, LoadReport | None]:
    """The backbone with its first weights; ``weights``: a ``Source``'s fields, or None."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        backbone = backbones.create(name, **options)
    if weights is None:
        return backbone, None
    if weights["path"] is None:
        return backbone, _load_from_timm(backbone, name)
    report = weights_module.load_weights(
        backbone,
        Path(weights["path"]),
        weights["recipe"],
        allow_partial=weights["allow_partial"],
        sha256=weights["sha256"],
    )
    return backbone, report


def built_around(body: nn.Module, build: Callable[[], Any], head_seed: int, frozen: bool) -> Any:
    """A library's model with our backbone in the place of the one that it was built with.

    Head and neck are drawn from a seed of their own just before they are used, so that every recipe
    gets the same ones.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(head_seed)
        model = build()
        model.init_weights()
    model.backbone = body
    model.init_weights = _in_place
    if frozen:
        body.requires_grad_(False)
        # It keeps its statistics too: it stays in evaluation mode, whatever the model's.
        body.train = partial(_stay, body)  # type: ignore[method-assign]
        body.eval()
    return model


def _in_place() -> None:
    """Weights are in place once the model is built; mmengine would draw anew."""


def _stay(body: nn.Module, mode: bool = True) -> nn.Module:
    del mode
    return type(body).train(body, False)


def _load_from_timm(backbone: nn.Module, name: str) -> LoadReport:
    import timm

    plain = name.removeprefix("timm/")
    try:
        state = timm.create_model(plain, pretrained=True, num_classes=0).state_dict()
    except Exception as error:  # timm, the hub and the network each raise their own
        raise UserError(
            f"{name}: timm could not fetch its weights ({type(error).__name__}): go online "
            "once, or put the file under --weights and name it in the suite: "
            f"weights: {{{name}: {{imp: FILE}}}}"
        ) from None
    return weights_module.load_state(
        backbone, state, f"timm:{plain}", sha256_of_state(state), recipe="imp"
    )
