"""Miniatures with boxes: xView, DIOR, FAIR1M, DOTA and the three parts of SAMRS."""

import json
import pickle
from collections.abc import Sequence
from typing import Any
from xml.etree import ElementTree as etree

import numpy as np
from pycocotools import mask as coco

from mtp_bench.datasets.cards import samrs as cards
from mtp_bench.datasets.scenes.files import save, text
from mtp_bench.datasets.scenes.geometry import Array, Scene
from mtp_bench.datasets.scenes.labels import Frame, hulls, paint, quads, settled, things_seen
from mtp_bench.datasets.scenes.worlds import WORLDS, Shot, composed

Labels = list[tuple[str, Array, Array]]
XVIEW_IDS = {
    "Passenger/Cargo Plane": 13,
    "Small Car": 18,
    "Truck": 23,
    "Maritime Vessel": 40,
    "Motorboat": 41,
    "Building": 73,
    "Storage Tank": 86,
}
"""`type_id` of the classes that are rendered."""


def labelled(shot: Shot) -> tuple[Scene, Labels]:
    """The scene of a picture and its labels: class, rotated box, upright box, in pixels.

    Every picture has one at least, as in the releases.
    """
    world, rng, scene = WORLDS[shot.dataset], shot.rng, None
    while scene is None or all(thing.kind not in world.classes for thing in scene.things):
        scene = composed(world, shot.number, rng, world.frame)
        scene = settled(scene, world.frame, world.classes)
    rows = zip(scene.things, quads(scene, world.frame), hulls(scene, world.frame), strict=True)
    return scene, [
        (world.classes[thing.kind], quad, box)
        for thing, quad, box in rows
        if thing.kind in world.classes
    ]


def xview(shot: Shot) -> list[dict[str, Any]]:
    """Returns what the file of all annotations says of this picture."""
    scene, labels = labelled(shot)
    name = f"{shot.number if shot.split == 'train' else 2000 + shot.number}.tif"
    save(shot.root / f"{shot.split}_images" / name, paint(scene, WORLDS["xView"].frame))
    return [
        {
            "image_id": name,
            "type_id": XVIEW_IDS[kind],
            "bounds_imcoords": ",".join(str(round(v)) for v in box.tolist()),
            "cat_id": "1040010028371A00",
        }
        for kind, _, box in labels
    ]


def xview_labels(noted: Sequence[tuple[Shot, list[dict[str, Any]]]]) -> None:
    """The annotations of all training pictures; longitudes and latitudes, of no use, are faked."""
    rows = [row for shot, notes in noted if shot.split == "train" for row in notes]
    place = {"type": "Polygon", "coordinates": [[[0, 0], [0, 1e-4], [1e-4, 1e-4], [0, 0]]]}
    features = [
        {"type": "Feature", "properties": row | {"feature_id": i}, "geometry": place}
        for i, row in enumerate(rows, 1)
    ]
    whole = {"type": "FeatureCollection", "features": features}
    text(noted[0][0].root / "xView_train.geojson", json.dumps(whole))


def _element(tag: str, *inner: etree.Element, **leaves: object) -> etree.Element:
    """An element with elements of text, then with others."""
    made = etree.Element(tag)
    for name, value in leaves.items():
        etree.SubElement(made, name).text = str(value)
    made.extend(inner)
    return made


def _size(frame: Frame) -> etree.Element:
    return _element("size", width=frame.wide, height=frame.high, depth=3)


def _xml(root: etree.Element) -> str:
    etree.indent(root, "\t")
    return etree.tostring(root, encoding="unicode") + "\n"


_CORNERS = ("left_top", "right_top", "right_bottom", "left_bottom")


def dior_obb(name: str, frame: Frame, labels: Labels) -> str:
    """Rotated boxes as DIOR-R has them: whole pixels, the left top corner first."""
    tops = [f"{axis}_{corner}" for corner in _CORNERS for axis in "xy"]
    objects = []
    for kind, quad, _ in labels:
        turned = np.roll(quad, -int(quad.sum(axis=1).argmin()), axis=0)
        slope = np.degrees(np.arctan2(*(turned[1] - turned[0])[::-1]))
        box = _element("robndbox", **dict(zip(tops, np.rint(turned).astype(int).flat, strict=True)))
        facts = {"type": "robndbox", "name": kind, "pose": "Unspecified"}
        objects.append(
            _element("object", box, **facts, truncated=0, difficult=0, angle=round(float(slope), 1))
        )
    return _dior(name, frame, objects)


def dior_hbb(name: str, frame: Frame, labels: Labels) -> str:
    """Upright boxes in whole pixels from 1."""
    sides, objects = ("xmin", "ymin", "xmax", "ymax"), []
    for kind, _, box in labels:
        bounds = dict(zip(sides, np.maximum(np.rint(box), 1).astype(int).tolist(), strict=True))
        inner = _element("bndbox", **bounds)
        objects.append(_element("object", inner, name=kind, pose="Unspecified"))
    return _dior(name, frame, objects)


def _dior(name: str, frame: Frame, objects: list[etree.Element]) -> str:
    source = _element("source", database="DIOR")
    return _xml(_element("annotation", source, _size(frame), *objects, filename=name, segmented=0))


DIOR_FIRST = {"train": 1, "val": 5863, "test": 11726}
"""The first number of each split."""


def dior(shot: Shot) -> str:
    """Returns the picture's name in the lists of splits."""
    scene, labels = labelled(shot)
    frame, name = WORLDS["DIOR"].frame, f"{DIOR_FIRST[shot.split] + shot.number - 1:05d}"
    folder = "JPEGImages-test" if shot.split == "test" else "JPEGImages-trainval"
    save(shot.root / folder / f"{name}.jpg", paint(scene, frame))
    for what, written in (("Horizontal", dior_hbb), ("Oriented", dior_obb)):
        path = shot.root / "Annotations" / f"{what} Bounding Boxes" / f"{name}.xml"
        text(path, written(f"{name}.jpg", frame, labels))
    return name


