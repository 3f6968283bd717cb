"""LEVIR-CD: building change in 637 pairs of 1,024 x 1,024 px from Texas."""

from mtp_bench.datasets.cards.card import Card, Coding, Split, Tiles, f1_changed

CARD = Card(
    name="LEVIR-CD",
    task="change_detection",
    classes=("unchanged", "changed"),
    image_size=256,
    splits={"train": Split(images=445), "val": Split(images=64), "test": Split(images=128)},
    roles={"train": ("train",), "val": ("val",), "test": ("test",)},
    split_source="the release's train, val and test",
    metric=f1_changed("on tiles of 256 px"),
    reader="mtp_bench.datasets.formats.change_pairs:READER",
    layouts=(".", "LEVIR-CD"),
    layout="{train,val,test}/{A,B,label}/<split>_<n>.png",
    suffixes=(".png",),
    picture=(1024, 1024),
    coding=Coding({0: 0, 255: 1}),
    tiles=Tiles(size=256, place="grid"),  # 7,120, 1,024 and 2,048 windows without padding
    policy={"label-missing": "refuse"},
    licence="academic, non-commercial use only",
    source="https://justchenhao.github.io/LEVIR/ (train.zip, val.zip, test.zip)",
    citation="Chen, Shi, A Spatial-Temporal Attention-Based Method and a New Dataset for Remote "
    "Sensing Image Change Detection, Remote Sensing 2020, doi 10.3390/rs12101662",
    defects=(
        "figures on whole images are 0.4 to 1 higher than those on tiles of 256 px",
        "copies have labels with three channels, or images with alpha",
        "copies are cut to 256 px, named train_36_0512_0512.png or train_422_8.png: not "
        "interchangeable; copies resized to 256 px are another task",
        "LEVIR-CD+ holds these pairs too; many windows have no change at all",
    ),
)
