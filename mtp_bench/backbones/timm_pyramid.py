"""``timm/<name>``: any timm model as a feature pyramid, by ``forward_intermediates``.

Models with stages give them as they are. Plain transformers give their last map through a simple
feature pyramid (ViTDet, https://arxiv.org/abs/2203.16527) of the same steps as MTP's, or four maps
of one stride. The state dict keeps timm's keys, so that timm's weights load by name; what only
serves timm's classifier is cut off.
"""

import inspect
from typing import Any, Literal

import torch
from torch import Tensor, nn

from mtp_bench.backbones import torchvision_shim
from mtp_bench.backbones.efficientnet_names import from_efficientnet_pytorch
from mtp_bench.backbones.files import State
from mtp_bench.backbones.layers import Norm2d
from mtp_bench.errors import UserError

torchvision_shim.apply()

import timm  # noqa: E402
from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD  # noqa: E402
from timm.layers import resample_abs_pos_embed, resample_patch_embed  # noqa: E402
from timm.models._manipulate import group_with_matcher  # noqa: E402

STRIDES = (4, 8, 16, 32)
PATCH = 16
RGB = tuple[float, float, float]
Pyramid = Literal["simple", "none"]


class TimmPyramid(nn.Module):
    """A timm model that gives its feature maps. ``inner`` is timm's module, with timm's keys."""

    def __init__(self, name: str, inner: nn.Module, indices: list[int], pyramid: Pyramid) -> None:
        super().__init__()
        self.inner = inner
        self._name, self._indices = name, indices
        stages = _stages(inner)
        self.channels = tuple(int(stages[i]["num_chs"]) for i in indices)
        self.strides = tuple(int(stages[i]["reduction"]) for i in indices)
        self._plain = len(set(self.strides)) == 1 and len(indices) > 1
        # A plain transformer's last norm was pretrained with it; SAM has a neck in its place.
        self._norm = self._plain and not hasattr(inner, "neck")
        self.pyramid: nn.ModuleList | None = None
        if self._plain and pyramid == "simple":
            patch, width = self.strides[-1], self.channels[-1]
            self.pyramid = nn.ModuleList(_step(patch, stride, width) for stride in STRIDES)
            self.strides = STRIDES
        self._layer_of = _layers(inner)
        self.layers = max(self._layer_of.values(), default=0)
        """Number of the last layer; the head comes after it."""
        self._channels_last = any(isinstance(m, nn.BatchNorm2d) for m in inner.modules())
        if self._channels_last:
            inner.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, images: Tensor) -> list[Tensor]:
        """Images (B, 3, H, W) to contiguous maps; mmcv's ops misread other layouts."""
        if self._channels_last:
            images = images.contiguous(memory_format=torch.channels_last)
        inner: Any = self.inner
        maps = inner.forward_intermediates(
            images,
            indices=self._indices if self.pyramid is None else self._indices[-1:],
            norm=self._norm,
            output_fmt="NCHW",
            intermediates_only=True,
        )
        if self.pyramid is not None:
            maps = [step(maps[-1]) for step in self.pyramid]
        return [m.contiguous() for m in maps]

    def layer_id(self, parameter: str) -> int:
        """Depth of a parameter, 0 for the stem; the pyramid counts with the heads."""
        if parameter.startswith("pyramid."):
            return self.layers + 1
        return self._layer_of[parameter.removeprefix("inner.")]

    def not_carried(self, recipe: str) -> str | None:
        """Nothing made by timm or by MAE has our pyramid."""
        return r"^pyramid\." if recipe in ("imp", "mae") else None

    def translate(self, state: State) -> State:
        """Other releases' names to timm's: EfficientNet-PyTorch's, and what timm itself knows."""
        if "_conv_stem.weight" in state:
            if not self._name.startswith("timm/tf_"):
                raise ValueError(
                    f"made with TensorFlow's padding; in '{self._name}' it would load and be "
                    f"wrong: use '{self._name.replace('timm/', 'timm/tf_')}'"
                )
            return from_efficientnet_pytorch(state, self.inner.state_dict())
        entry = timm.model_entrypoint(self._name.removeprefix("timm/").partition(".")[0])
        known = getattr(inspect.getmodule(entry), "checkpoint_filter_fn", None)
        if known is None or state.keys() & self.inner.state_dict().keys():
            return state
        try:
            found: State = known(dict(state), self.inner)
        except (KeyError, ValueError, RuntimeError, IndexError, AttributeError, TypeError):
            return state  # not a release of this model: the report will say what does not fit
        return found

    def resize(self, name: str, value: Tensor) -> Tensor | None:
        """A position or patch embedding at this model's size; None for any other difference."""
        wanted = self.inner.state_dict()[name]
        if name.endswith("patch_embed.proj.weight") and value.shape[:2] == wanted.shape[:2]:
            resampled: Tensor = resample_patch_embed(value, list(wanted.shape[2:]))
            return resampled
        if not name.endswith("pos_embed") or value.ndim != 3 or value.shape[-1] != wanted.shape[-1]:
            return None
        return _positions(value, wanted.shape[1])


