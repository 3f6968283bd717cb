"""DIOR and DIOR-R as downloaded: VOC-like XML with horizontal boxes, or with four corners."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache, partial
from pathlib import Path, PurePath
from xml.etree.ElementTree import Element

from mtp_bench.datasets.cards.card import Card
from mtp_bench.datasets.defects import Defect
from mtp_bench.datasets.formats import boxes
from mtp_bench.datasets.formats.reader import Reader, pictures
from mtp_bench.datasets.samples import Found, Item, Parsed

HORIZONTAL, ORIENTED = "Horizontal Bounding Boxes", "Oriented Bounding Boxes"
BOX = ("xmin", "ymin", "xmax", "ymax")
CORNERS = tuple(
    f"{axis}_{corner}"
    for corner in ("left_top", "right_top", "right_bottom", "left_bottom")
    for axis in "xy"
)
Lists = dict[str, dict[str, None]]
"""Split → ids of pictures, in order."""


def find(root: Path, card: Card, kind: str) -> Found:
    """The pictures of the three lists with their annotations of one kind."""
    signs = ("JPEGImages-trainval", "JPEGImages-test", "Annotations", "Images")
    folder = boxes.release_folder(root, card, signs)
    lists, found = _lists(folder, card)
    found += _copied(folder, kind)
    listing = cache(pictures)
    items: list[Item] = []
    listed = {name for names in lists.values() for name in names}
    seen: dict[Path, Mapping[str, Path]] = {}
    for split in card.splits:
        half = "test" if split == "test" else "trainval"
        place = boxes.first_folder(folder, (f"JPEGImages-{half}", f"Images/{half}"))
        images = seen[place] = listing(place, card.suffixes)
        where = _annotations(folder, half, kind)
        labels = seen[where] = listing(where, (".xml",))
        if split not in lists:
            lists[split] = {name: None for name in images if name not in listed}
            listed.update(lists[split])
        items += (
            Item(split, name, (images.get(name, place / f"{name}.jpg"),), labels.get(name))
            for name in lists[split]
        )
    found += _unlisted(seen.values(), listed)
    return Found(folder, tuple(items), tuple(found))


def _annotations(folder: Path, half: str, kind: str) -> Path:
    official = folder / "Annotations" / kind
    copied = kind == HORIZONTAL and not official.is_dir()
    return folder / "Annotations" / half if copied else official


def _copied(folder: Path, kind: str) -> Iterator[Defect]:
    """Torchgeo's copy has neither oriented boxes nor the annotations of its test split."""
    if (folder / "Images").is_dir():
        what = f"Images/ and Annotations/trainval/ are torchgeo's copy; the release has '{kind}'"
        yield Defect("layout", folder / "Images", what + " of train, val and test")
    elif not (folder / "Annotations" / kind).is_dir():
        what = "not there: Annotations.zip of the release has it"
        yield Defect("layout", folder / "Annotations" / kind, what)


def _unlisted(folders: Iterable[Mapping[str, Path]], listed: set[str]) -> Iterator[Defect]:
    for there in folders:
        for name, path in there.items():
            if name not in listed:
                yield Defect("unexpected", path, "stands in no list of a split")


def _lists(folder: Path, card: Card) -> tuple[Lists, list[Defect]]:
    """The ids of each split that has a list, and what is wrong with the lists."""
    copied = folder / "sample_df.csv"
    if not (folder / "ImageSets").is_dir() and copied.is_file():
        return _table(copied, card), []
    lists: Lists = {}
    found: list[Defect] = []
    for split in card.splits:
        path = folder / "ImageSets" / "Main" / f"{split}.txt"
        if not path.is_file():
            what = "not there: pictures that no other list names are taken for it"
            found.append(Defect("layout", path, what))
            continue
        lists[split] = {}
        for number, line in enumerate(path.read_text("utf-8-sig", "replace").split("\n"), 1):
            name = line.strip()
            if PurePath(name).name != name:
                found.append(Defect("layout", path, f"'{name}' is no id of a picture", number))
                continue
            before = next((other for other, ids in lists.items() if name in ids), None)
            if before is not None:
                kind = "duplicate" if before == split else "leak"
                found.append(Defect(kind, path, f"{name} stands in {before}.txt too", number))
            if name:
                lists[split][name] = None
    return lists, found


def _table(path: Path, card: Card) -> Lists:
    """The lists of torchgeo's copy: a table of images, annotations and splits."""
    lists: Lists = {split: {} for split in card.splits}
    for line in path.read_text("utf-8-sig", "replace").split("\n"):
        image, *_, split = ("", *line.strip().split(","))[-3:]
        if image and split in lists:
            lists[split][PurePath(image).stem] = None
    return lists


def parse(item: Item, card: Card, read: Callable[[Card, Element], boxes.Row]) -> Parsed:
    """The objects of one XML file."""
    numbers = 4 if read is _horizontal else 8
    if item.label is None:
        return boxes.no_label(item, card, numbers)
    try:
        root, elements = boxes.read_xml(item.label)
    except boxes.Fault as fault:
        return Parsed(defects=(fault.defect(item.label, None),))
    found, defects = boxes.gathered(elements, partial(read, card), item.label, numbers)
    return Parsed(found, size=boxes.xml_size(root), defects=tuple(defects))


def _horizontal(card: Card, element: Element) -> boxes.Row:
    return _row(element, card, "bndbox", BOX)


def _oriented(card: Card, element: Element) -> boxes.Row:
    return _row(element, card, "robndbox", CORNERS)


def _row(element: Element, card: Card, tag: str, fields: tuple[str, ...]) -> boxes.Row:
    box = element.find(tag)
    if box is None:
        raise boxes.Fault("bad-box", f"has no <{tag}>")
    coordinates = [boxes.number(box.findtext(field), field) for field in fields]
    label = boxes.label_of(element.findtext("name", "").strip(), card)
    return coordinates, label, boxes.flag(element.findtext("difficult"))


READER_HBB = Reader(partial(find, kind=HORIZONTAL), partial(parse, read=_horizontal))
READER_OBB = Reader(partial(find, kind=ORIENTED), partial(parse, read=_oriented))
