"""What a member of an .npz says of its array, checked against its size before anything is set aside for it."""

import math
from dataclasses import dataclass
from typing import Any, BinaryIO, Final

import numpy as np

_READERS: Final = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}


@dataclass(frozen=True)
class Header:
    """Shape and type of an array in numpy's own format."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    fortran: bool
    start: int
    """Bytes before the values."""


def read_header(stream: BinaryIO, size: int) -> Header:
    """The header at the beginning of a member of `size` bytes; the type of what is a pickle there is object.

    Raises ValueError for what is no array, or one whose values take more or fewer bytes than there are: whatever a
    header speaks of would be set aside for it.
    """
    version = np.lib.format.read_magic(stream)
    if version not in _READERS:
        raise ValueError(f"version {version} of the npy format, which arrays of numbers don't need")
    shape, fortran, dtype = _READERS[version](stream)
    start = stream.tell()
    if dtype.hasobject:
        return Header(shape, dtype, fortran, start)
    if min(shape, default=1) < 0 or math.prod(shape) * dtype.itemsize + start != size:
        raise ValueError(f"its header speaks of {dtype} of shape {shape}, but it has {size} bytes")
    return Header(shape, dtype, fortran, start)
