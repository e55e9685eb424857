"""Stages: the key that names a piece of work, and the commit that makes its rows count exactly once.

Each table gets the stage's files in one Delta transaction marked `(stage key, 1)`; then the row in `stages` follows the
same way. A second writer with the same key finds them there and goes on with what is there; after a kill in
between, the next run skips the tables that have the files and does the rest. What `stages` says has survived a loss of
power by then: each transaction is on the disk before the next one begins.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import BaseModel

from infra import faults
from infra.data_files import MANY, DataFile, fresh_file_name
from infra.installed import versions
from infra.merging import merge_if_due, withdraw_row
from infra.shards import Receipt, Shard, Tally, parquet_bytes, write_shard
from infra.store import Store
from infra.table_rows import read_files
from infra.tables import live_files, read
from infra.versions import add_files, must_be_there, put_files
from infra.whole import counted_rows, torn_stages, whole_keys
from schemas.digests import canonical_json, code_digest, digest
from schemas.errors import DataError, StoreError, VanishedError
from schemas.ids import ModelDigest, StageKey
from schemas.tables import build, contract

_ATTEMPTS = 30
_TIMES = 3
"""Times that something may take away the files of a commit before it is done."""


@dataclass(frozen=True)
class StageSpec:
    """What a stage is going to do; equal specs have equal keys.

    `version` is raised when the stage's meaning changes. `reads` are keys of the stages whose rows it reads, `models`
    the digests of the models it uses; their order counts. `round` belongs to the key: give it only where it seeds
    randomness. `in_round` and `campaign` are recorded and do not count.
    """

    name: str
    version: int
    config: BaseModel | Mapping[str, Any]
    reads: tuple[StageKey, ...] = ()
    models: tuple[ModelDigest, ...] = ()
    round: int | None = None
    campaign: str | None = None
    in_round: int | None = None

    @cached_property
    def config_digest(self) -> str:
        return digest(self.config)

    @cached_property
    def key(self) -> StageKey:
        """SHA-256 (64 hex digits) of name, version, configuration, inputs, models and seeding round."""
        about = {
            "stage": self.name,
            "version": self.version,
            "config": self.config_digest,
            "reads": list(self.reads),
            "models": list(self.models),
            "round": self.round,
        }
        return StageKey(digest(about))

    @property
    def recorded_round(self) -> int | None:
        return self.in_round if self.in_round is not None else self.round


@dataclass(frozen=True)
class Failure:
    """A unit that did not make it: `outcome` is failed (could not be done) or filtered (left out on purpose)."""

    id: str
    reason: str
    detail: str = ""
    outcome: str = "failed"
    attempts: int = 1
    source_digest: str | None = None
    """Of a row that was refused and would be again, as long as it stays as it is."""


@dataclass(frozen=True)
class StageRecord:
    """A row of `stages`: what a finished stage was and did. `rows` counts the rows that it wrote, per table."""

    stage_key: StageKey
    stage: str
    version: int
    config: dict[str, Any]
    reads: tuple[StageKey, ...]
    models: tuple[ModelDigest, ...]
    campaign: str | None
    round: int | None
    units_in: int
    tally: Tally
    rows: dict[str, int] = field(default_factory=dict)
    bytes: dict[str, int] = field(default_factory=dict)
    device: str = ""
    started_at: datetime | None = None
    finished_at: datetime | None = None
    seconds: float = 0.0
    done_share: float = 1.0
    """Of its work, what the run that finished it did in those seconds; the rest was done by runs before."""


def now() -> datetime:
    """The time, in UTC, as the tables keep it."""
    return datetime.now(UTC)


def find(store: Store, key: str) -> StageRecord | None:
    """The record of the stage with this key if it is finished and whole, else None.

    A process reads each record once, as a file of `stages` never changes: workers ask for ingests' in every shard.
    """
    recorded = counted_rows(store).recorded([key]) if whole_keys(store, [key]) else []
    if not recorded:
        return None
    file = recorded[0].file
    held: dict[tuple[str, str], StageRecord] = store.remembered.setdefault("records", {})
    if (file.path, key) not in held:
        rows = read_files(store, contract("stages"), [file], where=pc.field("stage_key") == key).to_pylist()
        held[file.path, key] = _record(rows[0])
    return held[file.path, key]


def records(store: Store, *names: str) -> list[StageRecord]:
    """All finished stages, of these names or all, oldest first; a stage comes after those that it reads, whatever the
    clocks said."""
    rows = read(store, "stages", where=pc.field("stage").isin(names) if names else None).to_pylist()
    by_time = [_record(row) for row in sorted(rows, key=lambda row: (row["finished_at"], row["stage_key"]))]
    by_key = {record.stage_key: record for record in by_time}
    ordered: dict[str, StageRecord] = {}

    def take(record: StageRecord) -> None:
        for key in record.reads:
            if key in by_key and key not in ordered:
                take(by_key[key])
        ordered[record.stage_key] = record

    for record in by_time:
        if record.stage_key not in ordered:
            take(record)
    return list(ordered.values())


def commit(
    store: Store,
    spec: StageSpec,
    files_by_table: Mapping[str, Sequence[DataFile]],
    units_in: int,
    tally: Tally,
    *,
    started_at: datetime | None = None,
    device: str = "cpu",
    other_code: Iterable[str] = (),
    done_share: float = 1.0,
) -> StageRecord:
    """Make the stage's files count: one transaction for each table, then the row in `stages`. Harmless to repeat.

    The record that is there at the end is the answer: this run's, or that of a faster one. `other_code` are the
    digests of code other than this that made some of the files; they are recorded, and so is the share of the work that
    was done since `started_at`.
    Raises DataError unless ok + filtered + failed is the number of units that went in; VanishedError, with the stage
    unfinished, where one of the files is gone: it has to be made again.
    """
    if tally.total != units_in:
        raise DataError(
            f"Stage {spec.name}: {units_in} units went in, but {tally.ok} ok + {tally.filtered} filtered + "
            f"{tally.failed} failed are {tally.total}. The stage loses or invents units."
        )
    earlier = find(store, spec.key)
    if earlier is not None:
        return earlier
    note = f"{spec.name} {spec.key[:12]}"
    for table in sorted(files_by_table):
        faults.reach(f"commit:{table}")
        files = [file for file in files_by_table[table] if file.rows]
        if files or live_files(store, table, stage_keys=[spec.key], every_stage=True):
            put_files(store, table, spec.key, files, note=note)
    faults.reach("commit:stages")
    must_be_there(store, [file for files in files_by_table.values() for file in files if file.rows])
    record = find(store, spec.key)  # a record whose rows were lost has them again
    if record is None:
        _withdraw(store, spec.key)
        row = _row(spec, files_by_table, units_in, tally, started_at or now(), device, other_code)
        row["done_share"] = done_share
        append_row(store, "stages", row, {spec.key: 1}, owner=spec.key, note=note)
        record = find(store, spec.key)
    faults.reach(f"committed:{spec.name}")
    if record is None:
        raise DataError(
            f"Stage {spec.name} was committed but can't be found in {store.url}: is the store on two places?"
        )
    return record


def commit_rows(
    store: Store,
    spec: StageSpec,
    tables: Mapping[str, pa.Table],
    units_in: int | None = None,
    *,
    failures: Iterable[Failure] = (),
    started_at: datetime | None = None,
    device: str = "cpu",
    done_share: float = 1.0,
) -> StageRecord:
    """Commit a small stage whose rows are all here, as a single shard. `stage_key` is filled in where it is missing.

    `failures` become rows of `failures`; all other of the `units_in` are ok. Without a number of units, one is ok
    beside the failures (a training, a report). Raises DataError for rows that break their contract.
    """
    failed = list(failures)
    lost = count_failures(failed)
    tally = Tally(ok=1 if units_in is None else units_in - lost.total) + lost
    units = tally.total
    all_tables = dict(tables)
    if failed:
        all_tables["failures"] = failures_table(spec, failed)
    earlier = find(store, spec.key)
    if earlier is not None:
        return earlier
    faults.reach(f"made:{spec.name}")

    def once() -> StageRecord:
        # the whole stage is one shard: after a kill between the transactions, the files of the first attempt are the
        # ones that some tables have already taken, so the rerun must go on with exactly those
        receipt = write_shard(store, spec.key, Shard(0, (spec.key,)), all_tables, tally, stage=spec.name)
        files = files_by_table([receipt], all_tables)
        others = [receipt.code] if receipt.is_of_other_code else []
        return commit(
            store,
            spec,
            files,
            units,
            receipt.tally,
            started_at=started_at,
            device=device,
            other_code=others,
            done_share=done_share,
        )

    for _ in range(_TIMES - 1):
        with suppress(VanishedError):
            return once()
    return once()


def append_row(
    store: Store,
    table: str,
    row: Mapping[str, Any],
    transactions: Mapping[str, int],
    *,
    owner: str = MANY,
    note: str = "",
) -> bool:
    """Append one row to a table of the protocol itself (`stages`, `rounds`); answers as `add_files` does."""
    return append_rows(store, table, [row], transactions, owner=owner, note=note)


def append_rows(
    store: Store,
    table: str,
    rows: Sequence[Mapping[str, Any]],
    transactions: Mapping[str, int],
    *,
    owner: str = MANY,
    note: str = "",
) -> bool:
    """Append rows, of equal columns, to a table that no stage fences (`stages`, `rounds`, `reviews`), all or none;
    answers as `add_files` does."""
    data = parquet_bytes(build(table, {name: [row[name] for row in rows] for name in rows[0]}))
    path = fresh_file_name(owner, data)  # the row of a run that died before its commit must not count
    store.atomic_write(f"tables/{table}/{path}", data)
    faults.reach(f"append:{table}")
    mine = DataFile(table, path, (), len(rows), len(data))
    # the second: ours was taken, and only the answer was lost on the way
    if not _add_row(store, mine, data, transactions, note) and mine not in live_files(store, table):
        store.remove(mine.name)
        return False
    merge_if_due(store, table)
    return True


def _add_row(store: Store, file: DataFile, data: bytes, transactions: Mapping[str, int], note: str) -> bool:
    """`add_files` for a file whose bytes are at hand: what a vacuum takes before or while it is added is put back."""
    for _ in range(_TIMES):
        try:
            added = add_files(store, file.table, [file], transactions, note=note)
        except VanishedError:
            store.atomic_write(file.name, data)
            continue
        if added and not store.exists(file.name):
            store.atomic_write(file.name, data)
        return added
    return add_files(store, file.table, [file], transactions, note=note)


def _withdraw(store: Store, key: str) -> None:
    """Take the row of a stage that isn't whole out of `stages`, if there is one."""
    for _ in range(_ATTEMPTS):
        torn = torn_stages(store, [key])
        if not torn or withdraw_row(store, key, torn[0].file):
            return
    raise StoreError(f"The row of stage {key[:12]} in {store.url} can't be taken back: others keep writing; run again.")


