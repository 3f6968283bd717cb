"""FAIR1M-2.0: fine-grained aircraft, ships, vehicles, courts and roads, rotated, 37 classes."""

from mtp_bench.datasets.cards.card import MAP_KIT, Card, Known, MetricCard, Overlap, Split, Tiles

NAMES = """
A220, A321, A330, A350, ARJ21, Baseball Field, Basketball Court, Boeing737, Boeing747, Boeing777,
Boeing787, Bridge, Bus, C919, Cargo Truck, Dry Cargo Ship, Dump Truck, Engineering Ship, Excavator,
Fishing Boat, Football Field, Intersection, Liquid Cargo Ship, Motorboat, other-airplane,
other-ship, other-vehicle, Passenger Ship, Roundabout, Small Car, Tennis Court, Tractor, Trailer,
Truck Tractor, Tugboat, Van, Warship
"""
CLASSES = tuple(" ".join(name.split()) for name in NAMES.split(","))
"""As the files spell them, in the order of MTP and of SAMRS."""

DEGREES = ("3610", "8693", "16088", "16385")
ZERO = (*DEGREES, "13444")
PART = "train/part2/labelXml*"

CARD = Card(
    name="FAIR1M-2.0",
    task="rotated_detection",
    classes=CLASSES,
    # SAMRS and MTP write '-' for a space, LSKNet '_'.
    aliases={name.replace(" ", by): name for name in CLASSES if " " in name for by in "-_"},
    image_size=800,
    # Train and validation counted in all their files; test as published, its labels held back.
    splits={
        "train": Split(images=16_488, objects=393_466),
        "val": Split(images=8_287, objects=201_311),
        "test": Split(images=18_021, confirmed=False, labelled=False),
    },
    roles={"train": ("train", "val"), "test": ("test",)},
    split_source="the release's train (both parts) + validation, and test, scored by the "
    "challenge's server",
    metric=MetricCard(
        "mAP",
        "%",
        True,
        "mean over 37 classes of AP of rotated boxes at IoU 0.5, on whole images of test, as the "
        "Gaofen challenge's server scores them",
    ),
    server="Gaofen challenge server",
    judged_here=MAP_KIT,
    tiles=Tiles(size=800, gap=200),  # as large as published; what they share is not
    reader="mtp_bench.datasets.formats.fair1m_xml:READER",
    layouts=(".", "FAIR1M-2.0", "FAIR1M"),
    layout="train/{part1,part2}/{images/<n>.tif,labelXml/<n>.xml}, "
    "validation/{images,labelXml}/, test/images/ (labelXmls is as good)",
    suffixes=(".tif",),
    licence="CC BY-NC-SA 3.0",
    source="https://gaofen-challenge.com (FAIR1M-2.0)",
    citation="Sun et al., FAIR1M, ISPRS 2022, doi 10.1016/j.isprsjprs.2021.12.004",
    # Every labelled image has objects. Degrees cannot be mended without the image's georeference.
    policy={"geographic": "drop", "label-missing": "drop"},
    known=(
        *(Known("geographic", f"{PART}/{n}.xml", "degrees in a file of pixels") for n in DEGREES),
        *(Known("zero-area", f"{PART}/{n}.xml", "125 objects in 5 files of part 2") for n in ZERO),
        # Not known by name: objects collapsed on the image's edge.
        Known("zero-area", "train/part1/labelXml*/*.xml", "171 objects in 147 files of part 1"),
        Known("outside", "train/*.xml", "9 objects of part 1 and 120 of part 2"),
        Known("alpha", "*/images/*.tif", "3,798 images of train and 3,824 of validation have four"),
        # 12481, 11066, 13051 and 15589 of part 2 are 5615, 3872, 4008 and 7002 of validation.
        Known("leak", "validation/*", "51 images of validation stand in train as well"),
    ),
    overlaps=(
        Overlap(
            "SAMRS",
            "FAST holds tiles of train and validation, with their boxes",
            "FAST",
            judged=True,
        ),
    ),
    defects=(
        "train and validation reuse the same numbers: merging them into one folder loses 8,287",
        "216 groups of images (540) have the same annotations to the point, 51 across the splits",
        "the fourth channel is alpha or near infrared and is left out, never blended",
        "a tenth of the polygons runs counter-clockwise",
        "boxes that cross the image's edge are legal",
    ),
)
