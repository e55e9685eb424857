"""Archives and containers are told by their first bytes, and refused with what to do."""

import bz2
import gzip
import io
import lzma
import tarfile
import zipfile
from pathlib import Path

import pytest

from schemas.errors import DataError
from tasks.ingest.formats.recognition import recognise
from tasks.ingest.formats.video.reader import VideoReader
from tasks.ingest.people.annotations import AnnotationSource
from tasks.ingest.source.signatures import HEAD, stranger, tar_in_words
from tests.tasks.ingest.pictures import jpeg, noise

PICTURE = jpeg(noise())


def tar(files: dict[str, bytes], kind: int = tarfile.PAX_FORMAT) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=kind) as archive:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return buffer.getvalue()


SHARD = {f"{number:06}.{ending}": PICTURE for number in range(12) for ending in ("jpg", "json", "cls")}


@pytest.mark.parametrize("kind", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
@pytest.mark.parametrize("name", ["shard-000.tar", "film.mp4", "nameless"])
def test_a_tar_of_pictures_is_no_video(name: str, kind: int, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(tar(SHARD, kind))
    seen = recognise(str(path))
    assert seen.candidates == ()
    (said,) = seen.notes
    assert f"{path} is a WebDataset shard with 12 pictures and their .json, .cls (000000.jpg)" in said
    assert f"tar -xf {name} -C " in said
    with pytest.raises(DataError, match="is a WebDataset shard with 12 pictures"):
        VideoReader(AnnotationSource("video", str(path), "mine", "train"), tmp_path / "work")


def test_other_tars_say_what_they_hold(tmp_path: Path) -> None:
    for files, text in (
        ({"a/b.jpg": PICTURE, "a/c.png": PICTURE, "labels.npz": b""}, "is a tar archive with 2 pictures (a/b.jpg)"),
        ({"readme\n.txt": b""}, r"is a tar archive that begins with readme\n.txt: unpack it"),
        ({}, ""),
    ):
        data = tar(files)
        found = stranger(data[:HEAD])
        if files:
            assert found is not None
            assert text in tar_in_words(io.BytesIO(data), "a.tar")
        else:
            assert found is None
    cut = tar(SHARD)[:700]
    assert "tar archive" in tar_in_words(io.BytesIO(cut), "a.tar")


def zipped() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("pictures/a.jpg", PICTURE)
    return buffer.getvalue()


OTHERS = {
    "a.zip": (
        zipped(),
        "is a zip archive with 1 pictures (pictures/a.jpg), which is not read as it is: unpack it (unzip a.zip",
    ),
    "a.tar.gz": (gzip.compress(tar(SHARD)), "is packed with gzip, which is not read here: unpack it"),
    "a.tar.bz2": (bz2.compress(tar(SHARD)), "is packed with bzip2"),
    "a.json.xz": (lzma.compress(b"[]"), "is packed with xz"),
    "a.json.zst": (b"\x28\xb5\x2f\xfd" + bytes(20), "is packed with zstd"),
    "a.7z": (b"7z\xbc\xaf\x27\x1c" + bytes(20), "is a 7z archive"),
    "a.rar": (b"Rar!\x1a\x07\x01\x00" + bytes(20), "is a rar archive"),
    "a.h5": (b"\x89HDF\r\n\x1a\n" + bytes(600), "is an HDF5 file, which is not read here: write what it holds"),
    "a.mat": (b"MATLAB 5.0 MAT-file" + bytes(600), "is a MATLAB file"),
    "data.mdb": (bytes(16) + b"\xde\xc0\xef\xbe" + bytes(600), "is an LMDB database"),
    "a.npy": (b"\x93NUMPY\x01\x00" + bytes(600), "is a single array of numpy's"),
    "a.heic": (b"\x00\x00\x00\x18ftypheic" + bytes(600), "is a HEIC picture, which is not read here: convert it"),
    "a.html": (b"<!DOCTYPE html><html>", "is a web page, which is not read here: download"),
}


@pytest.mark.parametrize("name", sorted(OTHERS))
def test_containers_are_named_with_what_to_do(name: str, tmp_path: Path) -> None:
    data, text = OTHERS[name]
    (tmp_path / name).write_bytes(data)
    seen = recognise(str(tmp_path / name))
    assert seen.candidates == ()
    assert any(text in note for note in seen.notes), seen.notes
    with pytest.raises(DataError, match=r"is (a|an|packed)") as caught:
        VideoReader(AnnotationSource("video", str(tmp_path / name), "mine", "train"), tmp_path / "work")
    assert "\n" not in str(caught.value)


def test_what_is_read_is_no_stranger() -> None:
    assert stranger(PICTURE[:HEAD]) is None
    assert stranger(b"") is None
    assert stranger(bytes(HEAD)) is None
    assert stranger(b'{"images": []}') is None
