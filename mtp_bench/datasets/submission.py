"""What a server takes: predictions of its test split → a zip in its format, read back and checked.

DOTA: ``Task1_<class>.txt`` at the zip's top, one a class, with ``<scene> <score> x1 y1 … x4 y4`` a
line (DOTA_devkit; mmrotate's DOTAMetric.merge_results). FAIR1M: ``test/<scene>.xml``, one an image
(MTP's scripts/dota_submit_txt_to_fair1m_xml.py; the folder as in LSKNet's issue 100). LoveDA:
``<n>.png`` at the zip's top, one an image, classes from 0 in 8 bits (its card).
"""

import io
import re
import zipfile
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple
from urllib.parse import unquote
from xml.etree import ElementTree
from xml.sax.saxutils import escape

import numpy as np
from PIL import Image
from pydantic import ValidationError

from mtp_bench.datasets.access import some
from mtp_bench.datasets.cards.card import Card
from mtp_bench.datasets.formats.boxes import Fault, number
from mtp_bench.errors import UserError
from mtp_bench.store.paths import JobPaths
from mtp_bench.suite.fields import Model

WHEN = (1980, 1, 1, 0, 0, 0)
"""Of every file in a zip: equal predictions give equal bytes."""
SAFE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
DOTA_FILE = "Task1_{}.txt"
FAIR1M_FILE = "test/{}.xml"
LOVEDA_FILE = "{}.png"
LOVEDA_SIZE, LOVEDA_CLASSES = (1024, 1024), 7
FAIR1M_HEAD = """<?xml version="1.0" encoding="utf-8"?>
<annotation>
<source><filename>{scene}.tif</filename><origin>GF2/GF3</origin></source>
<research><version>2.0</version><provider>mtp-bench</provider><author>mtp-bench</author>
<pluginname>FAIR1M</pluginname><pluginclass>object detection</pluginclass>
<time>2020-07-2020-11</time></research>
<size><width>{size[0]}</width><height>{size[1]}</height><depth>3</depth></size>
<objects>
"""
FAIR1M_OBJECT = """<object>
<coordinate>pixel</coordinate><type>rectangle</type><description>None</description>
<possibleresult><name>{name}</name><probability>{score:.6f}</probability></possibleresult>
<points>{points}</points>
</object>
"""
FAIR1M_TAIL = "</objects>\n</annotation>\n"
"""As the challenge's template has them, its odd time too."""


class Scene(Model):
    """One line of a file of predictions: a whole scene, its tiles merged. Pixels of the scene."""

    scene: str
    split: str
    size: tuple[int, int]
    """Width, height."""
    boxes: tuple[tuple[float, ...], ...]
    """(n, 8): four corners."""
    labels: tuple[int, ...]
    scores: tuple[float, ...]


Scenes = Mapping[str, Any]
"""By name: a ``Scene``, or the file with a label map."""


class Detection(NamedTuple):
    """A box as it stands in a zip, in the zip's words; ``place`` says where."""

    place: str
    scene: str
    kind: str
    score: str | None
    numbers: Sequence[str]


@dataclass(frozen=True)
class Form:
    """A server's format."""

    gather: Callable[[JobPaths, Card], Scenes]
    """From what a job left."""
    names: Callable[[Card, Iterable[str]], list[str]]
    """Of all its files, from the scenes."""
    write: Callable[[Card, Scenes], Iterator[tuple[str, str | bytes]]]
    """Every file's name and content."""
    read: Callable[[str, bytes], Iterator[Detection]]
    """What stands in a file of this name. ``Fault``: the file is none of the format."""


class Told(NamedTuple):
    """What a zip holds."""

    files: int
    scenes: int
    boxes: int


def gather(paths: JobPaths, card: Card) -> Scenes:
    """What a job predicted for a card's server.

    Raises:
        UserError: where that is nothing or broken, or no format is known for the server.
    """
    return _form(card).gather(paths, card)


def _boxes(paths: JobPaths, card: Card) -> Scenes:
    if not paths.predicted:
        raise UserError(f"{paths.job}: left no predictions: no *.jsonl in {paths.predictions}")
    return read_scenes(paths.predicted, card)


def read_scenes(paths: Sequence[Path], card: Card) -> Scenes:
    """The scenes of the splits that the server judges, in order of name.

    Raises:
        UserError: a line that is no scene of this dataset, a scene that stands twice, or none.
    """
    found: dict[str, Scene] = {}
    others: set[str] = set()
    wanted = card.roles["test"]
    for path in paths:
        with path.open(encoding="utf-8") as stream:
            for index, line in enumerate(stream, 1):
                try:
                    scene = Scene.model_validate_json(line)
                except ValidationError as error:
                    first = error.errors()[0]
                    where = ".".join(map(str, first["loc"])) or "the line"
                    raise UserError(f"{path}:{index}: {where}: {first['msg']}") from None
                if scene.split not in wanted:
                    others.add(scene.split)
                    continue
                if fault := _fault(scene, card, scene.scene in found):
                    raise UserError(f"{path}:{index}: scene '{scene.scene}' {fault}")
                found[scene.scene] = scene
    return _ordered(found, others, card)


