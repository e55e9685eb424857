"""Runs that wait for their turn on a campaign: a note of each in the store, so that `adhmr status` tells of them.

waiting/<campaign>/<token>.json    who waits (a `Holder`), written anew at each look; gone when its turn has come

A note holds nobody up, and one whose run is dead is taken away by the next that waits.
"""

import json
from dataclasses import asdict, replace
from time import time

from flows.run.holder import Holder, this_process
from infra.store import Store
from schemas.errors import StoreError

WAITING = "waiting"


class WaitingNote:
    """The note of this process."""

    def __init__(self, store: Store, campaign: str, what: str, flow_run: str = "") -> None:
        self._store, self._me = store, this_process(what, flow_run)
        self._path = f"{WAITING}/{campaign}/{self._me.token}.json"
        for path, holder in _notes(store, campaign):
            if holder is None or not holder.is_alive(time()):
                store.remove(path)

    def write(self) -> None:
        """Show that this process still waits."""
        note = replace(self._me, beat=time())
        self._store.atomic_write(self._path, json.dumps(asdict(note)).encode() + b"\n", lasting=False)

    def remove(self) -> None:
        """It waits no more."""
        self._store.remove(self._path)


def waiting_for(store: Store, campaign: str) -> tuple[Holder, ...]:
    """The living processes that wait for the campaign, the first to come first."""
    holders = [holder for _, holder in _notes(store, campaign) if holder is not None and holder.is_alive(time())]
    return tuple(sorted(holders, key=lambda holder: (holder.since, holder.token)))


def _notes(store: Store, campaign: str) -> list[tuple[str, Holder | None]]:
    """Every note with whom it names; None where it names nobody."""
    return [(path, _read(store, path)) for path in store.whole_files(f"{WAITING}/{campaign}")]


def _read(store: Store, path: str) -> Holder | None:
    try:
        return Holder(**json.loads(store.read_bytes(path)))
    except (StoreError, FileNotFoundError, ValueError, TypeError):
        return None
