"""Texts (CSV, JSON) as UTF-8, however they were written: with a mark, as UTF-16 or UTF-32, packed with gzip."""

import codecs
import gzip
import io
import os
import zlib
from collections.abc import Iterator
from functools import partial
from typing import Any, BinaryIO, Final, cast

from schemas.errors import DataError
from tasks.ingest.source.files import most_unpacked

GZIP: Final = b"\x1f\x8b"
_MARKS: Final = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
    (codecs.BOM_UTF8, "utf-8-sig"),
)
"""Those of UTF-32 first, because one of them begins as that of UTF-16."""
_ZEROS: Final = (("1000", "utf-32-le"), ("0001", "utf-32-be"), ("10", "utf-16-le"), ("01", "utf-16-be"))
"""Which of the first bytes are zero in each (0), where there is no mark; JSON and CSV begin with ASCII."""
_PIECE: Final = 1 << 16


def as_utf8(file: BinaryIO, name: str) -> BinaryIO:
    """What a text file holds as UTF-8 without a mark, in a stream; `file` can be rewound, `name` is how errors call it.

    To be closed instead of `file`. The stream raises DataError where the file is damaged, or unpacks to far more than
    annotations do, and UnicodeDecodeError where it is not in the encoding that its beginning announces.
    """
    if _begins(file).startswith(GZIP):
        unpacked = io.BufferedReader(_Stream(file, _unpacked(file, name)), _PIECE)
        begins, file = unpacked.peek(4)[:4], cast(BinaryIO, unpacked)
    else:
        begins = _begins(file)
    encoding = _encoding(begins)
    if encoding is None:
        return file
    return cast(BinaryIO, io.BufferedReader(_Stream(file, _recoded(file, encoding)), _PIECE))


def without_gz(name: str) -> str:
    """The name of a file without the ending that says that it is packed."""
    return name[:-3] if name.lower().endswith(".gz") else name


def _begins(file: BinaryIO) -> bytes:
    begins = file.read(4)
    file.seek(0)
    return begins


def _encoding(begins: bytes) -> str | None:
    """What a file is in by its first four bytes; None: UTF-8 without a mark."""
    for mark, encoding in _MARKS:
        if begins.startswith(mark):
            return encoding
    zeros = "".join("1" if byte else "0" for byte in begins)
    return next((encoding for pattern, encoding in _ZEROS if zeros.startswith(pattern)), None)


class _Stream(io.RawIOBase):
    """The bytes of `pieces`, one after the other; it closes `file`, which they are made from, with itself."""

    def __init__(self, file: BinaryIO, pieces: Iterator[bytes]) -> None:
        super().__init__()
        self._file, self._pieces, self._rest = file, pieces, b""

    def readable(self) -> bool:
        return True

    def close(self) -> None:
        self._file.close()
        super().close()

    def readinto(self, buffer: Any) -> int:
        self._rest = self._rest or next(filter(None, self._pieces), b"")
        piece, self._rest = self._rest[: len(buffer)], self._rest[len(buffer) :]
        buffer[: len(piece)] = piece
        return len(piece)


def _unpacked(file: BinaryIO, name: str) -> Iterator[bytes]:
    """What a gzip file holds, as far as that is in proportion."""
    left = most_unpacked(file.seek(0, os.SEEK_END))
    file.seek(0)
    packed = gzip.GzipFile(fileobj=file)
    try:
        while piece := packed.read(_PIECE):
            left -= len(piece)
            if left < 0:
                raise DataError(f"{name} unpacks to far more than annotations do. If you trust it, unpack it first.")
            yield piece
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{name} is packed with gzip, and truncated or damaged: {error}.") from error


def _recoded(file: BinaryIO, encoding: str) -> Iterator[bytes]:
    """A text in another encoding as UTF-8."""
    return (text.encode() for text in codecs.iterdecode(iter(partial(file.read, _PIECE), b""), encoding))
