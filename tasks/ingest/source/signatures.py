"""What a file is by its first bytes, where it is nothing that is read here, and what to do with it."""

import posixpath
import tarfile
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice
from typing import BinaryIO, Final

from tasks.ingest.source.folder import is_picture, printable

HEAD: Final = 512
"""First bytes that `stranger` needs."""
_MEMBERS_LOOKED_AT: Final = 200
_CONVERT: Final = "convert it to JPEG or PNG"
_UNPACK: Final = "unpack it, and name the folder or file that comes out"
_EXPORT: Final = "write what it holds as npz, json or pictures"
_HEIC: Final = (b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1")
"""Brands; AVIF uses the last two as well, and is recognised before."""
_BEGINNINGS: Final = (
    (b"\x00\x00\x00\x0cjP  \r\n\x87\n", "a JPEG 2000 picture", _CONVERT),
    (b"\xff\x4f\xff\x51", "a JPEG 2000 picture", _CONVERT),
    (b"\x00\x00\x00\x0cJXL ", "a JPEG XL picture", _CONVERT),
    (b"\xff\x0a", "a JPEG XL picture", _CONVERT),
    (b"8BPS", "a Photoshop picture", _CONVERT),
    (b"v/1\x01", "an OpenEXR picture", _CONVERT),
    (b"#?RADIANCE", "a Radiance picture", _CONVERT),
    *((b"P%d%c" % (kind, blank), "a Netpbm picture", _CONVERT) for kind in range(1, 7) for blank in b"\n \t\r"),
    (b"%PDF", "a PDF", _CONVERT),
    (b"PK\x03\x04", "a zip archive", _UNPACK),
    (b"PK\x05\x06", "an empty zip archive", _UNPACK),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive", _UNPACK),
    (b"Rar!\x1a\x07", "a rar archive", _UNPACK),
    (b"\x1f\x8b", "packed with gzip", _UNPACK),
    (b"BZh", "packed with bzip2", _UNPACK),
    (b"\xfd7zXZ\x00", "packed with xz", _UNPACK),
    (b"\x28\xb5\x2f\xfd", "packed with zstd", _UNPACK),
    (b"\x04\x22\x4d\x18", "packed with lz4", _UNPACK),
    (b"\x89HDF\r\n\x1a\n", "an HDF5 file", _EXPORT),
    (b"MATLAB 5.0", "a MATLAB file", _EXPORT),
    (b"SQLite format 3\x00", "an SQLite database", _EXPORT),
    (b"ARROW1", "an Arrow file", "write it as Parquet"),
    (b"\x93NUMPY", "a single array of numpy's", _EXPORT),
    (b"version https://git-lfs", "only git-lfs's pointer to a file", "run `git lfs pull` where it came from"),
    (b"<!DOCTYPE html", "a web page", "download the file again while signed in"),
    (b"<html", "a web page", "download the file again while signed in"),
)
_LMDB: Final = b"\xde\xc0\xef\xbe"


@dataclass(frozen=True)
class Stranger:
    """A kind of file that isn't read here: what it is ("a tar archive"), and what to do with it."""

    what: str
    cure: str
    is_tar: bool = False

    def __str__(self) -> str:
        return f"{self.what}, which is not read here: {self.cure}"


def stranger(head: bytes) -> Stranger | None:
    """What begins with these bytes (HEAD of them, if there are so many); None where they say nothing."""
    for begins, what, cure in _BEGINNINGS:
        if head.startswith(begins):
            return Stranger(what, cure)
    if head[4:8] == b"ftyp" and head[8:12] in _HEIC:
        return Stranger("a HEIC picture", _CONVERT)
    if _is_tar(head):
        return Stranger("a tar archive", _UNPACK, is_tar=True)
    if head[16:20] == _LMDB:
        return Stranger("an LMDB database", _EXPORT)
    return None


def tar_in_words(file: BinaryIO, name: str) -> str:
    """What a tar archive holds by its first members, and what to do with it; `name` is the archive's."""
    try:
        file.seek(0)
        with tarfile.open(fileobj=file, mode="r:") as archive:
            members = [member.name for member in islice(archive, _MEMBERS_LOOKED_AT) if member.isfile()]
    except (tarfile.TarError, OSError, EOFError, ValueError):
        return f"{name} is a damaged tar archive: copy it again, and unpack it."
    pictures = [member for member in members if is_picture(member)]
    if not pictures:
        first = printable(members[0]) if members else "nothing"
        return f"{name} is a tar archive that begins with {first}: {_UNPACK}."
    held = f"{'at least ' if len(members) == _MEMBERS_LOOKED_AT else ''}{len(pictures)} pictures"
    kind = (
        f"a WebDataset shard with {held} and their {beside}"
        if (beside := _beside(members))
        else f"a tar archive with {held}"
    )
    folder = printable(posixpath.basename(name)).removesuffix(".tar") or "pictures"
    return (
        f"{name} is {kind} ({printable(pictures[0])}), which is not read as it is: unpack it "
        f"(mkdir {folder} && tar -xf {printable(posixpath.basename(name))} -C {folder}), and ingest that folder."
    )


def _beside(members: Iterable[str]) -> str:
    """Endings of files that are called as a picture otherwise: in WebDataset, that is what belongs together."""
    parts = [posixpath.split(member) for member in members]
    split = [(f"{folder}/{name.partition('.')[0]}", name.partition(".")[2]) for folder, name in parts]
    shown = {stem for stem, ending in split if is_picture(f"a.{ending}")}
    others = Counter(ending for stem, ending in split if stem in shown and not is_picture(f"a.{ending}"))
    return ", ".join(f".{printable(ending)}" for ending, _ in others.most_common(3))


def _is_tar(head: bytes) -> bool:
    """By the sum over a header, which old archives without a mark have as well."""
    try:
        return bool(tarfile.TarInfo.frombuf(head[:HEAD], "utf-8", "surrogateescape"))
    except (tarfile.HeaderError, ValueError):
        return False
