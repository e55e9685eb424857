"""From picture and box to the crop that the models see, and to the file that the crop is stored as."""

import io
import math

import numpy as np
from PIL import Image

_OVERSAMPLING = 8
"""Squares this many times larger than the crop are averaged down first: with photographs that saves most of the work,
and a box much larger than its picture costs no memory."""
_LOSSLESS_PX = 128
"""Crops up to this side are stored without loss (7 kB at 64 px); larger ones would take too much room."""


def cut_crop(picture: Image.Image, square: tuple[float, float, float], size_px: int) -> np.ndarray:
    """The square (left, top, side) of an RGB picture, resampled with anti-aliasing to (size_px, size_px, 3) uint8.

    What lies outside the picture is black. Sub-pixel positions are kept: crop pixel = (picture pixel - left) *
    size_px / side.
    """
    left, top, side = square
    factor = int(side // (_OVERSAMPLING * size_px))
    if factor > 1:
        x0, y0 = max(0, math.floor(left)), max(0, math.floor(top))
        x1, y1 = min(picture.width, math.ceil(left + side)), min(picture.height, math.ceil(top + side))
        if x1 <= x0 or y1 <= y0:
            return np.zeros((size_px, size_px, 3), np.uint8)
        picture = picture.reduce(factor, box=(x0, y0, x1, y1))
        left, top, side = (left - x0) / factor, (top - y0) / factor, side / factor
    # Only the part around the square is copied: padding a whole photograph would cost more than the crop.
    x, y = math.floor(left) - 1, math.floor(top) - 1
    reach = math.ceil(side) + 3
    part = picture.crop((x, y, x + reach, y + reach))
    inner = (left - x, top - y, left - x + side, top - y + side)
    return np.asarray(part.resize((size_px, size_px), Image.Resampling.BILINEAR, box=inner))


def encode_crop(crop: np.ndarray, jpeg_quality: int) -> bytes:
    """An image file of a crop (S, S, 3) uint8: PNG up to 128 px a side, above it JPEG with all colour kept."""
    buffer = io.BytesIO()
    if crop.shape[0] <= _LOSSLESS_PX:
        Image.fromarray(crop).save(buffer, format="PNG", compress_level=1)
    else:
        Image.fromarray(crop).save(buffer, format="JPEG", quality=jpeg_quality, subsampling=0)
    return buffer.getvalue()
