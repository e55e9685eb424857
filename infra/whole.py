"""Which stages are finished *and whole*: they stand in `stages`, and their tables hold the rows that stand there.

A stage that isn't whole (its rows went with a loss of power, say, or with a file that somebody removed) counts as not
finished for everybody: nobody reads what is left of it as if it were all, and a run that meets it repairs it or does it
again (`infra.repair`). Counting is done once for each stage and process: what was found whole stays so, as only a
repair takes files out of a table, and that takes the row out of `stages` first.
"""

import json
import logging
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property, lru_cache

import pyarrow as pa
import pyarrow.compute as pc

from infra.data_files import MANY, DataFile
from infra.intact import LostFileError
from infra.snapshots import newest
from infra.store import Store
from infra.table_rows import read_files
from schemas.errors import StoreError
from schemas.tables import TABLES, contract

log = logging.getLogger(__name__)

CURE = "The next run that needs it puts them back or does it again; `adhmr repair` does the first at once."
_COLUMNS = ("stage_key", "stage", "tables_json")
_LOOKS = 3
"""Times that `stages` is looked at again where a file of it went meanwhile: rows move when files are merged."""


@dataclass(frozen=True)
class Said:
    """What `stages` says of a stage: the rows in each table, and the file of `stages` that says so."""

    stage_key: str
    stage: str
    tables_json: str
    file: DataFile

    @property
    def rows(self) -> Mapping[str, int]:
        """Rows for each table that has some."""
        return _numbers(self.tables_json, "rows")

    @property
    def bytes(self) -> Mapping[str, int]:
        """Bytes of its files, for each table that has some."""
        return _numbers(self.tables_json, "bytes")


@dataclass(frozen=True)
class Torn:
    """A stage that is finished and not whole. `lost` gives rows said and rows there, for each table where they differ;
    a table `stages` in it stands for the stage's own row, which can't be read. `file` of `stages` holds that row."""

    stage_key: str
    stage: str
    lost: dict[str, tuple[int, int]]
    file: DataFile

    def __str__(self) -> str:
        listed = ", ".join(f"{table} has {there} of {said} rows" for table, (said, there) in sorted(self.lost.items()))
        return f"{self.stage} {self.stage_key[:12]}: {listed}"


@dataclass(frozen=True)
class Standing:
    """All rows of `stages`, as far as they can be read; `unreadable` files held one row each. `listed` are all files,
    and the column `file` of a row says which of them holds it."""

    listed: tuple[DataFile, ...]
    rows: pa.Table
    unreadable: tuple[DataFile, ...]

    @cached_property
    def keys(self) -> frozenset[str]:
        """All stages that stand there."""
        return frozenset(self.rows.column("stage_key").to_pylist())

    def said(self, keys: Collection[str]) -> list[Said]:
        """What stands of these stages."""
        rows = self.rows
        if len(keys) < len(rows):
            rows = rows.filter(pc.is_in(rows.column("stage_key"), value_set=pa.array(sorted(keys), pa.string())))
        return [
            Said(row["stage_key"], row["stage"], row["tables_json"], self.listed[row["file"]])
            for row in rows.to_pylist()
        ]


def standing(store: Store) -> Standing:
    """What stands in `stages` now. StoreError where a file that holds rows of several stages can't be read."""
    for look in range(_LOOKS):
        listed = tuple(newest(store, "stages").of())
        known: Standing | None = store.remembered.get("stages")
        if known is not None and known.listed == listed:
            return known
        try:
            found = _read(store, listed)
        except LostFileError:
            if look == _LOOKS - 1:
                raise
            continue
        if found.unreadable and look < _LOOKS - 1:
            continue
        store.remembered["stages"] = found
        return found
    raise AssertionError("unreachable")


def finished_keys(store: Store) -> set[str]:
    """The keys of all stages that are finished and whole."""
    stands = standing(store)
    return set(stands.keys) - {one.stage_key for one in _torn(store, stands, stands.keys)}


def whole_keys(store: Store, keys: Iterable[str]) -> set[str]:
    """Those of the keys whose stages are finished and whole; looks at no other stage."""
    stands = standing(store)
    wanted = stands.keys & set(keys)
    return set(wanted) - {one.stage_key for one in _torn(store, stands, wanted)}


