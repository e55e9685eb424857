"""A tar of samples: what is in it and where, from its headers alone; members are read one at a time, in any order.

Nothing is unpacked. Only plain files count: a link, a device or a file with holes, which claims to be larger than it
is, is no member here.
"""

import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from schemas.errors import DataError
from schemas.regular_files import open_regular

_DAMAGED: Final = (tarfile.TarError, OSError, EOFError, ValueError, OverflowError, MemoryError)
_FORGOTTEN: Final = 1000
"""Headers after which tarfile is made to forget those it has seen; it keeps them all."""


@dataclass(frozen=True)
class Member:
    """A plain file in the tar: its name as it is written there, and its bytes."""

    name: str
    start: int
    size: int


@dataclass
class Sample:
    """Members that belong together: of one name up to the first dot of its last part, by what comes behind that."""

    key: str
    members: dict[str, Member] = field(default_factory=dict)
    twice: set[str] = field(default_factory=set)
    """Endings that more than one member has, of which the first is among the `members`."""


class Tar:
    """A local tar, not compressed. Raises DataError for what is none; `name` is how errors call it."""

    def __init__(self, path: Path, name: str) -> None:
        self.path, self.name = path, name
        self.broken: str | None = None
        """Why its headers were not read to the end; None: they were."""
        self.others = 0
        """Links, devices and files with holes."""
        self.samples: dict[str, Sample] = {}
        try:
            size = path.stat().st_size
            with open_regular(path) as file, tarfile.open(fileobj=file, mode="r:") as archive:
                for header in self._headers(archive):
                    self._take(header, size)
                file.seek(archive.offset)
                if self.broken is None and file.read(tarfile.BLOCKSIZE).strip(b"\0"):
                    # tarfile takes a damaged header for the end
                    self.broken = f"there is no header at byte {archive.offset}"
        except _DAMAGED as error:
            raise DataError(f"{name} is no readable tar archive: {error}. Copy it again.") from error

    def read(self, member: Member, most: int) -> bytes:
        """The bytes of a member. DataError for one of more than `most`, and for one that the file has no more."""
        if member.size > most:
            raise DataError(f"{self.name}, {member.name}: {member.size} bytes are more than the {most} that are read.")
        try:
            with open_regular(self.path) as file:
                file.seek(member.start)
                data = file.read(member.size)
        except OSError as error:
            raise DataError(f"{self.name} can't be read: {error}") from error
        if len(data) < member.size:
            raise DataError(f"{self.name}, {member.name}: the archive ends within it. Copy it again.")
        return data

    def _headers(self, archive: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
        """The headers up to the end, or to where they are damaged."""
        seen = 0
        try:
            while (header := archive.next()) is not None:
                yield header
                seen += 1
                if seen % _FORGOTTEN == 0:
                    archive.members = []  # type: ignore[attr-defined]
        except _DAMAGED as error:
            if not seen:
                raise
            self.broken = str(error) or type(error).__name__

    def _take(self, header: tarfile.TarInfo, size: int) -> None:
        sparse: Any = getattr(header, "sparse", None)
        if not header.isreg() or sparse is not None or header.offset_data > size:
            self.others += not header.isdir()
            return
        folder, _, name = header.name.rpartition("/")
        stem, _, ending = name.partition(".")
        key = f"{folder}/{stem}" if folder else stem
        sample = self.samples.setdefault(key, Sample(key))
        if ending in sample.members:
            sample.twice.add(ending)
        else:
            sample.members[ending] = Member(header.name, header.offset_data, header.size)
