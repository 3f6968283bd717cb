"""Loading a backbone's weights, with a report of what became of every tensor.

Silent partial loads are refused.
"""

from __future__ import annotations

import hashlib
import json
import pickle
import warnings
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from mtp_bench.errors import UserError

State = dict[str, torch.Tensor]

NEEDED_SHARE = 0.9
WRAPPERS = ("state_dict", "model", "model_state", "model_state_dict")
PREFIXES = ("module.", "backbone.", "encoder.", "inner.")
SHOWN = 10


@dataclass(frozen=True)
class LoadReport:
    """What became of every tensor of a backbone and of a file."""

    source: str
    sha256: str
    matched: tuple[str, ...]
    reshaped: tuple[str, ...]
    missing: tuple[str, ...]
    """In the backbone, not in the file (or of another shape there): left as they were made."""
    unexpected: tuple[str, ...]
    share: float
    """Of the backbone's parameters and statistics, by number of values."""
    partial_allowed: bool

    def summary(self) -> str:
        parts = [f"{self.share:.1%} of the backbone's values from {self.source}"]
        for word in ("reshaped", "missing", "unexpected"):
            names = getattr(self, word)
            if names:
                more = " …" if len(names) > SHOWN else ""
                parts.append(f"{len(names)} {word}: {', '.join(names[:SHOWN])}{more}")
        return "; ".join(parts)

    def as_json(self) -> dict[str, Any]:
        return {**asdict(self), "matched": len(self.matched)}


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, read in pieces."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def sha256_of_state(state: Mapping[str, torch.Tensor]) -> str:
    """SHA-256 of tensors by name, for weights that come without a file of their own."""
    digest = hashlib.sha256()
    for name, tensor in sorted(state.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(
            tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes()
        )
    return digest.hexdigest()


def read_state(path: Path) -> State:
    """The tensors of a ``.safetensors`` or torch file; nothing in it is executed.

    Raises:
        UserError: one line, for a file that is missing, cut short, something else, or that holds
        code.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such weights file")
    with path.open("rb") as stream:
        head = stream.read(64)
    if head.startswith(b"version https://git-lfs"):
        raise UserError(f"{path}: a Git-LFS pointer, not the weights: run 'git lfs pull' there")
    if head.lstrip()[:1] == b"<":
        raise UserError(f"{path}: a web page, not weights: download the file itself")
    try:
        data = _read(path)
    except pickle.UnpicklingError as error:
        raise UserError(
            f"{path}: refused: it holds more than tensors and could run code ({_first_line(error)})"
        ) from None
    except (RuntimeError, OSError, ValueError, EOFError, KeyError) as error:
        raise UserError(
            f"{path}: not readable as weights, perhaps cut short ({_first_line(error)})"
        ) from None
    return _unwrap(path, data)


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:160]


def _read(path: Path) -> Any:
    if path.suffix == ".safetensors":
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            return load_file(path)
        except SafetensorError as error:
            raise ValueError(str(error)) from None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's own words on odd pickles; ours come as an error
        return torch.load(path, map_location="cpu", weights_only=True)


def _unwrap(path: Path, data: Any) -> State:
    for key in WRAPPERS:
        if isinstance(data, Mapping) and isinstance(data.get(key), Mapping):
            data = data[key]
    if not isinstance(data, Mapping):
        raise UserError(f"{path}: holds no state dict but a {type(data).__name__}")
    state = {str(k): v for k, v in data.items() if isinstance(v, torch.Tensor)}
    if not state:
        raise UserError(f"{path}: holds no tensor")
    return state


def fit_names(state: State, target: Mapping[str, torch.Tensor]) -> State:
    """The file's tensors under the backbone's names.

    Wrapper prefixes are stripped, EfficientNet-PyTorch's names translated.
    """
    if "_conv_stem.weight" in state:
        return _from_efficientnet_pytorch(state, target)
    names = set(target)
    best, best_hits = state, len(names & set(state))
    current = state
    for _ in PREFIXES:
        stripped = {_strip(key): value for key, value in current.items()}
        if stripped.keys() == current.keys():
            break
        hits = len(names & set(stripped))
        if hits > best_hits:
            best, best_hits = stripped, hits
        current = stripped
    return best


def _strip(key: str) -> str:
    for prefix in PREFIXES:
        if key.startswith(prefix):
            return key.removeprefix(prefix)
    return key


def _from_efficientnet_pytorch(state: State, target: Mapping[str, torch.Tensor]) -> State:
    """Names of EfficientNet-PyTorch (flat block numbers) → timm's (stage.block)."""
    blocks = sorted(
        {tuple(int(n) for n in k.split(".")[1:3]) for k in target if k.startswith("blocks.")}
    )
    top = {
        "_conv_stem": "conv_stem",
        "_bn0": "bn1",
        "_conv_head": "conv_head",
        "_bn1": "bn2",
        "_fc": "classifier",
    }
    renamed: State = {}
    for key, value in state.items():
        first, _, rest = key.partition(".")
        if first != "_blocks":
            renamed[f"{top.get(first, first)}.{rest}"] = value
            continue
        number, part, leaf = rest.split(".", 2)
        expands = f"_blocks.{number}._expand_conv.weight" in state
        place = (
            ".".join(map(str, blocks[int(number)])) if int(number) < len(blocks) else f"?.{number}"
        )
        renamed[f"blocks.{place}.{_block_part(part, expands)}.{leaf}"] = value
    return renamed


def _block_part(part: str, expands: bool) -> str:
    squeeze = {"_se_reduce": "se.conv_reduce", "_se_expand": "se.conv_expand"}
    if expands:
        names = {
            "_expand_conv": "conv_pw",
            "_bn0": "bn1",
            "_depthwise_conv": "conv_dw",
            "_bn1": "bn2",
            "_project_conv": "conv_pwl",
            "_bn2": "bn3",
        }
    else:
        names = {
            "_depthwise_conv": "conv_dw",
            "_bn1": "bn1",
            "_project_conv": "conv_pw",
            "_bn2": "bn2",
        }
    return {**names, **squeeze}.get(part, part)


def _reshape(name: str, value: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor | None:
    """A position embedding of another image size, interpolated; None for any other difference."""
    if not name.endswith("pos_embed") or value.ndim != 3 or value.shape[-1] != wanted.shape[-1]:
        return None
    from timm.layers import resample_abs_pos_embed

    for prefix in (1, 0, 2):
        grid = int(max(wanted.shape[1] - prefix, 0) ** 0.5)
        old = int(max(value.shape[1] - prefix, 0) ** 0.5)
        if grid**2 + prefix == wanted.shape[1] and old**2 + prefix == value.shape[1]:
            resized: torch.Tensor = resample_abs_pos_embed(
                value, [grid, grid], [old, old], num_prefix_tokens=prefix
            )
            return resized
    return None


def load_state(
    backbone: nn.Module, state: State, source: str, sha256: str, allow_partial: bool = False
) -> LoadReport:
    """Copy what fits into the backbone, and say what did not.

    Raises:
        UserError: where under 90 % of the backbone's values are covered and that is not allowed by
        name; the
            backbone is then untouched.
    """
    inner = getattr(backbone, "inner", backbone)
    own: State = {
        k: v for k, v in inner.state_dict().items() if not k.endswith("num_batches_tracked")
    }
    fitted = fit_names(state, own)
    matched: State = {}
    reshaped: State = {}
    for name, wanted in own.items():
        value = fitted.get(name)
        if value is not None and value.shape == wanted.shape:
            matched[name] = value
        elif value is not None and (resized := _reshape(name, value, wanted)) is not None:
            reshaped[name] = resized
    taken = {**matched, **reshaped}
    share = sum(own[k].numel() for k in taken) / max(1, sum(v.numel() for v in own.values()))
    report = LoadReport(
        source=source,
        sha256=sha256,
        matched=tuple(matched),
        reshaped=tuple(reshaped),
        missing=tuple(k for k in own if k not in taken),
        unexpected=tuple(
            k for k in fitted if k not in own and not k.endswith("num_batches_tracked")
        ),
        share=share,
        partial_allowed=allow_partial and share < NEEDED_SHARE,
    )
    if share < NEEDED_SHARE and not allow_partial:
        raise UserError(
            f"{source}: only {report.summary()}; under {NEEDED_SHARE:.0%} is refused, unless the "
            "suite says 'allow_partial: true' at these weights"
        )
    inner.load_state_dict(taken, strict=False)
    return report


def load_weights(
    backbone: nn.Module,
    path: Path,
    *,
    name: str,
    allow_partial: bool = False,
    sha256: str | None = None,
) -> LoadReport:
    """Load a file into a backbone. ``name``: the backbone's; ``sha256``: refuse any other file."""
    state = read_state(path)
    actual = sha256_of(path)
    if sha256 is not None and actual != sha256:
        raise UserError(f"{path}: its SHA-256 is {actual}, the suite says {sha256}: another file")
    if "_conv_stem.weight" in state and not name.startswith("timm/tf_"):
        raise UserError(
            f"{path}: made with TensorFlow's padding; in '{name}' it would load and be wrong: use "
            f"'{name.replace('timm/', 'timm/tf_')}'"
        )
    return load_state(backbone, state, path.name, actual, allow_partial)


def probe(backbone: nn.Module, image_size: int) -> str:
    """16 hex digits of the backbone's output on a fixed input: equal weights, equal probe.

    Values are rounded, so that the last digits of another processor's arithmetic do not count.
    """
    ramp = torch.linspace(-1, 1, 2 * 3 * image_size * image_size, dtype=torch.float64)
    images = torch.sin(997 * ramp).float().view(2, 3, image_size, image_size)
    was_training = backbone.training
    backbone.eval()
    parameter = next(backbone.parameters())
    with torch.no_grad():
        maps = backbone(images.to(parameter.device))
    backbone.train(was_training)
    means = [[f"{float(value):.2e}" for value in m.float().mean(dim=(0, 2, 3)).cpu()] for m in maps]
    return hashlib.sha256(json.dumps(means).encode()).hexdigest()[:16]
