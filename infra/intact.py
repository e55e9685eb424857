"""Data files are compared with what their table's log says of them, once in each process, before their rows are used.

A file's name carries digits of its content's digest (`infra.data_files`), so that whatever names the file (the log, a
receipt, a checkpoint of the log) names its content too. Of files that older versions named otherwise, size and number
of rows are compared.

A check reads the whole file. S3 has checksums of its own over all that it keeps and sends, and there a check would
double what is read: so files on S3 are checked where ADHMR_CHECK_S3=1 asks for it, and by `adhmr doctor --deep`.
"""

import hashlib
import os
from collections.abc import Collection, Iterable, Iterator

import pyarrow as pa
import pyarrow.parquet as pq

from infra.data_files import DataFile, content_digits
from infra.store import Store
from schemas.errors import DamagedError

VARIABLE = "ADHMR_CHECK_S3"
_PIECE = 1024**2
"""Bytes that are read at a time."""
_checked: set[bytes] = set()
"""Files that were found intact, as `_mark` tells them: names of all that a store has would be many megabytes."""


class LostFileError(DamagedError):
    """A file that a table refers to is not there, or not as it was written."""


def check(store: Store, files: Iterable[DataFile]) -> None:
    """LostFileError, which names table and file, unless each file holds what was committed (where files are checked).

    A file that this process has checked, and that has the same size and time of change, is not read again.
    """
    for file in files if is_checked(store) else ():
        problem = damage_once(store, file)
        if problem:
            raise lost_file(store, file.table, problem)


def is_checked(store: Store) -> bool:
    """Whether the files of this store are checked when they are read."""
    return store.is_local or os.environ.get(VARIABLE, "") not in ("", "0")


def damage_once(store: Store, file: DataFile) -> str:
    """`damage`, but of a file that this process found intact, and that has the same size and time of change."""
    try:
        state = _state(store, file)
    except (FileNotFoundError, NotADirectoryError):
        return f"{file.name} is not there"
    mark = _mark(store, file, state)
    if mark in _checked:
        return ""
    problem = damage(store, file)
    if not problem:
        _checked.add(mark)
    return problem


def damage(store: Store, file: DataFile) -> str:
    """In which way a file is not what was committed, with its name, by reading all of it; empty if it is."""
    try:
        with store.fs.open(store.path(file.name), "rb", **({} if store.is_local else {"cache_type": "none"})) as opened:
            total, size = hashlib.sha256(), 0
            while piece := opened.read(_PIECE):
                total.update(piece)
                size += len(piece)
            if size != file.size:
                return f"{file.name} has {size} bytes instead of {file.size}"
            digits = content_digits(file.path)
            if digits and not total.hexdigest().startswith(digits):
                return f"{file.name} holds other bytes than were written"
            opened.seek(0)
            rows = pq.read_metadata(opened).num_rows
    except (FileNotFoundError, NotADirectoryError):
        return f"{file.name} is not there"
    except (pa.ArrowException, OSError) as error:
        return f"{file.name} can't be read ({' '.join(str(error).split())[:200]})"
    return "" if rows == file.rows else f"{file.name} holds {rows} rows instead of {file.rows}"


def missing(store: Store, files: Collection[DataFile]) -> Iterator[tuple[DataFile, str]]:
    """Those of the files that are not there with their size, and what is there instead; no file is opened."""
    sizes = store.sizes([file.name for file in files])
    for file in files:
        size = sizes.get(file.name)
        if size != file.size:
            yield file, "is not there" if size is None else f"has {size} bytes instead of {file.size}"


def lost_file(store: Store, table: str, what: str) -> LostFileError:
    """The error about a file that is not as it was committed; `what` names it and its damage."""
    return LostFileError(
        f"Table {table} in {store.url} has lost a file: {what}. Something else removed or changed it, or the disk or "
        "the power failed. `adhmr doctor --deep` looks for more of it, `adhmr repair` does what can be done."
    )


def _mark(store: Store, file: DataFile, state: tuple[int, int]) -> bytes:
    """A digest of the file's place and `_state`."""
    return hashlib.blake2b(f"{store.uri(file.name)} {state}".encode(), digest_size=16).digest()


def _state(store: Store, file: DataFile) -> tuple[int, int]:
    """Size and time (ns) of its last change; on S3, where no file is replaced, zeros."""
    if not store.is_local:
        return (0, 0)
    status = os.stat(store.path(file.name))
    return status.st_size, status.st_mtime_ns
