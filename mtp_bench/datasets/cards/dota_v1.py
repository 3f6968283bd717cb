"""DOTA-v1.0: 2,806 aerial scenes, rotated objects of 15 classes."""

from mtp_bench.datasets.cards.card import MAP_KIT, Card, Known, MetricCard, Overlap, Split, Tiles
from mtp_bench.datasets.cards.dota_v2 import CLASSES, SERVER

CARD = Card(
    name="DOTA-v1.0",
    task="rotated_detection",
    classes=CLASSES[:15],
    image_size=1024,
    # As published (188,282 objects in all); never counted from the files here.
    splits={
        "train": Split(images=1_411, confirmed=False),
        "val": Split(images=458, confirmed=False),
        "test": Split(images=937, confirmed=False, labelled=False),
    },
    roles={"train": ("train", "val"), "test": ("test",)},
    split_source="the release's train + val, and test, scored by the authors' server",
    metric=MetricCard("mAP", "%", True, SERVER.format(15, "test")),
    server="DOTA server",
    judged_here=MAP_KIT,
    tiles=Tiles(size=1024, gap=500, scales=(0.5, 1.0, 1.5)),
    reader="mtp_bench.datasets.formats.dota_txt:READER",
    layouts=(".", "DOTA-v1.0", "DOTA"),
    layout="{train,val}/images/P<nnnn>.png with {train,val}/labelTxt/*.txt (or "
    "labelTxt-v1.0/labelTxt/, or torchgeo's annotations/version1.0/), test/images/",
    suffixes=(".png",),
    licence="academic use only; terms of Google Earth",
    source="https://captain-whu.github.io/DOTA",
    citation="Xia et al., DOTA: A Large-Scale Dataset for Object Detection in Aerial Images, "
    "CVPR 2018",
    known=(Known("alpha", "*/images/*", "some scenes are RGBA"),),
    overlaps=(
        Overlap(
            "SAMRS",
            "SOTA-RBB holds tiles of DOTA-v2.0's train and val, and with them v1.0's",
            "SOTA-RBB",
            judged=True,
        ),
    ),
    defects=(
        "panchromatic scenes have one channel, some others four",
        "scenes without any object have no label file, or one of header lines only",
        "labelTxt of task 2 (labelTxt-v1.0/trainset_reclabelTxt) has horizontal boxes",
    ),
)
