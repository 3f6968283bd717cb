"""Annotations of DIOR, DIOR-R, DOTA, FAIR1M and xView, and the ways they are wrong."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mtp_bench.datasets.defects import refused
from tests.datasets.dialects import DIALECTS, POINTS, QUAD, check, only, picture, save, told, write

BAD_ROWS = [
    ("DIOR", "<ymax>40</ymax>", "", "bad-box"),
    ("DIOR", "<ymax>40", "<ymax>forty", "bad-box"),
    ("DIOR", "<ymax>40", "<ymax>nan", "bad-box"),
    ("DIOR", "bndbox", "robndbox", "bad-box"),
    ("DIOR", "</bndbox>", "</bndbox><difficult>no</difficult>", "bad-box"),
    ("DIOR", "ship", "Ship", "unknown-class"),
    ("DIOR-R", "<x_left_top>1</x_left_top>", "<cx>1</cx>", "bad-box"),
    ("DIOR-R", "<y_left_bottom>40", "<y_left_bottom>-inf", "bad-box"),
    ("DIOR-R", "<y_left_bottom>40", "<y_left_bottom>4O", "bad-box"),
    ("DIOR-R", "<difficult>0", "<difficult>0.5", "bad-box"),
    ("DIOR-R", "ship", "boat", "unknown-class"),
    ("DOTA-v1.0", " 40 ship 0", " ship 0", "bad-box"),
    ("DOTA-v1.0", " 40 ship", " 4O ship", "bad-box"),
    ("DOTA-v1.0", " 40 ship", " nan ship", "bad-box"),
    ("DOTA-v1.0", " 40 ship", " 1e308 ship", "bad-box"),
    ("DOTA-v1.0", "ship 0", "ship 99999999999999999999", "bad-box"),
    ("DOTA-v1.0", "ship 0", "small vehicle 0", "bad-box"),
    ("DOTA-v1.0", "ship", "boat", "unknown-class"),
    ("FAIR1M-2.0", "<point>1,40</point>", "", "bad-box"),
    ("FAIR1M-2.0", "<point>1,40</point><point>1,2", "<point>1,40</point><point>1,3", "bad-box"),
    ("FAIR1M-2.0", "<point>1,40", "<point>1;40", "bad-box"),
    ("FAIR1M-2.0", "<point>1,40", "<point>1,inf", "bad-box"),
    ("FAIR1M-2.0", ">pixel<", ">lonlat<", "geographic"),
    ("FAIR1M-2.0", "Small Car", "small car", "unknown-class"),
    ("xView", '"1,2,30,40"', "[]", "bad-box"),
    ("xView", "1,2,30,40", "1,2,30", "bad-box"),
    ("xView", "1,2,30,40", "1,2,30,x", "bad-box"),
    ("xView", '"1,2,30,40"', "[1, 2, 30, NaN]", "bad-box"),
    ("xView", '"image_id": "100.tif"', '"image": "100.tif"', "bad-box"),
    ("xView", "100.tif", "../100.tif", "bad-box"),
    ("xView", '"type_id": 18', '"type_id": 75', "no-class"),
    ("xView", '"type_id": 18', '"type_id": 82', "no-class"),
    ("xView", '"type_id": 18', '"type_id": 14', "unknown-class"),
    ("xView", '"type_id": 18', '"type_id": [18]', "unknown-class"),
]


@pytest.mark.parametrize(("name", "old", "new", "kind"), BAD_ROWS)
def test_a_bad_row_is_told_with_its_line_and_is_no_object(
    name: str, old: str, new: str, kind: str, tmp_path: Path
) -> None:
    dialect = DIALECTS[name]
    assert old in dialect.good
    good = dialect.good.replace("40", "50")  # no duplicate of the first
    write(tmp_path, dialect, dialect.good.replace(old, new), good)
    found, examined, defects = check(tmp_path, dialect.card)
    assert told(defects, tmp_path) == [(kind, dialect.label, 3)]
    assert len(found.items) == 1
    parsed = examined[0].parsed.objects
    assert parsed is not None
    assert [line for line in parsed.lines if line > 1] == [2, 4]


@pytest.mark.parametrize("name", DIALECTS)
@pytest.mark.parametrize("text", ["", "\xff\x00", "\n{<annotation>\n<object>"])
def test_a_broken_file_is_told(name: str, text: str, tmp_path: Path) -> None:
    dialect = DIALECTS[name]
    write(tmp_path, dialect)
    (tmp_path / dialect.label).write_bytes(text.encode("latin-1"))
    _, _, defects = check(tmp_path, dialect.card)
    if name == "DOTA-v1.0":  # an empty file is a scene without objects
        wanted = {"": [], "\xff\x00": ["label-unreadable"]}.get(text, ["bad-box", "bad-box"])
    else:
        wanted = ["label-unreadable"] + ["label-missing"] * (name == "xView")
    assert [d.kind for d in defects] == wanted
    if name != "DOTA-v1.0":
        assert defects[0].line == (2 if "object" in text else 1)


def test_objects_without_a_line_of_their_own(tmp_path: Path) -> None:
    dialect = DIALECTS["DIOR"]
    write(tmp_path, dialect, "<!-- <object> -->", dialect.good.replace("ship", "boat"))
    _, examined, defects = check(tmp_path, dialect.card)
    assert told(defects, tmp_path) == [("unknown-class", dialect.label, None)]
    assert len(examined[0].objects or ()) == 1


@pytest.mark.parametrize("name", DIALECTS)
def test_images_without_annotation_and_the_reverse(name: str, tmp_path: Path) -> None:
    dialect = DIALECTS[name]
    write(tmp_path, dialect)
    image = tmp_path / dialect.image
    label = image.with_name(image.name.replace("1", "7"))
    image.rename(label)
    if name.startswith("DIOR"):
        save(tmp_path / "ImageSets/Main/train.txt", "00001\r\n00007\r\n")
    _, examined, defects = check(tmp_path, dialect.card)
    kinds = {(kind, place) for kind, place, _ in told(defects, tmp_path)}
    missing = {("image-missing", dialect.image)}
    if name.startswith("DOTA"):
        missing.add(("image-missing", "train/images"))
    assert kinds == missing | {("label-missing", label.relative_to(tmp_path).as_posix())}
    assert {each.item.split for each in examined} == {"train"}


@pytest.mark.parametrize("name", DIALECTS)
def test_annotations_that_were_not_unpacked(name: str, tmp_path: Path) -> None:
    dialect = DIALECTS[name]
    write(tmp_path, dialect)
    label = tmp_path / dialect.label
    label.unlink()
    if name != "xView":
        label.parent.rmdir()
    defects = check(tmp_path, dialect.card)[2]
    assert [d.kind for d in defects] == ["layout", "label-missing"]
    assert "expected" in defects[0].what or "not there" in defects[0].what


@pytest.mark.parametrize("name", DIALECTS)
def test_line_ends_and_byte_order_marks_change_nothing(name: str, tmp_path: Path) -> None:
    dialect = DIALECTS[name]
    write(tmp_path, dialect, dialect.good.replace("40", "50"))
    before = only(tmp_path, dialect)
    label = tmp_path / dialect.label
    label.write_bytes(b"\xef\xbb\xbf" + label.read_bytes().replace(b"\n", b"\r\n"))
    after = only(tmp_path, dialect)
    assert np.array_equal(before.boxes, after.boxes)
    assert before.lines.tolist() == after.lines.tolist()
    assert after.lines.tolist()[-2:] == [2, 3]


@pytest.mark.parametrize("name", ["DIOR-R", "DOTA-v1.0", "FAIR1M-2.0"])
def test_corners_keep_their_order(name: str, tmp_path: Path) -> None:
    write(tmp_path, DIALECTS[name])
    objects = only(tmp_path, DIALECTS[name])
    assert objects.boxes.tolist() == [[float(value) for value in QUAD]]


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("imagesource:GF\ngsd:null\n1 2 30.0 2 30 40 1 40 plane 1\n", [(0, 1, 3)]),
        ("1\t2  30 2 30 40 1 40 plane\n\n2 2 30 2 30 40 1 40 ship 2\n", [(0, 0, 1), (6, 2, 3)]),
        ("imagesource:GF\r\ngsd:1\r\n", []),
    ],
)
def test_dota_rows(text: str, wanted: list[tuple[int, int, int]], tmp_path: Path) -> None:
    dialect = DIALECTS["DOTA-v1.0"]
    write(tmp_path, dialect)
    save(tmp_path / dialect.label, text)
    objects = only(tmp_path, dialect)
    columns = (objects.labels, objects.difficult, objects.lines)
    assert list(zip(*(column.tolist() for column in columns), strict=True)) == wanted


def test_degrees_in_fair1m_are_told_and_dropped(tmp_path: Path) -> None:
    dialect = DIALECTS["FAIR1M-2.0"]
    write(tmp_path, dialect)
    text = (tmp_path / dialect.label).read_text()
    for old, new in {"1,": "126.2373,", "30,": "126.2378,", ",2<": ",45.6177<"}.items():
        text = text.replace(old, new)
    save(tmp_path / dialect.label, text.replace(",40<", ",45.6181<"))
    _, examined, defects = check(tmp_path, dialect.card)
    assert ("geographic", dialect.label, 2) in told(defects, tmp_path)
    assert len(examined[0].objects or ()) == 0
    assert not any(refused(d, dialect.card, tmp_path) for d in examined[0].defects)


def test_fractions_alone_are_no_degrees(tmp_path: Path) -> None:
    dialect = DIALECTS["FAIR1M-2.0"]
    points = "".join(f"<point>{x}.25,{y}.25</point>" for x, y in ((1, 2), (9, 2), (9, 8), (1, 8)))
    row = dialect.good.replace(POINTS, points + "<point>1.25,2.25</point>")
    write(tmp_path, dialect._replace(good=row))
    assert len(only(tmp_path, dialect)) == 1


@pytest.mark.parametrize("corner", ["0,41", "45.000214,20"])
def test_a_collapsed_object_is_in_pixels(corner: str, tmp_path: Path) -> None:
    dialect = DIALECTS["FAIR1M-2.0"]
    write(tmp_path, dialect)
    collapsed = dialect.good.replace(POINTS, f"<point>{corner}</point>" * 5)
    save(tmp_path / dialect.label, dialect.head + collapsed + dialect.foot)
    assert [d.kind for d in check(tmp_path, dialect.card)[2]] == ["zero-area"]


@pytest.mark.parametrize(
    ("type_id", "name"),
    [(11, "Fixed-wing Aircraft"), (18, "Small Car"), (73, "Building"), (94, "Tower")],
)
def test_class_ids_of_xview(type_id: int, name: str, tmp_path: Path) -> None:
    dialect = DIALECTS["xView"]
    other = dialect.good.replace(": 18", f": {type_id}").replace('"1,2,30,40"', "[3, 4, 30.5, 40]")
    save(tmp_path / dialect.label, '{"features": [' + other + "]}")
    picture(tmp_path / dialect.image)
    picture(tmp_path / "val_images" / "5.tif")
    save(tmp_path / "train_images" / "._100.tif", "litter")
    found, examined, defects = check(tmp_path, dialect.card)
    assert not defects
    assert [(item.split, item.label is None) for item in found.items] == [
        ("train", False),
        ("val", True),
    ]
    objects = examined[0].objects
    assert objects is not None
    assert objects.boxes.tolist() == [[3, 4, 30.5, 40]]
    assert dialect.card.classes[objects.labels[0]] == name


@pytest.mark.parametrize(
    ("name", "old", "new", "index"),
    [
        ("DIOR", "ship", "Expressway-Service-area", 6),
        ("DIOR", "ship", "expressway-service-area", 6),
        ("DIOR-R", "ship", "expressway-toll-station", 7),
        ("FAIR1M-2.0", "Small Car", "Liquid-Cargo-Ship", 22),
        ("FAIR1M-2.0", "Small Car", "Liquid_Cargo_Ship", 22),
    ],
)
def test_spellings_of_copies(name: str, old: str, new: str, index: int, tmp_path: Path) -> None:
    dialect = DIALECTS[name]
    write(tmp_path, dialect._replace(good=dialect.good.replace(old, new)))
    assert only(tmp_path, dialect).labels.tolist() == [index]
