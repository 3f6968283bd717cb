"""Image files of miniatures: the same pixels give the same bytes."""

import warnings
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import rasterio
from rasterio.errors import NotGeoreferencedWarning

PNG = [
    cv2.IMWRITE_PNG_COMPRESSION,
    3,
    cv2.IMWRITE_PNG_STRATEGY,
    cv2.IMWRITE_PNG_STRATEGY_HUFFMAN_ONLY,
]
"""A tenth smaller than by default where pixels are noisy."""


def save(path: Path, pixels: npt.NDArray[Any], quality: int = 90, **profile: Any) -> None:
    """RGB or one channel, as the suffix says; `quality` is JPEG's, `profile` for TIFF."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".tif":
        _save_tiff(path, pixels, quality, profile)
        return
    shown = cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR) if pixels.ndim == 3 else pixels
    how = [cv2.IMWRITE_JPEG_QUALITY, quality]
    if path.suffix == ".png":
        how = PNG if pixels.ndim == 3 else []
    _, data = cv2.imencode(path.suffix, shown, how)
    path.write_bytes(data.tobytes())


def _save_tiff(path: Path, pixels: npt.NDArray[Any], quality: int, profile: dict[str, Any]) -> None:
    """Pictures in JPEG compression, which takes a fifth of the space; the rest without loss."""
    planes = pixels.transpose(2, 0, 1) if pixels.ndim == 3 else pixels[None]
    compact: dict[str, Any] = {"compress": "deflate", "predictor": 2}
    if len(planes) == 3:
        compact = {"compress": "jpeg", "photometric": "ycbcr", "jpeg_quality": quality}
        compact |= {"interleave": "pixel"}
    shape = {"count": len(planes), "height": planes.shape[1], "width": planes.shape[2]}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        with rasterio.open(
            path, "w", driver="GTiff", dtype=planes.dtype, **shape, **compact, **profile
        ) as raster:
            raster.write(np.ascontiguousarray(planes))


def text(path: Path, content: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode())
