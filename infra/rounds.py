"""A campaign's log: which round is open, and which policy is current.

Every event is one row of `rounds`, written in a transaction that also claims the next position in the campaign's log:
the log has one order and no event is lost. Opening round N claims `(round:<campaign>, N)` besides: one opener wins.
Promotions and roll-backs claim `(promotion:<campaign>, n)`. A round is decided (promoted or kept) once. One that nobody
will finish is closed as abandoned: an event `closed` whose reason begins so, as earlier engines know no other.
"""

import getpass
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from infra.stages import append_row, now
from infra.store import Store
from infra.tables import DataFile, live_files, read, read_files
from schemas.errors import StoreError
from schemas.tables import contract

_ATTEMPTS = 30
_CHANGES = ("promoted", "rolled_back")
_ABANDONED = "abandoned: "


@dataclass(frozen=True)
class Event:
    """A row of `rounds`. `policy` is current after it, `previous` was before."""

    campaign: str
    round: int
    sequence: int
    event: str
    policy: str | None
    previous: str | None
    who: str
    at: Any
    why: str
    stage_key: str | None


@dataclass(frozen=True)
class CampaignState:
    """Where a campaign stands. `round` is the newest one (0: none yet) and `is_open` says whether it is unfinished."""

    campaign: str
    round: int
    is_open: bool
    policy: str | None
    first_policy: str | None
    events: tuple[Event, ...]

    @property
    def next_round(self) -> int:
        """The round that a run would work on: the open one, else a new one."""
        return self.round if self.is_open else self.round + 1

    def decision(self, number: int) -> Event | None:
        """The event that decided the round (promoted or kept), or None."""
        return next((e for e in self.events if e.round == number and e.event in ("promoted", "kept")), None)

    def abandoned(self, number: int) -> str | None:
        """Why the round was abandoned, or None if it was not."""
        closing = next((e for e in self.events if (e.round, e.event) == (number, "closed")), None)
        if closing is None or not closing.why.startswith(_ABANDONED):
            return None
        return closing.why.removeprefix(_ABANDONED)

    @property
    def newest_reported(self) -> int:
        """The newest round that came to its end, with a report; 0 if there is none."""
        closed = {event.round for event in self.events if event.event == "closed"}
        return max((number for number in closed if self.abandoned(number) is None), default=0)


def state(store: Store, campaign: str) -> CampaignState:
    """Where the campaign stands now."""
    files = tuple(live_files(store, "rounds"))
    files_before, before = store.remembered.get(f"rounds {campaign}", (None, None))
    if before is not None and files == files_before:  # files never change
        known: CampaignState = before
        return known
    found = _state(store, campaign, files)
    store.remembered[f"rounds {campaign}"] = (files, found)
    return found


def _state(store: Store, campaign: str, files: Sequence[DataFile]) -> CampaignState:
    rows = read_files(store, contract("rounds"), files, where=pc.field("campaign") == campaign).to_pylist()
    events = tuple(sorted((Event(**row) for row in rows), key=lambda event: event.sequence))
    opened = [event.round for event in events if event.event == "opened"]
    closed = {event.round for event in events if event.event == "closed"}
    changes = [event for event in events if event.event in _CHANGES]
    newest = max(opened, default=0)
    return CampaignState(
        campaign=campaign,
        round=newest,
        is_open=newest > 0 and newest not in closed,
        policy=changes[-1].policy if changes else None,
        first_policy=changes[0].policy if changes else None,
        events=events,
    )


def campaigns(store: Store) -> list[str]:
    """The names of all campaigns."""
    return sorted(set(read(store, "rounds", columns=["campaign"]).column("campaign").to_pylist()))


def history(store: Store, campaign: str | None = None) -> pa.Table:
    """The rows of `rounds` in order, of one campaign or of all."""
    rows = read(store, "rounds").sort_by([("campaign", "ascending"), ("sequence", "ascending")])
    if campaign is None:
        return rows
    return rows.filter(pc.equal(rows.column("campaign"), campaign))


def current_policy(store: Store, campaign: str) -> str | None:
    """Digest of the policy that the campaign holds to be its best; None before the first."""
    return state(store, campaign).policy


def first_policy(store: Store, campaign: str) -> str | None:
    """Digest of the policy that the campaign began with."""
    return state(store, campaign).first_policy


def begin(store: Store, campaign: str, policy: str, why: str = "the campaign's first policy") -> bool:
    """Give a campaign its first policy; False (and no change) if it already has one."""
    for _ in range(_ATTEMPTS):
        seen = state(store, campaign)
        if seen.policy is not None:
            return False
        if _append(store, seen, 0, "promoted", policy, why, None, {f"promotion:{campaign}": 1}):
            return True
    raise _contended(campaign)


