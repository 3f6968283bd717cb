"""What there is: name → Entry, one dict literal each, imported lazily.

Third parties add through one entry-point group.

An entry without a target is planned for and not part of this version: a plan lists its jobs, and
says that the code is missing. Facts are what planning needs to know, so that it needs neither
torch nor data.
"""

import importlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib import metadata, util
from pathlib import Path
from typing import Any

from mtp_bench.errors import UserError, nearest
from mtp_bench.suite.schema import JobSpec


@dataclass(frozen=True)
class Entry:
    """Where a thing lies (``module:attr``) and what is known of it beforehand."""

    target: str | None
    facts: Mapping[str, Any] = field(default_factory=dict)


def _dataset(card: str, task: str, folder: str, source: str, part: str | None = None) -> Entry:
    """``folder`` under the data root; ``part`` of it, where several datasets share it."""
    facts = {"task": task, "folder": folder, "source": source}
    target = f"mtp_bench.datasets.cards.{card}"
    return Entry(target, facts if part is None else {**facts, "part": part})


_DIOR = "https://gcheng-nwpu.github.io/"
_DOTA = "https://captain-whu.github.io/DOTA/"
_SAMRS = "https://github.com/ViTAE-Transformer/SAMRS"

DATASETS: dict[str, Entry] = {
    "EuroSAT": _dataset(
        "eurosat:CARD",
        "classification",
        "EuroSAT",
        "EuroSAT_RGB.zip of https://zenodo.org/records/7711810",
    ),
    "RESISC45": _dataset(
        "resisc45:CARD", "classification", "RESISC45", f"NWPU-RESISC45.rar of {_DIOR}"
    ),
    "xView": _dataset("xview:CARD", "detection", "xView", "https://challenge.xviewdataset.org"),
    "DIOR": _dataset("dior:CARD", "detection", "DIOR", _DIOR),
    "DIOR-R": _dataset("dior_r:CARD", "rotated_detection", "DIOR", _DIOR),
    "FAIR1M-2.0": _dataset(
        "fair1m:CARD", "rotated_detection", "FAIR1M-2.0", "https://gaofen-challenge.com"
    ),
    "DOTA-v1.0": _dataset("dota_v1:CARD", "rotated_detection", "DOTA-v1.0", _DOTA),
    "DOTA-v2.0": _dataset("dota_v2:CARD", "rotated_detection", "DOTA-v2.0", _DOTA),
    "SpaceNet-v1": _dataset(
        "spacenet_v1:CARD",
        "segmentation",
        "SpaceNet-v1",
        "s3://spacenet-dataset/spacenet/SN1_buildings",
    ),
    "LoveDA": _dataset(
        "loveda:CARD", "segmentation", "LoveDA", "https://zenodo.org/records/5706578"
    ),
    "OSCD": _dataset("oscd:CARD", "change_detection", "OSCD", "https://rcdaudt.github.io/oscd/"),
    "WHU-CD": _dataset(
        "whu_cd:CARD",
        "change_detection",
        "WHU-CD",
        "https://gpcv.whu.edu.cn/data/building_dataset.html",
    ),
    "LEVIR-CD": _dataset(
        "levir_cd:CARD", "change_detection", "LEVIR-CD", "https://justchenhao.github.io/LEVIR/"
    ),
    "SVCD": _dataset(
        "svcd:CARD", "change_detection", "SVCD", "ChangeDetectionDataset.rar (Lebedev et al., 2018)"
    ),
    "SOTA-RBB": _dataset("samrs:SOTA_RBB", "pretraining", "SAMRS", _SAMRS, "dotav2_1024_rbb"),
    "SIOR": _dataset("samrs:SIOR", "pretraining", "SAMRS", _SAMRS, "dior"),
    "FAST": _dataset("samrs:FAST", "pretraining", "SAMRS", _SAMRS, "fair1m_1024"),
    "Million-AID": _dataset(
        "million_aid:CARD", "pretraining", "Million-AID", "https://captain-whu.github.io/DiRS/"
    ),
    "SAMRS": Entry(
        None,
        {
            "task": "pretraining",
            "folder": "SAMRS",
            "source": _SAMRS,
            "parts": ("SOTA-RBB", "SIOR", "FAST"),
        },
    ),
}
"""``SAMRS`` is the three sets SOTA-RBB, SIOR and FAST together, as the recipe ``mtp`` uses them."""