def files_by_table(receipts: Iterable[Receipt], tables: Iterable[str]) -> dict[str, list[DataFile]]:
    """The files of these receipts for each of the tables, in their order."""
    files: dict[str, list[DataFile]] = {table: [] for table in tables}
    for receipt in receipts:
        for file in receipt.files:
            files.setdefault(file.table, []).append(file)
    return files


def failures_table(spec: StageSpec, failures: Sequence[Failure]) -> pa.Table:
    """The rows of `failures` for these units; a field of `Failure` is a column."""
    columns = {name: [getattr(failure, name) for failure in failures] for name in Failure.__dataclass_fields__}
    columns["detail"] = [detail[:2000] for detail in columns["detail"]]
    stage = {"stage_key": spec.key, "stage": spec.name, "round": spec.recorded_round}
    return build("failures", {**columns, **stage})


def count_failures(failures: Iterable[Failure]) -> Tally:
    """How many of them failed and how many were filtered. DataError for another outcome."""
    tally = Tally()
    for failure in failures:
        if failure.outcome not in ("failed", "filtered"):
            raise DataError(f"{failure.id}: outcome {failure.outcome!r}; only failed and filtered exist.")
        tally += Tally(failed=1) if failure.outcome == "failed" else Tally(filtered=1)
    return tally


