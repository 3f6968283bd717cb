"""Reading a weights file: its tensors, and nothing in it that could run."""

import argparse
import hashlib
import pickle
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mtp_bench.errors import UserError

State = dict[str, torch.Tensor]

WRAPPERS = ("state_dict", "model", "model_state", "model_state_dict")
_RECONSTRUCT = np._core.multiarray._reconstruct  # type: ignore[attr-defined]
_SCALAR = np._core.multiarray.scalar  # type: ignore[attr-defined]
ALLOWED: list[Any] = [
    argparse.Namespace,
    np.ndarray,
    np.dtype,
    np.dtypes.Float64DType,
    *((_RECONSTRUCT, f"numpy.{core}.multiarray._reconstruct") for core in ("core", "_core")),
    *((_SCALAR, f"numpy.{core}.multiarray.scalar") for core in ("core", "_core")),
]
"""What the released files hold besides tensors, none of which runs code of a file's own: MAE's
arguments, and MTP's losses as NumPy arrays (whose module NumPy 2 renamed)."""


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
        flat = tensor.detach().cpu().contiguous().view(-1)
        digest.update(flat.view(torch.uint8).numpy().tobytes())
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
        with torch.serialization.safe_globals(ALLOWED):
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
