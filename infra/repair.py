"""Stages that are finished and not whole, and other damage to a store: what can be mended without guessing is mended.

A stage's rows are put back from its receipts, or from the files on the disk that carry its name, if their rows and
bytes add up to what `stages` says; else the stage is done again by the run that needs it. A run mends what it meets
(`find_or_mend`), `repair` all that it finds. What is whole is never touched.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

from infra.data_files import DataFile, content_digits, holds_what_its_name_says
from infra.delta_log import Entry
from infra.flipped import turned_back
from infra.intact import LostFileError, damage, missing
from infra.log_repair import ASIDE, mend_logs, put_aside
from infra.merging import withdraw_row
from infra.protocol_repair import mend_protocol
from infra.sealed import keeps_seal
from infra.shards import damage as damage_of_shards
from infra.shards import receipts_left, rows_of, unreadable_receipts
from infra.snapshots import OpenTable, newest
from infra.stages import StageRecord, StageSpec, find
from infra.store import Store
from infra.versions import put_files, write_version
from infra.whole import CURE, Torn, stage_rows, torn_stages
from schemas.errors import StoreError
from schemas.tables import TABLES

Outcome = Literal["done", "left"]


@dataclass(frozen=True)
class Finding:
    """A damage: what was done about it, or (in a dry run) would be; or that it is left, with its cure."""

    outcome: Outcome
    text: str


def find_or_mend(store: Store, spec: StageSpec, say: Callable[[str], None]) -> StageRecord | None:
    """`find`, by a run that does the stage if the answer is None: what was lost of a finished stage is put back first,
    or else the stage counts as never done. `say` hears of either."""
    record = find(store, spec.key)
    if record is not None:
        lost = _lost_files(store, record) if store.is_local else []  # S3 forgets nothing that it took
        if not lost:
            return record
        say(f"{spec.name}: {lost[0].name} is gone or was changed ({len(lost)} files in all), so it is done again")
        retire(store, spec.key, lost)
        return None
    torn = torn_stages(store, [spec.key])
    if torn and not mend(store, torn[0], say):
        say(f"{spec.name}: it is done again ({torn[0]}, and what is left of it does not add up)")
    return find(store, spec.key) if torn else None


def mend(store: Store, torn: Torn, say: Callable[[str], None]) -> bool:
    """Put back what a stage has lost, if its files add up; whether that was done, of which `say` hears then."""
    files = remains(store, torn)
    if files is None:
        return False
    _put_back(store, torn, files)
    say(f"{torn.stage}: rows that were lost are put back from its files ({torn})")
    return True


def retire(store: Store, key: str, lost: Sequence[DataFile] = ()) -> None:
    """Make a stage one that was never finished, and take lost files out of its tables; in this order, so that no reader
    takes the rest for all. The next run does it again, from what is whole."""
    recorded = stage_rows(store).recorded([key])
    if recorded and not withdraw_row(store, key, recorded[0].file):
        return  # another run met it as well
    for table in sorted({file.table for file in lost}):

        def follow(opened: OpenTable) -> Entry | None:
            gone = [file for file in opened.snapshot.of([key]) if file in lost]
            return Entry(removes=gone, transactions={key: 0}, note=f"retires {key[:12]}") if gone else None

        write_version(store, table, follow)
    store.found_whole.discard(key)


def open_logs(store: Store, say: Callable[[str], None]) -> None:
    """Mend the logs of a local store, as a run begins, if there is a table that can't be opened; `say` hears of it."""
    if not store.is_local:
        return  # nothing tears on S3, and a look at every log takes a second there
    try:
        for table in TABLES:
            newest(store, table)
    except StoreError:
        for mended in mend_logs(store):
            say(f"WARNING: {mended}; the file that was there is below {store.uri(ASIDE)}")


def remains(store: Store, torn: Torn) -> dict[str, list[DataFile]] | None:
    """The files of a stage, for each table that lacks some, whose rows and bytes are those that `stages` says; None if
    there are none such."""
    recorded = stage_rows(store).recorded([torn.stage_key])
    if not recorded or torn.lost.keys() - TABLES.keys() or "stages" in torn.lost:
        return None
    receipts = receipts_left(store, torn.stage_key)
    receipts = [] if damage_of_shards(store, receipts) else receipts
    remaining = {}
    for table in torn.lost:
        wanted = (recorded[0].rows[table], recorded[0].bytes[table])
        of_receipts = [file for receipt in receipts for file in receipt.files if file.table == table]
        for files in (of_receipts, _by_name(store, torn, table)):
            if (sum(file.rows for file in files), sum(file.size for file in files)) == wanted and _hold(store, files):
                remaining[table] = files
                break
        else:
            return None
    return remaining


