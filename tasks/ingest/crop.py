"""From picture and box to the crop that the models see."""

import math

import numpy as np
from PIL import Image


def cut_crop(picture: Image.Image, square: tuple[float, float, float], size_px: int) -> np.ndarray:
    """The square (left, top, side) of an RGB picture, resampled with anti-aliasing to (size_px, size_px, 3) uint8.

    What lies outside the picture is black. Sub-pixel positions are kept: crop pixel = (picture pixel - left) * size_px / side.
    """
    left, top, side = square
    # Only the part around the square is copied: padding a whole photograph would cost more than the crop.
    x, y = math.floor(left) - 1, math.floor(top) - 1
    reach = math.ceil(side) + 3
    part = picture.crop((x, y, x + reach, y + reach))
    inner = (left - x, top - y, left - x + side, top - y + side)
    return np.asarray(part.resize((size_px, size_px), Image.Resampling.BILINEAR, box=inner))
