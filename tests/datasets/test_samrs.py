"""SAMRS: three labels of one image, each spoiled; and pickles that would do more than hold data."""

from __future__ import annotations

import copyreg
import os
import pickle
import shutil
import struct
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mtp_bench.datasets.cards.card import IGNORE, Card
from mtp_bench.datasets.cards.samrs import FAST, SIOR, SOTA_RBB
from mtp_bench.datasets.defects import why_known
from mtp_bench.datasets.formats import restricted_pickle
from mtp_bench.datasets.formats.restricted_pickle import PickleRefused, load
from mtp_bench.datasets.reading import Examined, examine, reader_of
from mtp_bench.errors import UserError

SIDE = 32
COUNTS = "T44l00000000000000lc0"
"""Run lengths that pycocotools makes of ``blob``."""
NAME = "P1__1024__0___0"
SHIP = SOTA_RBB.classes.index("ship")
PLANE = SOTA_RBB.classes.index("plane")
LINES = "4 4 12 4 12 8 4 8 ship 0\n20 20 28 20 28 28 20 28 plane 1\n2 2 6 2 6 6 2 6 ship 0\n"
TILES = Path("dotav2_1024_rbb/trainval")
Spoil = Callable[[Path], object]


def blob() -> np.ndarray[Any, np.dtype[np.uint8]]:
    shown = np.zeros((SIDE, SIDE), dtype=np.uint8)
    shown[4:8, 4:12] = 1
    return shown


def instance(**other: Any) -> dict[str, Any]:
    """One as SAMRS's script writes it."""
    rle = {"size": [SIDE, SIDE], "counts": COUNTS}
    corners = np.array([[4, 4], [12, 4], [12, 8], [4, 8]], dtype=np.float32)
    own = {"mask": rle, "rbox": corners, "rhbox": np.array([4, 4, 12, 8], dtype=np.float32)}
    return {**own, "category": "ship", "label": np.int64(SHIP), "size": np.int64(32), **other}


def dump(path: Path, content: Any, protocol: int = 4) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else pickle.dumps(content, protocol))
    return path


def gray(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.where(blob() == 1, SHIP, IGNORE).astype(np.uint8)).save(path)


def tiles(root: Path, name: str = NAME) -> Path:
    place = root / TILES
    (place / "images").mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (SIDE, SIDE)).save(place / "images" / f"{name}.png")
    gray(place / "rhbox_segs_init/gray" / f"{name}.png")
    dump(place / "rhbox_segs_init/ins" / f"{name}.pkl", [instance(), instance()])
    (place / "rbbtxts").mkdir(exist_ok=True)
    (place / "rbbtxts" / f"{name}.txt").write_text(LINES)
    return root


def look(root: Path, card: Card) -> tuple[dict[str, Examined], set[tuple[str, str]]]:
    found = reader_of(card).find(root, card)
    seen = {item.key: examine(item, card) for item in found.items}
    defects = [*found.defects, *(d for one in seen.values() for d in one.defects)]
    return seen, {(d.kind, d.place.name) for d in defects if d.kind != "picture-size"}


def test_the_three_labels_of_a_tile_are_independent_lists(tmp_path: Path) -> None:
    seen, defects = look(tiles(tmp_path), SOTA_RBB)
    parsed = seen[NAME].parsed
    assert not defects
    assert parsed.mask is not None
    assert np.unique(parsed.mask).tolist() == [SHIP, IGNORE]
    assert [one.label for one in parsed.instances] == [SHIP, SHIP]
    assert list(parsed.instances[0].box) == [4, 4, 12, 8]
    assert parsed.instances[0].rle == {"size": [SIDE, SIDE], "counts": COUNTS}
    assert parsed.objects is not None
    assert parsed.objects.labels.tolist() == [SHIP, PLANE, SHIP]
    assert parsed.objects.boxes[0].tolist() == [4, 4, 12, 4, 12, 8, 4, 8]


