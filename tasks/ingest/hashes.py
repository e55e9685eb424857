"""Perceptual hashes: near copies of a picture (another size, another compression) have nearly the same one."""

import numpy as np
import pyarrow as pa
from PIL import Image
from scipy.fft import dctn

_SIDE, _KEPT = 32, 8
COPY_BITS = 3
"""Pictures whose hashes differ in no more of the 64 bits count as copies."""


def perceptual_hash(picture: Image.Image) -> int:
    """64 bits, as a signed integer: which of the 8 x 8 lowest frequencies of the grey picture exceed their median."""
    grey = np.asarray(picture.convert("L").resize((_SIDE, _SIDE), Image.Resampling.BILINEAR), np.float64)
    low = dctn(grey, norm="ortho")[:_KEPT, :_KEPT].ravel()
    above = low > np.median(low[1:])  # the first is the mean brightness
    return int(np.packbits(above).view(">i8")[0])


def resembling(code: int, among: pa.Table) -> str | None:
    """The `image_id` of a picture in `among` (image_id, perceptual_hash) that `code` is a near copy of, if any."""
    codes = among.column("perceptual_hash").to_numpy()
    differing = np.bitwise_count(codes.view(np.uint64) ^ np.int64(code).view(np.uint64))
    nearest = int(differing.argmin())
    return str(among.column("image_id")[nearest]) if differing[nearest] <= COPY_BITS else None
