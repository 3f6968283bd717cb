"""EuroSAT, RGB: 27,000 Sentinel-2 patches of 64 x 64 px in ten land-use classes."""

from mtp_bench.datasets.cards.card import OVERALL_ACCURACY, Card, Draw, Split

CLASS_COUNTS = {
    "AnnualCrop": 3000,
    "Forest": 3000,
    "HerbaceousVegetation": 3000,
    "Highway": 2500,
    "Industrial": 2500,
    "Pasture": 2000,
    "PermanentCrop": 2500,
    "Residential": 3000,
    "River": 2500,
    "SeaLake": 3000,
}

CARD = Card(
    name="EuroSAT",
    task="classification",
    classes=tuple(CLASS_COUNTS),
    class_counts=CLASS_COUNTS,
    image_size=64,
    splits={"all": Split(images=27_000)},
    draw=Draw(shares={"train": 0.6, "test": 0.2}, seed=20190601),
    split_source="seeded 60/20 split of every class, of the sizes that MTP's logs imply "
    "(16,200 and 5,400 images; its own list is unpublished)",
    metric=OVERALL_ACCURACY,
    reader="mtp_bench.datasets.formats.class_folders:READER",
    layouts=("2750", "EuroSAT_RGB", "EuroSAT/2750", "."),
    layout="2750/<Class>/<Class>_<n>.jpg",
    picture=(64, 64),
    licence="MIT (Copernicus Sentinel data, free and open)",
    source="https://zenodo.org/records/7711810 (EuroSAT_RGB.zip)",
    citation="Helber et al., EuroSAT, IEEE JSTARS 2019, doi 10.1109/JSTARS.2019.2918242",
    defects=(
        "copies of the multispectral variant (13-band GeoTIFF) are not this dataset",
        "repackaged copies hold subsets, or carry a stray .DS_Store",
    ),
)