def _row(
    spec: StageSpec,
    files_by_table: Mapping[str, Sequence[DataFile]],
    units_in: int,
    tally: Tally,
    started_at: datetime,
    device: str,
    other_code: Iterable[str],
) -> dict[str, Any]:
    finished_at = now()
    others = ",".join(sorted(other_code))
    tables = {
        table: {"rows": sum(file.rows for file in files), "bytes": sum(file.size for file in files)}
        for table, files in files_by_table.items()
    }
    return {
        "stage_key": spec.key,
        "stage": spec.name,
        "version": spec.version,
        "config_digest": spec.config_digest,
        "config_json": canonical_json(spec.config),
        "reads": list(spec.reads),
        "models": list(spec.models),
        "campaign": spec.campaign,
        "round": spec.recorded_round,
        "units_in": units_in,
        "ok": tally.ok,
        "filtered": tally.filtered,
        "failed": tally.failed,
        "tables_json": canonical_json(tables),
        "code_digest": code_digest(),
        "versions_json": canonical_json({**versions(), **({"other_code": others} if others else {})}),
        "device": device,
        "started_at": started_at,
        "finished_at": finished_at,
        "seconds": max(0.0, (finished_at - started_at).total_seconds()),  # the clock may have been set back
    }


def _record(row: Mapping[str, Any]) -> StageRecord:
    tables = json.loads(row["tables_json"])
    alike = ("stage_key", "stage", "version", "campaign", "round", "units_in", "device", "started_at", "finished_at")
    return StageRecord(
        **{name: row[name] for name in (*alike, "seconds")},
        config=json.loads(row["config_json"]),
        reads=tuple(row["reads"]),
        models=tuple(row["models"]),
        tally=Tally(row["ok"], row["filtered"], row["failed"]),
        rows={table: numbers["rows"] for table, numbers in tables.items()},
        bytes={table: numbers["bytes"] for table, numbers in tables.items()},
        done_share=1.0 if row["done_share"] is None else row["done_share"],
    )
