"""The store: one URL under which everything lives, on a local disk or on S3 with the same code (fsspec).

tables/<name>/         Delta tables
shards/<stage key>/    which shards of a stage are done (manifests)
reviews/               what people said of pairs, as rounds that wait for it use it
tracking/              curves for TensorBoard and MLflow, where a campaign asks for them
precision/             by how much 16 bits in an encoder were found to move a policy's hypotheses, or a scorer's ranks
checkpoints/  reports/  synthetic/  ray/
"""

import errno
import json
import os
import uuid
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import fsspec

from infra import faults, s3
from infra.lasting import make_folder, sync_folder
from infra.store_url import parse
from schemas.errors import DamagedError, StoreError

if TYPE_CHECKING:
    from infra.node_cache import NodeCache

VARIABLE = "ADHMR_STORE"
DEFAULT_URL = "./adhmr-store"
MARKER = "adhmr-store.json"
_FORMAT = 1
_MARKER_BYTES = b'{"format": %d, "made_by": "adhmr-engine"}\n' % _FORMAT
TEMPORARY = ".tmp-"
_ATTEMPTS = 5
"""Times that a write or a removal is tried, where another process removes the same folder or writes into it."""
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class FileState(NamedTuple):
    """Size in bytes, time (ns) of the last change, and what names this very file: its inode, or on S3 its ETag."""

    size: int
    changed_ns: int
    identity: str


