"""A lease: one run at a time works on a campaign of a store, and a second one is told who the first is.

The lease is a small file in the store with host, process and heartbeat. It serves people, not correctness: two runs
that overlook each other do no harm, because stages and rounds are committed once whoever runs them.
"""

import json
import logging
import os
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

from infra.processes import birth, boot
from infra.store import Store
from schemas.errors import EngineError, StoreError

log = logging.getLogger(__name__)

BEAT_SECONDS = 10.0
STALE_SECONDS = 90.0
"""A lease without a heartbeat for so long belongs to nobody; clocks of machines may differ by some of it."""


class BusyError(EngineError):
    """Another run is at work on the same campaign."""


@dataclass(frozen=True)
class Holder:
    """Who holds a lease.

    `place` tells apart machines and containers of the same name; `born` process ids used twice.
    """

    token: str
    host: str
    place: str
    pid: int
    born: str
    beat: float
    what: str

    def is_alive(self, now: float) -> bool:
        """Whether it must be respected: by its process where that can be seen from here, else by its heartbeat."""
        if (self.host, self.place) == (socket.gethostname(), _place()):
            return birth(self.pid) == self.born
        # nor is a beat of tomorrow a sign of life: its clock was wrong, and is wrong no more or somewhere else
        return abs(now - self.beat) < STALE_SECONDS


@contextmanager
def lease(store: Store, campaign: str, what: str, beat_seconds: float = BEAT_SECONDS) -> Iterator[Holder]:
    """Hold the campaign's lease for the length of the block; `what` says for what, for people.

    A lease whose holder is gone is taken over. Raises BusyError, which names the holder, if there is one.
    """
    path = f"leases/{campaign}.json"
    mine = _me(what)
    if not store.atomic_write(path, _bytes(mine), replace=False):
        refuse_if_busy(store, campaign)
        store.atomic_write(path, _bytes(mine))
        holder = _read(store, path)
        if holder is not None and holder.token != mine.token:
            raise BusyError(f"Campaign {campaign} was just taken over by process {holder.pid} on {holder.host}.")
    ended = threading.Event()
    beating = threading.Thread(target=_beat, args=(store, path, mine, ended, beat_seconds), name="lease", daemon=True)
    beating.start()
    try:
        yield mine
    finally:
        ended.set()
        beating.join()
        _give_back(store, path, mine)


def refuse_if_busy(store: Store, campaign: str) -> None:
    """Raise BusyError, which names the holder, if somebody living holds the campaign's lease."""
    other = holder_of(store, campaign)
    if other is not None:
        raise BusyError(
            f"Campaign {campaign} is being worked on: {other.what}, process {other.pid} on {other.host}. Wait until "
            "that run has ended, or choose another --campaign."
        )


def holder_of(store: Store, campaign: str) -> Holder | None:
    """The living holder of the campaign's lease, or None."""
    found = _read(store, f"leases/{campaign}.json")
    return found if found is not None and found.is_alive(time.time()) else None


def _beat(store: Store, path: str, mine: Holder, ended: threading.Event, seconds: float) -> None:
    while not ended.wait(seconds):
        try:
            current = _read(store, path)
            if current is not None and current.token != mine.token:
                return  # whoever took it over holds it now
            store.atomic_write(path, _bytes(Holder(**{**asdict(mine), "beat": time.time()})))
        except Exception:
            # the stage that is at work meets the same trouble, and can tell it better than a thread
            log.debug("No heartbeat of %s", path, exc_info=True)


def _give_back(store: Store, path: str, mine: Holder) -> None:
    """Remove the file if it is still this holder's. Work that is done stays done, whatever keeps the store from it."""
    try:
        current = _read(store, path)
        if current is not None and current.token == mine.token:
            store.remove(path)
    except Exception as error:
        log.debug("%s was not removed", path, exc_info=True)
        log.warning(
            "The lease %s can't be removed (%s). It ends with this process; to other machines, after %g seconds.",
            store.uri(path),
            type(error).__name__,
            STALE_SECONDS,
        )


def _me(what: str) -> Holder:
    pid = os.getpid()
    born = birth(pid)
    assert born is not None
    return Holder(uuid.uuid4().hex, socket.gethostname(), _place(), pid, born, time.time(), what)


def _place() -> str:
    """This machine since it started and this container of it, as far as the system tells them apart."""
    try:
        return f"{boot()} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return ""


def _bytes(holder: Holder) -> bytes:
    return json.dumps(asdict(holder), indent=1).encode() + b"\n"


def _read(store: Store, path: str) -> Holder | None:
    """The holder that the file names; None if there is no such file, or one that no run of ours wrote."""
    try:
        plain: dict[str, Any] = json.loads(store.read_bytes(path))
        return Holder(**plain)
    except (StoreError, FileNotFoundError, ValueError, TypeError):
        return None
