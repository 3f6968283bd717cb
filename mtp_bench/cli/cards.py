"""How cards and reports of checks are shown."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mtp_bench.cli.tables import print_table

if TYPE_CHECKING:
    from mtp_bench.datasets.cards.card import Card, Split, Tiles
    from mtp_bench.datasets.check import Report


LEVELS = {"error": "errors", "warning": "warnings", "known": "known in the release"}


def row(card: Card) -> dict[str, Any]:
    """A card in one line."""
    counts = [split.images for split in card.splits.values()]
    return {
        "name": card.name,
        "task": card.task,
        "classes": len(card.classes),
        "images": None if None in counts else sum(filter(None, counts)),
        "metric": card.metric.name if card.metric else None,
        "in pretraining set": ", ".join(o.pretraining for o in card.overlaps) or None,
        "licence": card.licence,
    }


def text(value: Any) -> str:
    """A value of a row."""
    return "-" if value is None else f"{value:,}" if isinstance(value, int) else str(value)


def sections(card: Card) -> list[tuple[str, list[str]]]:
    """A card in full: heads, each with its lines."""
    roles = [f"{role}: {' + '.join(parts)}" for role, parts in card.roles.items()]
    metric = card.metric
    sections = [
        ("classes, in label order", [f"{i:2} {name}" for i, name in enumerate(card.classes)]),
        ("splits of the release", [_split(*pair) for pair in card.splits.items()]),
        ("used as", [*roles, card.split_source]),
        ("metric", [f"{metric.name}, {metric.unit}: {metric.definition}"] if metric else []),
        ("image size of the published protocol", [f"{card.image_size} px"]),
        ("tiles", [_tiles(card.tiles)] if card.tiles else []),
        ("layout as downloaded", card.layout.splitlines()),
        ("source", [card.source]),
        ("licence", [card.licence]),
        ("citation", [card.citation]),
        ("held by pretraining sets", [f"{o.pretraining}: {o.what}" for o in card.overlaps]),
        ("known defects", list(card.defects)),
        ("recognised by data check", [f"{k.kind}: {k.place} ({k.why})" for k in card.known]),
        ("what reading does, where not by default", [f"{k}: {v}" for k, v in card.policy.items()]),
    ]
    return [(head, lines) for head, lines in sections if lines]


def _split(name: str, split: Split) -> str:
    parts = [f"{split.images:,} images" if split.images is not None else "size unknown"]
    parts += [f"{split.objects:,} objects"] if split.objects is not None else []
    parts += [] if split.confirmed else ["as publications say, not confirmed"]
    parts += [] if split.labelled else ["without labels"]
    return f"{name}: {', '.join(parts)}"


def _tiles(tiles: Tiles) -> str:
    scales = ", ".join(f"{scale:g}" for scale in tiles.scales)
    return f"{tiles.size} px, {tiles.gap} px shared by neighbours, at scales {scales}"


def print_report(report: Report, most: int | None) -> None:
    """New defects one by one with their places, ``most`` of a kind; known ones by kind."""
    objects = {split: f" ({count:,} objects)" for split, count in report.objects.items()}
    images = [
        f"{split} {count:,}{objects.get(split, '')}" for split, count in report.images.items()
    ]
    synthetic = " SYNTHETIC miniature" if report.synthetic else ""
    print(f"{report.dataset}: {report.root}{synthetic}: images: {', '.join(images) or 'none'}")
    rows, known, more = [], Counter[tuple[str, str]](), Counter[tuple[str, str]]()
    for finding in report.findings:
        defect = finding.defect
        if finding.level == "known":
            known[defect.kind, finding.why] += 1
            continue
        place = _relative(defect.place, report.root) + (f":{defect.line}" if defect.line else "")
        action = report.actions[defect.kind]
        more[finding.level, defect.kind] += 1
        if most is not None and more[finding.level, defect.kind] > most:
            continue
        rows.append([finding.level, defect.kind, action, place, defect.what])
    for (level, kind), count in more.items():
        if most is not None and count > most:
            rows.append([level, kind, report.actions[kind], f"and {count - most:,} more", "--all"])
    for (kind, why), count in known.items():
        rows.append(["known", kind, report.actions[kind], f"{count:,} times", why])
    if rows:
        print_table(rows, "  ")
    looked = "every image decoded" if report.pixels else "no image decoded (--quick)"
    totals = [f"{report.count(level):,} {word}" for level, word in LEVELS.items()]
    print(f"  {', '.join(totals)}; {looked}")


def _relative(place: Path, root: Path) -> str:
    return place.relative_to(root).as_posix() if place.is_relative_to(root) else str(place)


def report_json(report: Report) -> dict[str, Any]:
    """Everything that a check found."""
    return {
        "dataset": report.dataset,
        "root": str(report.root),
        "synthetic": report.synthetic,
        "images": dict(report.images),
        "objects": dict(report.objects),
        "decoded": report.pixels,
        "findings": [
            {
                "level": finding.level,
                "kind": finding.defect.kind,
                "file": _relative(finding.defect.place, report.root),
                "line": finding.defect.line,
                "what": finding.defect.what,
                "why": finding.why or None,
                "reading": report.actions[finding.defect.kind],
            }
            for finding in report.findings
        ],
    }
