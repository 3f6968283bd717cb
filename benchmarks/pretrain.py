"""What joint pretraining saves, as ratios within one run.

    OMP_NUM_THREADS=1 python benchmarks/pretrain.py data    # wants two cores
    OMP_NUM_THREADS=1 python benchmarks/pretrain.py step

``data``: images/s with two loader workers against none, and, in one process, against the published
manner: whole pictures and all of their masks through mmcv's and mmdet's transforms. Pictures are
renderings of 1,024 px, as large as SAMRS's. ``step``: one iteration of the joint model against the
three models of one head each, one after the other, on the same pictures; ViT-B on 224 px and heads
as published. Rounds alternate, and medians of their ratios are told.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROUNDS = {"data": 5, "step": 3}
SIDE = 448


def prepared(room: Path) -> list[dict[str, Any]]:
    """SAMRS's miniatures; those of each set are laid side by side to pictures of 1,024 px."""
    from mtp_bench.datasets.loading import Source

    sources = [Source(name, "miniature", None, str(room)) for name in ("SOTA-RBB", "SIOR", "FAST")]
    for source in sources:
        source.prepare()
    return [vars(source) for source in sources]


def enlarge(data: Any, room: Path) -> None:
    """Sixteen or so pictures become one: four in a row, with their labels moved."""
    import numpy as np
    from PIL import Image
    from pycocotools import mask as coco

    from mtp_bench.datasets.manifest import Sample, instances_text, read_instances
    from mtp_bench.datasets.pixels import rgb
    from mtp_bench.datasets.samples import Instance, Objects
    from mtp_bench.tasks.masks import labels_of

    made: list[tuple[str, Sample]] = []
    for number in range(48):
        subset = data.samples[number * 3][0]
        own = [s for name, s in data.samples if name == subset]
        picture = np.zeros((1024, 1024, 3), np.uint8)
        gray = np.full((1024, 1024), 255, np.uint8)
        boxes, labels, instances = [], [], []
        for cell in range(16):
            sample = own[(number + cell) % len(own)]
            top, left = 256 * (cell // 4), 256 * (cell % 4)
            pixels = rgb(sample.images[0])[:256, :256]
            picture[top : top + len(pixels), left : left + pixels.shape[1]] = pixels
            values = labels_of(sample)[:256, :256]
            gray[top : top + len(values), left : left + values.shape[1]] = values
            boxes.append(sample.objects.boxes + np.tile([left, top], 4))
            labels.append(sample.objects.labels)
            for label, _, rle in read_instances(sample.instances):
                whole = np.zeros((1024, 1024), np.uint8, order="F")
                mask = coco.decode(rle)[:256, :256]
                whole[top : top + len(mask), left : left + mask.shape[1]] = mask
                code = coco.encode(whole)
                x, y, w, h = coco.toBbox(code).tolist()
                instances.append(Instance(label, (x, y, x + w, y + h), code))
        paths = [room / f"{number}.{end}" for end in ("png", "gray.png", "json")]
        Image.fromarray(picture).save(paths[0])
        Image.fromarray(gray).save(paths[1])
        paths[2].write_text(instances_text(tuple(instances)))
        marks = np.concatenate(labels)
        none = np.zeros(len(marks), np.int64)
        objects = Objects(np.concatenate(boxes), marks, none, none)
        made.append(
            (
                subset,
                Sample(
                    (paths[0],), str(number), mask=paths[1], instances=paths[2], objects=objects
                ),
            )
        )
    made.sort(key=lambda each: each[0])
    data.samples = made
    data.parts = [sum(name == subset for name, _ in made) for subset in dict(made)]
    data.scenes = [(name, sample.scene) for name, sample in made]


class Literal:
    """The same pictures in the published manner: everything is decoded and resized whole."""

    def __init__(self, data: Any) -> None:
        from mmdet.datasets.transforms import PhotoMetricDistortion, RandomCrop, RandomFlip

        self._data = data
        self._flip = RandomFlip(prob=0.75, direction=["horizontal", "vertical", "diagonal"])
        self._crop = RandomCrop((SIDE, SIDE), allow_negative_crop=True)
        self._shake = PhotoMetricDistortion()

    def __len__(self) -> int:
        return len(self._data.samples)

    def __getitem__(self, index: int) -> Any:
        import numpy as np
        import torch
        from mmdet.datasets.transforms import Resize
        from mmdet.structures.bbox import HorizontalBoxes
        from mmdet.structures.mask import BitmapMasks
        from mmrotate.structures.bbox import QuadriBoxes
        from pycocotools import mask as coco

        from mtp_bench.datasets.manifest import read_instances
        from mtp_bench.datasets.pixels import rgb
        from mtp_bench.tasks.masks import labels_of

        sample = self._data.samples[index][1]
        image = rgb(sample.images[0]).astype(np.float32)
        listed = read_instances(sample.instances)
        masks = BitmapMasks([coco.decode(rle) for _, _, rle in listed], *image.shape[:2])
        given: dict[str, Any] = {
            "img": image,
            "img_shape": image.shape[:2],
            "gt_seg_map": labels_of(sample) + np.uint8(1),
            "gt_bboxes": HorizontalBoxes(masks.get_bboxes(HorizontalBoxes).tensor),
            "gt_bboxes_labels": np.array([label for label, _, _ in listed]),
            "gt_ignore_flags": np.zeros(len(listed), bool),
            "gt_masks": masks,
        }
        boxes: Any = QuadriBoxes(torch.from_numpy(sample.objects.boxes).float())
        side = int(SIDE * np.random.uniform(0.5, 2.0))
        for step in (self._flip, Resize(scale=(side, side), keep_ratio=True), self._crop):
            given = step(given)
        boxes = boxes.convert_to("rbox")
        return self._shake(given)["img"], boxes


def rate(data: Any, workers: int, count: int = 48) -> float:
    """Images a second of one pass, the workers' start apart."""
    from torch.utils.data import DataLoader

    loader = DataLoader(data, batch_size=1, num_workers=workers, collate_fn=list)
    if workers:
        loader = DataLoader(data, 1, num_workers=workers, collate_fn=list, persistent_workers=True)
        next(iter(loader))
    began = time.perf_counter()
    for number, _ in enumerate(loader, 1):
        if number == count:
            break
    return number / (time.perf_counter() - began)


class Drawn:
    """All samples of an enlarged dataset, one after the other."""

    def __init__(self, data: Any) -> None:
        self._data = data

    def __len__(self) -> int:
        return len(self._data.samples)

    def __getitem__(self, index: int) -> Any:
        return self._data[index]


def data_side(room: Path) -> dict[str, float]:
    from mtp_bench.mm.samrs import JointImages

    heads = ("semantic", "instance", "rotated")
    transform = {"image_size": SIDE, "scale": [0.5, 2.0], "augment": True}
    data = JointImages(
        prepared(room), "train", heads, {"held_out": 1, "exclude": "none"}, transform
    )
    enlarge(data, room)
    ours, literal = Drawn(data), Literal(data)
    two, plain = [], []
    for _ in range(ROUNDS["data"]):
        alone = rate(ours, 0)
        two.append(rate(ours, 2) / alone)
        plain.append(alone / rate(literal, 0))
        print(f"ours {alone:.1f} images/s in one process", file=sys.stderr)
    return {
        "two workers / none": statistics.median(two),
        "ours / literal": statistics.median(plain),
    }


def step_time(room: Path) -> dict[str, float]:
    import torch
    from mmengine.config import ConfigDict

    from mtp_bench.mm import joint as joint_module
    from mtp_bench.mm.samrs import JointImages
    from mtp_bench.recipes.mtp import upernet
    from mtp_bench.suite.protocol import Decoder, Detector
    from mtp_bench.tasks.detectors import mask_rcnn, oriented_rcnn

    side, heads = 224, ("semantic", "instance", "rotated")
    transform = {"image_size": side, "scale": [0.5, 2.0], "augment": True}
    data = JointImages(
        prepared(room), "train", heads, {"held_out": 1, "exclude": "none"}, transform
    )
    first = [sum(data.parts[:part]) for part in range(3)]
    items = [data[start + turn] for turn in range(2) for start in first]
    backbone = {"name": "vit_b_rvsa", "image_size": side, "seed": 0, "weights": None}
    norm = {"type": "BN", "requires_grad": True}
    detector, decoder = Detector(kind="oriented_rcnn"), Decoder(kind="upernet", channels=256)
    makers: dict[str, Callable[[int], Any]] = {
        "semantic": lambda n: upernet(decoder, n + 1, norm),
        "instance": lambda n: mask_rcnn(detector, n, 14, 4),
        "rotated": lambda n: oriented_rcnn(detector, n),
    }
    sets = data.metainfo["classes"]
    preprocessor = {"mean": [120.0] * 3, "std": [60.0] * 3, "boxtype2tensor": False}

    def model(*wanted: str) -> Any:
        configs = {h: {n: makers[h](len(c)) for n, c in sets.items()} for h in wanted}
        given = ConfigDict(configs)
        rest = {"loss_weights": {}, "conflict_every": 0}
        return joint_module.build(backbone, 1, given, preprocessor, rest)

    def iteration(built: Any) -> float:
        began = time.perf_counter()
        batch = {
            "inputs": [i["inputs"] for i in items],
            "data_samples": [i["data_samples"].clone() for i in items],
        }
        given = built.data_preprocessor(batch, True)
        total, _ = built.parse_losses(built(**given, mode="loss"))
        total.backward()
        built.zero_grad()
        return time.perf_counter() - began

    torch.set_num_threads(1)
    together, apart = model(*heads).train(), [model(head).train() for head in heads]
    for built in (together, *apart):
        iteration(built)
    ratios = []
    for _ in range(ROUNDS["step"]):
        ratios.append(iteration(together) / sum(iteration(each) for each in apart))
        print(f"together / apart {ratios[-1]:.3f}", file=sys.stderr)
    return {"step together / three apart": statistics.median(ratios)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("part", choices=("data", "step"))
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        found = {"data": data_side, "step": step_time}[chosen.part](Path(name))
    print(json.dumps({key: round(value, 3) for key, value in found.items()}, indent=1))


if __name__ == "__main__":
    main()
