"""Loading a backbone's weights, with a report of what became of every tensor.

Silent partial loads are refused.
"""

import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from mtp_bench.backbones.files import State, read_state, sha256_of
from mtp_bench.errors import UserError

NEEDED_SHARE = 0.9
PREFIXES = ("module.", "backbone.", "encoder.", "inner.")
SHOWN = 6


@dataclass(frozen=True)
class LoadReport:
    """What became of every tensor of a backbone and of a file."""

    source: str
    sha256: str
    matched: tuple[str, ...]
    reshaped: tuple[str, ...]
    """Interpolated to this model's image or patch size, or cut of a class token's position."""
    missing: tuple[str, ...]
    """In the backbone, not in the file: left as they were made."""
    misshapen: tuple[str, ...]
    """In both, with another shape: ``name (file's shape, not backbone's)``."""
    new: tuple[str, ...]
    """Not in the file, and not to be: parts that the recipe does not carry, or that lie idle."""
    unexpected: tuple[str, ...]
    share: float
    """Of the backbone's parameters and statistics, by number of values, without the new ones."""
    partial_allowed: bool

    def summary(self) -> str:
        parts = [f"{self.share:.1%} of the backbone's values from {self.source}"]
        for word in ("reshaped", "misshapen", "missing", "new", "unexpected"):
            names = getattr(self, word)
            if names:
                parts.append(f"{len(names)} {word}: {_listed(names)}")
        return "; ".join(parts)

    def as_json(self) -> dict[str, Any]:
        return {**asdict(self), "matched": len(self.matched)}


def _listed(names: tuple[str, ...]) -> str:
    """Names, or, where they are many, how many there are of each kind."""
    if len(names) <= SHOWN or " " in names[0]:
        return ", ".join(names[:SHOWN]) + (" …" if len(names) > SHOWN else "")
    kinds = Counter(re.sub(r"\.\d+\.", ".*.", name) for name in names)
    if len(kinds) > SHOWN:
        kinds = Counter(f"{name.partition('.')[0]}.*" for name in names)
    shown = [f"{kind} ({n})" if n > 1 else kind for kind, n in kinds.most_common(SHOWN)]
    return ", ".join(shown) + (" …" if len(kinds) > SHOWN else "")


def fit_names(state: State, target: Iterable[str]) -> State:
    """The file's tensors, prefixes of wrappers stripped where that makes more names fit."""
    names, tried = set(target), [state]
    for _ in PREFIXES:
        tried.append({_strip(key): value for key, value in tried[-1].items()})
    return max(tried, key=lambda found: len(names & set(found)))


def _strip(key: str) -> str:
    prefix = next((p for p in PREFIXES if key.startswith(p)), "")
    return key.removeprefix(prefix)


def load_state(
    backbone: nn.Module,
    state: State,
    source: str,
    sha256: str,
    *,
    recipe: str = "",
    allow_partial: bool = False,
) -> LoadReport:
    """Copy what fits into the backbone, and say what did not.

    A backbone may have ``translate(state)`` (other releases' names), ``resize(name, value)`` (other
    image and patch sizes) and ``not_carried(recipe)`` (a pattern of names that a recipe's files
    lack by design).

    Raises:
        UserError: where under 90 % of the backbone's values are covered and that is not allowed by
            name; the backbone is then untouched.
    """
    model: Any = backbone
    values = backbone.state_dict()
    # A file's names → ours: wrappers leave timm's as they are; counters and indices are no weights.
    floats = (name for name, value in values.items() if value.is_floating_point())
    names = {name.removeprefix("inner."): name for name in floats}
    try:
        state = model.translate(state) if hasattr(model, "translate") else state
    except ValueError as error:
        raise UserError(f"{source}: {error}") from None
    fitted = fit_names(state, names)
    taken: State = {}
    reshaped, misshapen = [], []
    for name, own in names.items():
        found = fitted.get(name)
        if found is not None and found.shape != values[own].shape:
            resized = model.resize(name, found) if hasattr(model, "resize") else None
            if resized is None:
                shapes = f"{tuple(found.shape)}, not {tuple(values[own].shape)}"
                misshapen.append(f"{name} ({shapes})")
            else:
                reshaped.append(name)
            found = resized
        if found is not None:
            taken[own] = found
    absent = [name for name in names if name not in fitted]
    lacking = model.not_carried(recipe) if hasattr(model, "not_carried") else None
    new = tuple(n for n in absent if lacking and re.search(lacking, n))
    counted = [own for name, own in names.items() if name not in new]
    share = sum(values[k].numel() for k in taken) / max(1, sum(values[k].numel() for k in counted))
    report = LoadReport(
        source=source,
        sha256=sha256,
        matched=tuple(n for n, own in names.items() if own in taken and n not in reshaped),
        reshaped=tuple(reshaped),
        missing=tuple(n for n in absent if n not in new),
        misshapen=tuple(misshapen),
        new=new,
        unexpected=tuple(n for n in fitted if n not in names and n not in values),
        share=share,
        partial_allowed=allow_partial and share < NEEDED_SHARE,
    )
    if share < NEEDED_SHARE and not allow_partial:
        raise UserError(
            f"{source}: only {report.summary()}; under {NEEDED_SHARE:.0%} is refused, unless the "
            "suite says 'allow_partial: true' at these weights"
        )
    backbone.load_state_dict(taken, strict=False)
    return report


def load_weights(
    backbone: nn.Module,
    path: Path,
    recipe: str,
    *,
    allow_partial: bool = False,
    sha256: str | None = None,
) -> LoadReport:
    """Load a file into a backbone.

    ``recipe``: the stage that made the file (``imp``, ``mae``, ``mtp``, or a name of the user's);
    what its files lack by design is not missing. ``sha256``: refuse any other file.

    Raises:
        UserError: one line, for a file that cannot be used; the backbone is then untouched.
    """
    state = read_state(path)
    actual = sha256_of(path)
    if sha256 is not None and actual != sha256:
        raise UserError(f"{path}: its SHA-256 is {actual}, the suite says {sha256}: another file")
    return load_state(
        backbone, state, path.name, actual, recipe=recipe, allow_partial=allow_partial
    )


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
