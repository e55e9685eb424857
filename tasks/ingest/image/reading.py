"""From a file's bytes to an upright RGB picture, with the focal length that its camera noted."""

import io
import math
import struct
import warnings
from dataclasses import dataclass

from PIL import ExifTags, Image, UnidentifiedImageError

from models.cameras import default_focal_px
from schemas.digests import bytes_digest
from tasks.ingest.image.depths import to_rgb
from tasks.ingest.source.folder import Folder, RefusedError
from tasks.ingest.source.signatures import HEAD, stranger

FILM_DIAGONAL_MM = 43.27
"""Diagonal of the 36 x 24 mm frame that EXIF's 35-mm equivalent refers to."""
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF", "AVIF")
"""What is read, by content, whatever a file's name ends in. Of a file with several pictures, the first is its picture.
HEIC isn't here because Pillow has no reader for it, JPEG 2000 because it is rare and its decoder has had
more holes than others."""
MOST_PIXELS = 178_956_970
"""More than any `max_pixels` allows: Pillow's own limit, also where a program has switched that off."""
# What EXIF's orientation asks for, in the words of PIL: value 6 is a picture to be turned a quarter clockwise.
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_DECODING = (OSError, SyntaxError, ValueError, struct.error, EOFError, OverflowError)
_EXIF = (*_DECODING, LookupError, TypeError, ZeroDivisionError, AttributeError)


@dataclass(frozen=True)
class Photograph:
    """A picture as it is looked at: RGB, upright. `noted_focal_px` is what EXIF says, None where it says nothing."""

    image: Image.Image
    sha256: str
    noted_focal_px: float | None
    turned: bool = False
    """By EXIF, by a quarter."""

    @property
    def size(self) -> tuple[int, int]:
        """Width and height, pixels."""
        return self.image.size

    def focal(self, given_px: float | None) -> tuple[float, str]:
        """The focal length in pixels and its source: given, exif, or the picture's diagonal (an ordinary lens)."""
        if given_px is not None:
            return given_px, "given"
        if self.noted_focal_px is not None:
            return self.noted_focal_px, "exif"
        return default_focal_px(*self.size), "diagonal"


def read_picture(folder: Folder, key: str, max_pixels: int) -> Photograph:
    """The picture `key` of the folder.

    Raises RefusedError for a file that is missing, empty, truncated, damaged, no picture, or has more than `max_pixels`
    (known from its header, before anything is decoded).
    """
    return decode_picture(folder.read(key), key, max_pixels)


def decode_picture(data: bytes, name: str, max_pixels: int) -> Photograph:
    """The picture in the bytes of a file; `name` is how refusals call it. Raises as `read_picture`."""
    if not data:
        raise RefusedError("picture empty", f"{name} has 0 bytes")
    with warnings.catch_warnings():
        # PIL warns of sizes (ours are checked), odd EXIF and odd palettes: nothing that needs to be done about it
        warnings.simplefilter("ignore")
        return _decode(data, name, max_pixels)


def check_size(stated: tuple[int | None, int | None], photograph: Photograph, key: str) -> None:
    """RefusedError where annotations say another width and height than the upright picture has; None: they don't."""
    width, height = photograph.size
    if None in stated or stated == (width, height):
        return
    difference = f"the file says {stated[0]} x {stated[1]} px, the picture has {width} x {height}"
    if stated == (height, width):
        cause = "it seems to lie on its side (as BEDLAM's close-ups do): turn it upright"
        if photograph.turned:
            cause = "EXIF turns it upright, but the file seems to describe it as it is stored"
        difference += f"; {cause}. Boxes and key-points are those of the upright picture"
    raise RefusedError("picture size differs", f"{key}: {difference}")


def _decode(data: bytes, key: str, max_pixels: int) -> Photograph:
    image = _open(data, key, max_pixels)
    try:
        image.load()
    except _DECODING as error:
        broken_off = isinstance(error, OSError) and "truncated" in str(error)
        raise RefusedError("picture truncated" if broken_off else "picture damaged", f"{key}: {error}") from error
    orientation, equivalent_mm = _exif(image)
    upright = to_rgb(image, data, key)
    if orientation in _UPRIGHT:
        upright = upright.transpose(_UPRIGHT[orientation])
    diagonal = math.hypot(*upright.size)
    focal_px = equivalent_mm / FILM_DIAGONAL_MM * diagonal if equivalent_mm else None
    return Photograph(upright, bytes_digest(data), focal_px, orientation > 4)


def _open(data: bytes, key: str, max_pixels: int) -> Image.Image:
    try:
        image = Image.open(io.BytesIO(data), formats=FORMATS)
    except Image.DecompressionBombError as error:
        raise RefusedError("picture too large", f"{key}: {error}") from error
    except UnidentifiedImageError:
        kind = stranger(data[:HEAD])
        what = f"begins with {data[:16].decode('latin-1')!r}" if kind is None else f"is {kind.what}: {kind.cure}"
        raise RefusedError("not a picture", f"{key} is none of {', '.join(FORMATS)}; it {what}") from None
    except _DECODING as error:
        raise RefusedError("picture damaged", f"{key}: {error}") from error
    width, height = image.size
    allowed = min(max_pixels, MOST_PIXELS)
    if width * height > allowed:
        raise RefusedError("picture too large", f"{key}: {width} x {height} pixels, more than the allowed {allowed}")
    return image


def _exif(image: Image.Image) -> tuple[int, float | None]:
    """Orientation (1 where unknown) and focal length as a 35-mm equivalent in mm. Broken EXIF counts as none."""
    try:
        exif = image.getexif()
        if not exif:
            return 1, None
        orientation = exif.get(ExifTags.Base.Orientation, 1)
        noted = exif.get_ifd(ExifTags.IFD.Exif).get(ExifTags.Base.FocalLengthIn35mmFilm)
        equivalent = float(noted) if noted else 0.0
    except _EXIF:
        return 1, None
    # cameras write 0 for "not known"
    usable = math.isfinite(equivalent) and 1 <= equivalent <= 10_000
    return orientation if isinstance(orientation, int) else 1, equivalent if usable else None
