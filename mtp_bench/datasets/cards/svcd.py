"""SVCD (CDD): season-varying change in 16,000 pairs of 256 x 256 px."""

from mtp_bench.datasets.cards.card import Card, Coding, Split, f1_changed

CARD = Card(
    name="SVCD",
    task="change_detection",
    classes=("unchanged", "changed"),
    image_size=256,
    splits={
        "train": Split(images=10_000, confirmed=False),
        "val": Split(images=3_000, confirmed=False),
        "test": Split(images=3_000, confirmed=False),
    },
    roles={"train": ("train",), "val": ("val",), "test": ("test",)},
    split_source="the release's train, val and test of Real/subset",
    metric=f1_changed("labels from 128 on"),
    reader="mtp_bench.datasets.formats.change_pairs:READER",
    layouts=("ChangeDetectionDataset/Real/subset", "Real/subset", "subset", "."),
    layout="ChangeDetectionDataset/Real/subset/{train,val,test}/{A,B,OUT}/<nnnnn>.jpg",
    suffixes=(".jpg", ".bmp", ".png"),
    picture=(256, 256),
    coding=Coding(threshold=128),  # as Open-CD's to_binary has it, which MTP used
    policy={"label-missing": "refuse"},
    licence="none stated",
    source="ChangeDetectionDataset.rar (Lebedev et al.)",
    citation="Lebedev et al., Change Detection in Remote Sensing Images Using Conditional "
    "Adversarial Networks, ISPRS Archives 2018, doi 10.5194/isprs-archives-XLII-2-565-2018",
    defects=(
        "labels are JPEG: some sixty gray values where two are meant, so they are cut at 128",
        "the pairs are rotated crops of eleven scenes: train and test are not independent",
        "copies call OUT label, or have labels with three channels",
        "the archive's Model/ sets are not this benchmark (and are .bmp in parts)",
    ),
)