def _ordered(found: dict[str, Any], others: set[str], card: Card) -> Scenes:
    """In order of name. ``UserError`` where there is nothing but of other splits."""
    if not found:
        there = f"only {', '.join(sorted(others))} is predicted" if others else "no predictions"
        wanted = "+".join(card.roles["test"])
        raise UserError(f"{card.name}: {there}, where the {card.server} judges {wanted}")
    return dict(sorted(found.items(), key=lambda item: (len(item[0]), item[0])))


def _fault(scene: Scene, card: Card, twice: bool) -> str:
    """What is wrong with a scene; empty where nothing is."""
    if not SAFE.fullmatch(scene.scene):
        return "has no name that is safe in a zip"
    if twice:
        return "stands twice: remove the files of an earlier run"
    if len({len(scene.boxes), len(scene.labels), len(scene.scores)}) > 1:
        return "has not as many labels and scores as boxes"
    if any(len(box) != 8 for box in scene.boxes):
        return "has a box that is not 8 numbers"
    if any(not 0 <= label < len(card.classes) for label in scene.labels):
        return f"has a label that is none of {len(card.classes)} classes"
    return ""


def make(card: Card, scenes: Scenes) -> tuple[bytes, Told]:
    """The zip for a card's server, and what ``check`` says of it.

    Raises:
        UserError: no format is known for the server, or the zip does not pass the check.
    """
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, content in _form(card).write(card, scenes):
            info = zipfile.ZipInfo(name, WHEN)
            info.compress_type = zipfile.ZIP_DEFLATED
            info.create_system = 3  # or the bytes would tell on which system they were written
            info.external_attr = 0o644 << 16
            archive.writestr(info, content)
    return stream.getvalue(), check(stream, card, scenes)


def check(archive: Path | BinaryIO, card: Card, scenes: Collection[str]) -> Told:
    """Read a zip back as its server would; ``scenes`` are those that it has to speak of.

    Raises:
        UserError: each class or image that lacks, each file that does not belong, each line that
            cannot be read or says what cannot be, by file and line.
    """
    form, boxes = _form(card), 0
    wanted = form.names(card, scenes)
    try:
        with zipfile.ZipFile(archive) as opened:
            held = Counter(opened.namelist())
            problems = [f"{name}: is missing" for name in wanted if name not in held]
            strange = held.keys() - set(wanted)
            problems += [f"{name!r}: does not belong there" for name in sorted(strange)]
            problems += [f"{name}: stands twice" for name, times in held.items() if times > 1]
            for name in (name for name in wanted if name in held):
                try:
                    for detection in form.read(name, opened.read(name)):
                        boxes += 1
                        problems += _wrong(detection, card, scenes)
                except Fault as fault:
                    problems.append(f"{name}: {fault.what}")
    except (OSError, zipfile.BadZipFile) as error:
        raise UserError(f"{archive}: no zip that can be read ({error})") from None
    if problems:
        raise UserError(*some(problems))
    return Told(len(wanted), len(scenes), boxes)


def _wrong(found: Detection, card: Card, scenes: Collection[str]) -> Iterator[str]:
    """The first thing that is wrong with a box, if any."""
    try:
        score = number(found.score, "the score")
        for index, text in enumerate(found.numbers, 1):
            number(text, f"number {index}")
    except Fault as fault:
        yield f"{found.place}: {fault.what}"
        return
    if found.scene not in scenes:
        yield f"{found.place}: scene '{found.scene}' was not predicted"
    elif found.kind not in card.classes:
        yield f"{found.place}: '{found.kind}' is no class"
    elif len(found.numbers) != 8:
        yield f"{found.place}: a box of {len(found.numbers)} numbers, where 8 are meant"
    elif not 0 <= score <= 1:
        yield f"{found.place}: the score is {score:g}, not within 0 and 1"


def _dota_names(card: Card, scenes: Iterable[str]) -> list[str]:
    return [DOTA_FILE.format(kind) for kind in card.classes]


def _dota_write(card: Card, scenes: Scenes) -> Iterator[tuple[str, str]]:
    """Scores in full, where mmrotate rounds to two digits: ties would be ranked at random."""
    lines: dict[int, list[str]] = defaultdict(list)
    for name, scene in scenes.items():
        for box, label, score in zip(scene.boxes, scene.labels, scene.scores, strict=True):
            corners = " ".join(f"{value:.2f}" for value in box)
            lines[label].append(f"{name} {score:.6f} {corners}\n")
    for label, name in enumerate(_dota_names(card, scenes)):
        yield name, "".join(lines[label])


