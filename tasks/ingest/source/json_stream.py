"""JSON files of any size, read item by item, with one DataError for every way in which they can be broken.

ijson does the parsing, of UTF-8; what is in another encoding, or packed with gzip, is turned into that. Two things that
it refuses are read here, because programs write them for single bad rows, whose neighbours shall not be lost: NaN and
Infinity, which are no JSON (null takes their place, so what reads numbers sees one that is missing), and numbers beyond
what a double or an integer of 64 bits holds (they come as infinite or huge).
"""

import re
from collections.abc import Callable, Iterator
from decimal import Decimal
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, Final

import ijson
import numpy as np

from schemas.errors import DataError
from schemas.regular_files import open_regular
from tasks.ingest.source.text_files import as_utf8

_CHUNK: Final = 1 << 18
_LONGEST: Final = 1 << 24
"""Bytes without a comma, or of one text: no annotation file has so many, and they would be held in memory."""
_LARGEST: Final = 1 << 28
"""Bytes of one value three levels down (a list in a row): the same."""
_DEEPEST: Final = 32
"""Levels of nesting; annotation files have eight or so. The parser's time grows with the square."""
_ESCAPE = re.compile(rb"\\.", re.DOTALL)
_TEXT = re.compile(rb'"[^"]*"?')
_NO_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))
_STEPS = np.zeros(256, np.int64)
_STEPS[list(b"[{")], _STEPS[list(b"]}")] = 1, -1
_UNKNOWN = re.compile(rb"-?\b(?:NaN|Infinity)\b")
_ENDLESS_NUMBER = re.compile(rb"\d{4000}")
# Python makes no integers of more digits (4300), and ijson's C parser ends the process over one that it can't make.
# What the parsers behind ijson raise: their own errors, and for bad numbers, escapes and bytes those of Python.
_BROKEN = (ijson.JSONError, ValueError, OverflowError, ArithmeticError, RecursionError, MemoryError)


def begins_with(path: Path) -> str:
    """ "[" for a file that holds a list, "{" for an object. Raises DataError for anything else."""
    try:
        with _opened(path) as file:
            text = file.read(_CHUNK).lstrip(b" \t\r\n")
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is no readable JSON: {error}. Save it as UTF-8.") from error
    if text[:1] not in (b"[", b"{"):
        begins = f"begins with {text[:16].decode('latin-1')!r}" if text else "is empty"
        raise DataError(f"{path} holds neither a list nor an object of JSON: it {begins}.")
    return text[:1].decode()


def items(path: Path, prefix: str) -> Iterator[Any]:
    """The values at a place of a file, in order: "item" for those of a list, "images.item" for the list `images` in
    an object. Numbers are int or float; NaN, Infinity and null are None. Nothing if there is no such place.

    Raises DataError where the file ends too early or is no JSON, also after the last value.
    """
    return _exact_where_needed(path, lambda file, use_float: ijson.items(file, prefix, use_float=use_float))


