"""From the values that a picture's file holds to RGB with 8 bits, as the file says how they are meant.

Files keep more than 8 bits in ways that they don't always name: 12-bit values lie in 16 bits as they are, floats go
from 0 to 1, or to 255. What the file says counts (TIFF's sample values, PNG's significant bits, the bits of a sample);
where it says nothing, values must fill their range. Else the picture is refused: it would come out black, or cut off.
"""

import math
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms

from tasks.ingest.source.folder import RefusedError

UNKNOWN_DEPTH: Final = "picture depth not known"
UNKNOWN_MODE: Final = "picture mode not read"
_DEEP: Final = ("I;16", "I;16L", "I;16B", "I;16N", "I", "F")
_PLAIN: Final = ("1", "L", "P", "RGB", "CMYK", "YCbCr", "LA", "PA", "La", "RGBA", "RGBa", "RGBX")
_WHITE: Final = 255
_ROWS_AT_ONCE: Final = 256
_FILLED: Final = 4
"""Values that stay below this part of their range may as well have fewer bits: 10, 12 or 14 of 16."""
_BITS, _PHOTOMETRIC, _WHITE_IS_ZERO = 258, 262, 0
_SMALLEST, _LARGEST = (340, 280), (341, 281)
"""TIFF's tags SMinSampleValue and SMaxSampleValue, before the older MinSampleValue and MaxSampleValue."""
_PNG: Final = b"\x89PNG\r\n\x1a\n"


@dataclass(frozen=True)
class Declared:
    """What a file says of its values, None where it says nothing."""

    bits: int | None = None
    """Of a sample as it is stored."""
    significant: int | None = None
    """PNG's sBIT: bits that the values had before they were stored, enlarged to `bits` or (by mistake) as they are."""
    low: float = 0.0
    high: float | None = None
    """The values of black and white."""
    inverted: bool = False
    """0 is white."""


def to_rgb(image: Image.Image, data: bytes, name: str) -> Image.Image:
    """A decoded picture in RGB; `data` is its file. What is transparent becomes black, as what is outside of a picture.

    Raises RefusedError where nothing says how values are meant.
    """
    try:
        return _converted(image, _declared(image, data), name)
    except (ValueError, OSError, ImageCms.PyCMSError) as error:  # modes that Pillow has no way from
        raise RefusedError(UNKNOWN_MODE, f"{name} has the mode {image.mode}: {error}. Save it as RGB.") from error


def _converted(image: Image.Image, declared: Declared, name: str) -> Image.Image:
    if image.mode in _DEEP:
        return Image.fromarray(_scaled(np.asarray(image), image.mode, declared, name)).convert("RGB")
    if image.mode == "LAB":
        lab, rgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
        converted = ImageCms.applyTransform(image, ImageCms.buildTransform(lab, rgb, "LAB", "RGB"))
        return converted if converted is not None else image.convert("RGB")
    if image.mode not in _PLAIN:
        raise RefusedError(UNKNOWN_MODE, f"{name} has the mode {image.mode}: save it as RGB.")
    if declared.bits == 16 and image.mode in ("RGB", "RGBA"):
        _check_upper_bytes(image, declared, name)
    if image.has_transparency_data:
        black = Image.new("RGBA", image.size, (0, 0, 0, _WHITE))
        image = Image.alpha_composite(black, image.convert("RGBA"))
    return image if image.mode == "RGB" else image.convert("RGB")


