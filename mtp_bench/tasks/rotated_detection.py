"""Rotated detection: Oriented R-CNN, judged on whole scenes after the DOTA kit and as mmrotate."""

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

from mtp_bench.datasets import loading
from mtp_bench.datasets.cards.card import Card
from mtp_bench.metrics import merging, rotated_ap
from mtp_bench.metrics.ap import SceneStats, figures
from mtp_bench.metrics.boxes import Detections, corners
from mtp_bench.suite.schema import JobSpec
from mtp_bench.tasks import boxes, judging
from mtp_bench.tasks.detectors import ROTATED_NMS
from mtp_bench.tasks.task import Judged, Scene, Task

KIT, MMROTATE = "mAP_kit", "mAP_mmrotate"


class Stats(NamedTuple):
    """What the two metrics need of a scene."""

    kit: SceneStats
    mmrotate: SceneStats


def settle(card: Card, scene: Scene) -> tuple[Stats | None, Detections]:
    """Merge the tiles; match with the truths where there are any. Kept: quads."""
    found = scene.detections
    if scene.tiles > 1:
        found = merging.merge(found, ROTATED_NMS)
    quads = Detections(corners(found.boxes).reshape(-1, 8), found.labels, found.scores)
    if scene.truths is None:
        return None, quads
    truths, count = boxes.truths_of(scene), len(card.classes)
    kit = rotated_ap.kit_scene(truths, quads, count)
    return Stats(kit, rotated_ap.mmrotate_scene(truths, found, count)), quads


def judge(spec: JobSpec, card: Card, scenes: Sequence[Stats]) -> Judged:
    """Both metrics over all scenes; of validation scenes that were trained on, called so."""
    roles = loading.roles(card, spec.settings.train_on_val)
    seen = "_val_seen" if roles.seen else ""
    kit = figures((scene.kit for scene in scenes), card.classes)
    like_mmrotate = figures((scene.mmrotate for scene in scenes), card.classes)
    here = (card.judged_here or card.primary).name
    means = {f"{KIT}{seen}": kit.mean, f"{MMROTATE}{seen}": like_mmrotate.mean}
    return Judged(
        metrics=judging.known(card, means, here),
        details={
            "scenes": len(scenes),
            f"per_class_{KIT}{seen}": judging.per_class(kit.ap, card.classes),
            f"per_class_{MMROTATE}{seen}": judging.per_class(like_mmrotate.ap, card.classes),
        },
        primary=card.primary.name if roles.server else here,
        awaiting=card.server if roles.server else None,
        warnings=judging.warnings(card, kit.left_out),
    )


TASK = Task(
    partial(boxes.model, kind="rotated"),
    partial(boxes.dataset, kind="rotated"),
    judge,
    boxes.DATA,
    collate="pseudo_collate",
    scope="mmdet",
    settle=settle,
    units="mtp_bench.mm.scenes.Gathering",
    held_back=judging.held_back,
)
