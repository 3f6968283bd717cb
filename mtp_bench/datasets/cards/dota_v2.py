"""DOTA-v2.0: aerial scenes of up to some 29,000 px a side, rotated objects of 18 classes."""

from mtp_bench.datasets.cards.card import MAP_KIT, Card, Known, MetricCard, Overlap, Split, Tiles

NAMES = """
plane baseball-diamond bridge ground-track-field small-vehicle large-vehicle ship tennis-court
basketball-court storage-tank soccer-ball-field roundabout harbor swimming-pool helicopter
container-crane airport helipad
"""
CLASSES = tuple(NAMES.split())
"""In the order of DOTA's kit and of mmrotate; v1.0 has the first 15."""

SERVER = (
    "mean over {} classes of AP of rotated boxes at IoU 0.5 (VOC07, 11 points; difficult objects "
    "count neither way), on whole scenes of {}, as the authors' server scores them"
)

CARD = Card(
    name="DOTA-v2.0",
    task="rotated_detection",
    classes=CLASSES,
    image_size=1024,
    # As published; never counted from the files here. Labels of the test splits are held back.
    splits={
        "train": Split(images=1_830, objects=268_627, confirmed=False),
        "val": Split(images=593, objects=81_048, confirmed=False),
        "test-dev": Split(images=2_792, confirmed=False, labelled=False),
        "test-challenge": Split(images=6_053, confirmed=False, labelled=False),
    },
    roles={"train": ("train", "val"), "test": ("test-dev",)},
    split_source="the release's train + val, and test-dev, scored by the authors' server",
    metric=MetricCard("mAP", "%", True, SERVER.format(18, "test-dev")),
    server="DOTA server",
    judged_here=MAP_KIT,
    tiles=Tiles(size=1024, gap=200),
    reader="mtp_bench.datasets.formats.dota_txt:READER",
    layouts=(".", "DOTA-v2.0", "DOTA"),
    layout="{train,val}/images/P<nnnn>.png with {train,val}/labelTxt-v2.0/*.txt (or labelTxt/, or "
    "torchgeo's annotations/version2.0/), test-dev/images/, test-challenge/images/",
    suffixes=(".png",),
    licence="academic use only; terms of Google Earth",
    source="https://captain-whu.github.io/DOTA (images of v1.0 and the package of v2.0)",
    citation="Ding et al., Object Detection in Aerial Images, TPAMI 2021, "
    "doi 10.1109/TPAMI.2021.3117983",
    known=(Known("alpha", "*/images/*", "some scenes are RGBA"),),
    overlaps=(
        Overlap(
            "SAMRS",
            "SOTA-RBB holds tiles of train and val, with their boxes",
            "SOTA-RBB",
            judged=True,
        ),
    ),
    defects=(
        "the package of v2.0 lacks v1.0's images: labels without images are the commonest mistake",
        "labels of v1.0 and v2.0 for one scene differ and must not be mixed",
        "scenes without any object have no label file, or one of header lines only",
        "container-crane has few objects",
    ),
)
