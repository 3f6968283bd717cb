"""DIOR-R: DIOR's images with rotated boxes, the same objects in another order."""

from dataclasses import replace

from mtp_bench.datasets.cards import dior
from mtp_bench.datasets.cards.card import Known, MetricCard

BOXES = "Annotations/Oriented Bounding Boxes"
ZERO = ("04137", "07007", "15504", "16734")

CARD = replace(
    dior.CARD,
    name="DIOR-R",
    task="rotated_detection",
    metric=MetricCard(
        "mAP_mmrotate",
        "%",
        True,
        "AP of rotated boxes at IoU 0.5 (VOC07, 11 points, as mmrotate's DOTAMetric), mean over "
        "20 classes, on test; last checkpoint",
    ),
    reader="mtp_bench.datasets.formats.dior_xml:READER_OBB",
    layout=dior.CARD.layout.replace(dior.BOXES, BOXES),
    citation="Cheng et al., Anchor-Free Oriented Proposal Generator for Object Detection, "
    "TGRS 2022, doi 10.1109/TGRS.2022.3183022",
    known=(
        *(Known("zero-area", f"{BOXES}/{name}.xml", "all corners are equal") for name in ZERO),
        # Only some of the 33 are known by name: 00131, 12001, 20730.
        Known("size", f"{BOXES}/*.xml", "33 files say another size than 800 x 800"),
    ),
    defects=(
        "objects stand in another order than in the horizontal files in 6,099 images",
        "'robndbox' holds four corners, not roLabelImg's centre, size and angle",
        "1,322 objects have a negative coordinate and 1,454 go beyond the edge: legal",
        "torchgeo's copy (Images/, Annotations/trainval/) has no rotated boxes",
        "14558, 18627 and 22262 are gray",
    ),
)
