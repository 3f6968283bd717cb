"""SpaceNet v1 as downloaded: georeferenced chips and a GeoJSON of footprints for each."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from rasterio.crs import CRS
from rasterio.errors import CRSError, RasterioError
from rasterio.features import rasterize
from rasterio.warp import transform_geom
from shapely.geometry import mapping, shape

from mtp_bench.datasets.cards.card import Card
from mtp_bench.datasets.defects import Defect
from mtp_bench.datasets.formats import label_images
from mtp_bench.datasets.formats.boxes import Fault, first_folder, release_folder
from mtp_bench.datasets.formats.reader import Reader, pictures, strange
from mtp_bench.datasets.pixels import opened
from mtp_bench.datasets.samples import Found, Item, Parsed

LABELS = ("geojson", "vectordata/geojson", "vectorData/geojson")
MASKS = ("masks", "labels", "building_mask")
"""Where copies keep footprints that are burnt already."""
AFFIX = re.compile(r"^(Geo|3band|8band)_|_Geo$")
WGS84 = "EPSG:4326"
AREAL = ("Polygon", "MultiPolygon")
JSON = (".geojson", ".json")


def find(root: Path, card: Card) -> Found:
    """The chips of each split; in a packaging without splits, all are ``train``."""
    folder = release_folder(root, card, ("3band", "train/3band"))
    flat = (folder / "3band").is_dir()
    items: list[Item] = []
    found: list[Defect] = []
    for split, facts in card.splits.items():
        place = folder if flat else folder / split
        chips = _named(place / "3band", card.suffixes)
        labels = {}
        if facts.labelled:
            where = first_folder(place, (*LABELS, *MASKS))
            labels = _named(where, (*JSON, ".tif", ".png"))
        items += (Item(split, key, (path,), labels.get(key)) for key, path in chips.items())
        found += (
            Defect(
                "image-missing", place / "3band" / f"3band_{key}.tif", f"{path.name} has no chip"
            )
            for key, path in labels.items()
            if key not in chips
        )
        found += strange(place / "3band", card.suffixes)
        if flat:
            break
    return Found(folder, tuple(items), tuple(found))


def _named(folder: Path, suffixes: tuple[str, ...]) -> dict[str, Path]:
    """Files by the part of their names that chip and footprints share."""
    return {AFFIX.sub("", stem): path for stem, path in pictures(folder, suffixes).items()}


@np.errstate(all="ignore")  # coordinates that are no numbers are told as defects
def parse(item: Item, card: Card) -> Parsed:
    """The footprints burnt into a mask of the chip's own grid."""
    if item.label is None or item.label.suffix.lower() not in JSON:
        return label_images.parse_label(item, card)
    try:
        with opened(item.images[0]) as chip:
            size, place, crs = (chip.height, chip.width), chip.transform, chip.crs
            frame = shapely.box(*chip.bounds)
    except RasterioError:
        return Parsed()  # looking at the image reports it
    try:
        if crs is None:
            raise ValueError("the chip has no georeference, so footprints have no place in it")
        content = json.loads(item.label.read_bytes() or "{}")  # of no bytes: without buildings
        features, own = _features(content)
    except (OSError, ValueError, RecursionError, CRSError) as error:
        why = f"no footprints: {str(error).partition(chr(10))[0]}"
        return Parsed(defects=(Defect("label-unreadable", item.label, why),))
    found, burnt = [], []
    for number, feature in enumerate(features, 1):
        try:
            polygon = _polygon(feature, own, crs)
        except Fault as fault:
            found.append(
                Defect(fault.kind, item.label, f"footprint {number}: {fault.what}", number)
            )
            continue
        if not polygon.is_valid:
            why = f"footprint {number}: {shapely.is_valid_reason(polygon)}"
            found.append(Defect("self-crossing", item.label, why, number))
            polygon = shapely.make_valid(polygon)
        if polygon.intersects(frame):
            # Mending leaves lines and points as well, which would be burnt too.
            burnt += [part for part in shapely.get_parts(polygon) if part.geom_type in AREAL]
        else:
            what = f"footprint {number} lies off the chip"
            found.append(Defect("outside", item.label, what, number))
    mask = np.zeros(size, dtype=np.uint8)
    if burnt:
        rasterize(burnt, out=mask, transform=place, default_value=1)
    return Parsed(mask=mask, defects=tuple(found))


def _features(content: Any) -> tuple[list[Any], CRS]:
    """The features of a FeatureCollection and their reference system."""
    features = content.get("features", []) if isinstance(content, dict) else None
    if not isinstance(features, list):
        raise ValueError("not a FeatureCollection")
    try:
        name = str(content["crs"]["properties"]["name"])
    except (KeyError, TypeError):
        name = WGS84
    return features, CRS.from_user_input(WGS84 if name.endswith("CRS84") else name)


def _polygon(feature: Any, own: CRS, crs: CRS) -> Any:
    """A feature's polygon, valid or not, in the chip's reference system."""
    geometry = feature.get("geometry") if isinstance(feature, dict) else None
    if not isinstance(geometry, dict) or geometry.get("type") not in AREAL:
        kind = geometry.get("type") if isinstance(geometry, dict) else geometry
        raise Fault("bad-box", f"{kind!s:.40}, no polygon" if kind else "no geometry")
    try:
        polygon = shape(geometry)
    except (ValueError, TypeError, LookupError, shapely.GEOSException) as error:
        raise Fault("bad-box", f"no polygon ({error})") from None
    if polygon.is_empty or not np.isfinite(shapely.get_coordinates(polygon)).all():
        raise Fault("bad-box", "no corners, or corners that are no numbers")
    if own == crs:
        return polygon
    try:
        return shape(transform_geom(own, crs, mapping(polygon)))
    except Exception as error:  # GDAL's own errors have no public class
        raise Fault("bad-box", f"has no place in {crs} ({error})") from None


READER = Reader(find, parse)