def pairs(path: Path, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The keys and values of the object at a place of a file, by default the whole; otherwise as `items`."""
    return _exact_where_needed(path, lambda file, use_float: ijson.kvitems(file, prefix, use_float=use_float))


def _exact_where_needed(path: Path, parse: Callable[[Any, bool], Iterator[Any]]) -> Iterator[Any]:
    """Parse with numbers as C doubles, which is fast; from the first error on again with exact numbers, which are slow
    and can be of any size. What is an error then is one."""
    count = 0
    with _opened(path) as file:
        try:
            for value in parse(_Plain(file, path), True):
                yield value
                count += 1
            return
        except _BROKEN:
            pass
    with _opened(path) as file:
        plain = _Plain(file, path, exact=True)
        try:
            for value in islice(parse(plain, False), count, None):
                yield _inexact(value)
        except _BROKEN as error:
            cause = " ".join(str(error).lstrip("b'\"").replace("\\n", " ").split())
            raise DataError(
                f"{path} is no readable JSON: {cause[:300]} (in the {_CHUNK // 1024} kB before byte {plain.position}). "
                "Is it complete? Get or write the file again."
            ) from error


def _inexact(value: Any) -> Any:
    """`value` with floats for decimals."""
    if isinstance(value, dict):
        return {key: _inexact(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):  # a tuple: key and value of `pairs`
        return type(value)(_inexact(inner) for inner in value)
    return float(value) if isinstance(value, Decimal) else value


def _opened(path: Path) -> BinaryIO:
    """The file as UTF-8, whatever it was written in."""
    try:
        return as_utf8(open_regular(path), str(path))
    except OSError as error:
        raise DataError(f"{path} can't be read: {error.strerror or error}") from error


class _Plain:
    """A file whose bytes are JSON, also where it says NaN or Infinity, and in which nothing is endless.

    Each chunk is cut behind a comma, so that it splits neither such a word nor an escape.
    """

    def __init__(self, file: BinaryIO, path: Path, exact: bool = False) -> None:
        self.file, self.path, self.exact = file, path, exact
        self.position = 0
        self._rest = b""
        self._inside = False
        self._text_length = self._value_length = self._depth = 0

    def read(self, size: int = -1) -> bytes:
        """The next bytes, about a chunk of them whatever `size` is (but none for 0); none at the end."""
        while size:
            try:
                new = self.file.read(_CHUNK)
            except OSError as error:
                raise DataError(f"{self.path} can't be read: {error.strerror or error}") from error
            self.position += len(new)
            if not new:
                last, self._rest = self._rest, b""
                return self._cleaned(last)
            end = new.rfind(b",") + 1
            if end:
                chunk, self._rest = self._rest + new[:end], new[end:]
                return self._cleaned(chunk)
            self._rest += new
            if len(self._rest) > _LONGEST:
                raise DataError(f"{self.path} holds no annotations: {_LONGEST} bytes in it have no comma.")
        return b""

    def _cleaned(self, chunk: bytes) -> bytes:
        bare = _ESCAPE.sub(b"__", chunk) if b"\\" in chunk else chunk
        self._refuse_endless(bare)
        inside = self._inside
        self._inside ^= bool(bare.count(b'"') & 1)
        if b"NaN" not in bare and b"Infinity" not in bare:
            return chunk
        pieces, taken, counted = [], 0, 0
        for word in _UNKNOWN.finditer(bare):
            inside ^= bool(bare.count(b'"', counted, word.start()) & 1)
            counted = word.start()
            if not inside:
                pieces += [chunk[taken : word.start()], b"null"]
                taken = word.end()
        return b"".join([*pieces, chunk[taken:]])

    def _refuse_endless(self, bare: bytes) -> None:
        """Raise DataError for a chunk (without escapes) in which depth, a text, a number or a value is without end."""
        self._text_length = self._text_length + len(bare) if self._inside and b'"' not in bare else 0
        brackets = _TEXT.sub(b"", b'"' + bare if self._inside else bare).translate(None, _NO_BRACKETS)
        depths = self._depth + np.cumsum(_STEPS[np.frombuffer(brackets, np.uint8)])
        shallow = min(self._depth, int(depths.min(initial=self._depth)))
        self._value_length = 0 if shallow <= 2 else self._value_length + len(bare)
        self._depth = int(depths[-1]) if depths.size else self._depth
        problem = None
        if self._text_length > _LONGEST:
            problem = f"a text of more than {_LONGEST} bytes"
        elif self._value_length > _LARGEST:
            problem = f"one value of more than {_LARGEST} bytes"
        elif depths.max(initial=0) > _DEEPEST:
            problem = f"more than {_DEEPEST} lists and objects in one another"
        elif self.exact and _ENDLESS_NUMBER.search(bare):
            problem = "a number of thousands of digits"
        if problem:
            raise DataError(
                f"{self.path} holds no annotations: {problem} in the {_CHUNK // 1024} kB before byte {self.position}."
            )
