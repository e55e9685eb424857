"""Pictures of every mode come out as what they show, or are refused with their mode: never black, never cut off."""

import io
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageCms

from tasks.ingest.image.depths import UNKNOWN_DEPTH
from tasks.ingest.image.reading import read_picture
from tasks.ingest.source.folder import Folder, RefusedError
from tests.tasks.ingest.pictures import folder

GREY = np.add.outer(np.arange(5, 105, 2), np.arange(100)).astype(np.uint8)
"""(50, 100), from 5 to 202."""
PLANES = np.stack([GREY, GREY[::-1], 255 - GREY], 2)


def saved(image: Image.Image, kind: str = "TIFF", **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format=kind, **options)
    return buffer.getvalue()


def read(tmp_path: Path, data: bytes) -> NDArray[np.int64]:
    """The picture (H, W, 3) in the file `data`."""
    images = folder(tmp_path, {"a": data})
    return np.asarray(read_picture(Folder(str(images)), "a", 10**6).image).astype(np.int64)


def png(values: NDArray[Any], bits: int, colour: int, *chunks: tuple[bytes, bytes]) -> bytes:
    """A PNG of values (H, W) or (H, W, C) as they are, with chunks before the picture's own."""
    rows = values.astype(f">u{bits // 8}").reshape(len(values), -1)
    packed = zlib.compress(b"".join(b"\0" + row.tobytes() for row in rows))
    about = struct.pack(">IIBBBBB", values.shape[1], values.shape[0], bits, colour, 0, 0, 0)
    made = b"\x89PNG\r\n\x1a\n"
    for kind, content in ((b"IHDR", about), *chunks, (b"IDAT", packed), (b"IEND", b"")):
        made += struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
    return made


def tiff(values: NDArray[Any], bits: int, *tags: tuple[int, int, float], photometric: int = 1) -> bytes:
    """A little-endian TIFF of grey values (H, W); tags are (number, type, value), of type 3 (short) or 11 (float)."""
    height, width = values.shape
    data = values.tobytes() if bits != 12 else _packed_12(values)
    kinds = {"u": 1, "i": 2, "f": 3}
    entries = [
        *((256, 3, width), (257, 3, height), (258, 3, bits), (259, 3, 1), (262, 3, photometric), (273, 4, 8)),
        *((277, 3, 1), (278, 3, height), (279, 4, len(data)), (339, 3, kinds[values.dtype.kind]), *tags),
    ]
    directory = struct.pack("<H", len(entries))
    for tag, kind, value in sorted(entries):
        content = struct.pack({3: "<HH", 4: "<I", 11: "<f"}[kind], *([value, 0] if kind == 3 else [value]))
        directory += struct.pack("<HHI", tag, kind, 1) + content
    return b"II*\0" + struct.pack("<I", 8 + len(data)) + data + directory + bytes(4)


def _packed_12(values: NDArray[Any]) -> bytes:
    one, two = values.reshape(-1, 2).astype(np.uint16).T
    return np.stack([one >> 4, (one & 15) << 4 | two >> 8, two & 255], 1).astype(np.uint8).tobytes()


def depth(values: NDArray[Any], bits: int) -> NDArray[np.uint16]:
    """8-bit values with so many bits, as a camera would have them."""
    return (values.astype(np.uint16) << (bits - 8)) + 3


