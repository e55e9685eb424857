"""What reviewers said of pairs, as a round uses it: written down once, when its training begins, and from then on read
from there, whatever is reviewed meanwhile.

Of a pair the verdict counts that most of its reviewers gave, each with their newest. Where two verdicts have the most
voices alike, the pair counts as not judged.
"""

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, NamedTuple

from infra.reviews import ACCEPT, REJECT, SWAP, latest
from infra.sealed import read_json, sealed_json
from infra.store import Store
from schemas.ids import StageKey

Unjudged = Literal["keep", "leave_out"]
Said = Mapping[str, Mapping[str, str]]
"""By pair (`PairName.unit`): reviewer -> verdict."""
SAID: Final = "reviews"
"""The folder, below the store's root, of what rounds ask people and have of them."""
NOT_JUDGED: Final = "not judged"
DIVIDED: Final = "reviewers are divided"
REJECTED: Final = "rejected by reviewers"
NOT_HERE: Final = "not among the people of this round"
"""Reasons of pairs that are left out."""


def majority(verdicts: Collection[str]) -> str | None:
    """The verdict that most give; None where there is none, or two have the most alike."""
    match Counter(verdicts).most_common(2):
        case [(first, votes), (_, others)]:
            return first if votes > others else None
        case [(only, _)]:
            return only
    return None


def said_of(store: Store, pairs: StageKey) -> dict[str, dict[str, str]]:
    """What reviewers say now of the pairs of a stage."""
    said = {
        next(iter(by.values())).pair.unit: {name: by[name].verdict for name in sorted(by)}
        for by in latest(store, [pairs]).values()
    }
    return {unit: said[unit] for unit in sorted(said)}


class Counts(NamedTuple):
    """How many of some pairs people have judged, and how. `divided` are those whose reviewers have no majority."""

    accepted: int
    swapped: int
    rejected: int
    divided: int

    @property
    def judged(self) -> int:
        return self.accepted + self.swapped + self.rejected


def counts(said: Said) -> Counts:
    """How the pairs that somebody reviewed were judged."""
    found = Counter(majority(list(by.values())) for by in said.values())
    return Counts(found[ACCEPT], found[SWAP], found[REJECT], found[None])


@dataclass(frozen=True)
class ReviewedSet:
    """What is said of the pairs of one stage, which were made in `round`."""

    pairs: StageKey
    round: int
    said: Said


@dataclass(frozen=True)
class Frozen:
    """The reviews that a round uses: of its own pairs, if it waited for that, and of those of earlier rounds."""

    own: ReviewedSet | None
    unjudged: Unjudged
    earlier: tuple[ReviewedSet, ...] = ()

    def to_bytes(self) -> bytes:
        """For the file of the round."""
        sets = {"own": None if self.own is None else vars(self.own), "earlier": [vars(one) for one in self.earlier]}
        return sealed_json({**sets, "unjudged": self.unjudged})

    @staticmethod
    def of_bytes(data: bytes, where: str) -> "Frozen":
        """What `to_bytes` gave. DamagedError for other bytes."""
        plain: dict[str, Any] = read_json(data, where)
        own = None if plain["own"] is None else ReviewedSet(**plain["own"])
        return Frozen(own, plain["unjudged"], tuple(ReviewedSet(**one) for one in plain["earlier"]))


def frozen_path(campaign: str, number: int) -> str:
    """Where the reviews that a round uses are, below the store's root."""
    return f"{SAID}/{campaign}/{number}.json"


def frozen_of(store: Store, campaign: str, number: int) -> Frozen | None:
    """The reviews that a round uses; None where it uses none, or has not come to its training."""
    path = frozen_path(campaign, number)
    return Frozen.of_bytes(store.read_bytes(path), store.uri(path)) if store.exists(path) else None


def asked_path(campaign: str, number: int) -> str:
    """Where it stands which pairs a round wants to have judged, below the store's root."""
    return f"{SAID}/{campaign}/{number}-asked.json"


def asked_of(store: Store, campaign: str, number: int) -> StageKey | None:
    """The stage whose pairs a round wants to have judged; None where it asks for none."""
    path = asked_path(campaign, number)
    return StageKey(read_json(store.read_bytes(path), store.uri(path))["pairs"]) if store.exists(path) else None
