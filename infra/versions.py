"""New versions of tables: a writer looks at the newest and says what should follow it; one of several makes it.

A writer that another was faster than looks again, for minutes if it must be, so that none is turned away because many
write at once.
"""

import logging
import random
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path

from deltalake.exceptions import DeltaError

from infra.data_files import DataFile
from infra.delta_log import CHECKPOINT_EVERY, Entry, first_entry, log_entry, tend_log, write_entry
from infra.evolution import is_behind, metadata
from infra.intact import missing
from infra.lasting import sync_folders
from infra.snapshots import TROUBLES, OpenTable, give_back, pause, take_newest
from infra.store import Store
from schemas.errors import EngineError, StoreError, VanishedError
from schemas.tables import contract

log = logging.getLogger(__name__)

PATIENCE_SECONDS = 120.0
_LONGEST_PAUSE_SECONDS = 0.5


def write_version(store: Store, table: str, follow: Callable[[OpenTable], Entry | None]) -> bool:
    """Make the next version of `table` of what `follow` makes of the newest; False, and no version, if that is None.

    `follow` is asked again, about a newer version, where another writer was faster. What was written is there for good.
    Raises StoreError where the table can't be written.
    """
    until = time.monotonic() + PATIENCE_SECONDS
    troubles = attempts = 0
    while time.monotonic() < until:
        try:
            written = _try(store, table, follow)
        except (DeltaError, OSError) as error:
            troubles += 1
            if store.is_local or troubles > TROUBLES:
                raise StoreError(f"Table {table} in {store.url} can't be written: {error}") from error
            pause(troubles)  # S3 may have taken it and the answer got lost: the next look says
            continue
        if written is not None:
            return written
        time.sleep(min(0.002 * 2**attempts, _LONGEST_PAUSE_SECONDS) * random.uniform(0.2, 1.0))
        attempts += 1
    raise StoreError(f"Table {table} in {store.url}: other processes kept writing to it; run again.")


def add_files(
    store: Store, table: str, files: Sequence[DataFile], transactions: Mapping[str, int], *, note: str = ""
) -> bool:
    """Add `files` to `table` in one version that also carries the application transactions (name -> version).

    True if this call did it; False if one of the names is at that version or above already: another call did it.
    Of several processes that race with the same name exactly one gets True. VanishedError, and nothing is added, if a
    file isn't there, or not as it should be: it would tear the table.
    """
    check_files(store, files)

    def follow(opened: OpenTable) -> Entry | None:
        if any(opened.transaction(name) >= version for name, version in transactions.items()):
            return None
        return Entry(files, transactions=transactions, note=note)

    return write_version(store, table, follow)


def put_files(store: Store, table: str, stage_key: str, files: Sequence[DataFile], *, note: str = "") -> bool:
    """Make `files` the files of a stage in `table`; False if they are it already.

    Files that an unfinished attempt has left in the table go. VanishedError as of `add_files`.
    """
    check_files(store, files)

    def follow(opened: OpenTable) -> Entry | None:
        others = {file.path: file for file in opened.snapshot.of([stage_key])}
        new = [file for file in files if others.pop(file.path, None) != file]
        if not new and not others:
            return None
        return Entry(new, list(others.values()), {stage_key: 1}, note)

    return write_version(store, table, follow)


def check_files(store: Store, files: Collection[DataFile]) -> None:
    """VanishedError unless the files are there, with their sizes; on a disk, a loss of power can't take their names."""
    must_be_there(store, files)
    if store.is_local:
        sync_folders(Path(store.root), {Path(store.path(file.name)).parent for file in files})


def must_be_there(store: Store, files: Collection[DataFile]) -> None:
    """VanishedError unless the files are there, with their sizes."""
    for file, what in missing(store, files):
        raise VanishedError(
            f"{store.uri(file.name)} {what}: something else removed or changed it. Run again: what is missing is made "
            "anew."
        )


def _try(store: Store, table: str, follow: Callable[[OpenTable], Entry | None]) -> bool | None:
    """None where it has to be tried again."""
    opened = take_newest(store, table)
    if opened is None:
        store.atomic_write(log_entry(table, 0), first_entry(contract(table)), replace=False)
        return None
    try:
        entry = follow(opened)
        version = opened.table.version() + 1
        behind = entry is not None and bool(entry.adds) and is_behind(opened.contract, opened.table)
        if behind:  # rows need all columns: those first, in a version of their own
            entry = Entry(note="adds columns", metadata=metadata(opened.contract, opened.table))
    finally:
        give_back(store, opened)
    if entry is None:
        return False
    if not write_entry(store, table, version, entry):
        return None
    if version % CHECKPOINT_EVERY == 0:
        _tend(store, table)
    return None if behind else True


def _tend(store: Store, table: str) -> None:
    """What keeps the log short. The version that was made stays, whatever happens here."""
    try:
        opened = take_newest(store, table)
        if opened is not None:
            tend_log(store, table, opened.table)
            give_back(store, opened)
    except (DeltaError, OSError, EngineError):
        log.debug("The log of %s was not tended", table, exc_info=True)
