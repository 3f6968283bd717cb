"""Releases of one image each in the five dialects of detection, for tests of their readers."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from mtp_bench.datasets.cards import dior, dior_r, dota_v1, fair1m, xview
from mtp_bench.datasets.cards.card import Card
from mtp_bench.datasets.defects import Defect
from mtp_bench.datasets.reading import Examined, examine, reader_of
from mtp_bench.datasets.samples import Found, Objects


class Dialect(NamedTuple):
    """A release of one 64 px image; row ``good`` stands in line, or is feature, 2."""

    card: Card
    label: str
    image: str
    good: str
    head: str
    foot: str
    between: str = "\n"


QUAD = ("1", "2", "30", "2", "30", "40", "1", "40")
ROBNDBOX = (
    "<x_left_top>1</x_left_top><y_left_top>2</y_left_top><x_right_top>30</x_right_top>"
    "<y_right_top>2</y_right_top><x_right_bottom>30</x_right_bottom>"
    "<y_right_bottom>40</y_right_bottom><x_left_bottom>1</x_left_bottom>"
    "<y_left_bottom>40</y_left_bottom>"
)
POINTS = "".join(f"<point>{point}</point>" for point in ("1,2", "30,2", "30,40", "1,40", "1,2"))
XML = ("<annotation><size><width>64</width><height>64</height></size><objects>\n", "\n")
XML_END = "\n</objects></annotation>\n"
FEATURE = (
    '{"type": "Feature", "geometry": {"type": "Point", "coordinates": [0.5, 1]}, '
    '"properties": {"bounds_imcoords": "1,2,30,40", "type_id": 18, "image_id": "100.tif"}}'
)
DIALECTS = {
    "DIOR": Dialect(
        dataclasses.replace(dior.CARD, picture=None),
        f"{dior.BOXES}/00001.xml",
        "JPEGImages-trainval/00001.jpg",
        "<object><name>ship</name><bndbox><xmin>1</xmin><ymin>2</ymin><xmax>30</xmax>"
        "<ymax>40</ymax></bndbox></object>",
        XML[0],
        XML_END,
    ),
    "DIOR-R": Dialect(
        dataclasses.replace(dior_r.CARD, picture=None),
        f"{dior_r.BOXES}/00001.xml",
        "JPEGImages-trainval/00001.jpg",
        f"<object><name>ship</name><difficult>0</difficult><robndbox>{ROBNDBOX}</robndbox></object>",
        XML[0],
        XML_END,
    ),
    "DOTA-v1.0": Dialect(
        dota_v1.CARD,
        "train/labelTxt/P0001.txt",
        "train/images/P0001.png",
        f"{' '.join(QUAD)} ship 0",
        "imagesource:GoogleEarth\n",
        "\n",
    ),
    "FAIR1M-2.0": Dialect(
        fair1m.CARD,
        "train/part2/labelXml/1732.xml",
        "train/part2/images/1732.tif",
        "<object><coordinate>pixel</coordinate><possibleresult><name>Small Car</name>"
        f"</possibleresult><points>{POINTS}</points></object>",
        XML[0],
        XML_END,
    ),
    "xView": Dialect(
        xview.CARD,
        "xView_train.geojson",
        "train_images/100.tif",
        FEATURE,
        '{"type": "FeatureCollection", "features": [' + FEATURE.replace("18", "19") + ", ",
        "]}",
        ", ",
    ),
}


def picture(path: Path, size: tuple[int, int] = (64, 64)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size).save(path)


def write(root: Path, dialect: Dialect, *rows: str) -> None:
    """A release with these rows behind the good one."""
    picture(root / dialect.image)
    text = dialect.head + dialect.between.join((dialect.good, *rows)) + dialect.foot
    save(root / dialect.label, text)
    if dialect.card.name.startswith("DIOR"):
        for split, ids in {"train": "00001\n", "val": "", "test": ""}.items():
            save(root / "ImageSets" / "Main" / f"{split}.txt", ids)


def save(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode())


def check(root: Path, card: Card) -> tuple[Found, list[Examined], list[Defect]]:
    found = reader_of(card).find(root, card)
    examined = [examine(item, card) for item in found.items]
    return found, examined, [*found.defects, *(d for each in examined for d in each.defects)]


def told(defects: list[Defect], root: Path) -> list[tuple[str, str, int | None]]:
    return [(d.kind, d.place.relative_to(root).as_posix(), d.line) for d in defects]


def only(root: Path, dialect: Dialect) -> Objects:
    _, examined, defects = check(root, dialect.card)
    assert not defects
    assert examined[0].objects is not None
    return examined[0].objects
