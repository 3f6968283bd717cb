"""Detectors around a backbone as MTP's release configures them, as plain configs.

Faster R-CNN and RetinaNet are mmdet's (``Horizontal_Detection/configs/mtp``), Oriented R-CNN is
mmrotate's (``Rotated_Detection/mmrotate1.x/configs/mtp``). Sizes that a protocol may change stand
in ``suite.schema.Detector``; what is written here is the same in all published cells.
"""

from collections.abc import Callable, Sequence

from mtp_bench.suite.protocol import Detector
from mtp_bench.tasks.task import Config

STRIDES = (4, 8, 16, 32, 64)
RATIOS = (0.5, 1.0, 2.0)
SCORE = 0.05
FIRST_KEPT, LAST_KEPT = 2000, 1000
"""Proposals of Faster R-CNN for each level before, and for each image after suppression."""
ROTATED_NMS = 0.1


def _anchors(detector: Detector) -> Config:
    return {
        "type": "mmdet.AnchorGenerator",
        "scales": [detector.anchor_scale],
        "ratios": list(RATIOS),
        "strides": list(STRIDES),
    }


def _assigner(positive: float, negative: float, least: float, iou: str, *, low: bool) -> Config:
    return {
        "type": "mtp_bench.mm.assigning.ChunkedAssigner",
        "pos_iou_thr": positive,
        "neg_iou_thr": negative,
        "min_pos_iou": least,
        "match_low_quality": low,
        "ignore_iof_thr": -1,
        "iou_calculator": {"type": iou},
    }


def _sampler(count: int, share: float, *, truths: bool) -> Config:
    return {
        "type": "mtp_bench.mm.sampling.SeededSampler",
        "num": count,
        "pos_fraction": share,
        "neg_pos_ub": -1,
        "add_gt_as_proposals": truths,
    }


def _delta(stds: Sequence[float]) -> Config:
    means = [0.0] * len(stds)
    kind = "mmdet.DeltaXYWHBBoxCoder"
    return {"type": kind, "target_means": means, "target_stds": list(stds)}


def _cross_entropy(*, sigmoid: bool) -> Config:
    return {"type": "mmdet.CrossEntropyLoss", "use_sigmoid": sigmoid, "loss_weight": 1.0}


L1: Config = {"type": "mmdet.L1Loss", "loss_weight": 1.0}


def _smooth(beta: float) -> Config:
    return {"type": "mmdet.SmoothL1Loss", "beta": beta, "loss_weight": 1.0}


def _pyramid(detector: Detector, **more: object) -> Config:
    """``in_channels`` is the backbone's, once it is built."""
    return {"type": "mmdet.FPN", "out_channels": detector.channels, "num_outs": 5, **more}


def _rpn_training(detector: Detector, iou: str, border: int) -> Config:
    return {
        "assigner": _assigner(0.7, 0.3, 0.3, iou, low=True),
        "sampler": _sampler(detector.anchors, 0.5, truths=False),
        "allowed_border": border,
        "pos_weight": -1,
        "debug": False,
    }


def _rcnn_training(detector: Detector, iou: str) -> Config:
    return {
        "assigner": _assigner(0.5, 0.5, 0.5, iou, low=False),
        "sampler": _sampler(detector.rois, 0.25, truths=True),
        "pos_weight": -1,
        "debug": False,
    }


def _proposals(before: int, after: int, nms: float) -> Config:
    suppression = {"type": "nms", "iou_threshold": nms}
    return {"nms_pre": before, "max_per_img": after, "nms": suppression, "min_bbox_size": 0}


def _rois(detector: Detector, kind: str, layer: Config) -> Config:
    return {
        "type": kind,
        "roi_layer": layer,
        "out_channels": detector.channels,
        "featmap_strides": list(STRIDES[:4]),
        # A RoI as large as the smallest anchors' level expects: 56 px at the published scale of 8.
        "finest_scale": 7 * detector.anchor_scale,
    }


