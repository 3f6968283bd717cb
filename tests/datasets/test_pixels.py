"""Image files: PNGs as we write them, checksums, and what is read of deep and four-band images."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import rasterio
from PIL import Image

from mtp_bench.datasets import draw, png
from mtp_bench.datasets.access import card_of
from mtp_bench.datasets.leaks import thumb
from mtp_bench.datasets.pixels import check_png, look, rgb
from mtp_bench.datasets.samples import Item
from mtp_bench.errors import UserError


@pytest.mark.parametrize("shape", [(7, 5, 3), (1, 1, 3), (64, 33), (3, 1), (200, 300, 3)])
@pytest.mark.parametrize("kind", ["noise", "flat", "ramp"])
def test_a_png_holds_what_was_given(shape: tuple[int, ...], kind: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    made = {
        "noise": rng.integers(0, 256, shape),
        "flat": np.full(shape, 255),
        "ramp": np.arange(np.prod(shape)).reshape(shape) % 256,
    }
    pixels = made[kind].astype(np.uint8)
    path = tmp_path / "a.png"
    path.write_bytes(png.encode(pixels))
    check_png(path)
    with Image.open(path) as image:
        assert (np.asarray(image) == pixels).all()
    read = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    assert read is not None
    assert (read == (pixels[..., ::-1] if pixels.ndim == 3 else pixels)).all()


@pytest.mark.parametrize("hurt", ["cut", "flipped", "no end"])
def test_a_hurt_png_is_found_by_its_checksums(hurt: str, tmp_path: Path) -> None:
    data = bytearray(png.encode(np.random.default_rng(0).integers(0, 256, (50, 50), np.uint8)))
    if hurt == "cut":
        del data[-600:]
    elif hurt == "flipped":
        data[300] ^= 1
    else:
        del data[-12:]
    path = tmp_path / "a.png"
    path.write_bytes(data)
    with pytest.raises(ValueError, match="a broken PNG, of which"):
        check_png(path)


def write_tif(path: Path, bands: int, dtype: str) -> None:
    planes = np.arange(bands, dtype=dtype)[:, None, None] * 60 + np.zeros((1, 4, 5), dtype)
    profile = {"driver": "GTiff", "width": 5, "height": 4, "count": bands, "dtype": dtype}
    with rasterio.open(path, "w", **profile) as raster:
        raster.write(planes.astype(dtype))


@pytest.mark.parametrize(
    ("bands", "dtype", "kinds"),
    [(3, "uint8", []), (1, "uint8", []), (4, "uint8", ["alpha"]), (3, "uint16", ["sixteen-bit"])],
)
@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_headers_tell_depth_and_channels(
    bands: int, dtype: str, kinds: list[str], tmp_path: Path
) -> None:
    path = tmp_path / "a.tif"
    write_tif(path, bands, dtype)
    picture, found = look(path)
    assert picture is not None
    assert (picture.size, picture.bands, picture.dtype) == ((5, 4), bands, dtype)
    assert [defect.kind for defect in found] == kinds
    if dtype == "uint16":
        with pytest.raises(UserError, match=r"a\.tif: .*uint16 pixels where 8 bits are meant"):
            rgb(path)
    else:
        wanted = [0, 0, 0] if bands == 1 else [0, 60, 120]
        assert rgb(path)[0, 0].tolist() == wanted


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("none.png", "image-missing"),
        ("a\0b.png", "image-missing"),
        ("\ud800.png", "image-missing"),
        (f"{'9' * 300}.tif", "image-unreadable"),
    ],
)
def test_a_name_that_no_file_has(name: str, kind: str, tmp_path: Path) -> None:
    assert [defect.kind for defect in look(tmp_path / name)[1]] == [kind]


def test_a_width_is_no_depth(tmp_path: Path) -> None:
    Image.new("RGB", (720, 2)).save(tmp_path / "a.bmp")  # 2160 bytes a row
    assert not look(tmp_path / "a.bmp")[1]


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_a_deep_png_is_told_whatever_its_channels(channels: int, tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    cv2.imwrite(str(path), np.full((4, 5, channels), 900, np.uint16))
    assert [defect.kind for defect in look(path)[1]] == ["sixteen-bit"]


def test_alpha_is_left_out_and_never_blended(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    Image.new("RGBA", (2, 2), (10, 20, 30, 0)).save(path)
    assert rgb(path)[0, 0].tolist() == [10, 20, 30]
    Image.new("LA", (2, 2), (40, 0)).save(path)
    assert rgb(path)[0, 0].tolist() == [40, 40, 40]


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_pixels_are_decoded_where_a_copy_in_small_is_sound(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    noise = np.random.default_rng(0).integers(0, 256, (1, 256, 256), np.uint8)
    profile = {"driver": "GTiff", "width": 256, "height": 256, "count": 1, "dtype": "uint8"}
    with rasterio.open(path, "w", **profile, compress="deflate") as raster:
        raster.write(noise)
    with rasterio.open(path, "r+") as raster:
        raster.build_overviews([2, 4, 8])
    data = bytearray(path.read_bytes())
    data[20_000:40_000] = bytes(20_000)
    path.write_bytes(data)
    with pytest.raises(OSError, match="Read failed"):
        thumb(path)


@pytest.mark.parametrize(("bands", "dtype"), [(1, "uint8"), (4, "uint8"), (3, "uint16")])
@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_huge_pictures_of_any_bands_are_drawn(
    bands: int, dtype: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(draw, "WHOLE", 1)
    write_tif(tmp_path / "a.tif", bands, dtype)
    items = [Item("train", "a", (tmp_path / "a.tif",))]
    assert draw.sheet(items, card_of("SpaceNet-v1")).size[0] == draw.CELL