def repair(store: Store, *, dry_run: bool = False) -> list[Finding]:
    """Mend what can be mended without guessing, and say what can't be, each with its cure; `dry_run` only says."""
    findings = [
        Finding("done", f"{mended}. The file that was there is put aside below {store.uri(ASIDE)}.")
        for mended in mend_logs(store, dry_run=dry_run)
    ]
    if dry_run and findings:
        left = "the other tables and stages can be looked at once the logs can be read: run it without --dry-run."
        return [*findings, Finding("left", left)]
    findings += _flipped(store, dry_run)
    protocol = mend_protocol(store, dry_run=dry_run)
    findings += [Finding("done" if is_mended else "left", text) for is_mended, text in protocol]
    try:
        findings += _torn(store, dry_run)
        findings += _lost(store, dry_run)
    except LostFileError as error:  # of `stages`, without which it is unknown what is finished
        if not findings:
            raise
        findings.append(Finding("left", f"finished stages were not looked at: {error}"))
    for path, why in unreadable_receipts(store):
        if not dry_run:
            store.remove(path)
        findings.append(Finding("done", f"{path} {why}: removed, so that its shard is made again."))
    return findings


def _put_back(store: Store, torn: Torn, files: dict[str, list[DataFile]]) -> None:
    for table in sorted(files):
        put_files(store, table, torn.stage_key, files[table], note=f"repairs {torn.stage} {torn.stage_key[:12]}")


def _torn(store: Store, dry_run: bool) -> Iterator[Finding]:
    for torn in torn_stages(store):
        files = remains(store, torn)
        if files is None:
            yield Finding(
                "left", f"{torn}; what is left of it does not add up. The next run that needs it does it again."
            )
            continue
        if not dry_run:
            _put_back(store, torn, files)
        yield Finding("done", f"{torn}: put back from files that add up to what stages says.")


def _flipped(store: Store, dry_run: bool) -> Iterator[Finding]:
    """Files in which a single bit has flipped: data files, and facts of reports, which nothing else can bring back."""
    live = [file for table in TABLES for file in newest(store, table).all]
    named = [file for file in live if content_digits(file.path)]
    files: dict[str, Callable[[bytes], bool]] = {
        file.name: partial(holds_what_its_name_says, file.path) for file in named if damage(store, file)
    }
    facts = [path for path in store.whole_files("reports") if path.endswith(".json")]
    files |= {path: keeps_seal for path in facts if not keeps_seal(store.read_bytes(path))}
    for name, fits in files.items():
        whole = turned_back(store.read_bytes(name), fits) if store.exists(name) else None
        if whole is not None:
            if not dry_run:
                store.atomic_write(name, whole)
                store.remembered.clear()  # what was read of it
            yield Finding("done", f"{name} had a flipped bit: turned back, as its digest says.")


def _lost(store: Store, dry_run: bool) -> Iterator[Finding]:
    """Files of finished stages that are gone or damaged. The damaged are put aside, so that a run sees what is lost."""
    for table in (name for name, form in TABLES.items() if form.fenced):
        for file in newest(store, table).all:
            problem = damage(store, file)
            aside = ""
            if problem and store.exists(file.name):
                aside = f" What is there is put aside below {store.uri(ASIDE)}."
                if not dry_run:
                    put_aside(store, file.name)
            if problem:
                yield Finding("left", f"{problem}.{aside} Put it back from a copy, or: {CURE}")


def _lost_files(store: Store, record: StageRecord) -> list[DataFile]:
    tables = [table for table, rows in record.rows.items() if rows]
    files = [file for table in tables for file in newest(store, table).of([record.stage_key])]
    return [file for file, _ in missing(store, files)]


def _by_name(store: Store, torn: Torn, table: str) -> list[DataFile]:
    """The Parquet files of the table that carry the stage's name, as far as they can be read."""
    names = TABLES[table].partition_by
    files = []
    for path in store.whole_files(f"tables/{table}"):
        inside = path.removeprefix(f"tables/{table}/")
        *folders, name = inside.split("/")
        if not name.startswith(f"part-{torn.stage_key}-") or len(folders) != len(names):
            continue
        rows = rows_of(store, path)
        if rows is not None:
            partition = tuple((one, folder.partition("=")[2]) for one, folder in zip(names, folders, strict=True))
            files.append(DataFile(table, inside, partition, rows, store.size(path)))
    return files


def _hold(store: Store, files: list[DataFile]) -> bool:
    try:
        return all(holds_what_its_name_says(file.path, store.read_bytes(file.name)) for file in files)
    except StoreError:  # gone meanwhile
        return False
