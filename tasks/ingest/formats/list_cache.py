"""The list caches that published pipelines keep: an npz with one pickled dictionary for each key "0" to "n-1".

Beside these it has data_len (n) and, depending on who wrote it, data_strategy: n + 1 or n + 2 members.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from schemas.errors import DataError
from tasks.ingest.formats.json_rows import UNREADABLE
from tasks.ingest.formats.plain_values import plain, shown, whole_number
from tasks.ingest.source.files import local_file
from tasks.ingest.source.folder import RefusedError, printable
from tasks.ingest.source.npz_columns import Npz

_COUNT, _STRATEGY = "data_len", "data_strategy"
_MISSING_AT_MOST = 100
"""So many entries may be missing, each one a failure; of a cache that lacks more, the wrong part was copied."""
_UNREADABLE_IN_A_ROW = 10


@dataclass(frozen=True)
class Entry:
    """An entry of the cache: a dictionary (or whatever the file has in its place), or why it can't be read."""

    number: int
    value: Any
    refusal: RefusedError | None = None


class ListCache:
    """Reads a list cache, one entry in memory at a time. Raises DataError for a file that is none."""

    def __init__(self, url: str, work: Path, what: str) -> None:
        self.url, self.name = url, url.rstrip("/").rsplit("/", 1)[-1]
        self.spool = work / "entries"
        self._npz = Npz(local_file(url, work, what), self.spool, url)
        self._member = {int(name): name for name in self._npz.names if re.fullmatch("[0-9]{1,11}", name)}
        self.others = tuple(name for name in self._npz.names if name not in self._member.values())
        self.declared = self._declared()
        if not self._member:
            members = ", ".join(printable(name) for name in self._npz.names[:8]) or "nothing"
            raise DataError(
                f"{url} is no {what}: it holds {members}, but no entries under the keys 0, 1, 2, ... "
                "Is it an annotation file? Then name its format (humandata)."
            )
        present = len(self._member)
        if self.declared is not None and self.declared - present > min(_MISSING_AT_MOST, present):
            raise DataError(
                f"{url} says that it has {self.declared} entries (data_len), but {present} are there. Copy it again, "
                "or write it again if the writing was broken off."
            )
        self.numbers = tuple(sorted({*range(self.declared or 0), *self._member}))

    def __len__(self) -> int:
        return len(self.numbers)

    def entry(self, number: int) -> Entry:
        """The entry of that number; large arrays in it are in files, which are gone when the next one is read."""
        for file in self.spool.glob("*.bytes"):
            file.unlink()
        if number not in self._member:
            return Entry(number, None, RefusedError("entry missing", f"there is no key {number} in {self.name}"))
        try:
            return Entry(number, self._npz.value(self._member[number]))
        except DataError as error:
            return Entry(number, None, RefusedError(UNREADABLE, str(error)))

    def entries(self) -> Iterator[Entry]:
        """All entries by number. Raises DataError where none of the first ten can be read: then it is the file."""
        refused = 0
        for tried, number in enumerate(self.numbers, start=1):
            entry = self.entry(number)
            refused += entry.refusal is not None
            if entry.refusal is not None and refused == tried == min(_UNREADABLE_IN_A_ROW, len(self)):
                raise DataError(f"None of the first {tried} entries can be read. {entry.refusal.detail}")
            yield entry

    def facts(self) -> dict[str, str]:
        """What the members beside the entries say."""
        facts = {"entries": str(len(self._member))}
        if _STRATEGY in self.others:
            try:
                facts["strategy"] = shown(plain(self._npz.value(_STRATEGY)))
            except DataError:
                facts["strategy"] = "not readable"
        return facts

    def remarks(self) -> list[str]:
        """What differs from what such a cache should have."""
        remarks = []
        unknown = [printable(name) for name in self.others if name not in (_COUNT, _STRATEGY)]
        if self.declared is None:
            remarks.append(f"{_COUNT} is missing or no number; the entries were counted.")
        elif self.declared != len(self._member):
            remarks.append(f"{_COUNT} says {self.declared}, but {len(self._member)} entries are there.")
        if unknown:
            remarks.append(f"Members that mean nothing here: {', '.join(unknown[:8])}.")
        return remarks

    def _declared(self) -> int | None:
        try:
            return whole_number(self._npz.value(_COUNT), _COUNT) if _COUNT in self._npz else None
        except (DataError, RefusedError):
            return None
