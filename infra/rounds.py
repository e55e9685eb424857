"""A campaign's log: which round is open, and which policy is current.

Every event is one row of `rounds`, written in a transaction that also claims the next position in the campaign's log:
the log has one order and no event is lost. Opening round N claims `(round:<campaign>, N)` besides: one opener wins.
Promotions and roll-backs claim `(promotion:<campaign>, n)`. A round is decided (promoted or kept) once. One that will
never be finished is closed as abandoned: an event `closed` whose reason begins so, as earlier engines know no other.
"""

import getpass
import socket
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from infra.data_files import DataFile
from infra.stages import append_row, now
from infra.store import Store
from infra.table_rows import read_files
from infra.tables import live_files, read
from schemas.errors import StoreError
from schemas.tables import contract

_ATTEMPTS = 30
_CHANGES = ("promoted", "rolled_back")
_ABANDONED = "abandoned: "
WITHOUT_ERRORS = "no error was measured"
"""How the reason of a decision begins that was taken by no labels."""


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
    """The events of a campaign and what follows from them. `round` is the newest one (0: none yet), `is_open` says
    whether it is unfinished, and `policy` is the digest of the current policy; None before the first."""

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

    @property
    def policies(self) -> list[str]:
        """The policies that were current at some time, oldest first."""
        return list(dict.fromkeys(event.policy for event in self.events if event.event in _CHANGES and event.policy))

    def first(self, number: int, *kinds: str) -> Event | None:
        """The first event of one of these kinds in a round, or None."""
        return next((event for event in self.events if event.round == number and event.event in kinds), None)

    def decision(self, number: int) -> Event | None:
        """The event that decided the round (promoted or kept), or None."""
        return self.first(number, "promoted", "kept")

    def abandoned(self, number: int) -> str | None:
        """Why the round was abandoned, or None if it was not."""
        closing = self.first(number, "closed")
        if closing is None or not closing.why.startswith(_ABANDONED):
            return None
        return closing.why.removeprefix(_ABANDONED)

    @property
    def newest_reported(self) -> int:
        """The newest round that came to its end, with a report; 0 if there is none."""
        closed = {event.round for event in self.events if event.event == "closed"}
        return max((number for number in closed if self.abandoned(number) is None), default=0)


def state(store: Store, campaign: str) -> CampaignState:
    """The campaign's state now."""
    files = tuple(live_files(store, "rounds"))
    files_before, before = store.remembered.get(f"rounds {campaign}", (None, None))
    if before is not None and files == files_before:  # files never change
        unchanged: CampaignState = before
        return unchanged
    current = _state(store, campaign, files)
    store.remembered[f"rounds {campaign}"] = (files, current)
    return current


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
    where = None if campaign is None else pc.field("campaign") == campaign
    return read(store, "rounds", where=where).sort_by([("campaign", "ascending"), ("sequence", "ascending")])


def begin(store: Store, campaign: str, policy: str, why: str = "the campaign's first policy") -> bool:
    """Give a campaign its first policy; False (and no change) if it already has one."""

    def first(before: CampaignState) -> _Next | None:
        return None if before.policy is not None else _Next(0, "promoted", policy, why, {f"promotion:{campaign}": 1})

    return _append(store, campaign, first) is not None


def open_round(store: Store, campaign: str, number: int, why: str = "") -> bool:
    """Open round `number`. Of several callers one gets True; the others False.

    Raises StoreError unless `number` follows the newest round and that one is closed.
    """

    def opening(before: CampaignState) -> _Next | None:
        if before.first(number, "opened"):
            return None
        if before.is_open:
            raise StoreError(
                f"Round {before.round} of campaign {campaign} is still open; resume it before opening {number}."
            )
        if number != before.round + 1:
            raise StoreError(
                f"Round {number} of campaign {campaign} can't be opened: the next one is {before.round + 1}."
            )
        return _Next(number, "opened", before.policy, why, {f"round:{campaign}": number})

    return _append(store, campaign, opening) is not None