def dior_lists(noted: Sequence[tuple[Shot, str]]) -> None:
    for split in dict.fromkeys(shot.split for shot, _ in noted):
        names = "".join(f"{name}\r\n" for shot, name in noted if shot.split == split)
        text(noted[0][0].root / "ImageSets/Main" / f"{split}.txt", names)


def fair1m(shot: Shot) -> None:
    """Training pictures lie in two parts, by turns; those for test have no annotation."""
    scene, labels = labelled(shot)
    frame, index = WORLDS["FAIR1M-2.0"].frame, shot.number - 1
    folder = "validation" if shot.split == "val" else shot.split
    if shot.split == "train":
        half, part = divmod(index, 2)
        index, folder = half + (1732 if part else 0), f"train/part{part + 1}"
    save(shot.root / folder / "images" / f"{index}.tif", paint(scene, frame))
    if shot.split == "test":
        return
    objects = []
    for kind, quad, _ in labels:
        points = _element("points")
        for x, y in [*quad.tolist(), quad[0].tolist()]:
            etree.SubElement(points, "point").text = f"{x:.6f},{y:.6f}"
        result = _element("possibleresult", name=kind)
        facts = {"coordinate": "pixel", "type": "rectangle", "description": "None"}
        objects.append(_element("object", result, points, **facts))
    source = _element("source", filename=f"{index}.tif", origin="GF2/GF3")
    research = _element("research", version="1.0", provider="FAIR1M")
    whole = _element("annotation", source, research, _size(frame), _element("objects", *objects))
    path = shot.root / folder / "labelXml" / f"{index}.xml"
    text(path, '<?xml version="1.0" encoding="utf-8"?>\n' + _xml(whole))


def dota_lines(labels: Labels) -> str:
    rows = [(" ".join(f"{v:.1f}" for v in quad.flat), kind) for kind, quad, _ in labels]
    return "".join(f"{corners} {kind} 0\n" for corners, kind in rows)


DOTA_FIRST = {"train": 0, "val": 1, "test": 2, "test-dev": 2}
"""What is left of a split's numbers, divided by four: splits share none, as in the release."""


def dota(shot: Shot) -> None:
    """Scenes and their labels; those for test have none."""
    scene, labels = labelled(shot)
    name, folder = f"P{4 * shot.number + DOTA_FIRST[shot.split]:04d}", shot.root / shot.split
    save(folder / "images" / f"{name}.png", paint(scene, WORLDS[shot.dataset].frame))
    if not shot.split.startswith("test"):
        head = f"imagesource:GoogleEarth\ngsd:{scene.gsd:.12f}\n"
        place = "labelTxt-v2.0" if shot.dataset == "DOTA-v2.0" else "labelTxt"
        text(folder / place / f"{name}.txt", head + dota_lines(labels))


def samrs(shot: Shot) -> None:
    """Picture, classes and instances with their masks, and rotated boxes."""
    (scene, labels), frame = labelled(shot), WORLDS[shot.dataset].frame
    part, segments, number = SAMRS[shot.dataset]
    home, dior_like = shot.root / part, shot.dataset == "SIOR"
    name = number.format(shot.number)
    kinds, classes = WORLDS[shot.dataset].classes, SAMRS_CLASSES[shot.dataset]
    which = [i for i, thing in enumerate(scene.things) if thing.kind in kinds]
    seen, _ = things_seen(scene, frame)
    gray, instances = np.full(seen.shape, 255, dtype=np.uint8), []
    for i, (kind, quad, box) in zip(which, labels, strict=True):
        gray[seen == i] = label = classes.index(kind)
        rle = coco.encode(np.asfortranarray(seen == i, dtype=np.uint8))
        mask = {"size": list(rle["size"]), "counts": rle["counts"].decode()}
        rotated = {} if dior_like else {"rbox": quad.astype(np.float32)}
        hull = {"bbox" if dior_like else "rhbox": box.astype(np.float32)}
        facts = {"category": kind, "label": label, "size": int((seen == i).sum())}
        instances.append({"mask": mask} | rotated | hull | facts)
    save(home / segments / "gray" / f"{name}.png", gray)
    pickled = home / segments / "ins" / f"{name}.pkl"
    pickled.parent.mkdir(parents=True, exist_ok=True)
    pickled.write_bytes(pickle.dumps(instances))
    images = home / "JPEGImages-trainval" / f"{name}.jpg"
    if dior_like:
        path = home / "Annotations/Oriented Bounding Boxes" / f"{name}.xml"
        text(path, dior_obb(f"{name}.jpg", frame, labels))
    else:
        images = home / "images" / f"{name}.png"
        text(home / "rbbtxts" / f"{name}.txt", dota_lines(labels))
    save(images, paint(scene, frame))


SAMRS = {
    "SOTA-RBB": ("dotav2_1024_rbb/trainval", "rhbox_segs_init", "P{:04d}__1024__0___0"),
    "SIOR": ("dior", "hbox_segs_trainvaltest_init", "{:05d}"),
    "FAST": ("fair1m_1024/trainval", "rhbox_segs_init", "{}__1024__0___0"),
}
"""Folder of each part, that of its masks, and how its pictures are named."""
SAMRS_CLASSES = {card.name: card.classes for card in (cards.SOTA_RBB, cards.SIOR, cards.FAST)}
"""In the order of the labels."""
