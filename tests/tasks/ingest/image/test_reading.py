"""Files become upright RGB pictures with a focal length, or are refused for a reason."""

import io
import math
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from tasks.ingest.image.reading import Photograph, read_picture
from tasks.ingest.source.folder import Folder, RefusedError
from tests.tasks.ingest.pictures import exif, folder, jpeg, noise


def read(tmp_path: Path, data: bytes, name: str = "a.jpg", max_pixels: int = 10**6) -> Photograph:
    return read_picture(Folder(str(folder(tmp_path, {name: data}))), name, max_pixels)


def png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format="PNG")
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "picture empty"),
        (b"this is no picture\n", "not a picture"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n", "not a picture"),
        (jpeg(noise())[:200], "picture damaged"),
        (jpeg(noise())[:-2000], "picture truncated"),
        (jpeg(noise())[: len(jpeg(noise())) // 2], "picture truncated"),
        (png(noise())[:-2000], "picture truncated"),
        (png(noise())[:5000] + b"\x00" * 400 + png(noise())[5400:], "picture damaged"),
        (jpeg(noise(1200, 900)), "picture too large"),
    ],
)
def test_files_that_are_no_whole_picture_are_refused(tmp_path: Path, data: bytes, reason: str) -> None:
    with pytest.raises(RefusedError) as caught:
        read(tmp_path, data)
    assert caught.value.reason == reason
    assert "a.jpg" in caught.value.detail


def test_a_picture_cut_anywhere_before_its_last_rows_is_refused(tmp_path: Path) -> None:
    data = jpeg(noise())
    for share in np.linspace(0.02, 0.98, 25):
        with pytest.raises(RefusedError, match=r"truncated|damaged|not a picture"):
            read(tmp_path, data[: int(share * len(data))])


def test_pixels_are_counted_before_anything_is_decoded(tmp_path: Path) -> None:
    """A header that promises 40,000 x 40,000 pixels: no memory is spent on it."""
    bomb = bytearray(png(noise()))
    bomb[16:24] = (40_000).to_bytes(4, "big") * 2
    bomb[29:33] = __import__("zlib").crc32(bytes(bomb[12:29])).to_bytes(4, "big")
    with pytest.raises(RefusedError, match="picture too large"):
        read(tmp_path, bytes(bomb), max_pixels=10**10)
    with pytest.raises(RefusedError, match=r"picture too large: a\.jpg: 60 x 80 pixels, more than the allowed 4799"):
        read(tmp_path, png(noise()), max_pixels=4799)
    assert read(tmp_path, png(noise()), max_pixels=4800).size == (60, 80)


def test_missing_pictures_folders_and_links_out_are_refused(tmp_path: Path) -> None:
    images = folder(tmp_path, {"a.jpg": jpeg(noise()), "sub/b.jpg": jpeg(noise())})
    (tmp_path / "secret.jpg").write_bytes(jpeg(noise()))
    (images / "out.jpg").symlink_to(tmp_path / "secret.jpg")
    (images / "inside.jpg").symlink_to(images / "a.jpg")
    (images / "away").symlink_to(tmp_path)
    opened = Folder(str(images))
    assert read_picture(opened, "inside.jpg", 10**6).size == (60, 80)
    for name, reason in (
        ("out.jpg", "path leaves the folder"),
        ("away/secret.jpg", "path leaves the folder"),
        ("b.jpg", "picture missing"),
        ("sub", "picture unreadable"),
    ):
        with pytest.raises(RefusedError) as caught:
            read_picture(opened, name, 10**6)
        assert caught.value.reason == reason


@pytest.mark.parametrize("orientation", range(1, 9))
def test_pictures_are_turned_upright(tmp_path: Path, orientation: int) -> None:
    found = read(tmp_path, jpeg(noise(64, 48), exif=exif(orientation=orientation)))
    with Image.open(tmp_path / "images" / "a.jpg") as stored:
        expected = ImageOps.exif_transpose(stored)
    assert found.size == ((48, 64) if orientation > 4 else (64, 48))
    assert np.array_equal(np.asarray(found.image), np.asarray(expected))


def test_the_focal_length_is_the_given_one_then_that_of_exif_then_the_diagonal(tmp_path: Path) -> None:
    plain, noted = read(tmp_path, jpeg(noise())), read(tmp_path, jpeg(noise(), exif=exif(equivalent_mm=26)))
    assert plain.focal(None) == (math.hypot(60, 80), "diagonal")
    assert noted.focal(123.0) == (123.0, "given")
    focal, source = noted.focal(None)
    assert source == "exif"
    assert focal == pytest.approx(26 / 43.27 * 100)
    assert read(tmp_path, jpeg(noise(), exif=exif(equivalent_mm=0))).focal(None)[1] == "diagonal"


def test_broken_exif_counts_as_none(tmp_path: Path) -> None:
    for junk in (
        b"Exif\x00\x00junk",
        b"Exif\x00\x00II*\x00\xff\xff\xff\xff",
        b"Exif\x00\x00MM\x00*\x00\x00\x00\x08\xff\xff",
    ):
        found = read(tmp_path, jpeg(noise(), exif=junk))
        assert found.focal(None)[1] == "diagonal"


def test_grey_palette_transparent_and_16_bit_pictures_become_rgb(tmp_path: Path) -> None:
    ramp = np.linspace(0, 65535, 100 * 50).reshape(50, 100)
    deep = Image.fromarray(ramp.astype(np.uint16))
    grey = Image.fromarray((ramp / 257).astype(np.uint8))
    for image in (grey, grey.convert("P"), grey.convert("RGBA"), grey.convert("LA"), deep):
        found = np.asarray(read(tmp_path, png(image), "a.png").image)
        assert found.shape == (50, 100, 3)
        assert np.abs(found[..., 1] - ramp / 257).max() < 2
