"""Zips for servers: golden content, and every kind of broken one refused by name."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mtp_bench import catalog
from mtp_bench.datasets.cards import dior_r, dota_v1, dota_v2, fair1m, loveda
from mtp_bench.datasets.cards.card import Card
from mtp_bench.datasets.formats import fair1m_xml
from mtp_bench.datasets.samples import Item
from mtp_bench.datasets.submission import (
    FORMS,
    Scenes,
    Told,
    check,
    gather,
    make,
    read_scenes,
)
from mtp_bench.errors import UserError
from mtp_bench.store.paths import JobPaths

DOTA, FAIR1M, LOVEDA = dota_v1.CARD, fair1m.CARD, loveda.CARD
BOX, SHIP = (1.0, 2.0, 31.004, 2.0, 31.0, 12.5, 1.0, 12.5), (-3.0, 0, 9, 0, 9, 9, -3, 9)


def line(scene: str, /, **changes: Any) -> str:
    """A plane and a ship (in FAIR1M an A220 and a Boeing737), as a job leaves them."""
    found = {"scene": scene, "split": "test", "size": [800, 600], "boxes": [BOX, SHIP]}
    return json.dumps(found | {"labels": [0, 6], "scores": [0.987654, 0.05], **changes})


def empty(scene: str, /, **changes: Any) -> str:
    return line(scene, **{"boxes": [], "labels": [], "scores": [], **changes})


@pytest.fixture
def scenes(tmp_path: Path) -> Callable[..., Scenes]:
    """Writes predictions, a file a process, and reads them."""

    def read(card: Card, *files: list[str]) -> Scenes:
        paths = [tmp_path / f"test.{rank}.jsonl" for rank in range(len(files))]
        for path, lines in zip(paths, files, strict=True):
            path.write_text("".join(f"{line}\n" for line in lines))
        return read_scenes(paths, card)

    return read


def held(data: bytes) -> dict[str, str]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return {name: archive.read(name).decode() for name in archive.namelist()}


def test_dota_has_a_file_a_class(scenes: Callable[..., Scenes]) -> None:
    data, told = make(DOTA, scenes(DOTA, [line("P0010")], [line("P0006"), empty("P0007")]))
    assert told == Told(15, 3, 4)
    files = held(data)
    assert list(files) == [f"Task1_{name}.txt" for name in DOTA.classes]
    box, ship = (
        "1.00 2.00 31.00 2.00 31.00 12.50 1.00 12.50",
        "-3.00 0.00 9.00 0.00 9.00 9.00 -3.00 9.00",
    )
    assert files.pop("Task1_plane.txt") == f"P0006 0.987654 {box}\nP0010 0.987654 {box}\n"
    assert files.pop("Task1_ship.txt") == f"P0006 0.050000 {ship}\nP0010 0.050000 {ship}\n"
    assert set(files.values()) == {""}


def test_fair1m_has_a_file_an_image_in_the_dialect_of_its_release(
    scenes: Callable[..., Scenes], tmp_path: Path
) -> None:
    data, told = make(FAIR1M, scenes(FAIR1M, [line("10", labels=[24, 5]), empty("9")]))
    assert told == Told(2, 2, 2)
    files = held(data)
    assert list(files) == ["test/9.xml", "test/10.xml"]
    parts = {"filename": "10.tif", "width": "800", "probability": "0.987654"}
    for tag, text in parts.items():
        assert f"<{tag}>{text}</{tag}>" in files["test/10.xml"]
    for name in ("Baseball Field", "other-airplane"):
        assert f"<name>{name}</name>" in files["test/10.xml"]
    (tmp_path / "10.xml").write_text(files["test/10.xml"])
    parsed = fair1m_xml.parse(Item("train", "10", (), tmp_path / "10.xml"), FAIR1M)
    assert parsed.defects == ()
    assert parsed.objects is not None
    assert parsed.objects.labels.tolist() == [24, 5]
    np.testing.assert_allclose(parsed.objects.boxes.reshape(-1, 8), [BOX, SHIP])
    assert "<object>" not in files["test/9.xml"]


def test_equal_predictions_give_equal_bytes(scenes: Callable[..., Scenes]) -> None:
    one, _ = make(DOTA, scenes(DOTA, [line("P1"), line("P2")]))
    two, _ = make(DOTA, scenes(DOTA, [line("P2")], [line("P1")]))
    assert one == two


def test_other_splits_are_left_out(scenes: Callable[..., Scenes]) -> None:
    found = scenes(dota_v2.CARD, [line("P1", split="val")], [line("P2", split="test-dev")])
    assert list(found) == ["P2"]
    with pytest.raises(UserError, match="only val is predicted, where the DOTA server judges test"):
        scenes(DOTA, [line("P1", split="val")])
    with pytest.raises(UserError, match="no predictions"):
        scenes(DOTA, [])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"scene": "../P1"}, r"scene '\.\./P1' has no name that is safe in a zip"),
        ({"scene": "P 1"}, "has no name that is safe"),
        ({"labels": [0]}, "has not as many labels and scores as boxes"),
        ({"labels": [0, 15]}, "has a label that is none of 15 classes"),
        ({"boxes": [BOX, SHIP[:4]]}, "has a box that is not 8 numbers"),
        ({"scores": [0.5, float("nan")]}, r"scores\.1: Input should be a finite number"),
        ({"scene": "P0"}, "scene 'P0' stands twice: remove the files of an earlier run"),
    ],
)
def test_broken_predictions_are_told_by_line(
    scenes: Callable[..., Scenes], changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError, match=rf"test\.1\.jsonl:2: .*{message}"):
        scenes(DOTA, [line("P0")], [line("P1"), line("P2", **changes)])


def test_a_torn_line_is_told(scenes: Callable[..., Scenes]) -> None:
    with pytest.raises(UserError, match=r"test\.0\.jsonl:1: the line: Invalid JSON"):
        scenes(DOTA, [line("P0")[:40]])


def test_a_score_above_one_never_becomes_a_zip(scenes: Callable[..., Scenes]) -> None:
    with pytest.raises(UserError, match=r"^Task1_ship\.txt:1: the score is 1\.5, not"):
        make(DOTA, scenes(DOTA, [line("P1", scores=[1.0, 1.5])]))


def test_a_server_of_which_no_format_is_known(scenes: Callable[..., Scenes]) -> None:
    card = replace(dior_r.CARD, server="a server")
    with pytest.raises(UserError, match="DIOR-R: no format is known for what its server takes"):
        make(card, scenes(card, [line("1")]))


def changed(data: bytes, changes: dict[str, str | None]) -> io.BytesIO:
    """The zip with other content in some files; None: without them."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, text in (held(data) | changes).items():
            if text is not None:
                archive.writestr(name, text)
    return stream