def _rvsa(millions: float, width: int, weights: str) -> Entry:
    facts = {"parameters": millions, "channels": (width,) * 4, "weights": weights}
    return Entry("mtp_bench.backbones.rvsa:create", {**facts, "strides": (4, 8, 16, 32)})


def _internimage(millions: float, first: int, weights: str) -> Entry:
    channels = tuple(first * 2**stage for stage in range(4))
    facts = {"parameters": millions, "channels": channels, "weights": weights, "masked": False}
    return Entry("mtp_bench.backbones.internimage:create", {**facts, "strides": (4, 8, 16, 32)})


BACKBONES: dict[str, Entry] = {
    "timm/": Entry("mtp_bench.backbones.timm_pyramid:create", {"family": True, "weights": "imp"}),
    "vit_t_rvsa": _rvsa(1.11, 128, ""),
    "vit_s_rvsa": _rvsa(23.6, 384, ""),
    "vit_b_rvsa": _rvsa(93.3, 768, "mae, mae+mtp"),
    "vit_l_rvsa": _rvsa(317.6, 1024, "mae, mae+mtp"),
    "internimage_pico": _internimage(0.41, 16, ""),
    "internimage_t": _internimage(28.8, 64, "imp"),
    "internimage_s": _internimage(48.5, 80, "imp"),
    "internimage_b": _internimage(94.9, 112, "imp"),
    "internimage_l": _internimage(219.0, 160, "imp"),
    "internimage_xl": _internimage(329.0, 192, "imp, imp+mtp"),
}
"""A name that ends in '/' is a family: ``timm/<any timm model>``.

``parameters`` in millions (for a ViT at 224 px with its pyramid), ``weights``: the recipes that
released files are known for.
"""

RECIPES: dict[str, Entry] = {
    "scratch": Entry("mtp_bench.recipes.scratch:prepare", {"first": True}),
    "imp": Entry("mtp_bench.recipes.imp:prepare", {"first": True}),
    "mae": Entry("mtp_bench.recipes.mae:TASK", {"first": True, "runs_on": "Million-AID"}),
    "mtp": Entry("mtp_bench.recipes.mtp:TASK", {"runs_on": "SAMRS"}),
}
"""Stages. ``runs_on``: the dataset of the stage's own training, whose ``Task`` is the target;
without it, loaded only."""

TASKS: dict[str, Entry] = {
    "classification": Entry(
        "mtp_bench.tasks.classification:TASK", {"short": "scene classification"}
    ),
    "detection": Entry("mtp_bench.tasks.detection:TASK", {"short": "horizontal detection"}),
    "rotated_detection": Entry(
        "mtp_bench.tasks.rotated_detection:TASK", {"short": "rotated detection"}
    ),
    "segmentation": Entry("mtp_bench.tasks.segmentation:TASK", {"short": "semantic segmentation"}),
    "change_detection": Entry(
        "mtp_bench.tasks.change_detection:TASK", {"short": "change detection"}
    ),
}

FORMATS: dict[str, Entry] = {
    "terminal": Entry("mtp_bench.report.to_terminal:render"),
    "markdown": Entry("mtp_bench.report.to_markdown:render", {"suffix": "md"}),
    "csv": Entry("mtp_bench.report.to_csv:render", {"suffix": "csv"}),
    "json": Entry("mtp_bench.report.to_json:render", {"suffix": "json"}),
}

PROTOCOLS: tuple[str, ...] = ("paper", "demo")