SHORT, FLOAT = 3, 11
SMALLEST, LARGEST, OLD_LARGEST = 340, 341, 281
GOOD: dict[str, bytes] = {
    "16 bits, PNG": png(depth(GREY, 16), 16, 0),
    "16 bits, TIFF": tiff(depth(GREY, 16), 16),
    "16 bits, TIFF of another machine": saved(Image.fromarray(depth(GREY, 16).astype(">u2"))),
    "12 of 16 bits by sBIT": png(depth(GREY, 12), 16, 0, (b"sBIT", b"\x0c")),
    "12 bits by sBIT, enlarged as PNG asks for": png(depth(GREY, 12) << 4, 16, 0, (b"sBIT", b"\x0c")),
    "12 of 16 bits by SMaxSampleValue": tiff(depth(GREY, 12), 16, (LARGEST, SHORT, 4095)),
    "12 of 16 bits by MaxSampleValue": tiff(depth(GREY, 12), 16, (OLD_LARGEST, SHORT, 4095)),
    "12 bits of 12": tiff(depth(GREY, 12), 12),
    "10 of 16 bits": tiff(depth(GREY, 10), 16, (LARGEST, SHORT, 1023)),
    "16 bits, white is 0": tiff(65535 - depth(GREY, 16), 16, photometric=0),
    "signed 16 bits": tiff((depth(GREY, 16) >> 1).astype(np.int16), 16),
    "from -2048 to 2047": tiff(
        (depth(GREY, 12).astype(np.float32) - 2048), 32, (SMALLEST, FLOAT, -2048), (LARGEST, FLOAT, 2047)
    ),
    "8 bits in 32": tiff(GREY.astype(np.int32), 32),
    "32 bits that say their range": tiff(depth(GREY, 12).astype(np.int32) * 10, 32, (LARGEST, SHORT, 40959)),
    "floats from 0 to 1": tiff((GREY / 255).astype(np.float32), 32),
    "floats from 0 to 255": tiff(GREY.astype(np.float32), 32),
    "floats from 0 to 4": tiff((GREY / 255 * 4).astype(np.float32), 32, (LARGEST, FLOAT, 4.0)),
}


@pytest.mark.parametrize("what", sorted(GOOD))
def test_deep_values_are_scaled_by_what_the_file_says(what: str, tmp_path: Path) -> None:
    found = read(tmp_path, GOOD[what])
    assert found.shape == (50, 100, 3)
    assert np.abs(found - GREY[..., None]).max() <= 1


def test_full_16_bits_lose_their_lower_byte_as_ever(tmp_path: Path) -> None:
    values = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    for data in (png(values, 16, 0), tiff(values, 16)):
        assert np.array_equal(read(tmp_path, data)[..., 0], values >> 8)


BAD: dict[str, bytes] = {
    "12 of 16 bits": png(depth(GREY, 12), 16, 0),
    "14 of 16 bits": tiff(depth(GREY, 14), 16),
    "12 of 16 bits, TIFF": tiff(depth(GREY, 12), 16),
    "8 of 16 bits": png(GREY, 16, 0),
    "beyond what the file says": tiff(depth(GREY, 14), 16, (LARGEST, SHORT, 4095)),
    "below what the file says": tiff(depth(GREY, 14), 16, (SMALLEST, SHORT, 900), (LARGEST, SHORT, 65535)),
    "12 of signed 16 bits": tiff(depth(GREY, 12).astype(np.int16), 16),
    "negative": tiff(depth(GREY, 15).astype(np.int16) - 5000, 16),
    "16 of 32 bits": tiff(depth(GREY, 16).astype(np.int32), 32),
    "floats that pass 1": tiff((GREY / 100).astype(np.float32), 32),
    "floats below 0": tiff((GREY / 255 - 0.5).astype(np.float32), 32),
    "NaN": tiff(np.where(GREY > 100, np.nan, 0.5).astype(np.float32), 32),
    "infinite": tiff(np.where(GREY > 100, np.inf, 0.5).astype(np.float32), 32),
    "12 of 16 bits in colours": png(depth(PLANES, 12), 16, 2),
    "12 of 16 bits in colours, by sBIT": png(depth(PLANES, 12), 16, 2, (b"sBIT", b"\x0c\x0c\x0c")),
    "12 of 16 bits with alpha": png(np.dstack([depth(GREY, 12), np.full_like(GREY, 255, np.uint16) * 257]), 16, 4),
}


@pytest.mark.parametrize("what", sorted(BAD))
def test_what_would_come_out_black_or_cut_off_is_refused_with_its_mode(what: str, tmp_path: Path) -> None:
    with pytest.raises(RefusedError) as caught:
        read(tmp_path, BAD[what])
    assert caught.value.reason == UNKNOWN_DEPTH
    assert caught.value.detail.startswith("a has ")
    assert "16 bits a sample" in caught.value.detail or "the mode " in caught.value.detail