def test_sior_reads_trainval_and_the_capitals_of_its_xml(tmp_path: Path) -> None:
    place = tmp_path / "dior"
    masks = place / "hbox_segs_trainvaltest_init"
    (place / "JPEGImages-trainval").mkdir(parents=True)
    Image.new("RGB", (SIDE, SIDE)).save(place / "JPEGImages-trainval/00001.jpg")
    for name in ("00001", "11726"):  # the second is an image of test, which has labels too
        gray(masks / f"gray/{name}.png")
        row = instance(category="expressway-service-area", label=6)
        row["bbox"] = row.pop("rhbox")
        dump(masks / f"ins/{name}.pkl", [row])
        box = "".join(
            f"<x_{corner}>{x}</x_{corner}><y_{corner}>{y}</y_{corner}>"
            for corner, x, y in (
                ("left_top", 4, 4),
                ("right_top", 12, 4),
                ("right_bottom", 12, 8),
                ("left_bottom", 4, 8),
            )
        )
        xml = place / "Annotations/Oriented Bounding Boxes" / f"{name}.xml"
        xml.parent.mkdir(parents=True, exist_ok=True)
        named = "<name>Expressway-Service-area</name>"
        xml.write_text(
            f"<annotation><object>{named}<robndbox>{box}</robndbox></object></annotation>"
        )
    seen, defects = look(tmp_path, SIOR)
    assert set(seen) == {"00001"}
    parsed = seen["00001"].parsed
    assert parsed.objects is not None
    assert parsed.objects.labels.tolist() == [6]
    assert [one.label for one in parsed.instances] == [6]
    assert not defects
    for xml in place.rglob("*.xml"):
        size = "<size><width>9</width><height>9</height></size><object>"
        xml.write_text(xml.read_text().replace("<object>", size, 1))
    assert ("size", "00001.xml") in look(tmp_path, SIOR)[1]


def test_images_without_any_mask_are_legal(tmp_path: Path) -> None:
    place = tiles(tmp_path) / TILES
    (place / f"rhbox_segs_init/gray/{NAME}.png").unlink()
    (place / f"rhbox_segs_init/ins/{NAME}.pkl").unlink()
    (place / f"rbbtxts/{NAME}.txt").write_text("")
    seen, defects = look(tmp_path, SOTA_RBB)
    parsed = seen[NAME].parsed
    assert not defects
    assert parsed.mask is None
    assert parsed.objects is not None
    assert len(parsed.objects) == len(parsed.instances) == 0


INS, GRAY, TXT = (
    TILES / f"rhbox_segs_init/ins/{NAME}.pkl",
    TILES / f"rhbox_segs_init/gray/{NAME}.png",
    TILES / f"rbbtxts/{NAME}.txt",
)
CUT = {"size": [SIDE, SIDE], "counts": "R31"}
HUGE = {"size": [SIDE, SIDE], "counts": "ooooooooooooo1"}
PKL, PNG = INS.name, GRAY.name


def bush() -> list[Any]:
    """Lists in lists: small in memory, and endless to print."""
    nested: list[Any] = []
    for _ in range(60):
        nested = [nested, nested]
    return nested


def plant(*rows: Any) -> Spoil:
    return lambda root: dump(root / INS, list(rows))


def write(text: str) -> Spoil:
    return lambda root: (root / TXT).write_text(text)


@pytest.mark.parametrize(
    ("spoil", "kind", "name"),
    [
        (plant(instance(mask=CUT)), "bad-box", PKL),
        (plant(instance(mask=HUGE)), "bad-box", PKL),
        (plant(instance(mask=None)), "bad-box", PKL),
        (plant(instance(mask={"size": [0, 0], "counts": ""})), "bad-box", PKL),
        (plant(instance(mask={"size": ["a", 1], "counts": "1"})), "bad-box", PKL),
        (plant(instance(rhbox=np.zeros(3))), "bad-box", PKL),
        (plant(instance(rhbox=[0, 0, float("nan"), 1])), "bad-box", PKL),
        (plant(instance(rhbox=[10**400] * 4)), "bad-box", PKL),
        (plant(instance(mask={"size": [float("inf"), 1], "counts": COUNTS})), "bad-box", PKL),
        (plant(instance(mask={"size": [SIDE, SIDE], "counts": 10**15})), "bad-box", PKL),
        (plant(instance(mask=bush(), rhbox=bush())), "bad-box", PKL),
        (plant("ship"), "bad-box", PKL),
        (plant(instance(label=bush(), category=bush())), "unknown-class", PKL),
        (plant(instance(label=18)), "unknown-class", PKL),
        (plant(instance(label="ship")), "unknown-class", PKL),
        (plant(instance(label=6)), "unknown-class", PKL),
        (lambda r: dump(r / INS, {"mask": 1}), "label-unreadable", PKL),
        (lambda r: dump(r / INS, OrderedDict(a=1)), "label-unreadable", PKL),
        (lambda r: (r / INS).write_bytes(b""), "label-unreadable", PKL),
        (lambda r: (r / INS).unlink(), "label-missing", PNG),
        (lambda r: (r / GRAY).unlink(), "label-missing", PNG),
        (lambda r: (r / TXT).unlink(), "label-missing", PNG),
        (lambda r: shutil.rmtree((r / TXT).parent), "layout", "rbbtxts"),
        (lambda r: (r / GRAY).write_bytes(b"x"), "label-unreadable", PNG),
        (
            lambda r: Image.new("L", (SIDE, SIDE), 18).save(r / GRAY),
            "label-value",
            PNG,
        ),
        (lambda r: Image.new("L", (9, SIDE)).save(r / GRAY), "size", PKL),
        (lambda r: (r / TILES / "images" / PNG).unlink(), "image-missing", PNG),
        (write("4 4 4 4 4 4 4 4 ship 0"), "repeated-corner", TXT.name),
        (write("4 4 4 4 9 4 9 9 ship 0"), "repeated-corner", TXT.name),
        (write("4 4 9 4 9 9 4 ship 0"), "bad-box", TXT.name),
        (write("4 4 9 4 9 9 4 9 boat 0"), "unknown-class", TXT.name),
        (lambda r: (r / TXT).write_bytes(b"\xff\xff"), "label-unreadable", TXT.name),
    ],
)
def test_spoiled_labels_are_told(tmp_path: Path, spoil: Spoil, kind: str, name: str) -> None:
    spoil(tiles(tmp_path))
    assert (kind, name) in look(tmp_path, SOTA_RBB)[1]


