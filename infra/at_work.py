"""Who is at work on a store just now, so that maintenance keeps its hands off what they have not finished.

A run holds the lease of its campaign, and a stage that has begun has its note; both name the process. One of this
machine lives or doesn't; of one elsewhere its file tells, which a living run writes again and again. All times are
those of the store's own clock: that of this machine may be days ahead.
"""

import json
import os
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from infra.processes import birth, boot
from infra.store import Store
from schemas.errors import StoreError

LEASES, NOTES = "leases", "begun"
SILENT = timedelta(hours=1)
"""A process on another machine that has written nothing for so long is taken for dead."""


@dataclass(frozen=True)
class AtWork:
    """`campaigns` that a living process holds, and `stages` (keys) that one has begun and is still working on."""

    campaigns: frozenset[str]
    stages: frozenset[str]

    @property
    def is_any(self) -> bool:
        return bool(self.campaigns or self.stages)


def place() -> str:
    """This machine since it started and this container of it, as far as the system tells them apart."""
    try:
        return f"{boot()} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return ""


def this_process() -> dict[str, Any]:
    """What tells this process from all others: host, place, pid, and when it was born."""
    pid = os.getpid()
    return {"host": socket.gethostname(), "place": place(), "pid": pid, "born": birth(pid)}


def lives_here(process: Mapping[str, Any]) -> bool | None:
    """Whether a process that `this_process` described lives; None if it is of another machine or container."""
    if (process.get("host"), process.get("place")) != (socket.gethostname(), place()):
        return None
    return birth(int(process["pid"])) == process.get("born")


def at_work(store: Store, now: datetime) -> AtWork:
    """Who lives; `now` is the store's clock."""
    return AtWork(_living(store, LEASES, now), _living(store, NOTES, now))


def _living(store: Store, folder: str, now: datetime) -> frozenset[str]:
    """The names of those in the folder whose process lives: `<folder>/<name>.json`, or `<folder>/<name>/<n>.json`."""
    listed = store.whole_files(folder)
    return frozenset(
        path.split("/")[1].removesuffix(".json")
        for path in listed
        if path.endswith(".json") and _lives(store, path, listed, now)
    )


def _lives(store: Store, path: str, listed: Sequence[str], now: datetime) -> bool:
    try:
        note = json.loads(store.read_bytes(path))
        process = note.get("by", note)
        here = lives_here(process) if process.get("pid") else False
        if here is not None:
            return here
        # heartbeats may be in a file beside it: <n>.<token>.beat
        signs = [one for one in listed if one.startswith(path.removesuffix("json"))]
        return any(now - store.modified(one) < SILENT for one in signs)
    except (StoreError, FileNotFoundError, ValueError, TypeError, AttributeError, KeyError):
        return False  # given back meanwhile, or none of ours