NUMBERS = "1 2 3 2 3 4 1 4"


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("Task1_ship.txt", None, "Task1_ship.txt: is missing"),
        ("Task1_boat.txt", "", "'Task1_boat.txt': does not belong there"),
        ("../Task1_ship.txt", "", "'../Task1_ship.txt': does not belong there"),
        ("/etc/passwd", "", "'/etc/passwd': does not belong there"),
        ("Task1_ship.txt", f"P9 0.5 {NUMBERS}\n", "Task1_ship.txt:1: scene 'P9' was not predicted"),
        ("Task1_ship.txt", f"P1 1.5 {NUMBERS}\n", "Task1_ship.txt:1: the score is 1.5, not within"),
        ("Task1_ship.txt", f"P1 nan {NUMBERS}\n", "Task1_ship.txt:1: the score is nan"),
        ("Task1_ship.txt", f"P1 0.5 {NUMBERS} 7\n", "ship.txt:1: a box of 9 numbers, where 8"),
        ("Task1_ship.txt", f"P1 0.5 {NUMBERS}x\n", "ship.txt:1: number 8 is '4x', no number"),
        ("Task1_ship.txt", f"P1 0.5 inf{NUMBERS[1:]}\n", "Task1_ship.txt:1: number 1 is inf"),
        ("Task1_ship.txt", f"P1 0.5 {NUMBERS}\nP1\n", "ship.txt:2: the score is missing"),
    ],
)
def test_broken_dota_zips_are_refused_by_name(
    scenes: Callable[..., Scenes], name: str, text: str | None, message: str
) -> None:
    known = scenes(DOTA, [line("P1")])
    data, told = make(DOTA, known)
    assert check(io.BytesIO(data), DOTA, known) == told
    with pytest.raises(UserError) as refused:
        check(changed(data, {name: text}), DOTA, known)
    assert len(refused.value.lines) == 1
    assert message in refused.value.lines[0]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("A220", "A-220", "test/10.xml: object 1: 'A-220' is no class"),
        ("0.987654", "2", "test/10.xml: object 1: the score is 2, not within 0 and 1"),
        ("<probability>0.987654</probability>", "", "object 1: the score is missing"),
        ("10.tif", "11.tif", "test/10.xml: says that it is of '11.tif', not of 10.tif"),
        ("</annotation>", "", "test/10.xml: no XML (no element found"),
        ("-3.000000,9.000000", "-3.000000", "object 2: a box of 7 numbers, where 8 are meant"),
        ("9.000000,0.000000", "9.000000,x", "object 2: number 4 is 'x', no number"),
        ("<point>9.000000,9.000000</point>", "", "object 2: 4 points, where five"),
    ],
)
def test_broken_fair1m_zips_are_refused_by_name(
    scenes: Callable[..., Scenes], old: str, new: str, message: str
) -> None:
    known = scenes(FAIR1M, [line("10"), empty("9")])
    data, _ = make(FAIR1M, known)
    text = held(data)["test/10.xml"]
    assert old in text
    with pytest.raises(UserError) as refused:
        check(changed(data, {"test/10.xml": text.replace(old, new)}), FAIR1M, known)
    assert len(refused.value.lines) == 1
    assert message in refused.value.lines[0]
    with pytest.raises(UserError, match=r"^test/9\.xml: is missing\n'9\.xml': does not belong"):
        check(changed(data, {"test/9.xml": None, "9.xml": ""}), FAIR1M, known)


