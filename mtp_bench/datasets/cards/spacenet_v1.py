"""SpaceNet v1, Rio de Janeiro: building footprints over 6,940 chips of about 438 x 406 px."""

from mtp_bench.datasets.cards.card import Card, Coding, Draw, Known, MetricCard, Split

CARD = Card(
    name="SpaceNet-v1",
    task="segmentation",
    classes=("background", "building"),
    image_size=384,
    splits={"train": Split(images=6_940), "test": Split(labelled=False)},
    draw=Draw(shares={"train": 5000 / 6940, "test": 1940 / 6940}, seed=20180701, of="train"),
    split_source="seeded draw of 5,000 and 1,940 of the 6,940 labelled chips, the sizes of earlier "
    "work (its lists are unpublished; the release's test chips have no labels)",
    metric=MetricCard(
        name="mIoU",
        unit="%",
        higher_is_better=True,
        definition="mean IoU of background and building from one confusion matrix over all pixels "
        "of the drawn test chips, last checkpoint",
    ),
    reader="mtp_bench.datasets.formats.spacenet:READER",
    layouts=(".", "SN1_buildings", "processedBuildingLabels"),
    layout="train/3band/3band_AOI_1_RIO_img<n>.tif, train/geojson/Geo_AOI_1_RIO_img<n>.geojson, "
    "test/3band/; in the packaging of 2016 3band/ and vectordata/geojson/",
    suffixes=(".tif",),
    # For copies that hold masks, which people burn with 255 or with 1.
    coding=Coding({0: 0, 1: 1, 255: 1}),
    policy={"label-missing": "refuse"},
    known=(Known("self-crossing", "*.geojson", "footprints that touch or cross themselves"),),
    licence="CC BY-SA 4.0",
    source="s3://spacenet-dataset/spacenet/SN1_buildings/tarballs/",
    citation="Van Etten, Lindenbaum, Bacastow, SpaceNet: A Remote Sensing Dataset and Challenge "
    "Series, 2018, arXiv 1807.01232",
    defects=(
        "chips differ in size by a pixel or two (438 or 439 x 406 or 407 px are the most frequent)",
        "large black areas at the edge of the mosaic; many chips without any building",
        "footprints that touch or cross themselves or have several parts: mended, then burnt",
        "labels lie a few pixels off on hills",
        "8band/ has 16-bit chips of another resolution, and is not read",
    ),
)
