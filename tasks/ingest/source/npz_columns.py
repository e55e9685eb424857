"""An .npz of annotations as columns on disk: read in bounded memory, and without trusting what it says of itself.

Plain members (numbers, texts) are unpacked once and then mapped into memory a batch of rows at a time. Members that are
pickles go through `models.restricted_pickle`, their large arrays straight to files. What a zip says of its sizes is
compared with what is there before anything is unpacked.
"""

import io
import shutil
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Final, cast

import numpy as np

from models.npy_headers import Header, read_header
from models.restricted_pickle import load_restricted
from schemas.errors import DataError
from tasks.ingest.source.column import Column, stored_column
from tasks.ingest.source.files import most_unpacked
from tasks.ingest.source.folder import printable

_HEADER = 2**16
_PIECE = 2**20
_VALUES: Final = 5_000_000
_LONGEST_REASON: Final = 300
"""What zipfile says of names that differ may be as long as a member."""
_DAMAGED = (
    *(zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, ValueError, LookupError),
    *(struct.error, OverflowError, MemoryError, TypeError, SyntaxError, tokenize.TokenError),
)


class Npz:
    """The members of a local .npz. `work` is a folder of its own for what is unpacked; `name` is how errors call it.

    Raises DataError, here and in all methods, for a file that is no npz, is damaged, or is made to do harm.
    """

    def __init__(self, path: Path, work: Path, name: str) -> None:
        self.name, self.work = name, work
        with self._guarded("it"):
            self._zip = zipfile.ZipFile(path)
            members = self._zip.infolist()
            size = path.stat().st_size
        work.mkdir(parents=True, exist_ok=True)
        self._members: dict[str, zipfile.ZipInfo] = {}
        for member in members:
            key = self._key(member)
            if key in self._members:
                raise DataError(f"{name} has two members of the name {printable(key)!r}: write it again.")
            self._members[key] = member
        unpacked = sum(member.file_size for member in members)
        if unpacked > most_unpacked(size):
            raise DataError(
                f"{name} has {size} bytes and would unpack to {unpacked}, far more than annotations do. It was not "
                "unpacked. If you trust it, save it again with numpy.savez (uncompressed)."
            )
        self._columns: dict[str, Column] = {}

    @property
    def names(self) -> tuple[str, ...]:
        """The members' names as numpy.load gives them, in the order of the file."""
        return tuple(self._members)

    def __contains__(self, name: object) -> bool:
        return name in self._members

    def unused(self, known: Collection[str]) -> Iterator[str]:
        """A remark on members other than those that are `known`."""
        others = [printable(name) for name in self.names if name not in known]
        if others:
            shown = ", ".join(others[:20]) + (" and more" if len(others) > 20 else "")
            yield f"{self.name}: members that are not used: {shown}."

    def header(self, name: str) -> Header:
        """Shape and type of a member; for a pickle, the type is object. Reads a few bytes."""
        with self._guarded(_member(name)), self._zip.open(self._members[name]) as stream:
            return self._header(io.BytesIO(stream.read(_HEADER)), self._members[name].file_size)

    def is_pickle(self, name: str) -> bool:
        """Whether a member holds Python objects: a dictionary, or an array of texts or lists."""
        return self.header(name).dtype.hasobject

    def column(self, name: str) -> Column:
        """A plain member, unpacked at the first call. DataError for a pickle and for an array without axis."""
        if name not in self._columns:
            header = self.header(name)
            if header.dtype.hasobject or not header.shape:
                raise DataError(
                    f"{self.name}, {_member(name)}: an array of numbers or texts with a row for each person "
                    f"is needed, not {header.dtype} of shape {header.shape}."
                )
            self._columns[name] = stored_column(
                self._unpacked(name), header.dtype, header.shape, header.start, header.fortran
            )
        return self._columns[name]

    def value(self, name: str) -> Any:
        """What a member holds, as a whole: for a pickle of one object, that object; else an array.

        Large arrays in pickles are memory-maps of files in `work`. Nothing is kept, so that members may be read one
        after the other in bounded memory. Plain members are read into memory: use `column` for those with many rows.
        """
        header = self.header(name)
        where = f"{self.name}, {_member(name)}"
        with self._guarded(_member(name)), self._zip.open(self._members[name]) as stream:
            start = stream.read(header.start)
            if not header.dtype.hasobject:
                data = np.frombuffer(stream.read(), header.dtype)
                return data.reshape(header.shape, order="F" if header.fortran else "C")
            # by its packed size: a list of equal numbers shrinks to nothing, and each would be an object in memory
            most = max(_VALUES, self._members[name].compress_size)
            value = load_restricted(cast(BinaryIO, stream), where, self.work, most)
        if not isinstance(value, np.ndarray) or value.shape != header.shape:
            raise DataError(f"{where} is damaged: its {len(start)} bytes of header and its pickle don't agree.")
        return value.item() if value.ndim == 0 else value

    def _unpacked(self, name: str) -> Path:
        member = self._members[name]
        if shutil.disk_usage(self.work).free < member.file_size:
            raise DataError(
                f"{self.name}, {_member(name)} needs {member.file_size} bytes in {self.work}, which has fewer "
                "left. Make room there."
            )
        path = self.work / f"member-{list(self._members).index(name)}.npy"
        with self._guarded(_member(name)), self._zip.open(member) as stream, path.open("wb") as file:
            shutil.copyfileobj(stream, file, _PIECE)
        if path.stat().st_size != member.file_size:
            raise DataError(f"{self.name}, {_member(name)} is truncated: copy the file again.")
        return path

    def _key(self, member: zipfile.ZipInfo) -> str:
        name = member.filename
        shown = f"{self.name}: its member {printable(name)!r}"
        if name.startswith(("/", "\\")) or ".." in name.replace("\\", "/").split("/") or ":" in name:
            raise DataError(f"{shown} names a place outside of the archive, as no npz does. It was not read.")
        if member.flag_bits & 1 or member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise DataError(f"{shown} is encrypted or packed as numpy.savez does not. Save the file again with that.")
        return name.removesuffix(".npy")

    def _header(self, stream: io.BytesIO, size: int) -> Header:
        header = read_header(stream, size)
        shape, dtype = header.shape, header.dtype
        if dtype.fields is not None or dtype.subdtype is not None or dtype.kind not in "biufSUO" or not dtype.itemsize:
            raise ValueError(f"its values are of type {dtype}, where numbers or texts are expected")
        if not dtype.hasobject and 0 in shape[1:] and shape[0]:
            raise ValueError(f"an array of shape {shape} has no values")
        return header

    @contextmanager
    def _guarded(self, what: str) -> Iterator[None]:
        """DataError for whatever goes wrong in reading `what`."""
        try:
            yield
        except OSError as error:
            raise DataError(f"{self.name} can't be read: {error}") from error
        except _DAMAGED as error:
            reason = printable((str(error) or type(error).__name__)[:_LONGEST_REASON])
            raise DataError(
                f"{self.name} is no readable npz: {what} is truncated, damaged or not as numpy.savez writes it "
                f"({reason}). Copy it again, or save it again with numpy.savez."
            ) from error


def _member(name: str) -> str:
    return f"member {printable(name)}"
