"""Sampling of anchors and regions that depends on the picture alone.

A config names it in place of mmdet's ``RandomSampler``, with the same options:

    "sampler": {"type": "mtp_bench.mm.sampling.SeededSampler", "num": 256, ...}

The picture's number is ``gt_instances.metainfo["draw"]``, put there by the dataset. With it, a
batch of four in one process and two batches of two in two processes sample the same regions, and
a resumed run those of an undisturbed one.
"""

from typing import Any

from mmdet.models.task_modules.assigners import AssignResult
from mmdet.models.task_modules.samplers import RandomSampler, SamplingResult
from mmengine.structures import InstanceData

from mtp_bench.mm.draws import seeded


class SeededSampler(RandomSampler):
    """mmdet's sampler with a generator of its own for each picture; mmdet's where none is named."""

    def sample(
        self,
        assign_result: AssignResult,
        pred_instances: InstanceData,
        gt_instances: InstanceData,
        **kwargs: Any,
    ) -> SamplingResult:
        """As ``RandomSampler.sample``; mmdet permutes on the CPU whatever the boxes' device."""
        draw = gt_instances.metainfo.get("draw")
        if draw is None:
            return super().sample(assign_result, pred_instances, gt_instances, **kwargs)
        with seeded(draw):
            return super().sample(assign_result, pred_instances, gt_instances, **kwargs)
