"""Who holds a lease: what tells it apart from others, whether it lives and gets on, and its description in words."""

import shlex
import sys
import time
import uuid
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from flows.process.errors import without_passwords
from flows.progress.pace import clock_time
from infra import at_work

STALE_SECONDS = 90.0
"""A lease without a heartbeat for so long has expired; clocks of machines may differ by some of it."""
STILL_SECONDS = 600.0
"""A holder that got nothing done for so long is described as one that may hang."""


@dataclass(frozen=True)
class Holder:
    """Who holds a lease, when it was last alive (`beat`), and when it last got something done (`progress`), in which
    stage; times in UNIX seconds.

    `place` tells apart machines and containers of the same name; `born` process ids used twice. `progress` is 0 for
    runs of older code, which did not record it.
    """

    token: str
    host: str
    place: str
    pid: int
    born: str
    beat: float
    what: str
    stage: str = ""
    progress: float = 0.0
    since: float = 0.0
    """When it began; 0 where older code, which did not record this nor what follows, wrote the lease."""
    command: str = ""
    """What was typed, if it was typed."""
    flow_run: str = ""
    """The name of its run on a Prefect server that others see, if it is one."""

    def is_alive(self, now: float) -> bool:
        """Whether it must be respected: by its process where that can be seen from here, else by its heartbeat."""
        alive = at_work.lives_here(asdict(self))
        # nor is a beat of tomorrow a sign of life: its clock was wrong, and is wrong no more or somewhere else
        return alive if alive is not None else abs(now - self.beat) < STALE_SECONDS

    def is_still(self, now: float) -> bool:
        """Whether it got nothing done for so long that it may hang."""
        return bool(self.progress) and now - self.progress > STILL_SECONDS

    def described(self, now: float) -> str:
        """What it is, and how it gets on, for messages."""
        who = f"{self.what}, process {self.pid} on {self.host}{self.origin(now)}"
        if not self.progress:
            return who
        ago, at = clock_time(max(0.0, now - self.progress)), f" in {self.stage}" if self.stage else ""
        if self.is_still(now):
            since = datetime.fromtimestamp(self.progress, UTC)
            return f"{who}, no progress since {since:%Y-%m-%d %H:%M} UTC ({ago} ago{at})"
        return f"{who}, last progress {ago} ago{at}"

    def origin(self, now: float) -> str:
        """How it came about, and for how long it has been there, as the end of a description."""
        parts = [f"flow run {self.flow_run}"] if self.flow_run else []
        parts += [f"`{self.command}`"] if self.command else []
        parts += [f"for {clock_time(max(0.0, now - self.since))}"] if self.since else []
        return "".join(f", {part}" for part in parts)

    def cure(self) -> str:
        """How to end it, where it hangs."""
        where = f" on {self.host}" if at_work.lives_here(asdict(self)) is None else ""
        return f"If it hangs, end it with `kill {self.pid}`{where} and run again: what is finished stays."


def this_process(what: str, flow_run: str = "") -> Holder:
    """This process as a holder, from now on."""
    now = time.time()
    return Holder(
        token=uuid.uuid4().hex,
        beat=now,
        what=what,
        progress=now,
        since=now,
        command="" if flow_run else typed(sys.argv),
        flow_run=flow_run,
        **at_work.this_process(),
    )


def typed(words: Sequence[str]) -> str:
    """The command that a process was started with, if it was one of ours, without what a URL says of who asks."""
    if Path(words[0]).name not in ("adhmr", "adhmr.exe"):
        return ""
    shown = (without_passwords(word).partition("?")[0] if "://" in word else word for word in words[1:])
    return shlex.join(["adhmr", *shown])
