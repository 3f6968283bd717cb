"""OSCD: urban change between two Sentinel-2 scenes of each of 24 cities."""

from mtp_bench.datasets.cards.card import Card, Coding, Split, Tiles, f1_changed

CARD = Card(
    name="OSCD",
    task="change_detection",
    classes=("unchanged", "changed"),
    image_size=224,
    splits={"train": Split(images=14), "test": Split(images=10)},
    split_source="the release's lists of cities; there is no validation split, so the test cities "
    "serve as one, as in MTP",
    metric=f1_changed("on tiles of 96 px"),
    reader="mtp_bench.datasets.formats.oscd:READER",
    layouts=(".", "OSCD"),
    layout="'Onera Satellite Change Detection dataset - Images'/{train.txt,test.txt} and "
    "/<city>/{pair/img{1,2}.png,imgs_{1,2}_rect/B<nn>.tif}; '… - Train Labels'/<city>/cm/cm.png; "
    "'… - Test Labels'/<city>/cm/cm.png",
    suffixes=(".png",),
    coding=Coding({0: 0, 255: 1}),
    # The published protocol's patches; the last window of a row sticks out and counts nothing.
    tiles=Tiles(size=96, place="grid"),
    policy={"label-missing": "refuse", "bands": "keep"},
    licence="CC BY-NC-SA 4.0 (the authors' page; elsewhere CC BY 4.0 is said)",
    source="https://rcdaudt.github.io/oscd/",
    citation="Daudt, Le Saux, Boulch, Gousseau, Urban Change Detection for Multispectral Earth "
    "Observation Using Convolutional Neural Networks, IGARSS 2018, "
    "doi 10.1109/IGARSS.2018.8518015",
    defects=(
        "train.txt and test.txt are one line each, separated by commas",
        "cm.png has 0 and 255, <city>-cm.tif 1 and 2; copies have a cm.png with three channels or "
        "alpha",
        "imgs_<n> has 13 bands of 10, 20 and 60 m that are not aligned: imgs_<n>_rect is read",
        "copies from before 2020 have no labels of the test cities",
        "only urban change is marked, and not all of it",
    ),
)
