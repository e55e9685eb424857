"""A single flipped bit, found again: of all files that differ in one bit, one alone has the digest that was written."""

from collections.abc import Callable
from typing import Final

MOST_BYTES: Final = 2**16
"""Of longer files not every bit is tried: the time grows with the square of the length, here to half a minute."""


def turned_back(data: bytes, fits: Callable[[bytes], bool]) -> bytes | None:
    """`data` with the one bit turned back that makes it fit; None if there is no such bit, or the file is too long."""
    if len(data) > MOST_BYTES:
        return None
    tried = bytearray(data)
    for place in range(len(tried)):
        for bit in range(8):
            tried[place] ^= 1 << bit
            if fits(bytes(tried)):
                return bytes(tried)
            tried[place] ^= 1 << bit
    return None