def label_map(seed: int, size: tuple[int, int] = (1024, 1024), mode: str = "L") -> Image.Image:
    """Classes from 0 to 6 in areas of 64 px."""
    small = np.random.default_rng(seed).integers(0, 7, (16, 16)).astype(np.uint8)
    return Image.fromarray(small).resize(size, Image.Resampling.NEAREST).convert(mode)


def png(image: Image.Image) -> bytes:
    stream = io.BytesIO()
    image.save(stream, format="PNG")
    return stream.getvalue()


@pytest.fixture
def maps(tmp_path: Path) -> Callable[..., JobPaths]:
    """Writes label maps as a job leaves them, and gives its paths."""

    def write(*names: str, folder: str = "server") -> JobPaths:
        paths = JobPaths(tmp_path / "run", tmp_path / "records", "job")
        (paths.predictions / folder).mkdir(parents=True, exist_ok=True)
        for seed, name in enumerate(names):
            label_map(seed).save(paths.predictions / folder / f"{name}.png")
        return paths

    return write


NAMES = ("test__Urban%2F4191", "test__Rural%2F5986")


def test_loveda_has_a_flat_zip_of_label_maps(maps: Callable[..., JobPaths]) -> None:
    maps("val__Rural%2F2522", folder="test")
    scenes = gather(maps(*NAMES), LOVEDA)
    assert list(scenes) == ["4191", "5986"]
    data, told = make(LOVEDA, scenes)
    assert told == Told(2, 2, 0)
    assert make(LOVEDA, scenes)[0] == data
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert archive.namelist() == ["4191.png", "5986.png"]
        for seed, name in enumerate(archive.namelist()):
            with Image.open(archive.open(name)) as image:
                assert (image.mode, image.size) == ("L", (1024, 1024))
                assert (np.asarray(image) == np.asarray(label_map(seed))).all()


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ((), "LoveDA: no predictions, where the LoveDA server judges test"),
        (("val__Rural%2F1",), "LoveDA: only val is predicted, where the LoveDA server judges test"),
        (("test__Rural%2F7", "test__Urban%2F7"), "image 7 stands twice: .*Rural%2F7.png"),
        (("test__Rural%2F..",), r"'\.\.' is no name that is safe in a zip"),
        (("test__Rural%2Fa%250Ab",), "'a%0Ab' is no name that is safe in a zip"),
    ],
)
def test_label_maps_that_make_no_zip(
    names: tuple[str, ...], message: str, maps: Callable[..., JobPaths]
) -> None:
    with pytest.raises(UserError, match=message):
        gather(maps(*names), LOVEDA)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "4191.png: is missing"),
        (b"no picture", "4191.png: no PNG that can be read"),
        (png(label_map(0))[:999], "4191.png: no PNG that can be read"),
        (png(label_map(0, (512, 1024))), "4191.png: 512x1024 px, where 1024x1024 are meant"),
        (png(label_map(0, mode="RGB")), "4191.png: of mode RGB, where one channel of 8 bits is"),
        (png(label_map(0, mode="P")), "4191.png: of mode P, where one channel of 8 bits is meant"),
        (png(label_map(0, mode="I;16")), "4191.png: of mode I;16, where one channel of 8 bits"),
        (png(label_map(0).point(range(1, 257))), "4191.png: value 7, where 0 to 6 are meant"),
    ],
)
def test_broken_loveda_zips_are_refused_by_name(
    content: bytes | None, message: str, maps: Callable[..., JobPaths]
) -> None:
    scenes = gather(maps(*NAMES), LOVEDA)
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("5986.png", png(label_map(1)))
        if content is not None:
            archive.writestr("4191.png", content)
    with pytest.raises(UserError) as refused:
        check(stream, LOVEDA, scenes)
    assert len(refused.value.lines) == 1
    assert refused.value.lines[0].startswith(message)
    with zipfile.ZipFile(stream, "a") as archive:
        archive.writestr("Rural/4191.png", png(label_map(0)))
    with pytest.raises(UserError, match=r"'Rural/4191\.png': does not belong there"):
        check(stream, LOVEDA, scenes)


def test_what_a_server_judges_has_a_format_and_a_figure_here() -> None:
    cards = [catalog.load("dataset", n) for n, e in catalog.DATASETS.items() if e.target]
    servers = {card.name: card.server for card in cards if card.server is not None}
    assert servers == {
        "DOTA-v1.0": "DOTA server",
        "DOTA-v2.0": "DOTA server",
        "FAIR1M-2.0": "Gaofen challenge server",
        "LoveDA": "LoveDA server",
    }
    assert set(servers.values()) == set(FORMS)
    for card in cards:
        assert (card.judged_here is None) == (card.server is None)
        if card.server is not None:
            assert card.judged_here.name != card.primary.name
            assert not any(card.splits[split].labelled for split in card.roles["test"])
            assert card.splits["val"].labelled


def test_what_is_no_zip_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    with pytest.raises(UserError, match=r"a\.zip: no zip that can be read"):
        check(path, DOTA, ["P1"])
    path.write_text("no zip")
    with pytest.raises(UserError, match=r"a\.zip: no zip that can be read"):
        check(path, DOTA, ["P1"])