def _positions(value: Tensor, count: int) -> Tensor | None:
    """Square grids, with as many class tokens as there are in both."""
    for prefix in (1, 0, 2, 5):
        grid = int(max(count - prefix, 0) ** 0.5)
        old = int(max(value.shape[1] - prefix, 0) ** 0.5)
        if grid**2 + prefix == count and old**2 + prefix == value.shape[1]:
            resized: Tensor = resample_abs_pos_embed(
                value, [grid, grid], [old, old], num_prefix_tokens=prefix
            )
            return resized
    return None


def _step(patch: int, stride: int, width: int) -> nn.Sequential:
    """From a map of stride ``patch`` to one of ``stride``, as MTP steps: norm and GELU between."""
    layers: list[nn.Module] = []
    while patch > stride:
        if layers:
            layers += [Norm2d(width), nn.GELU()]
        layers.append(nn.ConvTranspose2d(width, width, 2, 2))
        patch //= 2
    return nn.Sequential(*layers, *([nn.MaxPool2d(stride // patch)] if stride > patch else []))


def statistics(name: str) -> tuple[RGB, RGB]:
    """Mean and standard deviation (RGB, 0..255) that timm's weights of a model were made with."""
    cfg: Any = timm.get_pretrained_cfg(name.removeprefix("timm/"), allow_unregistered=True)
    known = cfg is not None and cfg.mean and cfg.std
    mean, std = (cfg.mean, cfg.std) if known else (IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD)
    (r, g, b), (sr, sg, sb) = ([round(255 * float(v), 4) for v in each] for each in (mean, std))
    return (r, g, b), (sr, sg, sb)


def _layers(inner: Any) -> dict[str, int]:
    named = list(inner.named_parameters())
    if not hasattr(inner, "group_matcher"):
        return {name: 0 for name, _ in named}
    found = group_with_matcher(iter(named), inner.group_matcher(coarse=False), reverse=True)
    return {str(name): int(layer) for name, layer in found.items()}


def _stages(inner: Any) -> list[dict[str, Any]]:
    info = inner.feature_info
    return [dict(stage) for stage in (info if isinstance(info, list) else info.get_dicts())]


def _last_of_each_stride(inner: Any, name: str) -> list[int]:
    """Stages of strides 4 to 32; a plain transformer has one stride and gives four taps of it."""
    stages = _stages(inner)
    by_stride = {int(stage["reduction"]): i for i, stage in enumerate(stages)}
    if len(by_stride) > 1:
        return sorted(i for stride, i in by_stride.items() if stride >= 4)
    depth = len(stages)
    if depth < 4:
        raise UserError(
            f"backbone '{name}': timm gives {depth} feature maps of it, too few for a pyramid"
        )
    return [depth * part // 4 - 1 for part in (1, 2, 3, 4)]


def for_task(name: str, task: str) -> dict[str, Any]:
    """As MTP does it: one stride where the last map is all, or where dates are compared."""
    return {"pyramid": "none" if task in ("classification", "change_detection") else "simple"}


def create(
    name: str,
    *,
    image_size: int,
    drop_path: float = 0.0,
    checkpointing: bool = False,
    pyramid: Pyramid = "simple",
) -> TimmPyramid:
    """Build ``timm/<model>`` without weights. ``pyramid`` is for plain transformers alone.

    A transformer of other patches than 8, 16 or 32 pixels (DINOv2's 14) is built with 16.

    Raises:
        UserError: for a model that timm cannot take feature maps of, or that lacks what is asked
        of it.
    """
    required = {"drop_path_rate": drop_path} if drop_path else {}
    sizes: dict[str, Any] = {"img_size": image_size, "dynamic_img_size": True}
    inner = _build(name, required, sizes)
    if not hasattr(inner, "forward_intermediates") or not hasattr(
        inner, "prune_intermediate_layers"
    ):
        raise UserError(f"backbone '{name}': timm offers no feature maps of this model")
    if {int(stage["reduction"]) for stage in _stages(inner)}.isdisjoint((4, 8, 16, 32)):
        inner = _build(name, {**required, "patch_size": PATCH}, sizes)
    indices = _last_of_each_stride(inner, name)
    plain = len({_stages(inner)[i]["reduction"] for i in indices}) == 1
    inner.prune_intermediate_layers(indices, prune_norm=not plain, prune_head=True)
    if checkpointing:
        inner.set_grad_checkpointing(True)
    return TimmPyramid(name, inner, indices, pyramid)


def _build(name: str, required: dict[str, Any], sizes: dict[str, Any]) -> Any:
    """``sizes`` are told to the models that take them; the others are of no fixed size."""
    words = {**required, **sizes}
    while True:
        try:
            return timm.create_model(name.removeprefix("timm/"), num_classes=0, **words)
        except (RuntimeError, ValueError, TypeError, AssertionError) as error:
            unknown = [w for w in sizes if w in words and f"'{w}'" in str(error)]
            if not isinstance(error, TypeError) or not unknown:
                raise UserError(f"backbone '{name}': timm cannot build it ({error})") from None
            del words[unknown[0]]
