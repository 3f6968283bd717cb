"""The backbone that a pretrain job leaves for other jobs: tensors alone, and what made them."""

import json
from typing import Any

from safetensors.torch import save
from torch import Tensor

from mtp_bench.backbones.files import sha256_of
from mtp_bench.store import faults
from mtp_bench.store.files import whole, write_atomically
from mtp_bench.store.paths import JobPaths


def write(paths: JobPaths, state: dict[str, Tensor], told: dict[str, Any]) -> str:
    """``backbone.safetensors``, then ``meta.json`` with its SHA-256, which is returned."""
    plain = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in state.items()}
    faults.point("artifact.before")
    with whole(paths.artifact, "weights") as stream:
        stream.write(save(plain))
    faults.point("artifact.between")
    digest = sha256_of(paths.artifact)
    write_atomically(paths.meta, json.dumps({**told, "sha256": digest}, indent=1))
    return digest