def test_boxes_with_repeated_corners_are_dropped_and_known(tmp_path: Path) -> None:
    write(LINES + "4 4 4 4 9 4 9 9 ship 0\n")(tiles(tmp_path))
    seen, _ = look(tmp_path, SOTA_RBB)
    (defect,) = seen[NAME].parsed.defects
    objects = seen[NAME].objects
    assert (defect.line, defect.at) == (4, 3)
    assert why_known(defect, SOTA_RBB, tmp_path)
    assert not why_known(replace(defect, kind="bad-box"), SOTA_RBB, tmp_path)
    assert objects is not None
    assert len(objects) == 3


def test_a_wrong_instance_costs_itself_only(tmp_path: Path) -> None:
    plant(instance(mask=CUT), instance())(tiles(tmp_path))
    parsed = look(tmp_path, SOTA_RBB)[0][NAME].parsed
    assert len(parsed.instances) == 1
    assert parsed.defects[0].line == 1


@pytest.mark.parametrize("card", [SOTA_RBB, SIOR, FAST], ids=lambda card: card.name)
def test_a_folder_of_something_else_is_an_error(card: Card, tmp_path: Path) -> None:
    (tmp_path / "holiday").mkdir()
    with pytest.raises(UserError, match="holiday"):
        reader_of(card).find(tmp_path, card)


def test_the_order_of_classes_is_samrs_own() -> None:
    assert (len(SOTA_RBB.classes), len(SIOR.classes), len(FAST.classes)) == (18, 20, 37)
    assert SOTA_RBB.classes[0] == "large-vehicle"
    assert SIOR.classes[8] == "dam"
    assert list(FAST.classes) == sorted(FAST.classes, key=str.lower)


# Pickles

ARRAYS = {
    "floats": np.arange(6, dtype=np.float32).reshape(2, 3),
    "columns": np.asfortranarray(np.arange(6).reshape(2, 3)),
    "big end first": np.arange(3, dtype=">i4"),
    "truth": np.array([True, False]),
    "none": np.zeros((0, 4)),
    "scalar": np.int64(7),
    "plain": [1, 2.5, "text", b"\xff", None, (1, 2), {3}],
}


@pytest.mark.parametrize("protocol", [4, 5])
@pytest.mark.parametrize("core", [b"numpy.core", b"numpy._core"], ids=["numpy 1", "numpy 2"])
def test_plain_data_and_arrays_are_loaded(tmp_path: Path, protocol: int, core: bytes) -> None:
    data = pickle.dumps(ARRAYS, protocol)
    for part in (b"multiarray", b"numeric"):
        for written in (b"numpy.core", b"numpy._core"):
            old, new = written + b"." + part, core + b"." + part
            data = data.replace(bytes([0x8C, len(old)]) + old, bytes([0x8C, len(new)]) + new)
    loaded = load(dump(tmp_path / "a.pkl", unframed(data)))
    assert loaded.pop("plain") == ARRAYS["plain"]
    for name, array in loaded.items():
        np.testing.assert_array_equal(array, ARRAYS[name])


def unframed(data: bytes) -> bytes:
    """Without its one frame, whose length no longer holds."""
    assert data[2:3] == b"\x95"
    return data[:2] + data[11:]


@pytest.mark.parametrize("protocol", [2, 3])
def test_older_protocols_are_loaded(tmp_path: Path, protocol: int) -> None:
    data = pickle.dumps([instance()], protocol)
    (row,) = load(dump(tmp_path / "a.pkl", data))
    np.testing.assert_array_equal(row["rbox"], instance()["rbox"])
    assert row["label"] == SHIP


def call(module: str, name: str, *arguments: Any) -> bytes:
    """A pickle that calls a function, by protocol 4's way to name it."""
    names = b"".join(b"\x8c" + bytes([len(text)]) + text.encode() for text in (module, name))
    given = pickle.dumps(arguments, 4)[2:-1]
    given = given[9:] if given.startswith(b"\x95") else given
    return b"\x80\x04" + names + b"\x93" + given + b"R."