def faster_rcnn(detector: Detector, classes: int) -> Config:
    """DIOR's."""
    before, after = detector.proposals or FIRST_KEPT, detector.proposals or LAST_KEPT
    iou = "mmdet.BboxOverlaps2D"
    roi_layer = {"type": "RoIAlign", "output_size": detector.roi_size, "sampling_ratio": 0}
    return {
        "type": "mmdet.FasterRCNN",
        "neck": _pyramid(detector),
        "rpn_head": {
            "type": "mmdet.RPNHead",
            "in_channels": detector.channels,
            "feat_channels": detector.channels,
            "anchor_generator": _anchors(detector),
            "bbox_coder": _delta([1.0] * 4),
            "loss_cls": _cross_entropy(sigmoid=True),
            "loss_bbox": L1,
        },
        "roi_head": {
            "type": "mmdet.StandardRoIHead",
            "bbox_roi_extractor": _rois(detector, "mmdet.SingleRoIExtractor", roi_layer),
            "bbox_head": {
                "type": "mmdet.Shared2FCBBoxHead",
                "in_channels": detector.channels,
                "fc_out_channels": detector.fc_channels,
                "roi_feat_size": detector.roi_size,
                "num_classes": classes,
                "bbox_coder": _delta([0.1, 0.1, 0.2, 0.2]),
                "reg_class_agnostic": False,
                "loss_cls": _cross_entropy(sigmoid=False),
                "loss_bbox": L1,
            },
        },
        "train_cfg": {
            "rpn": _rpn_training(detector, iou, border=-1),
            "rpn_proposal": _proposals(before, after, 0.7),
            "rcnn": _rcnn_training(detector, iou),
        },
        "test_cfg": {
            "rpn": _proposals(min(before, LAST_KEPT), after, 0.7),
            "rcnn": {
                "score_thr": SCORE,
                "nms": {"type": "nms", "iou_threshold": 0.5},
                "max_per_img": 100,
            },
        },
    }


def mask_rcnn(detector: Detector, classes: int, mask_size: int, convs: int) -> Config:
    """That of multi-task pretraining: DIOR's Faster R-CNN with masks.

    ``Multi-Task_Pretrain/instance_segmentation/mask_rcnn.py``; there a RoI that is the best of a
    truth counts although it overlaps little.
    """
    found = faster_rcnn(detector, classes)
    roi_layer = {"type": "RoIAlign", "output_size": mask_size, "sampling_ratio": 0}
    head = {
        "type": "mmdet.FCNMaskHead",
        "num_convs": convs,
        "in_channels": detector.channels,
        "conv_out_channels": detector.channels,
        "num_classes": classes,
        "loss_mask": {"type": "mmdet.CrossEntropyLoss", "use_mask": True, "loss_weight": 1.0},
    }
    extractor = _rois(detector, "mmdet.SingleRoIExtractor", roi_layer)
    found["type"] = "mmdet.MaskRCNN"
    found["roi_head"] |= {"mask_roi_extractor": extractor, "mask_head": head}
    found["train_cfg"]["rcnn"] |= {
        "assigner": _assigner(0.5, 0.5, 0.5, "mmdet.BboxOverlaps2D", low=True),
        "mask_size": 2 * mask_size,
    }
    found["test_cfg"]["rcnn"] |= {"mask_thr_binary": 0.5}
    return found


