"""What `adhmr doctor --deep` looks at in a store: everything is read and compared with what was said of it.

Logs against their seals, data files against log and digest, the rows that `stages` says against those that are there,
the campaigns' histories and people's reviews against their transactions, receipts against the files that they name, and
every small file that can tell by itself whether it is whole. Nothing is written, so a store that can only be read is
looked over too.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Literal

from infra.begun import unfinished
from infra.data_files import content_digits
from infra.delta_log import checkpoint_file, checkpoint_is_broken, log_entry, log_folder, versions_of
from infra.intact import damage
from infra.log_seals import breaks_seal
from infra.reviews import history
from infra.rounds import campaigns, state
from infra.sealed import read_bytes, read_json
from infra.shards import damage as damage_of_shards
from infra.shards import receipts_left, unreadable_receipts
from infra.snapshots import give_back, newest, take_newest
from infra.stages import records
from infra.store import Store
from infra.tables import read
from infra.vacuum import vacuum
from infra.whole import CURE, stage_rows, torn_stages
from schemas.errors import DamagedError, EngineError
from schemas.tables import TABLES

_REPAIR = "`adhmr repair` does what can be done; else put it back from a copy of the store."
_ANEW = "The next run that needs it makes it anew."
_COPY = "Put it back from a copy of the store."


Level = Literal["good", "note", "problem"]


@dataclass(frozen=True)
class Finding:
    """One thing that a doctor looked at. A "problem" keeps the engine from working, or can cost or change numbers, and
    its text ends with the cure; a "note" only informs."""

    what: str
    level: Level
    text: str


def look_over(store: Store) -> Iterator[Finding]:
    """All findings, each as soon as it is known. A damage that ends one look ends no other."""
    for table in TABLES:
        yield from _guarded(table, _log(store, table))
        yield from _guarded(table, _data(store, table))
    looks: dict[str, Callable[[Store], Iterator[Finding]]] = {
        "stages": _stages,
        "campaigns": _campaigns,
        "reviews": _reviews,
        "receipts": _receipts,
        "small files": _sealed_files,
        "unfinished": _unfinished,
        "leftovers": _leftovers,
    }
    for what, look in looks.items():
        yield from _guarded(what, look(store))


def _guarded(what: str, findings: Iterator[Finding]) -> Iterator[Finding]:
    try:
        yield from findings
    except EngineError as error:
        yield Finding(what, "problem", str(error))


def _log(store: Store, table: str) -> Iterator[Finding]:
    here = store.list_files(log_folder(table))
    checkpoints = versions_of(here, ".checkpoint.parquet")
    for version in checkpoints:
        if checkpoint_is_broken(store, table, version, here):
            path, newer = checkpoint_file(table, version), version < checkpoints[-1]
            yield _broken(table, path, "a newer one holds what it said" if newer else "")
    for version in versions_of(here, ".json"):
        if breaks_seal(store.read_bytes(log_entry(table, version))):
            spare = "a checkpoint holds what it said" if checkpoints and version <= checkpoints[-1] else ""
            yield _broken(table, log_entry(table, version), spare)


def _broken(table: str, path: str, spare: str) -> Finding:
    if spare:
        return Finding(table, "note", f"{path} is not as it was written, but {spare}.")
    return Finding(table, "problem", f"{path} is not as it was written. {_REPAIR}")


def _data(store: Store, table: str) -> Iterator[Finding]:
    files = newest(store, table).all
    problems = [problem for file in files if (problem := damage(store, file))]
    for problem in problems:
        yield Finding(table, "problem", f"{problem}. {_REPAIR}")
    unnamed = sum(content_digits(file.path) is None for file in files)
    older = f"; {unnamed} of older versions tell no digest, so that only their size and rows were compared"
    megabytes = sum(file.size for file in files) / 1e6
    whole = "all as they were committed" if not problems else f"{len(problems)} damaged"
    text = f"{len(files)} files, {sum(file.rows for file in files):,} rows, {megabytes:,.1f} MB read, {whole}"
    yield Finding(table, "note" if unnamed else "good", text + (older if unnamed else ""))


def _stages(store: Store) -> Iterator[Finding]:
    torn = torn_stages(store)
    for one in torn:
        yield Finding("stages", "problem", f"{one}. {CURE}")
    keys = stage_rows(store).keys
    for record in records(store):
        for key in set(record.reads) - keys:
            yield Finding(
                "stages",
                "problem",
                f"{record.stage} {record.stage_key[:12]} has read stage {key[:12]}, which does not count as finished: "
                f"no reader sees its rows. {_ANEW}",
            )
    yield Finding("stages", "good", f"{len(keys) - len(torn)} finished, with all the rows that they say")


def _campaigns(store: Store) -> Iterator[Finding]:
    policies = set(read(store, "models", columns=["digest"]).column("digest").to_pylist())
    for campaign in campaigns(store):
        events = state(store, campaign).events
        opened = take_newest(store, "rounds")
        claimed = opened.transaction(f"log:{campaign}") if opened is not None else 0
        if opened is not None:
            give_back(store, opened)
        missing = sorted(set(range(1, max(claimed, events[-1].sequence) + 1)) - {event.sequence for event in events})
        if missing or claimed != events[-1].sequence:
            lost = ", ".join(map(str, missing)) or "the newest"
            yield Finding("rounds", "problem", f"campaign {campaign}: of its events, {lost} are missing. {_REPAIR}")
        for policy in sorted({event.policy for event in events if event.policy} - policies):
            text = f"campaign {campaign} names policy {policy[:12]}, which the table models does not know. {_COPY}"
            yield Finding("rounds", "problem", text)
        if not missing:
            yield Finding("rounds", "good", f"campaign {campaign}: {len(events)} events, none missing")


def _reviews(store: Store) -> Iterator[Finding]:
    """The rows of each reviewer against the positions that they have claimed."""
    rows: dict[str, set[int]] = defaultdict(set)
    for one in history(store):
        rows[one.review.reviewer].add(one.sequence)
    opened = take_newest(store, "reviews") if rows else None
    if opened is None:
        return
    for reviewer, places in rows.items():
        claimed = opened.transaction(f"reviews:{reviewer}")
        missing = sorted(set(range(1, max(claimed, *places) + 1)) - places)
        if missing:
            listed = ", ".join(map(str, missing))
            yield Finding("reviews", "problem", f"of what {reviewer} said, {listed} are missing. {_COPY}")
        else:
            yield Finding("reviews", "good", f"{reviewer}: {len(places)} rows, none missing")
    give_back(store, opened)


def _receipts(store: Store) -> Iterator[Finding]:
    problems = [f"{path} {why}" for path, why in unreadable_receipts(store)]
    finished = stage_rows(store).keys
    keys = {path.split("/")[1] for path in store.whole_files("shards")}
    for key in sorted(keys - finished):
        problems += damage_of_shards(store, receipts_left(store, key)).values()
    for problem in problems:
        yield Finding("receipts", "problem", f"{problem}. {_ANEW}")
    if not problems:
        yield Finding("receipts", "good", f"of {len(keys)} stages, and the files of those that are not finished")


def _sealed_files(store: Store) -> Iterator[Finding]:
    """Whatever is written by `infra.sealed`, but for receipts."""
    cures = dict.fromkeys(("begun/", "ingests/", "ray/"), _ANEW)
    cures |= dict.fromkeys(("openings/", "reports/", "reviews/"), _COPY)
    count = 0
    for folder, cure in cures.items():
        for path in store.whole_files(folder.rstrip("/")):
            if not _tells_of_itself(path):
                continue
            count += 1
            try:
                data = store.read_bytes(path)
                _ = read_json(data, path) if data.startswith(b"{") else read_bytes(data, path)
            except DamagedError as error:
                yield Finding(folder.rstrip("/"), "problem", f"{error} {cure}")
    yield Finding("small files", "good", f"{count} of plans, notes, trainings and reports looked at")


def _tells_of_itself(path: str) -> bool:
    return not path.endswith(".html") and (not path.startswith("ray/") or "/engine/" in path)


def _unfinished(store: Store) -> Iterator[Finding]:
    for one in unfinished(store):
        begun = one.begun
        text = f"{begun.stage} {begun.stage_key[:12]} has begun, {one.done} of {begun.total} {begun.unit} are there; "
        text += "the next run goes on with it (`adhmr status` says who is at work)"
        yield Finding("unfinished", "note", text)


def _leftovers(store: Store) -> Iterator[Finding]:
    by_reason: dict[str, list[str]] = defaultdict(list)
    for path, reason in vacuum(store, grace=timedelta(0), dry_run=True).removed:
        by_reason[reason].append(path)
    for reason, paths in sorted(by_reason.items()):
        text = f"{len(paths)} files ({paths[0]}, ...)" if len(paths) > 1 else paths[0]
        yield Finding("leftovers", "note", f"{reason}: {text}. `adhmr vacuum --delete` removes them once they are old.")
