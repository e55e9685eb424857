"""A lease: one run at a time works on a campaign of a store, and a second one learns who the first is.

leases/<campaign>/<n>.json            who holds it; made once, by a link or a conditional put: of several, one wins
leases/<campaign>/<n>.<token>.beat    when that holder was last alive, and what it last got done

The highest n holds. To take over is to make n + 1; no lease is ever written over, so a run that lost one can't get it
back by writing late: it finds a higher one, and stops before its next stage. The lease serves people, not correctness:
two runs that overlook each other do no harm, because stages and rounds are committed once, by whichever run.
"""

import json
import logging
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from typing import Any

from flows.run.holder import STALE_SECONDS, Holder, this_process
from infra.at_work import LEASES
from infra.store import Store
from schemas.errors import EngineError, StoreError
from schemas.progress import Progress

log = logging.getLogger(__name__)

BEAT_SECONDS = 10.0
LOST_SECONDS = 1800.0
"""After so long without progress the heart stops, too: other machines need not wait for a run that hangs."""
_TOLD = ("since", "command", "flow_run")
"""What the heartbeat tells beside: a lease that named them would be none to a run of older code."""
_NUMBERED = re.compile(r"(\d+)\.json")
_LOOKS = 20
"""Times that the newest lease is looked up, where others come and go."""


class BusyError(EngineError):
    """Another run is at work on the same campaign. `news` is the same as long as there is nothing new to say of it."""

    def __init__(self, text: str, news: object = None) -> None:
        super().__init__(text)
        self.news = news


class LostLeaseError(EngineError):
    """Another run has taken over the campaign that this one worked on."""


class Lease:
    """A lease that this process holds. `progress` notes what gets done; `check` is called before each stage."""

    def __init__(self, store: Store, campaign: str, number: int, holder: Holder) -> None:
        self.holder = holder
        self._store, self._campaign, self._number = store, campaign, number
        self._path = _path(campaign, number)
        self._done = (holder.stage, holder.progress)

    def progress(self, stage: str = "") -> None:
        """Something got done, in this stage or in the one that was named last."""
        self._done = (stage or self._done[0], time.time())

    def check(self) -> None:
        """Raise LostLeaseError if another run holds the campaign now, StoreError if the store is gone."""
        newest = _newest(self._store, self._campaign)
        if newest is not None and newest[0] == self._number and newest[1].token == self.holder.token:
            return
        self._store.check_is_there()
        by = f" by {newest[1].described(time.time())}" if newest is not None and newest[1].pid else ""
        raise LostLeaseError(
            f"Campaign {self._campaign} was taken over{by}: this run had been without a sign of life. It stops here; "
            "what it finished stays."
        )

    def beat(self) -> bool:
        """Show that this holder lives, unless it hangs; False if it holds the lease no more."""
        try:
            self.check()
        except EngineError:
            return False
        now = time.time()
        if now - self._done[1] < LOST_SECONDS:
            self.show(now)
        return True

    def show(self, now: float) -> None:
        """Write what others are to know of the holder: that it lives, how it gets on, and how it came about."""
        stage, done_at = self._done
        signs = {"beat": now, "stage": stage, "progress": done_at}
        told = {name: getattr(self.holder, name) for name in _TOLD}
        path = _beat_path(self._path, self.holder.token)
        self._store.atomic_write(path, json.dumps({**signs, **told}).encode() + b"\n")

    def give_back(self) -> None:
        """Remove it. Work that is done stays done, whatever keeps the store from it."""
        try:
            holder = _read(self._store, self._path)
            if holder is not None and holder.token == self.holder.token:
                self._store.remove(self._path)
            self._store.remove(_beat_path(self._path, self.holder.token))
        except Exception as error:
            log.debug("%s was not removed", self._path, exc_info=True)
            log.warning(
                "The lease %s can't be removed (%s). It ends with this process; to other machines, after %g seconds.",
                self._store.uri(self._path),
                type(error).__name__,
                STALE_SECONDS,
            )


@contextmanager
def lease(
    store: Store, campaign: str, what: str, beat_seconds: float = BEAT_SECONDS, flow_run: str = ""
) -> Iterator[Lease]:
    """Hold the campaign's lease for the length of the block; `what` names the work in messages, `flow_run` its run.

    A lease whose holder is gone is taken over. Raises BusyError, which names the holder, if there is one.
    """
    mine = _take(store, campaign, this_process(what, flow_run))
    ended = threading.Event()
    beating = threading.Thread(target=_beat, args=(mine, ended, beat_seconds), name="lease", daemon=True)
    beating.start()
    try:
        mine.show(mine.holder.beat)
        yield mine
    finally:
        ended.set()
        beating.join()
        mine.give_back()


