"""Which stages are at work, or were when their run ended: a note for each in the store.

A stage that commits takes its note away; a note that stays is of a stage that is running now, or that a killed run left
to the next one. `adhmr status` reads the notes, and `infra.vacuum`, which takes nothing of a stage whose process lives;
what a run does follows from receipts and tables alone.
"""

import logging
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any

from infra.at_work import NOTES, this_process
from infra.sealed import read_json, sealed_json
from infra.stages import StageSpec, now
from infra.store import Store
from infra.whole import whole_keys
from schemas.errors import DamagedError, StoreError

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Begun:
    """A stage that has begun. `total` counts what it is cut into, named by `unit`: shards, or a training's steps; `by`
    is the process (`infra.at_work`)."""

    stage_key: str
    stage: str
    campaign: str | None
    round: int | None
    total: int
    unit: str
    at: str
    by: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Unfinished:
    """A stage that has begun and is not committed. `done` of its `total` are on disk; times are UTC."""

    begun: Begun
    done: int
    since: datetime
    last: datetime | None
    """When the newest of what is done was written; None if nothing is."""


def note_begin(store: Store, spec: StageSpec, total: int, unit: str) -> None:
    """Note that the stage begins; a later attempt replaces the note of an earlier one."""
    begun = Begun(
        spec.key, spec.name, spec.campaign, spec.recorded_round, total, unit, now().isoformat(), this_process()
    )
    store.atomic_write(f"{NOTES}/{spec.key}.json", sealed_json(asdict(begun)), lasting=False)


def note_end(store: Store, spec: StageSpec) -> None:
    """Take the note away: the stage is committed."""
    store.remove(f"{NOTES}/{spec.key}.json")


def unfinished(store: Store) -> list[Unfinished]:
    """Every stage that has begun and is not committed, oldest first."""
    noted = notes(store)
    committed = whole_keys(store, [begun.stage_key for begun in noted]) if noted else set()
    stages = [_look(store, begun) for begun in noted if begun.stage_key not in committed]
    return sorted(stages, key=lambda one: (one.since, one.begun.stage_key))


def notes(store: Store) -> list[Begun]:
    """All notes, also of stages that another run has committed since."""
    begun = []
    for path in store.whole_files(NOTES):
        try:
            begun.append(Begun(**read_json(store.read_bytes(path), store.uri(path))))
        except DamagedError as error:
            log.warning("%s It was the note of an unfinished stage.", error)
        except (StoreError, TypeError):  # committed meanwhile, or no note of ours
            continue
    return begun


def _look(store: Store, begun: Begun) -> Unfinished:
    since = datetime.fromisoformat(begun.at)
    if begun.unit == "steps":
        path = f"ray/{begun.stage}-{begun.stage_key[:16]}/engine/progress.json"
        step, last = _of_file(store, path, lambda: int(read_json(store.read_bytes(path), path)["step"]))
        return Unfinished(begun, step, since, last)
    shards = store.whole_files(f"shards/{begun.stage_key}")
    times = [when for path in shards if (when := _of_file(store, path, lambda: 1)[1]) is not None]
    return Unfinished(begun, len(shards), since, max(times, default=None))


def _of_file(store: Store, path: str, number: Callable[[], int]) -> tuple[int, datetime | None]:
    """A number that a file tells and when it was written; 0 and None if it went away, as files of a live run do."""
    try:
        return number(), store.modified(path).astimezone(UTC)
    except (StoreError, OSError, ValueError, KeyError):
        return 0, None