@dataclass(frozen=True)
class Store:
    """A place for tables, checkpoints and reports. Make one with `Store.open`; it can be pickled to workers.

    `root` is an absolute path, or `bucket/prefix` on S3; every path that the methods take or give is of that form.
    """

    root: str
    protocol: str = "file"
    copies: "NodeCache | None" = field(default=None, compare=False, repr=False)
    """Where this process keeps copies of files of crops (`infra.node_copies`). Not pickled."""

    @staticmethod
    def at(url: str | os.PathLike[str] | None = None) -> "Store":
        """The store that `url` (as of `open`) names, whether it is there or not: nothing is looked at.

        Raises StoreError for what is no URL of a store.
        """
        protocol, root = parse(os.fspath(url) if url is not None else os.environ.get(VARIABLE) or DEFAULT_URL)
        return Store(root, protocol)

    @staticmethod
    def open(url: str | os.PathLike[str] | None = None, *, create: bool = True) -> "Store":
        """The store at `url` (else ADHMR_STORE, else ./adhmr-store): a path, `file://...` or `s3://bucket/prefix`.

        With `create` a missing store is made and must be writable; without, it must exist and is only read.
        Raises StoreError for a missing or unwritable store, one whose path would be misread, and for a folder that
        holds other things.
        """
        store = Store.at(url)
        try:
            if store.exists(MARKER):
                store._check_marker()
                if create:
                    store._probe()
            elif not create:
                raise StoreError(
                    f"There is no store at {store.url}. Make one with `adhmr run`, or name one: --store, {VARIABLE}."
                )
            else:
                store._begin()
        except (OSError, ValueError) as error:
            raise StoreError(f"The store at {store.url} can't be used: {_reason(error)}") from error
        return store

    @property
    def is_local(self) -> bool:
        return self.protocol == "file"

    @property
    def url(self) -> str:
        return self.root if self.is_local else f"{self.protocol}://{self.root}"

    @cached_property
    def fs(self) -> Any:
        """The fsspec filesystem; made once in each process."""
        return fsspec.filesystem("file", use_listings_cache=False) if self.is_local else s3.access().filesystem()

    @cached_property
    def opened(self) -> dict[str, Any]:
        """Tables as this object last read them, by name; `infra.snapshots` brings them up to date. Not pickled."""
        return {}

    @cached_property
    def remembered(self) -> dict[str, Any]:
        """What `infra.whole` and `infra.rounds` have read of files that never change. Not pickled."""
        return {}

    @cached_property
    def found_whole(self) -> set[str]:
        """Keys of stages whose rows this object has counted (`infra.whole`). Not pickled."""
        return set()

    def __getstate__(self) -> dict[str, str]:
        return {"root": self.root, "protocol": self.protocol}

    def path(self, *parts: str) -> str:
        """The full path of something in the store, named by its parts below the root."""
        return "/".join((self.root, *parts))

    def uri(self, *parts: str) -> str:
        """The same with the protocol before it: what Delta, DuckDB and Ray want."""
        return "/".join((self.url, *parts))

    def report_uri(self, name: str) -> str:
        return self.uri("reports", name)

    def exists(self, relative: str) -> bool:
        return bool(self.fs.exists(self.path(relative)))

    def read_bytes(self, relative: str) -> bytes:
        """The bytes of a file, named below the root. StoreError if it isn't there."""
        try:
            return bytes(self.fs.cat_file(self.path(relative)))
        except FileNotFoundError as error:
            raise StoreError(f"{self.uri(relative)} is not there; has something else cleaned the store?") from error

    def list_files(self, relative: str) -> list[str]:
        """All files below a folder, sorted, named below the root; none for a folder that isn't there."""
        base = self.path(relative)
        return sorted(str(path)[len(self.root) + 1 :] for path in self.fs.find(base))

    def whole_files(self, relative: str) -> list[str]:
        """The same without files that a process is writing just now, or died over."""
        return [path for path in self.list_files(relative) if not path.rsplit("/", 1)[-1].startswith(TEMPORARY)]

    def atomic_write(self, relative: str, data: bytes, *, replace: bool = True, lasting: bool = True) -> bool:
        """Write a file so that readers see all of it or nothing; True if these bytes are now the file.

        With `replace=False` a file that is already there stays, and the answer is False: of several writers one wins.
        A file that is `lasting` survives a loss of power once this returns, bytes and name; of one that isn't, not
        even the bytes are waited for. Raises StoreError where the disk has no room for it.
        """
        target = self.path(relative)
        if self.is_local:
            return _write_local(Path(target), data, replace, lasting, f"file:{relative.split('/', 1)[0]}")
        # a put of an object is atomic; mode "create" asks S3 to refuse if the object exists
        try:
            self.fs.pipe_file(target, data, mode="overwrite" if replace else "create")
        except FileExistsError:
            # or it is ours: S3 took it, its answer got lost, and the second attempt met the first one's object
            return self.read_bytes(relative) == data
        return True

    def modified(self, relative: str) -> datetime:
        """When a file was written, UTC."""
        when: datetime = self.fs.modified(self.path(relative))
        return when if when.tzinfo else when.replace(tzinfo=UTC)

    def state(self, relative: str) -> "FileState | None":
        """What tells a file from any that is later at its place; None if it isn't there. It is not read for that."""
        if self.is_local:
            status = _status(self.path(relative))
            return None if status is None else FileState(status.st_size, status.st_mtime_ns, str(status.st_ino))
        try:
            about = self.fs.info(self.path(relative))
        except FileNotFoundError:
            return None
        return FileState(int(about["size"]), int(about["LastModified"].timestamp() * 1e9), str(about["ETag"]))

    def size(self, relative: str) -> int:
        """Bytes of a file."""
        return int(self.fs.size(self.path(relative)))

    def sizes(self, files: Collection[str]) -> dict[str, int]:
        """Bytes of those of the files that are there; on S3 by one listing of each folder, as far as names agree."""
        if self.is_local:
            return {name: status.st_size for name in files if (status := _status(self.path(name))) is not None}
        sizes: dict[str, int] = {}
        for folder, names in groupby(sorted(files), key=lambda name: name.rpartition("/")[0]):
            last_parts = [name.rpartition("/")[2] for name in names]
            beginning = os.path.commonprefix(last_parts)  # noqa: RUF071 - by character, as prefixes on S3 are
            listed = self.fs.find(self.path(folder), prefix=beginning, detail=True)
            sizes |= {str(path)[len(self.root) + 1 :]: int(about["size"]) for path, about in listed.items()}
        return {name: sizes[name] for name in files if name in sizes}

    def clock(self) -> datetime:
        """The time, UTC, as files of the store get it when they are written: of its disk or of S3, not of this machine.

        This machine's where nothing can be written.
        """
        name = f"{TEMPORARY}clock-{uuid.uuid4().hex}"
        try:
            self.atomic_write(name, b"", lasting=False)
            return self.modified(name).astimezone(UTC)
        except (OSError, StoreError):
            return datetime.now(UTC)
        finally:
            with suppress(OSError):
                self.remove(name)

    def remove(self, relative: str) -> None:
        """Remove a file if it is there."""
        path = self.path(relative)
        if self.fs.exists(path):
            with suppress(FileNotFoundError):  # another process was faster
                self.fs.rm_file(path)

    def remove_folder(self, relative: str) -> None:
        """Remove a folder with all that is in it, if it is there.

        Another process may do the same, or still write into it; what it writes then is its own to remove.
        """
        path = self.path(relative)
        for _ in range(_ATTEMPTS):
            if not self.fs.exists(path):
                return
            try:
                self.fs.rm(path, recursive=True)
            except FileNotFoundError:  # another process removes it
                continue
            except OSError as error:  # another process writes into it
                if error.errno != errno.ENOTEMPTY:
                    raise

    def check_is_there(self) -> None:
        """Raise StoreError, which says so, if the store was removed since it was opened."""
        if not self.exists(MARKER):
            raise StoreError(
                f"The store at {self.url} is gone: something has removed it, or its disk, while it was in use. Put it "
                f"back and run again, or name another one: --store, {VARIABLE}."
            )

    def storage_options(self) -> dict[str, str]:
        """What deltalake needs to know of S3, credentials included; they may expire, so ask again for each opening."""
        return {} if self.is_local else s3.access().delta_options()

    def _check_marker(self) -> None:
        """StoreError unless the marker says that this is a store of the form that we know."""
        cure = f"write {_MARKER_BYTES.decode().strip()} into it, and let `adhmr doctor --deep` look at the rest."
        try:
            form = json.loads(self.read_bytes(MARKER))["format"]
        except (ValueError, TypeError, KeyError) as error:
            raise DamagedError(f"{self.uri(MARKER)} is damaged: {cure}") from error
        if form != _FORMAT:
            raise StoreError(
                f"{self.uri(MARKER)} says that the store has form {form}, and this version knows form {_FORMAT}: use "
                f"the engine that made it. If that is this one, the file is damaged: {cure}"
            )

    def _begin(self) -> None:
        if self.is_local:
            folder = Path(self.root)
            folder.mkdir(parents=True, exist_ok=True)
            strangers = [entry.name for entry in folder.iterdir() if not entry.name.startswith(TEMPORARY)]
        else:
            listed = self.fs.ls(self.root) if self.fs.exists(self.root) else []
            strangers = [str(path).rsplit("/", 1)[-1] for path in listed]
        if strangers and MARKER not in strangers:
            raise StoreError(
                f"{self.url} holds other files ({', '.join(sorted(strangers)[:3])}) and is no store of ours: name "
                "an empty or new folder."
            )
        self.atomic_write(MARKER, _MARKER_BYTES)

    def _probe(self) -> None:
        name = f"{TEMPORARY}probe-{uuid.uuid4().hex}"
        self.atomic_write(name, b"", lasting=False)
        self.remove(name)