def test_colours_of_16_bits_that_fill_them_are_read(tmp_path: Path) -> None:
    assert np.abs(read(tmp_path, png(depth(PLANES, 16), 16, 2)) - PLANES).max() <= 1


def test_what_is_transparent_is_black_whatever_colour_hides_there(tmp_path: Path) -> None:
    alpha = np.full_like(GREY, 255)
    alpha[:, :50], alpha[:, 50:60] = 0, 128
    hidden = np.dstack([PLANES, alpha])
    seen = PLANES * (alpha[..., None] / 255)
    palette = Image.fromarray(GREY).convert("P")
    of_palette = np.asarray(palette.convert("RGB")) * (np.asarray(palette) != 77)[..., None]
    for image, shown, options in (
        (Image.fromarray(hidden, "RGBA"), seen, {}),
        (
            Image.fromarray(np.dstack([GREY, alpha]), "LA"),
            np.repeat(GREY[..., None], 3, 2) * (alpha / 255)[..., None],
            {},
        ),
        (palette, of_palette, {"transparency": 77}),
        (
            Image.fromarray(PLANES),
            PLANES * (PLANES[3, 4] != PLANES).any(2)[..., None],
            {"transparency": tuple(PLANES[3, 4].tolist())},
        ),
    ):
        assert np.abs(read(tmp_path, saved(image, "PNG", **options)) - shown).max() <= 1, image.mode
    assert (
        np.abs(read(tmp_path, saved(Image.fromarray(hidden, "RGBA"), "WEBP", lossless=True, exact=True)) - seen).max()
        <= 1
    )


@pytest.mark.parametrize("mode", ["1", "L", "P", "CMYK", "YCbCr", "LAB"])
def test_other_modes_show_the_same(mode: str, tmp_path: Path) -> None:
    picture = Image.fromarray(PLANES)
    if mode == "LAB":
        profiles = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
        made = ImageCms.applyTransform(picture, ImageCms.buildTransform(*profiles, "RGB", "LAB"))
        assert made is not None
    else:
        made = picture.convert(mode)
    expected = np.asarray(picture if mode == "LAB" else made.convert("RGB"))
    assert np.abs(read(tmp_path, saved(made)) - expected).mean() < 1


def test_of_several_pictures_in_a_file_the_first_counts(tmp_path: Path) -> None:
    first, other = Image.fromarray(PLANES), Image.fromarray(255 - PLANES)
    for kind in ("TIFF", "PNG", "WEBP", "GIF", "MPO"):
        options: dict[str, Any] = {"lossless": True} if kind == "WEBP" else {}
        found = read(tmp_path, saved(first, kind, save_all=True, append_images=[other], **options))
        assert np.abs(found - PLANES).mean() < 12, kind  # GIF has a palette, MPO is JPEG


@pytest.mark.parametrize("kind", ["GIF", "AVIF", "JPEG"])
def test_newer_kinds_are_read(kind: str, tmp_path: Path) -> None:
    assert np.abs(read(tmp_path, saved(Image.fromarray(PLANES), kind)) - PLANES).mean() < 12


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (b"\x00\x00\x00\x18ftypheic\x00\x00\x00\x00mif1heic" + bytes(50), "it is a HEIC picture: convert it"),
        (b"\x00\x00\x00\x0cjP  \r\n\x87\n" + bytes(50), "it is a JPEG 2000 picture: convert it"),
        (b"version https://git-lfs.github.com/spec/v1\n", "it is only git-lfs's pointer to a file: run `git lfs pull`"),
        (b"P5\n2 2\n255\n1234", "it is a Netpbm picture: convert it"),
        (b"nothing known", "it begins with 'nothing known'"),
    ],
)
def test_what_is_not_read_is_named(data: bytes, what: str, tmp_path: Path) -> None:
    with pytest.raises(RefusedError) as caught:
        read(tmp_path, data)
    assert caught.value.reason == "not a picture"
    assert what in caught.value.detail