def _dota_read(name: str, data: bytes) -> Iterator[Detection]:
    kind = name.removeprefix("Task1_").removesuffix(".txt")
    try:
        lines = data.decode("ascii").splitlines()
    except UnicodeDecodeError as error:
        raise Fault("label-unreadable", f"no text ({error})") from None
    for index, line in enumerate(lines, 1):
        scene, _, rest = line.partition(" ")
        score, *corners = rest.split(" ")
        yield Detection(f"{name}:{index}", scene, kind, score, corners)


def _fair1m_names(card: Card, scenes: Iterable[str]) -> list[str]:
    return [FAIR1M_FILE.format(scene) for scene in scenes]


def _fair1m_write(card: Card, scenes: Scenes) -> Iterator[tuple[str, str]]:
    """By hand: a test split has a million boxes, of ten elements each."""
    kinds = [escape(name) for name in card.classes]
    for name, scene in zip(_fair1m_names(card, scenes), scenes.values(), strict=True):
        parts = [FAIR1M_HEAD.format(scene=scene.scene, size=scene.size)]
        for box, label, score in zip(scene.boxes, scene.labels, scene.scores, strict=True):
            corners = zip((*box[::2], box[0]), (*box[1::2], box[1]), strict=True)
            points = "".join(f"<point>{x:.6f},{y:.6f}</point>" for x, y in corners)
            parts.append(FAIR1M_OBJECT.format(name=kinds[label], score=score, points=points))
        yield name, "".join((*parts, FAIR1M_TAIL))


def _fair1m_read(name: str, data: bytes) -> Iterator[Detection]:
    scene = Path(name).stem
    try:
        root = ElementTree.fromstring(data)
    except (ElementTree.ParseError, ValueError, LookupError) as error:
        raise Fault("label-unreadable", f"no XML ({error})") from None
    if (said := root.findtext("source/filename", "")) != f"{scene}.tif":
        raise Fault("label-unreadable", f"says that it is of '{said}', not of {scene}.tif")
    for index, found in enumerate(root.iterfind("objects/object"), 1):
        points = [point.text or "" for point in found.iterfind("points/point")]
        if len(points) != 5 or points[0] != points[-1]:
            closed = "five, the last as the first, are meant"
            raise Fault("bad-box", f"object {index}: {len(points)} points, where {closed}")
        numbers = [text for point in points[:4] for text in point.split(",")]
        kind = found.findtext("possibleresult/name", "")
        score = found.findtext("possibleresult/probability")
        yield Detection(f"{name}: object {index}", scene, kind, score, numbers)


def _loveda_gather(paths: JobPaths, card: Card) -> Scenes:
    """Label maps as ``mm.masks.KeptMaps`` leaves them: ``<split>__Rural%2F<n>.png``.

    Rural and urban images of the release are numbered through, so that the zip has no folders.
    """
    found: dict[str, Path] = {}
    others: set[str] = set()
    for path in sorted(paths.predictions.glob("*/*.png")):
        split, _, key = unquote(path.stem).partition("__")
        scene = key.rpartition("/")[2]
        if split not in card.roles["test"]:
            others.add(split)
        elif not SAFE.fullmatch(scene):
            raise UserError(f"{path}: '{scene}' is no name that is safe in a zip")
        elif scene in found:
            raise UserError(f"{path}: image {scene} stands twice: {found[scene]}")
        else:
            found[scene] = path
    return _ordered(found, others, card)


def _loveda_names(card: Card, scenes: Iterable[str]) -> list[str]:
    return [LOVEDA_FILE.format(scene) for scene in scenes]


def _loveda_write(card: Card, scenes: Scenes) -> Iterator[tuple[str, bytes]]:
    for name, path in scenes.items():
        yield LOVEDA_FILE.format(name), path.read_bytes()


def _loveda_read(name: str, data: bytes) -> Iterator[Detection]:
    """Of label maps there are no boxes, only faults."""
    try:
        with Image.open(io.BytesIO(data), formats=["PNG"]) as image:
            mode, size, labels = image.mode, image.size, np.asarray(image)
    except (OSError, ValueError, SyntaxError) as error:
        raise Fault("label-unreadable", f"no PNG that can be read ({error})") from None
    if mode != "L":
        raise Fault("label-unreadable", f"of mode {mode}, where one channel of 8 bits is meant")
    if size != LOVEDA_SIZE:
        (wide, high), (w, h) = size, LOVEDA_SIZE
        raise Fault("size", f"{wide}x{high} px, where {w}x{h} are meant")
    if labels.max() >= LOVEDA_CLASSES:
        raise Fault(
            "label-value", f"value {labels.max()}, where 0 to {LOVEDA_CLASSES - 1} are meant"
        )
    yield from ()


FORMS = {
    "DOTA server": Form(_boxes, _dota_names, _dota_write, _dota_read),
    "Gaofen challenge server": Form(_boxes, _fair1m_names, _fair1m_write, _fair1m_read),
    "LoveDA server": Form(_loveda_gather, _loveda_names, _loveda_write, _loveda_read),
}


def _form(card: Card) -> Form:
    if card.server not in FORMS:
        raise UserError(f"{card.name}: no format is known for what its server takes")
    return FORMS[card.server]