def array(shape: Any, data: bytes) -> bytes:
    """A pickle of an array of float32 that says it has this shape and these bytes."""
    new = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(K\0tC\x01btR"
    kind = b"cnumpy\ndtype\n(X\x02\0\0\0f4\x89\x88tR"
    raw = b"B" + struct.pack("<I", len(data)) + data
    return (
        b"\x80\x03" + new + b"(K\x01" + pickle.dumps(shape, 2)[2:-1] + kind + b"\x89" + raw + b"tb."
    )


SYSTEM = b"cos\nsystem\n(X\x04\0\0\0truetR."


@pytest.mark.parametrize(
    "data",
    [
        SYSTEM,
        call("os", "system", "true"),
        call("builtins", "eval", "1"),
        call("builtins", "getattr", "a", "b"),
        call("numpy.core.multiarray", "os.system", "true"),
        call("numpy", "ndarray", (2**40,)),
        call("numpy", "ndarray.tofile", "x"),
        call("numpy", "load", "x"),
        call("numpy", "dtype", "O"),
        call("numpy", "dtype", "O8"),
        call("numpy", "dtype", [("a", "O")]),
        call("numpy.core.multiarray", "_reconstruct", 1, 2, 3),
        call("numpy.core.multiarray", "scalar", 1, b"x"),
        call("_codecs", "encode", "x", "rot13"),
        call("_codecs", "decode", b"x", "zlib"),
        b"\x80\x04(cnumpy\nndarray\ncnumpy\ndtype\n\x85\x81.",
        b"\x80\x04cnumpy\ndtype\n)\x81.",
        b"(inumpy\ndtype\n.",
        b"\x80\x02cnumpy\ndtype\n}X\x08\0\0\0functionX\x01\0\0\0xsb.",
        b"\x80\x02cnumpy\ndtype\n(X\x02\0\0\0f4tR(K\x03X\x01\0\0\0|NNX\x01\0\0\0xtb.",
        b"\x80\x02\x82\x01.",
        b"Pperson\n.",
        b"\x80\x02K\x01Q.",
        array((2**32, 2**32), b""),
        array((3,), b"12345678"),
        array((-1,), b""),
        array("shape", b"12345678"),
        array((2**30, "x"), b""),
        pickle.dumps(np.array([{}, None], dtype=object)),
        pickle.dumps(np.zeros(2, dtype=[("a", "f4")])),
        pickle.dumps(OrderedDict(a=1)),
        pickle.dumps(Path("x")),
        pickle.dumps(ARRAYS)[:-30],
        b"\x80\x04K\x01r\xff\xff\xff\x7f.",
        b"\x80\x04" + b"B\xff\xff\xff\x7fx",
        b"\x80\x04}K\x01" + b"\x85" * 200_001 + b"K\x01s.",
        b"\x80\x04" + b"]" * 10,
        b"0.",
        b"",
        b"\x89PNG\r\n",
    ],
)
def test_whatever_is_more_than_data_is_refused(
    data: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.system", lambda *_: pytest.fail("was called"))
    with pytest.raises(PickleRefused):
        load(dump(tmp_path / "a.pkl", data))


def test_a_refusal_names_what_was_asked_for(tmp_path: Path) -> None:
    with pytest.raises(PickleRefused, match=r"os\.system"):
        load(dump(tmp_path / "a.pkl", SYSTEM))


def test_what_the_program_has_loaded_by_number_is_refused(tmp_path: Path) -> None:
    copyreg.add_extension("os", "getcwd", 1)
    try:
        data = b"\x80\x02\x82\x01."
        assert pickle.loads(data) is os.getcwd
        with pytest.raises(PickleRefused, match="EXT1"):
            load(dump(tmp_path / "a.pkl", data))
    finally:
        copyreg.remove_extension("os", "getcwd", 1)


def test_arrays_that_are_sound_come_through_the_same_door(tmp_path: Path) -> None:
    data = array((2,), struct.pack("<2f", 1, 2))
    assert load(dump(tmp_path / "a.pkl", data)).tolist() == [1, 2]


def test_lists_that_nest_without_end_do_not_hang(tmp_path: Path) -> None:
    nested = bush()
    nested.append(nested)
    assert len(load(dump(tmp_path / "a.pkl", pickle.dumps(nested)))) == 3
    for data in (call("numpy", "dtype", nested), call("_codecs", "encode", "x", nested)):
        with pytest.raises(PickleRefused):
            load(dump(tmp_path / "b.pkl", data))


def test_large_files_are_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(restricted_pickle, "LIMIT", 3)
    with pytest.raises(PickleRefused, match="larger"):
        load(dump(tmp_path / "a.pkl", [1, 2, 3]))
