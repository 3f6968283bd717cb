"""Assignment of priors to truths whose memory does not grow with the number of truths.

A config names it in place of mmdet's ``MaxIoUAssigner``, with the same options:

    "assigner": {"type": "mtp_bench.mm.assigning.ChunkedAssigner", "pos_iou_thr": 0.7, ...}

The overlaps of one dense picture, 87,000 anchors with 2,000 truths, take gigabytes, most of them
the calculator's own; computed a chunk of priors at a time they take a fixed share, on the device
where they are, and the assignment is equal to the last bit.
"""

import copy
from typing import Any

import torch
from mmdet.models.task_modules.assigners import AssignResult, MaxIoUAssigner
from mmengine.structures import InstanceData
from torch import Tensor

LIMIT = 2**18
"""Overlaps held at once; a calculator's own tensors take some 40 bytes for each."""
ON_GPU = 64
"""So many times as many there, where it is the calls that take the time."""


class ChunkedAssigner(MaxIoUAssigner):
    """mmdet's assigner, in chunks of priors where the overlaps are more than ``LIMIT``.

    In chunks nothing moves to the CPU, whatever ``gpu_assign_thr``. Truths to ignore
    (``ignore_iof_thr`` > 0) and ``perm_repeat_gt_cfg`` are left to mmdet, all at once.
    """

    def assign(
        self,
        pred_instances: InstanceData,
        gt_instances: InstanceData,
        gt_instances_ignore: InstanceData | None = None,
        **kwargs: Any,
    ) -> AssignResult:
        """As ``MaxIoUAssigner.assign``: equal truths (1-based), overlaps and labels of n priors."""
        truths, priors = gt_instances.bboxes, pred_instances.priors
        ignored = 0 if gt_instances_ignore is None else len(gt_instances_ignore.bboxes)
        whole = self.perm_repeat_gt_cfg is not None or (self.ignore_iof_thr > 0 and ignored > 0)
        limit = LIMIT * (ON_GPU if priors.device.type == "cuda" else 1)
        if whole or len(truths) * len(priors) <= limit:
            return super().assign(pred_instances, gt_instances, gt_instances_ignore, **kwargs)
        size = max(1, limit // len(truths))
        chunks = [priors[start : start + size] for start in range(0, len(priors), size)]
        result, best = self._by_prior(truths, gt_instances.labels, chunks)
        if self.match_low_quality:
            truth = self._by_truth(truths, chunks, *best)
            result.gt_inds = torch.where(truth > 0, truth, result.gt_inds)
            labels = gt_instances.labels[truth - 1].to(result.labels)
            result.labels = torch.where(truth > 0, labels, result.labels)
        return result

    def _by_prior(
        self, truths: Any, labels: Tensor, chunks: list[Any]
    ) -> tuple[AssignResult, tuple[Tensor, Tensor]]:
        """What each prior is by its own best truth; each truth's best overlap and its prior."""
        plain = copy.copy(self)
        plain.match_low_quality = False

        def one(chunk: Any) -> tuple[AssignResult, Tensor, Tensor]:
            overlaps = self.iou_calculator(truths, chunk)
            return plain.assign_wrt_overlaps(overlaps, labels), *overlaps.max(dim=1)

        parts, maxima, places = zip(*map(one, chunks), strict=True)
        # Of equal overlaps the first counts: of the first chunk, and there the first.
        maximum, chunk = torch.stack(maxima).max(dim=0)
        place = torch.stack(places).gather(0, chunk[None])[0] + chunk * len(chunks[0])
        inds, overlaps, given = (
            torch.cat([getattr(part, name) for part in parts])
            for name in ("gt_inds", "max_overlaps", "labels")
        )
        return AssignResult(len(truths), inds, overlaps, given), (maximum, place)

    def _by_truth(self, truths: Any, chunks: list[Any], maximum: Tensor, place: Tensor) -> Tensor:
        """The last truth (1-based) of which each prior is a best one; 0 where it is of none."""
        numbers = torch.arange(1, len(truths) + 1, device=maximum.device)
        good = maximum >= self.min_pos_iou
        if not self.gt_max_assign_all:
            found = numbers.new_zeros(sum(map(len, chunks)))
            return found.scatter_reduce_(0, place[good], numbers[good], reduce="amax")
        # Computed again rather than kept, and from the same operands, so that equal stays equal.
        wanted = torch.where(good, maximum, torch.inf)[:, None]
        rows = numbers.int()[:, None]

        def one(chunk: Any) -> Tensor:
            overlaps: Tensor = self.iou_calculator(truths, chunk)
            return ((overlaps == wanted) * rows).amax(dim=0)

        return torch.cat([one(chunk) for chunk in chunks]).long()