def _status(path: str) -> os.stat_result | None:
    try:
        return os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None


@contextmanager
def naming_full_disks(path: str | os.PathLike[str]) -> Iterator[None]:
    """Turn what a full disk (or a used-up quota) raises while `path` is written into a StoreError."""
    try:
        yield
    except OSError as error:
        if error.errno not in _FULL:
            raise
        raise StoreError(
            f"{os.fspath(path)} can't be written: {os.strerror(error.errno)}. Nothing unfinished was committed. Make "
            "room (`adhmr vacuum` removes what nothing refers to) and run again: what is finished stays."
        ) from error


def may_not_write(error: BaseException) -> bool:
    """Whether an error says that this user may not write there, or no user: a read-only disk."""
    return isinstance(error, PermissionError) or (isinstance(error, OSError) and error.errno == errno.EROFS)


def _write_local(target: Path, data: bytes, replace: bool, lasting: bool, point: str) -> bool:
    for _ in range(_ATTEMPTS - 1):
        with suppress(FileNotFoundError):  # another process removed the folder under our feet
            return _write_once(target, data, replace, lasting, point)
    return _write_once(target, data, replace, lasting, point)


def _write_once(target: Path, data: bytes, replace: bool, lasting: bool, point: str) -> bool:
    temporary = target.with_name(f"{TEMPORARY}{uuid.uuid4().hex}-{target.name}"[:200])
    try:
        with naming_full_disks(target):
            make_folder(target.parent)
            with open(temporary, "wb") as file:
                file.write(data)
                if lasting:
                    file.flush()
                    os.fsync(file.fileno())
        faults.reach(point)
        written = _name(temporary, target, replace)
        if lasting:
            sync_folder(target.parent)  # also after another's link: its maker may have died before this
        return written
    finally:
        temporary.unlink(missing_ok=True)


def _name(temporary: Path, target: Path, replace: bool) -> bool:
    if replace:
        os.replace(temporary, target)
        return True
    try:
        os.link(temporary, target)  # unlike a rename, a link refuses to replace
    except FileExistsError:
        return False
    return True


def _reason(error: Exception) -> str:
    if may_not_write(error):
        problem = "permission denied" if isinstance(error, PermissionError) else "a read-only file system"
        return f"it is not writable for this user ({problem}). Choose another place or change its rights."
    if isinstance(error, NotADirectoryError | FileExistsError):
        return "there is a file where a folder should be. Choose another place."
    return f"{error}"