def open_round(store: Store, campaign: str, number: int, why: str = "") -> bool:
    """Open round `number`. Of several callers one gets True; the others False.

    Raises StoreError unless `number` follows the newest round and that one is closed.
    """
    for _ in range(_ATTEMPTS):
        seen = state(store, campaign)
        if any(event.round == number and event.event == "opened" for event in seen.events):
            return False
        if seen.is_open:
            raise StoreError(
                f"Round {seen.round} of campaign {campaign} is still open; resume it before opening {number}."
            )
        if number != seen.round + 1:
            raise StoreError(
                f"Round {number} of campaign {campaign} can't be opened: the next one is {seen.round + 1}."
            )
        if _append(store, seen, number, "opened", seen.policy, why, None, {f"round:{campaign}": number}):
            return True
    raise _contended(campaign)


def close_round(store: Store, campaign: str, number: int, why: str = "") -> bool:
    """Close an open round; False if it is closed already. StoreError if it was never opened."""
    for _ in range(_ATTEMPTS):
        seen = state(store, campaign)
        named = {event.event for event in seen.events if event.round == number}
        if "closed" in named:
            return False
        if "opened" not in named:
            raise StoreError(f"Round {number} of campaign {campaign} was never opened, so it can't be closed.")
        if _append(store, seen, number, "closed", seen.policy, why, None, {f"closing:{campaign}": number}):
            return True
    raise _contended(campaign)


def abandon(store: Store, campaign: str, why: str) -> int:
    """Close the open round though it is not finished, so that another may begin; gives its number.

    What its stages have made stays. StoreError if no round is open.
    """
    for _ in range(_ATTEMPTS):
        seen = state(store, campaign)
        if not seen.is_open:
            raise StoreError(f"No round of campaign {campaign} is open.")
        claims = {f"closing:{campaign}": seen.round}
        if _append(store, seen, seen.round, "closed", seen.policy, f"{_ABANDONED}{why}", None, claims):
            return seen.round
    raise _contended(campaign)


def promote(store: Store, campaign: str, number: int, policy: str, why: str, stage_key: str | None = None) -> bool:
    """Make `policy` current, as the outcome of round `number`; False if that round is already decided.

    StoreError if somebody has abandoned it.
    """
    for _ in range(_ATTEMPTS):
        seen = state(store, campaign)
        if _is_settled(seen, number):
            return False
        if _append(store, seen, number, "promoted", policy, why, stage_key, _promotion(seen)):
            return True
    raise _contended(campaign)


def keep(store: Store, campaign: str, number: int, why: str, stage_key: str | None = None) -> bool:
    """Record that round `number` leaves the policy as it is; False and StoreError as `promote`."""
    for _ in range(_ATTEMPTS):
        seen = state(store, campaign)
        if _is_settled(seen, number):
            return False
        if _append(store, seen, number, "kept", seen.policy, why, stage_key, {}):
            return True
    raise _contended(campaign)


def roll_back(store: Store, campaign: str, policy: str, why: str) -> bool:
    """Make an earlier policy of the campaign current again; False if it is current. StoreError if it never was."""
    for _ in range(_ATTEMPTS):
        seen = state(store, campaign)
        known = [event.policy for event in seen.events if event.event in _CHANGES]
        if policy not in known:
            listed = ", ".join(dict.fromkeys(digest[:12] for digest in known if digest)) or "none"
            raise StoreError(f"{policy[:12]} was never the policy of campaign {campaign}; those that were: {listed}.")
        if seen.policy == policy:
            return False
        if _append(store, seen, seen.round, "rolled_back", policy, why, None, _promotion(seen)):
            return True
    raise _contended(campaign)


def _is_settled(seen: CampaignState, number: int) -> bool:
    if seen.decision(number) is not None:
        return True
    why = seen.abandoned(number)
    if why is not None:
        raise StoreError(
            f"Round {number} of campaign {seen.campaign} was abandoned meanwhile ({why}): it decides nothing."
        )
    return False


def _promotion(seen: CampaignState) -> dict[str, int]:
    return {f"promotion:{seen.campaign}": 1 + sum(event.event in _CHANGES for event in seen.events)}


def _append(
    store: Store,
    seen: CampaignState,
    number: int,
    event: str,
    policy: str | None,
    why: str,
    stage_key: str | None,
    claims: dict[str, int],
) -> bool:
    """True if the event is written; False if another took its place in the log: the caller looks again."""
    sequence = 1 + max((event.sequence for event in seen.events), default=0)
    row = {
        "campaign": seen.campaign,
        "round": number,
        "sequence": sequence,
        "event": event,
        "policy": policy,
        "previous": seen.policy,
        "who": f"{_user()}@{socket.gethostname()}",
        "at": now(),
        "why": why,
        "stage_key": stage_key,
    }
    claims = {**claims, f"log:{seen.campaign}": sequence}
    return append_row(store, "rounds", row, claims, note=f"{seen.campaign} {number} {event}")


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a user id without a name, as in many containers
        return "unknown"


def _contended(campaign: str) -> StoreError:
    return StoreError(f"Campaign {campaign}: other processes kept writing to its log; try again.")
