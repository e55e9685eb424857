"""Which stages are finished *and whole*: `stages` has a row of each, and their tables hold the rows that it records.

A stage that isn't whole (its rows went with a loss of power, say, or with a removed file) counts as not finished: no
reader takes what is left of it as if it were all, and a run that meets it repairs it or does it again
(`infra.repair`). Counting is done once for each stage and process: what was found whole stays so, as only a
repair takes files out of a table, and that takes the row out of `stages` first.
"""

import json
import logging
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property, lru_cache

import pyarrow as pa

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
class Recorded:
    """What `stages` records of a stage: the rows in each table, and the file of `stages` that holds the record."""

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
    """A stage that is finished and not whole. `lost` gives rows recorded and rows present, for each table where they
    differ; a table `stages` in it means the stage's own row, which can't be read. `file` of `stages` holds that row."""

    stage_key: str
    stage: str
    lost: dict[str, tuple[int, int]]
    file: DataFile

    def __str__(self) -> str:
        counts = sorted(self.lost.items())
        listed = ", ".join(f"{table} has {present} of {recorded} rows" for table, (recorded, present) in counts)
        return f"{self.stage} {self.stage_key[:12]}: {listed}"


@dataclass(frozen=True)
class StageRows:
    """All rows of `stages`, as far as they can be read; `unreadable` files held one row each. `listed` are all files,
    and the column `file` of a row says which of them holds it."""

    listed: tuple[DataFile, ...]
    rows: pa.Table
    unreadable: tuple[DataFile, ...]

    @cached_property
    def keys(self) -> frozenset[str]:
        """The keys of all stages."""
        return frozenset(self.rows.column("stage_key").to_pylist())

    def recorded(self, keys: Collection[str]) -> list[Recorded]:
        """The records of these stages."""
        rows = self.rows
        if len(keys) < len(rows):
            places = sorted(row for key in keys for row in self._rows_of.get(key, ()))
            rows = rows.take(pa.array(places, pa.int64()))
        return [
            Recorded(row["stage_key"], row["stage"], row["tables_json"], self.listed[row["file"]])
            for row in rows.to_pylist()
        ]

    @cached_property
    def _rows_of(self) -> dict[str, list[int]]:
        found: dict[str, list[int]] = {}
        for row, key in enumerate(self.rows.column("stage_key").to_pylist()):
            found.setdefault(key, []).append(row)
        return found


def stage_rows(store: Store) -> StageRows:
    """The rows of `stages` now. StoreError where a file that holds rows of several stages can't be read."""
    for look in range(_LOOKS):
        listed = newest(store, "stages").all
        before: StageRows | None = store.remembered.get("stages")
        if before is not None and before.listed == listed:
            return before
        try:
            now = _read(store, listed)
        except LostFileError:
            if look == _LOOKS - 1:
                raise
            continue
        if now.unreadable and look < _LOOKS - 1:
            continue
        store.remembered["stages"] = now
        return now
    raise AssertionError("unreachable")


def counted_rows(store: Store) -> StageRows:
    """The rows of `stages` at this process's last look."""
    rows: StageRows = store.remembered["stages"]
    return rows


def finished_keys(store: Store) -> set[str]:
    """The keys of all stages that are finished and whole."""
    return whole_keys(store, stage_rows(store).keys)


def whole_keys(store: Store, keys: Iterable[str]) -> set[str]:
    """Those of the keys whose stages are finished and whole; looks at no other stage."""
    stages = stage_rows(store)
    wanted = stages.keys & set(keys)
    return set(wanted) - {one.stage_key for one in _torn(store, stages, wanted)}


def torn_stages(store: Store, keys: Collection[str] | None = None) -> list[Torn]:
    """The stages that are finished and not whole, of these or of all."""
    stages = stage_rows(store)
    torn = _torn(store, stages, stages.keys if keys is None else stages.keys & set(keys))
    lost = [file for file in stages.unreadable if keys is None or file.stage_key in keys]
    return [*torn, *map(_unreadable, lost)]


def readable_keys(store: Store, table: str, keys: Collection[str] | None = None) -> set[str]:
    """The stages whose rows of a table a reader may see, of these or of all.

    Of stages that are finished and not whole: one that is named is a StoreError, as who asks for its rows must not get
    none, or some, instead; the others are left out, which is said once in a process.
    """
    stages = stage_rows(store)
    wanted = stages.keys if keys is None else stages.keys & set(keys)
    torn = [*_torn(store, stages, wanted), *(_unreadable(file) for file in stages.unreadable)]
    for one in torn:
        if keys is not None and one.stage_key in keys:
            raise StoreError(f"Stage {one} in {store.url}. {CURE}")
        if keys is None and {table, "stages"} & one.lost.keys() and (store.url, one.stage_key) not in _warned:
            _warned.add((store.url, one.stage_key))
            log.warning("Left out, as it is not whole: stage %s. %s", one, CURE)
    return set(wanted) - {one.stage_key for one in torn}


_warned: set[tuple[str, str]] = set()


def lacks_rows(store: Store, table: str, present: Mapping[str, int], keys: Collection[str]) -> bool:
    """Whether stages that were found whole have other rows in a table than they had then (it was put back from a copy
    since); `present` are its rows by stage. They are counted anew from now on."""
    recorded = counted_rows(store).recorded(keys)
    changed = {stage.stage_key for stage in recorded if stage.rows.get(table, 0) != present.get(stage.stage_key, 0)}
    store.found_whole.difference_update(changed)
    return bool(changed)


def _unreadable(file: DataFile) -> Torn:
    return Torn(file.stage_key, "stage", {"stages": (1, 0)}, file)


def _torn(store: Store, stages: StageRows, keys: Collection[str]) -> list[Torn]:
    uncounted = set(keys) - store.found_whole
    if not uncounted:
        return []
    recorded = stages.recorded(uncounted)
    tables = {table for stage in recorded for table in stage.rows}
    rows_there = {table: newest(store, table).rows_of(uncounted) for table in sorted(tables)}
    torn = []
    for stage in recorded:
        counts = {table: (rows, rows_there[table].get(stage.stage_key, 0)) for table, rows in stage.rows.items()}
        lost = {table: (rows, present) for table, (rows, present) in counts.items() if rows != present}
        if lost:
            torn.append(Torn(stage.stage_key, stage.stage, lost, stage.file))
        else:
            store.found_whole.add(stage.stage_key)
    return torn


def _read(store: Store, listed: tuple[DataFile, ...]) -> StageRows:
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
    return StageRows(listed, rows, tuple(file for file in listed if file.path not in held))


@lru_cache(maxsize=2**16)
def _numbers(tables_json: str, what: str) -> Mapping[str, int]:
    """Of the tables that this engine knows: an older one may have had others, and a newer one too."""
    tables = json.loads(tables_json)
    return {table: numbers[what] for table, numbers in tables.items() if numbers["rows"] and table in TABLES}


def _rows(store: Store, files: Sequence[DataFile]) -> pa.Table:
    return read_files(store, contract("stages"), files, columns=_COLUMNS)