KINDS: dict[str, dict[str, Entry]] = {
    "dataset": DATASETS,
    "backbone": BACKBONES,
    "recipe stage": RECIPES,
    "task": TASKS,
    "format": FORMATS,
}

ENTRY_POINTS = "mtp_bench.catalog"
"""An entry point is named ``kind/name``, e.g. ``dataset/MySet``, and its value is an ``Entry``."""


@cache
def plugins() -> dict[tuple[str, str], metadata.EntryPoint]:
    """Entry points of installed packages, by kind and name; an unknown kind is an error."""
    found: dict[tuple[str, str], metadata.EntryPoint] = {}
    for point in metadata.entry_points(group=ENTRY_POINTS):
        kind, _, name = point.name.partition("/")
        if kind not in KINDS or not name:
            raise UserError(
                f"plug-in {point.name!r} ({point.value}): the name must be kind/name, kind one of: "
                f"{', '.join(KINDS)}"
            )
        if name in KINDS[kind] or (kind, name) in found:
            raise UserError(f"plug-in {point.name!r} ({point.value}): this name is taken")
        found[kind, name] = point
    return found


def _plugin_entry(point: metadata.EntryPoint) -> Entry:
    """A plug-in is its Entry: it must say the same facts as ours."""
    entry = point.load()
    if not isinstance(entry, Entry):
        raise UserError(f"plug-in {point.name!r} ({point.value}) is not a mtp_bench.catalog.Entry")
    return entry


def names(kind: str) -> list[str]:
    """All names of a kind, ours first."""
    return [*KINDS[kind], *(name for k, name in plugins() if k == kind)]


def find(kind: str, name: str) -> Entry:
    """The entry of a name. ``UserError`` with the nearest name where there is none."""
    table = KINDS[kind]
    if name in table and not name.endswith("/"):
        return table[name]
    family = name.partition("/")[0] + "/"
    if "/" in name and family in table:
        _check_member(kind, family, name)
        return table[family]
    if (kind, name) in plugins():
        return _plugin_entry(plugins()[kind, name])
    known = [f"{n}<model>" if n.endswith("/") else n for n in names(kind)]
    raise UserError(f"unknown {kind} '{name}': {nearest(name, known)}")


def _check_member(kind: str, family: str, name: str) -> None:
    known = timm_names()
    plain = name.removeprefix(family).partition(".")[0]
    if known and plain not in known:
        hint = nearest(name, [family + model for model in sorted(known)])
        hint = hint if hint.startswith("did") else "see timm.list_models()"
        raise UserError(f"unknown {kind} '{name}': {hint}")


@cache
def timm_names() -> frozenset[str]:
    """Names of timm's models, read from its source without importing it; empty without timm."""
    spec = util.find_spec("timm")
    if spec is None or not spec.submodule_search_locations:
        return frozenset()
    pattern = re.compile(r"@register_model\s+def\s+(\w+)\(")
    found: set[str] = set()
    for path in Path(spec.submodule_search_locations[0], "models").glob("*.py"):
        found.update(pattern.findall(path.read_text(encoding="utf-8")))
    return frozenset(found)


def has_code(kind: str, name: str) -> bool:
    """Whether this version has the code of a name, or of all the parts that it stands for."""
    entry = find(kind, name)
    parts: tuple[str, ...] = entry.facts.get("parts", ())
    return entry.target is not None or (bool(parts) and all(has_code(kind, p) for p in parts))


def load(kind: str, name: str) -> Any:
    """Import what a name stands for."""
    entry = find(kind, name)
    if entry.target is None:
        raise UserError(f"{kind} '{name}' is not part of this version of mtp-bench")
    return resolve(entry.target)


def training_of(spec: JobSpec) -> Any:
    """The ``Task`` that a job trains: of a pretrain job its stage's."""
    return load("recipe stage", spec.stage) if spec.stage else load("task", spec.task)


def resolve(target: str) -> Any:
    """Import ``module:attr``."""
    module, _, attribute = target.partition(":")
    return getattr(importlib.import_module(module), attribute)