def close_round(store: Store, campaign: str, number: int, why: str = "") -> bool:
    """Close an open round; False if it is closed already. StoreError if it was never opened."""

    def closing(before: CampaignState) -> _Next | None:
        if before.first(number, "closed"):
            return None
        if not before.first(number, "opened"):
            raise StoreError(f"Round {number} of campaign {campaign} was never opened, so it can't be closed.")
        return _Next(number, "closed", before.policy, why, {f"closing:{campaign}": number})

    return _append(store, campaign, closing) is not None


def abandon(store: Store, campaign: str, why: str) -> int:
    """Close the open round though it is not finished, so that another may begin; gives its number.

    What its stages have made stays. StoreError if no round is open.
    """

    def closing(before: CampaignState) -> _Next:
        if not before.is_open:
            raise StoreError(f"No round of campaign {campaign} is open.")
        claims = {f"closing:{campaign}": before.round}
        return _Next(before.round, "closed", before.policy, f"{_ABANDONED}{why}", claims)

    written = _append(store, campaign, closing)
    assert written is not None
    return written.round


def promote(store: Store, campaign: str, number: int, policy: str, why: str, stage_key: str | None = None) -> bool:
    """Make `policy` current, as the outcome of round `number`; False if that round is already decided.

    StoreError if it was abandoned.
    """
    return _decide(store, campaign, number, "promoted", policy, why, stage_key)


def keep(store: Store, campaign: str, number: int, why: str, stage_key: str | None = None) -> bool:
    """Record that round `number` leaves the policy as it is; False and StoreError as `promote`."""
    return _decide(store, campaign, number, "kept", None, why, stage_key)


def roll_back(store: Store, campaign: str, policy: str, why: str) -> bool:
    """Make an earlier policy of the campaign current again; False if it is current. StoreError if it never was."""

    def rolling_back(before: CampaignState) -> _Next | None:
        if policy not in before.policies:
            listed = ", ".join(digest[:12] for digest in before.policies) or "none"
            raise StoreError(f"{policy[:12]} was never the policy of campaign {campaign}; those that were: {listed}.")
        if before.policy == policy:
            return None
        return _Next(before.round, "rolled_back", policy, why, _promotion(before))

    return _append(store, campaign, rolling_back) is not None


def _decide(
    store: Store, campaign: str, number: int, event: str, policy: str | None, why: str, stage_key: str | None
) -> bool:
    """Decide a round that isn't decided yet, for a new `policy` or for the one that it has."""

    def decision(before: CampaignState) -> _Next | None:
        if before.decision(number) is not None:
            return None
        if (abandoned := before.abandoned(number)) is not None:
            raise StoreError(
                f"Round {number} of campaign {campaign} was abandoned meanwhile ({abandoned}): it decides nothing."
            )
        claims = {} if policy is None else _promotion(before)
        return _Next(number, event, policy or before.policy, why, claims, stage_key)

    return _append(store, campaign, decision) is not None


def _promotion(before: CampaignState) -> dict[str, int]:
    return {f"promotion:{before.campaign}": 1 + sum(event.event in _CHANGES for event in before.events)}


@dataclass(frozen=True)
class _Next:
    """An event that is to follow, and what it claims besides the next position in the campaign's log."""

    round: int
    event: str
    policy: str | None
    why: str
    claims: dict[str, int]
    stage_key: str | None = None


def _append(store: Store, campaign: str, follow: Callable[[CampaignState], _Next | None]) -> _Next | None:
    """Write the event that `follow` makes of the campaign's state, and give it; None, unwritten, where that is None.

    `follow` is asked again where another event took its place in the log.
    """
    for _ in range(_ATTEMPTS):
        before = state(store, campaign)
        event = follow(before)
        if event is None:
            return None
        sequence = 1 + max((earlier.sequence for earlier in before.events), default=0)
        who, what = f"{_user()}@{socket.gethostname()}", (event.event, event.policy, before.policy)
        row = Event(campaign, event.round, sequence, *what, who, now(), event.why, event.stage_key)
        claims = {**event.claims, f"log:{campaign}": sequence}
        if append_row(store, "rounds", asdict(row), claims, note=f"{campaign} {event.round} {event.event}"):
            return event
    raise StoreError(f"Campaign {campaign}: other processes kept writing to its log; try again.")


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a user id without a name, as in many containers
        return "unknown"
