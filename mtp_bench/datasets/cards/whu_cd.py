"""WHU-CD: new and removed buildings between two aerial mosaics of Christchurch."""

from mtp_bench.datasets.cards.card import Card, Coding, Draw, Split, Tiles, f1_changed

CARD = Card(
    name="WHU-CD",
    task="change_detection",
    classes=("unchanged", "changed"),
    image_size=256,
    # One pair of 32,507 x 15,354 px; another packaging has it in two halves.
    splits={"all": Split(images=1, confirmed=False)},
    roles={"train": ("train",), "val": ("val",), "test": ("test",)},
    # 5,334, 762 and 1,524 of the 60 x 127 windows, the sizes that MTP's logs fit.
    draw=Draw(
        shares={"train": 5334 / 7620, "val": 762 / 7620, "test": 1524 / 7620},
        seed=20190101,
        of="all",
        tiles=True,
    ),
    split_source="seeded draw of 5,334, 762 and 1,524 of the 7,620 windows of the padded scene, "
    "the sizes that MTP's logs fit (its list is unpublished); neighbouring windows fall into "
    "different splits",
    metric=f1_changed("on tiles of 256 px"),
    reader="mtp_bench.datasets.formats.change_pairs:SCENES",
    layouts=(
        ".",
        "1. The two-period image data",
        "Building change detection dataset_add/1. The two-period image data",
        "WHU-CD",
    ),
    layout="before/before.tif, after/after.tif, 'change label'/change_label.tif; or "
    "{2012,2016}/whole_image/{train,test}/image/*.tif and change_label/{train,test}/*.tif",
    suffixes=(".tif", ".tiff", ".png", ".jpg"),
    coding=Coding({0: 0, 1: 1, 255: 1}),
    tiles=Tiles(size=256, place="grid"),
    policy={"label-missing": "refuse", "tiled": "keep"},
    licence="free for research (no licence text)",
    source="https://gpcv.whu.edu.cn/data/building_dataset.html",
    citation="Ji, Wei, Lu, Fully Convolutional Networks for Multisource Building Extraction From "
    "an Open Aerial and Satellite Imagery Data Set, IEEE TGRS 2019, doi 10.1109/TGRS.2018.2858817",
    defects=(
        "labels are 1-bit, 0/1 or 0/255, by copy",
        "the size is no multiple of 256",
        "several incomparable splits are in use (7,620 or 7,434 tiles, or the halves), and a "
        "widely shared package has val inside train",
        "the two dates are registered to one or two pixels only",
    ),
)
