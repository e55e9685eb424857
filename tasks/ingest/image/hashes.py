"""Perceptual hashes: near copies of a picture (another size, another compression) have nearly the same one.

Split apart by them, pictures of one fixed camera stay apart too: with 256 frequencies, a person who moves in front of
a wall changes more bits than a copy's compression does; with the usual 64 they don't.
"""

import numpy as np
from PIL import Image
from scipy.fft import dctn

_SIDE, _KEPT = 64, 16
_FLAT = 2.0
"""Grey levels of standard deviation below which a picture shows nothing, and is like any other such picture."""


def perceptual_hash(picture: Image.Image) -> str | None:
    """256 bits as 64 hex digits: which of the 16 x 16 lowest frequencies of the grey picture exceed their median.

    None for a picture that shows nothing.
    """
    grey = np.asarray(picture.convert("L").resize((_SIDE, _SIDE), Image.Resampling.BILINEAR), np.float64)
    if grey.std() < _FLAT:
        return None
    low = dctn(grey, norm="ortho")[:_KEPT, :_KEPT].ravel()
    return np.packbits(low > np.median(low[1:])).tobytes().hex()  # the first is the mean brightness


def hash_words(codes: str) -> np.ndarray:
    """(N, 4) 64-bit words of hashes that were joined to one text."""
    return np.frombuffer(bytes.fromhex(codes), np.uint64).reshape(-1, 4)
