"""xView as downloaded: one GeoJSON whose features name their image, box and class id.

The line of a defect is the feature's ordinal, from 1: the file has a single line.
"""

import json
from collections import defaultdict
from dataclasses import replace
from functools import partial
from pathlib import Path, PurePath
from typing import Any

from mtp_bench.datasets.cards.card import IGNORE, Card
from mtp_bench.datasets.defects import Defect
from mtp_bench.datasets.formats import boxes
from mtp_bench.datasets.formats.reader import Reader, pictures
from mtp_bench.datasets.samples import Found, Item, Parsed

LABELS = ("xView_train.geojson", "train_labels/xView_train.geojson")
Feature = tuple[Any, Any]
"""Class id and box, as the file has them."""
Grouped = dict[str, list[tuple[int, Feature]]]
"""Image, without suffix → its features with their ordinals."""


def find(root: Path, card: Card) -> Found:
    """Images that lie in ``train_images`` or that a feature names, and those of ``val_images``."""
    folder = boxes.release_folder(root, card, ("train_images", "val_images", *LABELS))
    path = next((folder / name for name in LABELS if (folder / name).is_file()), folder / LABELS[0])
    grouped, found = _grouped(path)
    place = folder / "train_images"
    images, rest = pictures(place, card.suffixes), pictures(folder / "val_images", card.suffixes)
    train = boxes.paired("train", images, dict.fromkeys(grouped, path), place, card)
    items = [replace(item, rows=grouped.get(item.key)) for item in train]
    items += boxes.paired("val", rest, {}, folder / "val_images", card)
    return Found(folder, tuple(items), (*found, *boxes.tiled(place, images)))


def _grouped(path: Path) -> tuple[Grouped, list[Defect]]:
    try:
        tree = json.loads(path.read_bytes(), object_hook=_compact)
    except FileNotFoundError:
        return {}, [Defect("layout", path, "not there: train_labels.tgz of the release has it")]
    except json.JSONDecodeError as error:
        return {}, [Defect("label-unreadable", path, f"no JSON: {error.msg}", error.lineno)]
    except (OSError, ValueError, RecursionError) as error:
        return {}, [Defect("label-unreadable", path, f"cannot be read ({error})")]
    features = tree.get("features") if isinstance(tree, dict) else None
    if not isinstance(features, list):
        return {}, [Defect("label-unreadable", path, "no FeatureCollection")]
    grouped: Grouped = defaultdict(list)
    found = []
    for ordinal, feature in enumerate(features, 1):
        name = feature[0] if isinstance(feature, tuple) else None
        if isinstance(name, str) and name and PurePath(name).name == name:
            grouped[PurePath(name).stem].append((ordinal, feature[1:]))
        else:
            what = "has no image_id" if name is None else f"image_id {name!r} is no file name"
            found.append(Defect("bad-box", path, what, ordinal))
    return dict(grouped), found


def _compact(node: dict[str, Any]) -> Any:
    """Only what is read of a feature, while the file is decoded: it has some 600,000."""
    if "image_id" in node:
        return node["image_id"], node.get("type_id"), node.get("bounds_imcoords")
    if node.get("type") == "Feature":
        return node.get("properties")
    return None if "coordinates" in node else node


def parse(item: Item, card: Card) -> Parsed:
    """The objects of one image: its features' boxes and classes."""
    if item.label is None:
        return boxes.no_label(item, card, 4)
    found, defects = boxes.gathered(item.rows, partial(_row, card=card), item.label, 4)
    return Parsed(found, defects=tuple(defects))


def _row(feature: Feature, card: Card) -> boxes.Row:
    class_id, bounds = feature
    values = bounds.split(",") if isinstance(bounds, str) else bounds
    if not isinstance(values, list) or len(values) != 4:
        raise boxes.Fault("bad-box", f"bounds_imcoords is {bounds!r}, not four numbers")
    coordinates = [boxes.number(str(value), "bounds_imcoords") for value in values]
    known = card.coding.values if card.coding else {}
    label = known.get(class_id) if isinstance(class_id, int) else None
    if label is None:
        raise boxes.Fault("unknown-class", f"type_id {class_id!r} is no class of the release")
    if label == IGNORE:
        raise boxes.Fault("no-class", f"type_id {class_id} stands for no class")
    return coordinates, label, 0


READER = Reader(find, parse)
