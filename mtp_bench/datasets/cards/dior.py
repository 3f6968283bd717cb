"""DIOR: 23,463 images of 800 x 800 px, horizontal boxes of 20 classes."""

from mtp_bench.datasets.cards.card import Card, Known, MetricCard, Overlap, Split

NAMES = """
airplane airport baseballfield basketballcourt bridge chimney Expressway-Service-area
Expressway-toll-station dam golffield groundtrackfield harbor overpass ship stadium storagetank
tenniscourt trainstation vehicle windmill
"""
CLASSES = tuple(NAMES.split())
"""As the files spell them, in mmrotate's order; others put dam before the expressways."""

BOXES = "Annotations/Horizontal Bounding Boxes"
ZERO = ("04137", "07007", "08325", "15504", "15906", "16734")

CARD = Card(
    name="DIOR",
    task="detection",
    classes=CLASSES,
    # Lower-cased by mmrotate's converters, and in SAMRS.
    aliases={name.lower(): name for name in CLASSES if name != name.lower()},
    image_size=800,
    # Objects counted in all 23,463 files; the paper says 192,472.
    splits={
        "train": Split(images=5_862, objects=32_634),
        "val": Split(images=5_863, objects=35_439),
        "test": Split(images=11_738, objects=124_445),
    },
    roles={"train": ("train", "val"), "test": ("test",)},
    split_source="the release's lists: train + val, and test",
    metric=MetricCard(
        "AP50",
        "%",
        True,
        "COCO's AP (101 recall points) at IoU 0.5, mean over 20 classes, on test; last checkpoint",
    ),
    reader="mtp_bench.datasets.formats.dior_xml:READER_HBB",
    layouts=(".", "DIOR"),
    layout="JPEGImages-trainval/<nnnnn>.jpg, JPEGImages-test/<nnnnn>.jpg, "
    f"{BOXES}/<nnnnn>.xml, ImageSets/Main/{{train,val,test}}.txt",
    picture=(800, 800),
    licence="academic use; CC BY-NC 4.0 as copies state it",
    source="https://gcheng-nwpu.github.io/ (JPEGImages-*, Annotations and ImageSets, four zips)",
    citation="Li et al., Object detection in optical remote sensing images, ISPRS 2020, "
    "doi 10.1016/j.isprsjprs.2019.11.023",
    # Every image of the release has objects, so that one without a file would teach background.
    policy={"label-missing": "drop"},
    known=(
        *(Known("zero-area", f"{BOXES}/{name}.xml", "no width or height") for name in ZERO),
        Known("beyond-edge", f"{BOXES}/05195.xml", "a ship ends at 802 of 800 px"),
        Known("duplicate", f"{BOXES}/00594.xml", "a ship stands twice"),
    ),
    overlaps=(
        Overlap(
            "SAMRS",
            "SIOR holds train and val, with their boxes; as released also test, which MTP left out",
            "SIOR",
        ),
    ),
    defects=(
        "the horizontal files have no 'difficult', no 'truncated' and no XML header",
        "names of two classes have capitals; forks lower-case them",
        "torchgeo's copy (Images/, Annotations/trainval/) lacks the annotations of test",
        "14558, 18627 and 22262 are gray",
    ),
)
