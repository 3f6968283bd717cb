"""xView: 846 labelled WorldView-3 scenes of 0.3 m, horizontal boxes of 60 classes."""

from mtp_bench.datasets.cards.card import (
    IGNORE,
    Card,
    Coding,
    Draw,
    Known,
    MetricCard,
    Split,
    Tiles,
)

NAMES = """
11 Fixed-wing Aircraft, 12 Small Aircraft, 13 Passenger/Cargo Plane, 15 Helicopter,
17 Passenger Vehicle, 18 Small Car, 19 Bus, 20 Pickup Truck, 21 Utility Truck, 23 Truck,
24 Cargo Truck, 25 Truck Tractor w/ Box Trailer, 26 Truck Tractor, 27 Trailer,
28 Truck Tractor w/ Flatbed Trailer, 29 Truck Tractor w/ Liquid Tank, 32 Crane Truck,
33 Railway Vehicle, 34 Passenger Car, 35 Cargo/Container Car, 36 Flat Car, 37 Tank car,
38 Locomotive, 40 Maritime Vessel, 41 Motorboat, 42 Sailboat, 44 Tugboat, 45 Barge,
47 Fishing Vessel, 49 Ferry, 50 Yacht, 51 Container Ship, 52 Oil Tanker, 53 Engineering Vehicle,
54 Tower crane, 55 Container Crane, 56 Reach Stacker, 57 Straddle Carrier, 59 Mobile Crane,
60 Dump Truck, 61 Haul Truck, 62 Scraper/Tractor, 63 Front loader/Bulldozer, 64 Excavator,
65 Cement Mixer, 66 Ground Grader, 71 Hut/Tent, 72 Shed, 73 Building, 74 Aircraft Hangar,
76 Damaged Building, 77 Facility, 79 Construction Site, 83 Vehicle Lot, 84 Helipad,
86 Storage Tank, 89 Shipping container lot, 91 Shipping Container, 93 Pylon, 94 Tower
"""
CLASSES = {
    int(number): " ".join(name) for number, *name in (entry.split() for entry in NAMES.split(","))
}
"""``type_id`` of the release → name, as its xview_class_labels.txt has them."""

LABELS = "*xView_train.geojson"

CARD = Card(
    name="xView",
    task="detection",
    classes=tuple(CLASSES.values()),
    # 75 and 82 are leftovers of annotation (DIUx-xView/xView1_baseline#3).
    coding=Coding({**{n: i for i, n in enumerate(CLASSES)}, 75: IGNORE, 82: IGNORE}),
    image_size=416,
    # As published, with about 601,700 objects; never counted from the files here.
    splits={
        "train": Split(images=846, confirmed=False),
        "val": Split(images=281, confirmed=False, labelled=False),
    },
    draw=Draw(shares={"train": 700 / 846, "test": 146 / 846}, seed=20180221, of="train"),
    split_source="seeded draw of 700 and 146 of the 846 labelled images, of MTP's sizes; MTP's own "
    "shuffle was unseeded and cannot be rebuilt",
    metric=MetricCard(
        "AP50",
        "%",
        True,
        "COCO's AP (101 recall points) at IoU 0.5, mean over 60 classes, on tiles of the images "
        "held out; last checkpoint. The challenge scores whole images, by VOC's area",
    ),
    tiles=Tiles(size=416, gap=0, place="even", keep=None, cut="clip"),
    reader="mtp_bench.datasets.formats.xview_geojson:READER",
    layouts=(".", "xView"),
    layout="train_images/<id>.tif, xView_train.geojson, val_images/<id>.tif",
    suffixes=(".tif",),
    licence="CC BY-NC-SA 4.0 (as commonly stated)",
    source="https://challenge.xviewdataset.org (train_images, train_labels, val_images)",
    citation="Lam et al., xView: Objects in Context in Overhead Imagery, 2018, arXiv 1802.07856",
    # The release lacks the image 1395.tif of its labels; every other image has objects.
    # As MTP does, boxes are clipped to the image before their centres say which tile has them.
    policy={"image-missing": "drop", "label-missing": "drop", "outside": "clip"},
    known=(
        Known("image-missing", "train_images/1395.tif", "labelled, but not in the release"),
        Known("stray", "train_images/._*", "._100.tif, ._102.tif and ._109.tif are in the release"),
        Known("no-class", LABELS, "type_id 75 and 82 are leftovers of annotation"),
        Known("bad-box", LABELS, "some bounds_imcoords are []"),
        Known("zero-area", LABELS, "some boxes have no width or height"),
        Known("inverted", LABELS, "some corners are exchanged"),
        Known("beyond-edge", LABELS, "some boxes have negative coordinates, or end beyond"),
        Known("outside", LABELS, "some boxes lie beyond the image for the most part"),
    ),
    defects=(
        "some scenes have black margins without data",
        "geometry is longitude and latitude: bounds_imcoords is read",
        "the older kit abbreviates class names ('Cargo Plane', 'Truck w/Box'), and so does MTP",
        "some buildings are 4 px wide; others filter them, mtp-bench does not",
    ),
)
