"""The crop of a picture as the published pipelines cut it, which published weights were trained and measured on.

`crop.cut_crop` averages the pixels that a small crop leaves out. The published one does not: each crop pixel is the
interpolation between four picture pixels, however far the next four are, and pixels are counted by their centres.
"""

import numpy as np
from numpy.typing import NDArray

from models.published_crops import CROP_PX


def cut_published_crop(
    picture: NDArray[np.uint8], affine: NDArray[np.floating], size: int = CROP_PX
) -> NDArray[np.uint8]:
    """A picture (H, W, 3) through the map `affine` (2, 3) from its pixels to the crop's: (size, size, 3).

    Bilinear; outside the picture is black, and fades in over its border's last pixel.
    """
    turn = np.linalg.inv(np.asarray(affine, np.float64)[:, :2])
    shift = -turn @ np.asarray(affine, np.float64)[:, 2]
    rows, columns = np.meshgrid(np.arange(size), np.arange(size), indexing="ij")
    x = turn[0, 0] * columns + turn[0, 1] * rows + shift[0]
    y = turn[1, 0] * columns + turn[1, 1] * rows + shift[1]
    left, top = np.floor(x).astype(np.int64), np.floor(y).astype(np.int64)
    right_share, low_share = (x - left)[..., None], (y - top)[..., None]
    high = _at(picture, left, top) * (1 - right_share) + _at(picture, left + 1, top) * right_share
    low = _at(picture, left, top + 1) * (1 - right_share) + _at(picture, left + 1, top + 1) * right_share
    return np.rint(high * (1 - low_share) + low * low_share).astype(np.uint8)


def _at(picture: NDArray[np.uint8], x: NDArray[np.int64], y: NDArray[np.int64]) -> NDArray[np.float64]:
    height, width = picture.shape[:2]
    inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
    values = picture[y.clip(0, height - 1), x.clip(0, width - 1)]
    return np.where(inside[..., None], values, 0).astype(np.float64)