def torn_stages(store: Store, keys: Collection[str] | None = None) -> list[Torn]:
    """The stages that are finished and not whole, of these or of all."""
    stands = standing(store)
    torn = _torn(store, stands, stands.keys if keys is None else stands.keys & set(keys))
    lost = [file for file in stands.unreadable if keys is None or file.stage_key in keys]
    return [*torn, *map(_unreadable, lost)]


def readable_keys(store: Store, table: str, keys: Collection[str] | None = None) -> set[str]:
    """The stages whose rows of a table a reader may see, of these or of all.

    Of stages that are finished and not whole: one that is named is a StoreError, as who asks for its rows must not get
    none, or some, instead; the others are left out, which is said once in a process.
    """
    stands = standing(store)
    wanted = stands.keys if keys is None else stands.keys & set(keys)
    torn = [*_torn(store, stands, wanted), *(_unreadable(file) for file in stands.unreadable)]
    for one in torn:
        if keys is not None and one.stage_key in keys:
            raise StoreError(f"Stage {one} in {store.url}. {CURE}")
        if keys is None and {table, "stages"} & one.lost.keys() and (store.url, one.stage_key) not in _warned:
            _warned.add((store.url, one.stage_key))
            log.warning("Left out, as it is not whole: stage %s. %s", one, CURE)
    return set(wanted) - {one.stage_key for one in torn}


_warned: set[tuple[str, str]] = set()


def lacks_rows(store: Store, table: str, there: Mapping[str, int], keys: Collection[str]) -> bool:
    """Whether stages that were found whole have other rows in a table than they had then (it was put back from a copy
    since); `there` are its rows by stage. They are counted anew from now on."""
    known: Standing = store.remembered["stages"]
    changed = {said.stage_key for said in known.said(keys) if said.rows.get(table, 0) != there.get(said.stage_key, 0)}
    store.found_whole.difference_update(changed)
    return bool(changed)


def _unreadable(file: DataFile) -> Torn:
    return Torn(file.stage_key, "stage", {"stages": (1, 0)}, file)


def _torn(store: Store, stands: Standing, keys: Collection[str]) -> list[Torn]:
    uncounted = set(keys) - store.found_whole
    if not uncounted:
        return []
    every = stands.said(uncounted)
    tables = {table for said in every for table in said.rows}
    there = {table: newest(store, table).rows_of(uncounted) for table in sorted(tables)}
    torn = []
    for said in every:
        found = {table: (rows, there[table].get(said.stage_key, 0)) for table, rows in said.rows.items()}
        lost = {table: (rows, seen) for table, (rows, seen) in found.items() if rows != seen}
        if lost:
            torn.append(Torn(said.stage_key, said.stage, lost, said.file))
        else:
            store.found_whole.add(said.stage_key)
    return torn


def _read(store: Store, listed: tuple[DataFile, ...]) -> Standing:
    """Each file is read once in a process: files never change. Those with a row each are read together."""
    before: dict[str, pa.Table] = store.remembered.get("rows of stages", {})
    held = {file.path: before[file.path] for file in listed if file.path in before}
    new = [file for file in listed if file.path not in held]
    singles = [file for file in new if file.stage_key != MANY]
    held |= {file.path: _rows(store, [file]) for file in new if file.stage_key == MANY}
    try:
        rows = _rows(store, singles)
        held |= {file.path: rows.slice(place, 1) for place, file in enumerate(singles)}
    except LostFileError:
        for file in singles:
            with suppress(LostFileError):
                held[file.path] = _rows(store, [file])
    parts = [
        held[file.path].append_column("file", pa.array([place] * len(held[file.path]), pa.int32()))
        for place, file in enumerate(listed)
        if file.path in held
    ]
    store.remembered["rows of stages"] = held
    empty = _rows(store, []).append_column("file", pa.array([], pa.int32()))
    rows = pa.concat_tables([empty, *parts]).combine_chunks()
    return Standing(listed, rows, tuple(file for file in listed if file.path not in held))


@lru_cache(maxsize=2**16)
def _numbers(tables_json: str, what: str) -> Mapping[str, int]:
    """Of the tables that this engine knows: an older one may have had others, and a newer one too."""
    told = json.loads(tables_json)
    return {table: numbers[what] for table, numbers in told.items() if numbers["rows"] and table in TABLES}


def _rows(store: Store, files: Sequence[DataFile]) -> pa.Table:
    return read_files(store, contract("stages"), files, columns=_COLUMNS)
