"""SAMRS as MTP pretrains on it: SOTA-RBB, SIOR and FAST, each with three kinds of labels.

The order of classes is SAMRS's own (its ``mapping.py``), not that of DOTA, DIOR-R or FAIR1M.
"""

from mtp_bench.datasets.cards.card import IGNORE, Action, Card, Coding, Known, Split

READER = "mtp_bench.datasets.formats.samrs:READER"
SOURCE = "https://github.com/ViTAE-Transformer/SAMRS (OneDrive and Baidu)"
CITATION = (
    "Wang et al., SAMRS: Scaling-up Remote Sensing Segmentation Dataset with Segment Anything "
    "Model, NeurIPS Datasets and Benchmarks 2023; Wang et al., MTP, IEEE JSTARS 2024"
)
SPLIT_SOURCE = "all images of the set, as MTP trains on them"
LAYOUT = (
    "/trainval/images/*.png, /trainval/rhbox_segs_init/{gray/*.png,ins/*.pkl}, "
    "/trainval/rbbtxts/*.txt"
)
COMMON = (
    "masks are SAM's guesses, one a box; where they overlap, gray has the later one",
    "an image without boxes has no mask at all",
    "the three labels of an image are independent lists, whose lengths may differ",
    "ins/*.pkl are pickles: only plain data and arrays of numbers in them are read",
    "rotated boxes with repeated corners, which MTP skips",
)
REPEATED = tuple(
    Known(kind, "*/rbbtxts/*.txt", "boxes with repeated corners, which MTP skips too")
    for kind in ("repeated-corner", "zero-area")
)
COLLAPSED = tuple(
    Known(kind, f"*/{name}.*", "a ship of one point in DIOR-R")
    for name in ("04137", "07007")
    for kind in ("repeated-corner", "zero-area")
)
ROLES = {"train": ("train",)}
POLICY: dict[str, Action] = {"label-missing": "keep"}
"""An image still serves the tasks whose labels it has."""

SOTA_NAMES = """
large-vehicle swimming-pool helicopter bridge plane ship soccer-ball-field basketball-court
ground-track-field small-vehicle baseball-diamond tennis-court roundabout storage-tank harbor
container-crane airport helipad
"""
SIOR_NAMES = """
airplane airport baseballfield basketballcourt bridge chimney expressway-service-area
expressway-toll-station dam golffield groundtrackfield harbor overpass ship stadium storagetank
tenniscourt trainstation vehicle windmill
"""
FAST_NAMES = """
A220 A321 A330 A350 ARJ21 Baseball-Field Basketball-Court Boeing737 Boeing747 Boeing777
Boeing787 Bridge Bus C919 Cargo-Truck Dry-Cargo-Ship Dump-Truck Engineering-Ship Excavator
Fishing-Boat Football-Field Intersection Liquid-Cargo-Ship Motorboat other-airplane other-ship
other-vehicle Passenger-Ship Roundabout Small-Car Tennis-Court Tractor Trailer Truck-Tractor
Tugboat Van Warship
"""


SOTA_CLASSES, SIOR_CLASSES, FAST_CLASSES = (
    tuple(names.split()) for names in (SOTA_NAMES, SIOR_NAMES, FAST_NAMES)
)


def _coding(classes: tuple[str, ...]) -> Coding:
    return Coding({**{label: label for label in range(len(classes))}, 255: IGNORE})


SOTA_RBB = Card(
    name="SOTA-RBB",
    task="pretraining",
    classes=SOTA_CLASSES,
    image_size=448,
    splits={"train": Split(images=17_480, confirmed=False)},
    roles=ROLES,
    split_source=SPLIT_SOURCE,
    metric=None,
    reader=READER,
    layouts=("dotav2_1024_rbb", "SAMRS/dotav2_1024_rbb", "."),
    layout="dotav2_1024_rbb" + LAYOUT,
    suffixes=(".png",),
    picture=(1024, 1024),
    coding=_coding(SOTA_CLASSES),
    policy=POLICY,
    known=REPEATED,
    licence="research only; the images stay under DOTA's terms (academic use only)",
    source=SOURCE,
    citation=CITATION,
    defects=(
        "the images are tiles of DOTA-v2.0 train and val: those that DOTA-v1.0 and DOTA-v2.0 "
        "train on, and both validation splits",
        "SAMRS's first SOTA, prompted with horizontal boxes (hbox_segs_init), is another set",
        *COMMON,
    ),
)

SIOR = Card(
    name="SIOR",
    task="pretraining",
    classes=SIOR_CLASSES,
    image_size=448,
    splits={"train": Split(images=11_725)},  # DIOR's trainval, counted from its annotations
    roles=ROLES,
    split_source="DIOR's trainval images, as MTP trains on them; SAMRS also labels the test images",
    metric=None,
    reader="mtp_bench.datasets.formats.samrs:READER_SIOR",
    layouts=("dior", "SAMRS/dior", "."),
    layout="dior/JPEGImages-trainval/*.jpg, dior/hbox_segs_trainvaltest_init/{gray/*.png,"
    "ins/*.pkl}, 'dior/Annotations/Oriented Bounding Boxes'/*.xml",
    suffixes=(".jpg",),
    picture=(800, 800),
    # The xml of DIOR-R says it with capitals.
    aliases={
        "Expressway-Service-area": "expressway-service-area",
        "Expressway-toll-station": "expressway-toll-station",
    },
    coding=_coding(SIOR_CLASSES),
    policy=POLICY,
    known=COLLAPSED,
    licence="research only; the images stay under DIOR's terms (academic use only)",
    source=SOURCE,
    citation=CITATION,
    defects=(
        "the images are those that DIOR and DIOR-R train on; as released SAMRS labels their test "
        "images too (23,463 in all), which are not read here",
        *COMMON,
    ),
)

FAST = Card(
    name="FAST",
    task="pretraining",
    classes=FAST_CLASSES,
    image_size=448,
    splits={"train": Split(images=64_147, confirmed=False)},
    roles=ROLES,
    split_source=SPLIT_SOURCE,
    metric=None,
    reader=READER,
    layouts=("fair1m_1024", "SAMRS/fair1m_1024", "."),
    layout="fair1m_1024" + LAYOUT,
    suffixes=(".png",),
    coding=_coding(FAST_CLASSES),
    policy=POLICY,
    known=REPEATED,
    licence="research only; the images stay under FAIR1M's terms (CC BY-NC-SA 3.0)",
    source=SOURCE,
    citation=CITATION,
    defects=(
        "the images are tiles of FAIR1M-2.0 train and validation, all of which FAIR1M-2.0 trains "
        "on",
        *COMMON,
    ),
)
