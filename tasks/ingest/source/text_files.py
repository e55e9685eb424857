"""Texts (CSV, JSON) as UTF-8, however they were written: with a mark, as UTF-16 or UTF-32, packed with gzip."""

import codecs
import gzip
import io
import os
import zlib
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
_PIECE: Final = 1 << 16


def as_utf8(file: BinaryIO, name: str) -> BinaryIO:
    """What a text file holds as UTF-8 without a mark, in a stream; `file` can be rewound, `name` stands in errors.

    To be closed instead of `file`. The stream raises DataError where the file is damaged, or unpacks to far more than
    annotations do, and UnicodeDecodeError where it is not in the encoding that its beginning speaks of.
    """
    if _begins(file).startswith(GZIP):
        unpacked = io.BufferedReader(_Unpacked(file, name), _PIECE)
        begins, file = unpacked.peek(4)[:4], cast(BinaryIO, unpacked)
    else:
        begins = _begins(file)
    encoding = _encoding(begins)
    return file if encoding is None else cast(BinaryIO, io.BufferedReader(_Recoded(file, encoding), _PIECE))


def without_gz(name: str) -> str:
    """The name of a file without the ending that says that it is packed."""
    return name[:-3] if name.lower().endswith(".gz") else name


def _begins(file: BinaryIO) -> bytes:
    begins = file.read(4)
    file.seek(0)
    return begins


def _encoding(begins: bytes) -> str | None:
    """What a file is in by its first four bytes; None: UTF-8 without a mark. JSON and CSV begin with ASCII."""
    for mark, encoding in _MARKS:
        if begins.startswith(mark):
            return encoding
    zeros = [byte == 0 for byte in begins]
    if zeros[:2] == [False, True]:
        return "utf-32-le" if zeros == [False, True, True, True] else "utf-16-le"
    if zeros[:2] == [True, False]:
        return "utf-16-be"
    return "utf-32-be" if zeros == [True, True, True, False] else None


class _Unpacked(io.RawIOBase):
    """What a gzip file holds, as far as that is in proportion."""

    def __init__(self, file: BinaryIO, name: str) -> None:
        super().__init__()
        size = file.seek(0, os.SEEK_END)
        file.seek(0)
        self._file, self._gzip = file, gzip.GzipFile(fileobj=file)
        self._name, self._left = name, most_unpacked(size)

    def readable(self) -> bool:
        return True

    def close(self) -> None:
        self._file.close()
        super().close()

    def readinto(self, buffer: Any) -> int:
        try:
            piece = self._gzip.read(len(buffer))
        except (OSError, EOFError, zlib.error) as error:
            raise DataError(f"{self._name} is packed with gzip, and truncated or damaged: {error}.") from error
        self._left -= len(piece)
        if self._left < 0:
            raise DataError(f"{self._name} unpacks to far more than annotations do. If you trust it, unpack it first.")
        buffer[: len(piece)] = piece
        return len(piece)


class _Recoded(io.RawIOBase):
    """A text in another encoding as UTF-8."""

    def __init__(self, file: BinaryIO, encoding: str) -> None:
        super().__init__()
        self._file, self._decoder, self._rest = file, codecs.getincrementaldecoder(encoding)(), b""

    def readable(self) -> bool:
        return True

    def close(self) -> None:
        self._file.close()
        super().close()

    def readinto(self, buffer: Any) -> int:
        while not self._rest:
            piece = self._file.read(_PIECE)
            self._rest = self._decoder.decode(piece, final=not piece).encode()
            if not piece:
                break
        taken, self._rest = self._rest[: len(buffer)], self._rest[len(buffer) :]
        buffer[: len(taken)] = taken
        return len(taken)
