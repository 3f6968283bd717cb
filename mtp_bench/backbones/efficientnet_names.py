"""Weights of EfficientNet-PyTorch (lukemelas) under timm's names."""

from collections.abc import Iterable

from mtp_bench.backbones.files import State

TOP = {"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2"}
TOP |= {"_fc": "classifier"}
SQUEEZE = {"_se_reduce": "se.conv_reduce", "_se_expand": "se.conv_expand"}
PLAIN = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
EXPANDING = {"_expand_conv": "conv_pw", "_bn0": "bn1", "_depthwise_conv": "conv_dw", "_bn1": "bn2"}
EXPANDING |= {"_project_conv": "conv_pwl", "_bn2": "bn3"}


def from_efficientnet_pytorch(state: State, target: Iterable[str]) -> State:
    """Names of EfficientNet-PyTorch (flat block numbers) to timm's (stage.block)."""
    blocks = sorted(
        {tuple(int(n) for n in k.split(".")[1:3]) for k in target if k.startswith("blocks.")}
    )
    renamed: State = {}
    for key, value in state.items():
        first, _, rest = key.partition(".")
        if first != "_blocks":
            renamed[f"{TOP.get(first, first)}.{rest}"] = value
            continue
        number, part, leaf = rest.split(".", 2)
        expands = f"_blocks.{number}._expand_conv.weight" in state
        place = (
            ".".join(map(str, blocks[int(number)])) if int(number) < len(blocks) else f"?.{number}"
        )
        names = SQUEEZE | (EXPANDING if expands else PLAIN)
        renamed[f"blocks.{place}.{names.get(part, part)}.{leaf}"] = value
    return renamed
