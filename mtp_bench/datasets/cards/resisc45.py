"""NWPU-RESISC45: 31,500 images of 256 x 256 px, 45 scene classes of 700 each."""

from mtp_bench.datasets.cards.card import OVERALL_ACCURACY, Card, Draw, Split

NAMES = """
airplane airport baseball_diamond basketball_court beach bridge chaparral church
circular_farmland cloud commercial_area dense_residential desert forest freeway golf_course
ground_track_field harbor industrial_area intersection island lake meadow medium_residential
mobile_home_park mountain overpass palace parking_lot railway railway_station
rectangular_farmland river roundabout runway sea_ice ship snowberg sparse_residential stadium
storage_tank tennis_court terrace thermal_power_station wetland
"""
CLASSES = tuple(NAMES.split())

CARD = Card(
    name="RESISC45",
    task="classification",
    classes=CLASSES,
    class_counts=dict.fromkeys(CLASSES, 700),
    image_size=256,
    splits={"all": Split(images=31_500)},
    draw=Draw(shares={"train": 0.2, "test": 0.8}, seed=20170401),
    split_source="seeded 20/80 split of every class, of MTP's sizes (6,300 and 25,200 images; "
    "its own list is unpublished)",
    metric=OVERALL_ACCURACY,
    reader="mtp_bench.datasets.formats.class_folders:READER",
    layouts=("NWPU-RESISC45", "."),
    layout="NWPU-RESISC45/<class>/<class>_<nnn>.jpg",
    picture=(256, 256),
    licence="CC BY-NC 4.0 (as commonly stated; the release names none)",
    source="https://gcheng-nwpu.github.io/ (NWPU-RESISC45.rar)",
    citation="Cheng, Han, Lu, Remote Sensing Image Scene Classification, Proc. IEEE 2017, "
    "doi 10.1109/JPROC.2017.2675998",
    defects=("'snowberg' is the official spelling",),
)
