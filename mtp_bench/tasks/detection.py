"""Horizontal detection: Faster R-CNN or RetinaNet, judged by COCO's and VOC's average precision."""

from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

from mtp_bench.datasets.cards.card import Card
from mtp_bench.metrics.ap import SceneStats, figures
from mtp_bench.metrics.boxes import Detections
from mtp_bench.metrics.horizontal_ap import CocoScene, coco_figures, coco_scene, voc_scene
from mtp_bench.suite.schema import JobSpec
from mtp_bench.tasks import boxes, judging
from mtp_bench.tasks.task import Judged, Scene, Task

DETAILS = ("AR@1", "AR@10")
"""Of COCO's figures those that do not stand in the record itself."""


class Stats(NamedTuple):
    """What the metrics need of a picture or tile."""

    shown: bool
    """Whether it has any object: tiles without are left out of the published figures."""
    coco: CocoScene
    voc: SceneStats


def settle(card: Card, scene: Scene) -> tuple[Stats | None, Detections]:
    """Tiles are judged one by one, as published: there is nothing to merge."""
    found = scene.detections
    if scene.truths is None:
        return None, found
    truths = boxes.truths_of(scene)
    voc = voc_scene(truths, found, len(card.classes))
    return Stats(len(truths.labels) > 0, coco_scene(truths, found), voc), found


def judge(spec: JobSpec, card: Card, scenes: Sequence[Stats]) -> Judged:
    """COCO's figures and VOC's; of tiles on those with objects, as published, and beside it all."""
    del spec
    shown = [scene for scene in scenes if scene.shown] if card.tiles else scenes
    coco = coco_figures((scene.coco for scene in shown), card.classes)
    metrics = {name: value for name, value in coco.mean.items() if name not in DETAILS}
    details: dict[str, Any] = {"scenes": len(shown)}
    details |= {name: coco.mean[name] for name in DETAILS if coco.mean[name] == coco.mean[name]}
    if card.tiles:
        every = coco_figures((scene.coco for scene in scenes), card.classes).mean
        metrics["AP50_all_tiles"] = every["AP50"]
        details["scenes_all_tiles"] = len(scenes)
    voc = [scene.voc for scene in shown]
    metrics["mAP_voc07"] = figures(voc, card.classes).mean
    metrics["mAP_voc_area"] = figures(voc, card.classes, eleven_points=False).mean
    per_class = {
        f"per_class_{name}": judging.per_class(values, card.classes)
        for name, values in coco.per_class.items()
    }
    absent = [name for name, value in per_class["per_class_AP50"].items() if value is None]
    return Judged(
        metrics=judging.known(card, metrics, card.primary.name),
        details=details | per_class,
        primary=card.primary.name,
        warnings=judging.warnings(card, absent),
    )


TASK = Task(
    partial(boxes.model, kind="horizontal"),
    partial(boxes.dataset, kind="horizontal"),
    judge,
    boxes.DATA,
    collate="pseudo_collate",
    scope="mmdet",
    settle=settle,
    units="mtp_bench.mm.scenes.Gathering",
)