def _scaled(values: NDArray[Any], mode: str, declared: Declared, name: str) -> NDArray[np.uint8]:
    """Grey values (H, W) with more than 8 bits as bytes."""
    smallest, largest = float(values.min()), float(values.max())
    if not (math.isfinite(smallest) and math.isfinite(largest)):
        raise RefusedError(UNKNOWN_DEPTH, f"{name} has the mode {mode}, with values that are NaN or infinite.")
    high = declared.high if declared.high is not None else _white(values, mode, declared)
    if high is None or not declared.low <= smallest <= largest <= high or declared.low == high:
        limits = f", and the file says {declared.low:g} to {declared.high:g}" if declared.high is not None else ""
        bits = f" ({declared.bits} bits a sample)" if declared.bits else ""
        raise RefusedError(
            UNKNOWN_DEPTH,
            f"{name} has the mode {mode}{bits} and values from {smallest:g} to {largest:g}{limits}: which value is "
            "white isn't known. Save it with 8 bits, or say it in the file (TIFF: SMaxSampleValue; PNG: sBIT).",
        )
    grey = np.empty(values.shape, np.uint8)
    for row in range(0, len(values), _ROWS_AT_ONCE):  # at once, they would take eight bytes a value
        part = values[row : row + _ROWS_AT_ONCE].astype(np.float64) - declared.low
        # floats to the nearest, whole numbers as if bits were shifted away
        part = (
            np.rint(part * (_WHITE / (high - declared.low)))
            if mode == "F"
            else part * (256 / (high - declared.low + 1))
        )
        grey[row : row + _ROWS_AT_ONCE] = part
    return _WHITE - grey if declared.inverted else grey


def _white(values: NDArray[Any], mode: str, declared: Declared) -> float | None:
    """The value of white, where the file doesn't name it: of a range that is full enough; None where none is."""
    largest = float(values.max())
    if declared.significant is not None:
        few = 2**declared.significant - 1
        return few if largest <= few else 2 ** (declared.bits or 16) - 1
    if mode == "F":
        if largest <= 1:
            return 1.0
        return _WHITE if largest <= _WHITE and (values == np.rint(values)).all() else None
    if mode == "I":
        signed = 2**15 if declared.bits == 16 else None
        if signed is not None and largest >= signed / _FILLED:
            return signed - 1
        return _WHITE if 1 < largest <= _WHITE else None
    top = 2 ** (declared.bits or 16)
    # of 12 bits that are stored as 12, the file has said it
    return top - 1 if top < 2**16 or largest >= top / _FILLED else None


def _check_upper_bytes(image: Image.Image, declared: Declared, name: str) -> None:
    """RefusedError for 16-bit colours of which Pillow, which reads the upper byte alone, leaves next to nothing."""
    largest = int(np.asarray(image.convert("RGB")).max())
    if largest < 256 / _FILLED and declared.high != 2**16 - 1:
        raise RefusedError(
            UNKNOWN_DEPTH,
            f"{name} has 16 bits a sample, and no value of more than {(largest + 1) * 256 - 1}: it is nearly black, or "
            "of fewer bits. Save it with 8 bits.",
        )


def _declared(image: Image.Image, data: bytes) -> Declared:
    tags = getattr(image, "tag_v2", None)
    if tags is not None:
        low, high = (
            next((value for tag in pair if (value := _number(tags.get(tag))) is not None), None)
            for pair in (_SMALLEST, _LARGEST)
        )
        bits = _number(tags.get(_BITS))
        inverted = _number(tags.get(_PHOTOMETRIC)) == _WHITE_IS_ZERO
        return Declared(int(bits) if bits else None, None, low or 0.0, high, inverted)
    if data.startswith(_PNG) and len(data) > 24:
        return Declared(data[24], _significant(data))
    return Declared()


def _number(value: Any) -> float | None:
    """The number that a tag holds, or the first one."""
    if isinstance(value, tuple) and value:
        value = value[0]
    try:
        number = float(value)
    except (TypeError, ValueError, ZeroDivisionError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def _significant(data: bytes) -> int | None:
    """Bits of the first sample by PNG's sBIT, where it says that they are fewer than those that are stored."""
    place = len(_PNG)
    while place + 8 < len(data) and data[place + 4 : place + 8] != b"IDAT":
        length, bits = int.from_bytes(data[place : place + 4], "big"), data[place + 8]
        if data[place + 4 : place + 8] == b"sBIT" and length and 0 < bits < data[24]:
            return bits
        place += 12 + length
    return None
