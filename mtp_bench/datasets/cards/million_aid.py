"""Million-AID: a million Google Earth scenes, on which MAE pretrains without labels."""

from mtp_bench.datasets.cards.card import Card, Split

# The 51 leaves of the release's tree, in alphabetical order: the challenge numbers them otherwise,
# and nothing here uses the numbers.
NAMES = """
apartment apron bare_land baseball_field basketball_court beach bridge cemetery church
commercial_area dam desert detached_house dry_field forest golf_course greenhouse
ground_track_field helipad ice_land intersection island lake meadow mine mobile_home_park oil_field
orchard paddy_field parking_lot pier quarry railway river road rock_land roundabout runway
solar_power_plant sparse_shrub_land stadium storage_tank substation swimming_pool tennis_court
terraced_field train_station viaduct wastewater_plant wind_turbine works
"""

CARD = Card(
    name="Million-AID",
    task="pretraining",
    classes=tuple(NAMES.split()),
    image_size=224,
    splits={
        "train": Split(images=10_000, confirmed=False),
        "test": Split(images=990_848, confirmed=False, labelled=False),
    },
    roles={"train": ("train", "test")},
    split_source="all images of both splits without their labels (RSP and RVSA hold 51,000 back by "
    "a list of their own)",
    metric=None,
    reader="mtp_bench.datasets.formats.million_aid:READER",
    layouts=(".", "Million-AID", "MillionAID"),
    layout="train/<group>/<parent>/[<leaf>/]P<nnnnnnn>.jpg, test/P<nnnnnnn>.jpg",
    policy={"unknown-class": "keep"},
    licence="research only",
    source="https://captain-whu.github.io/DiRS/ (train.zip, test.zip.001 to .017)",
    citation="Long et al., On Creating Benchmark Dataset for Aerial Image Interpretation: Reviews, "
    "Guidances, and Million-AID, IEEE JSTARS 2021, doi 10.1109/JSTARS.2021.3070368",
    defects=(
        "the labels of test were never released: its images lie flat in one folder",
        "incomplete downloads of the many parts; a few cut-off, gray or CMYK files",
        "sides from 110 to 31,672 px",
        "overlap with benchmarks that show the same places cannot be excluded",
    ),
)