class LeaseProgress:
    """A `Progress` that passes everything on to `inner`, and lets the lease know that something got done."""

    def __init__(self, inner: Progress, held: Lease) -> None:
        self._inner, self._held = inner, held

    def begin(self, stage: str, total: int, unit: str) -> None:
        self._held.progress(stage)
        self._inner.begin(stage, total, unit)

    def advance(self, stage: str, count: int = 1, note: str = "") -> None:
        self._held.progress(stage)
        self._inner.advance(stage, count, note)

    def end(self, stage: str, note: str = "") -> None:
        self._held.progress(stage)
        self._inner.end(stage, note)

    def say(self, text: str) -> None:
        self._held.progress(text.removesuffix(" ...") if text.endswith(" ...") else "")
        self._inner.say(text)


def refuse_if_busy(store: Store, campaign: str) -> None:
    """Raise BusyError, which names the holder, if a living run holds the campaign's lease."""
    _refuse(campaign, holder_of(store, campaign))


def holder_of(store: Store, campaign: str) -> Holder | None:
    """The living holder of the campaign's lease, or None."""
    return _living(store, campaign, _newest(store, campaign))


def leased_campaigns(store: Store) -> set[str]:
    """Campaigns that a run holds or held; a first run holds its campaign before the log knows of it."""
    return {path.split("/")[1].removesuffix(".json") for path in store.whole_files(LEASES)}


def _take(store: Store, campaign: str, mine: Holder) -> Lease:
    """Make the next lease, unless the newest one's holder lives."""
    named = {name: value for name, value in asdict(mine).items() if name not in _TOLD}
    while True:
        newest = _newest(store, campaign)  # one look for both: whose lease it is, and the number after it
        _refuse(campaign, _living(store, campaign, newest))
        number = 1 + (newest[0] if newest else 0)
        path = _path(campaign, number)
        if not store.atomic_write(path, json.dumps(named, indent=1).encode() + b"\n", replace=False):
            continue  # another run was faster: the next look finds it
        # this number may have been free because a still newer holder has cleaned up
        newest = _newest(store, campaign)
        if newest is not None and newest[0] == number:
            break
        store.remove(path)
    _clean_up(store, campaign, number)
    return Lease(store, campaign, number, mine)


def _refuse(campaign: str, other: Holder | None) -> None:
    if other is None:
        return
    now = time.time()
    still = other.is_still(now)
    cure = other.cure() if still else "Wait until that run has ended, or choose another --campaign."
    raise BusyError(f"Campaign {campaign} is being worked on: {other.described(now)}. {cure}", (other.token, still))


def _living(store: Store, campaign: str, newest: tuple[int, Holder] | None) -> Holder | None:
    """The newest lease's holder, or that of `leases/<campaign>.json` (as runs of older code have it), if it lives."""
    now = time.time()
    for holder in (newest[1] if newest else None, _read(store, _older_path(campaign))):
        if holder is not None and holder.is_alive(now):
            return holder
    return None


def _clean_up(store: Store, campaign: str, number: int) -> None:
    """Remove what holders before this number have left."""
    store.remove(_older_path(campaign))
    for path in store.list_files(f"{LEASES}/{campaign}"):
        name = path.rsplit("/", 1)[-1].partition(".")[0]
        if name.isdigit() and int(name) < number:
            store.remove(path)


def _beat(mine: Lease, ended: threading.Event, seconds: float) -> None:
    while not ended.wait(seconds):
        try:
            if not mine.beat():
                return  # another run has taken it over
        except Exception:
            # the stage that is at work meets the same trouble, and can tell it better than a thread
            log.debug("No heartbeat", exc_info=True)


def _path(campaign: str, number: int) -> str:
    return f"{LEASES}/{campaign}/{number}.json"


def _older_path(campaign: str) -> str:
    return f"{LEASES}/{campaign}.json"


def _beat_path(path: str, token: str) -> str:
    return f"{path.removesuffix('.json')}.{token}.beat"


def _newest(store: Store, campaign: str) -> tuple[int, Holder] | None:
    """The highest number and who has it, as last heard of; an unknown, dead one where no run of ours wrote the file."""
    for _ in range(_LOOKS):
        named = (_NUMBERED.fullmatch(path.rsplit("/", 1)[-1]) for path in store.list_files(f"{LEASES}/{campaign}"))
        number = max((int(match[1]) for match in named if match), default=0)
        if not number:
            return None
        path = _path(campaign, number)
        holder = _read(store, path)
        if holder is not None:
            signs = _signs(store, _beat_path(path, holder.token))
            return number, replace(holder, **signs)
        if store.exists(path):  # else it was given back meanwhile
            break
    return number, Holder("", "", "", 0, "", 0.0, "unknown")


def _signs(store: Store, path: str) -> dict[str, Any]:
    """What a holder last showed of itself; nothing if it hasn't yet."""
    try:
        plain = json.loads(store.read_bytes(path))
        told = {name: plain[name] for name in _TOLD if name in plain}
        return {name: plain[name] for name in ("beat", "stage", "progress")} | told
    except (StoreError, FileNotFoundError, ValueError, TypeError, KeyError):
        return {}


def _read(store: Store, path: str) -> Holder | None:
    """The holder that the file names; None if there is no such file, or one that no run of ours wrote."""
    try:
        plain: dict[str, Any] = json.loads(store.read_bytes(path))
        return Holder(**plain)
    except (StoreError, FileNotFoundError, ValueError, TypeError):
        return None