def retinanet(detector: Detector, classes: int) -> Config:
    """That of xView. It divides its loss by the positives of a process's own images."""
    return {
        "type": "mmdet.RetinaNet",
        "neck": _pyramid(detector, start_level=1, add_extra_convs="on_input"),
        "bbox_head": {
            "type": "mmdet.RetinaHead",
            "num_classes": classes,
            "in_channels": detector.channels,
            "stacked_convs": 4,
            "feat_channels": detector.channels,
            "anchor_generator": {
                "type": "mmdet.AnchorGenerator",
                "octave_base_scale": 4,
                "scales_per_octave": 3,
                "ratios": list(RATIOS),
                "strides": [2 * stride for stride in STRIDES],
            },
            "bbox_coder": _delta([1.0] * 4),
            "loss_cls": {
                "type": "mmdet.FocalLoss",
                "use_sigmoid": True,
                "gamma": 2.0,
                "alpha": 0.25,
                "loss_weight": 1.0,
            },
            "loss_bbox": L1,
        },
        "train_cfg": {
            "assigner": _assigner(0.5, 0.4, 0.0, "mmdet.BboxOverlaps2D", low=True),
            "sampler": {"type": "mmdet.PseudoSampler"},
            "allowed_border": -1,
            "pos_weight": -1,
            "debug": False,
        },
        "test_cfg": {
            "nms_pre": 1000,
            "min_bbox_size": 0,
            "score_thr": SCORE,
            "nms": {"type": "nms", "iou_threshold": 0.5},
            "max_per_img": 100,
        },
    }


def oriented_rcnn(detector: Detector, classes: int) -> Config:
    """The one of the four rotated datasets."""
    kept = detector.proposals or FIRST_KEPT
    roi_layer = {
        "type": "RoIAlignRotated",
        "output_size": detector.roi_size,
        "sampling_ratio": 2,
        "clockwise": True,
    }
    return {
        "type": "mmdet.FasterRCNN",
        "neck": _pyramid(detector),
        "rpn_head": {
            "type": "mmrotate.OrientedRPNHead",
            "in_channels": detector.channels,
            "feat_channels": detector.channels,
            "anchor_generator": {**_anchors(detector), "use_box_type": True},
            "bbox_coder": {
                "type": "mmrotate.MidpointOffsetCoder",
                "angle_version": "le90",
                "target_means": [0.0] * 6,
                "target_stds": [1.0, 1.0, 1.0, 1.0, 0.5, 0.5],
            },
            "loss_cls": _cross_entropy(sigmoid=True),
            "loss_bbox": _smooth(1 / 9),
        },
        "roi_head": {
            "type": "mmdet.StandardRoIHead",
            "bbox_roi_extractor": _rois(detector, "mmrotate.RotatedSingleRoIExtractor", roi_layer),
            "bbox_head": {
                "type": "mmdet.Shared2FCBBoxHead",
                "predict_box_type": "rbox",
                "in_channels": detector.channels,
                "fc_out_channels": detector.fc_channels,
                "roi_feat_size": detector.roi_size,
                "num_classes": classes,
                "reg_predictor_cfg": {"type": "mmdet.Linear"},
                "cls_predictor_cfg": {"type": "mmdet.Linear"},
                "bbox_coder": {
                    "type": "mmrotate.DeltaXYWHTRBBoxCoder",
                    "angle_version": "le90",
                    "norm_factor": None,
                    "edge_swap": True,
                    "proj_xy": True,
                    "target_means": [0.0] * 5,
                    "target_stds": [0.1, 0.1, 0.2, 0.2, 0.1],
                },
                "reg_class_agnostic": True,
                "loss_cls": _cross_entropy(sigmoid=False),
                "loss_bbox": _smooth(1.0),
            },
        },
        "train_cfg": {
            "rpn": _rpn_training(detector, "mmrotate.RBbox2HBboxOverlaps2D", border=0),
            "rpn_proposal": _proposals(kept, kept, 0.8),
            "rcnn": _rcnn_training(detector, "mmrotate.RBboxOverlaps2D"),
        },
        "test_cfg": {
            "rpn": _proposals(kept, kept, 0.8),
            "rcnn": {
                "nms_pre": 2000,
                "min_bbox_size": 0,
                "score_thr": SCORE,
                "nms": {"type": "nms_rotated", "iou_threshold": ROTATED_NMS},
                "max_per_img": 2000,
            },
        },
    }


DETECTORS: dict[str, Callable[[Detector, int], Config]] = {
    "faster_rcnn": faster_rcnn,
    "retinanet": retinanet,
    "oriented_rcnn": oriented_rcnn,
}
