"""What a report says of pretraining: what its jobs were, what they cost, what they have seen."""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from mtp_bench import catalog
from mtp_bench.datasets.cards.card import Card
from mtp_bench.store.records import Record
from mtp_bench.suite.schema import Stage

UNSEEN, TRAIN, EVALUATION = 0, 1, 2
SEEN = {UNSEEN: "none", TRAIN: "train", EVALUATION: "evaluation"}
MARKS = {UNSEEN: "", TRAIN: " †", EVALUATION: " ‡"}
MEANINGS = {
    TRAIN: "† its pretraining has seen training images of the dataset",
    EVALUATION: "‡ its pretraining has seen the images that it is judged on: never the best of a "
    "column; 'exclude: val' leaves such images out of mtp",
}
GIB = 2**30
HEAD = "Pretraining in {}, which the costs above leave out"


def seen(card: Card | None, record: Record, pretrained: Mapping[str, Record]) -> int:
    """What a finished job's pretraining has seen of its dataset.

    Renderings share no picture. A stage from a file, or one whose record is not there, is taken to
    have seen all that its sets hold.
    """
    if card is None or record.synthetic:
        return UNSEEN
    here = card.judged_here
    on_val = record.awaiting is None and here is not None and record.primary == here.name
    found = UNSEEN
    for stage in record.spec.stages:
        made = pretrained.get(stage.pretrain or "")
        sets, parts, excluded = _read_by(stage, made)
        for overlap in card.overlaps:
            if overlap.pretraining in sets and (not overlap.part or overlap.part in parts):
                judged = overlap.judged and on_val and not excluded
                found = max(found, EVALUATION if judged else TRAIN)
    return found


def _read_by(stage: Stage, made: Record | None) -> tuple[set[str], set[str], bool]:
    """The sets that a stage was trained on, their parts, and whether validation was left out."""
    if made is None:
        # A variant of a stage has a name of the user's: its job's id tells the data.
        ours = (catalog.RECIPES.get(name) for name in stage.name.split("+"))
        sets = {str(entry.facts["runs_on"]) for entry in ours if entry and "runs_on" in entry.facts}
        if f"{stage.pretrain}".startswith("pretrain-samrs-") or "+mtp" in f"+{stage.name}":
            sets.add("SAMRS")
        parts = {p for name in sets for p in catalog.DATASETS[name].facts.get("parts", ())}
        return sets, parts, False
    mtp = made.spec.settings.mtp
    return {made.spec.dataset}, set(mtp.subsets if mtp else ()), bool(mtp and mtp.exclude == "val")


def conflict_of(records: Path, job: str) -> dict[str, Any]:
    """How the heads of a pretraining agreed, where that was looked at."""
    try:
        details = json.loads((records / f"{job}.details.json").read_bytes())
    except (OSError, ValueError):
        return {}
    return dict(details.get("conflict") or {})


def line(record: Record, users: int, conflict: Mapping[str, Any]) -> dict[str, Any]:
    """A pretrain job, for other programs."""
    spec, rate = record.spec, record.throughput.train_images_per_s
    length = spec.settings.length
    mae, mtp = spec.settings.mae, spec.settings.mtp
    return {
        "job": record.job,
        **{key: getattr(spec, key) for key in ("backbone", "recipe", "stage", "seed")},
        "data": (mae.folder if mae else None) or spec.dataset,
        "parts": list(mtp.subsets) if mtp else None,
        "heads": list(mtp.heads) if mtp else None,
        "exclude": mtp.exclude if mtp else None,
        "length": length.model_dump(exclude_none=True),
        "metrics": {name: metric.value for name, metric in record.metrics.items()},
        "train_images_per_s": rate.median if rate else None,
        "peak_memory_bytes": record.memory.peak_bytes,
        "memory_kind": record.memory.kind,
        "gpu_hours": record.compute.gpu_hours,
        "wall_hours": record.compute.wall_hours,
        "used_by": users,
        "synthetic": record.synthetic,
        "conflict": dict(conflict) or None,
    }


def texts(lines: Sequence[Mapping[str, Any]]) -> Iterable[str]:
    """One line a job, for people, and one where its heads were looked at."""
    for job in lines:
        span = ", ".join(f"{count:,} {unit}" for unit, count in job["length"].items())
        figures = ", ".join(f"{name} {value:.4g}" for name, value in job["metrics"].items())
        rate = job["train_images_per_s"]
        spent = f"{job['gpu_hours']:.2g} GPU-h" if job["gpu_hours"] else ""
        costs = [
            f"{rate:,.1f} images/s" if rate else "",
            f"{job['peak_memory_bytes'] / GIB:.2f} GiB {job['memory_kind']}",
            spent or f"{job['wall_hours']:.2g} CPU wall-h",
        ]
        some = [f"{what}: {' + '.join(job[what])}" for what in ("parts", "heads") if job[what]]
        label = " (synthetic)" if job["synthetic"] else ""
        where = f"{job['data']}{label}, {span}"
        told = "; ".join([where, *some, figures, ", ".join(filter(None, costs))])
        users = f"{job['used_by']} job{'s' * (job['used_by'] != 1)}"
        yield f"{job['backbone']} {job['recipe']}: {told}; used by {users}"
        if job["conflict"]:
            norms, cosines = (_means(job["conflict"], kind) for kind in ("gradient_norm", "cosine"))
            agree = f"; cosines {cosines}" if cosines else ""
            yield (
                f"{job['backbone']} {job['recipe']}: gradients of the encoder by head, mean (first "
                f"to last): norms {norms}{agree}"
            )


def _means(conflict: Mapping[str, Any], kind: str) -> str:
    rows = conflict.get(kind) or {}
    return ", ".join(
        f"{name} {row['mean']:.3g} ({row['first']:.3g} to {row['last']:.3g})"
        for name, row in rows.items()
    )
