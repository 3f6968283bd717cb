"""LoveDA: land cover of rural and urban scenes in 5,987 images of 1,024 x 1,024 px."""

from mtp_bench.datasets.cards.card import IGNORE, Card, Coding, Known, MetricCard, Split

CLASSES = ("background", "building", "road", "water", "barren", "forest", "agricultural")

CARD = Card(
    name="LoveDA",
    task="segmentation",
    classes=CLASSES,
    image_size=512,
    splits={
        "train": Split(images=2_522, confirmed=False),  # 1,366 rural and 1,156 urban
        "val": Split(images=1_669, confirmed=False),  # 992 and 677
        "test": Split(images=1_796, confirmed=False, labelled=False),  # 976 and 820
    },
    roles={"train": ("train", "val"), "test": ("test",)},
    split_source="the release's: trained on train and val, rural and urban together; the labels of "
    "test are kept by the evaluation server",
    metric=MetricCard(
        name="mIoU",
        unit="%",
        higher_is_better=True,
        definition="mean IoU of the seven classes, background included, on test as the evaluation "
        "server gives it, last checkpoint",
    ),
    server="LoveDA server",
    judged_here=MetricCard(
        name="mIoU_val",
        unit="%",
        higher_is_better=True,
        definition="mean IoU of the seven classes, background included, on val, computed here; not "
        "the server's figure",
    ),
    reader="mtp_bench.datasets.formats.loveda:READER",
    layouts=(".", "LoveDA", "loveda"),
    layout="{Train,Val,Test}/{Rural,Urban}/{images_png,masks_png}/<n>.png; Test has no masks",
    suffixes=(".png",),
    picture=(1024, 1024),
    coding=Coding({0: IGNORE, **{value: value - 1 for value in range(1, 8)}}),
    policy={"label-missing": "refuse"},
    known=(Known("all-ignored", "*/masks_png/*", "some masks are no-data throughout"),),
    licence="CC BY-NC-SA 4.0, academic use only",
    source="https://zenodo.org/records/5706578 (Train.zip, Val.zip, Test.zip)",
    citation="Wang et al., LoveDA: A Remote Sensing Land-Cover Dataset for Domain Adaptive "
    "Semantic Segmentation, NeurIPS Datasets and Benchmarks 2021",
    defects=(
        "copies store classes as 0-6 and no-data as 255, where the release has 1-7 and 0",
        "some masks are no-data throughout",
        "borders between classes are drawn differently from image to image, and large rural areas "
        "of val are marked background",
        "EarthVQA holds a second version of the labels: not these",
        "the server wants a flat zip of PNGs with values 0-6",
    ),
)
