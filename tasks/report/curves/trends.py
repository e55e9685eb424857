"""How every measure went over the rounds of a campaign, as their comparisons have it, with intervals and controls."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from infra import rounds
from infra.stages import find
from infra.store import Store
from infra.tables import read
from tasks.report.facts import RoundFacts

LEADING: Final = ("zero_noise_mpvpe", "best_of_m_mpvpe", "selected_mpvpe", "expected_mpvpe", "diversity", "drift")
"""The measures that come first."""
_FIRST_ROLE: Final = "before"
_ROLES: Final = ("after", "random_pairs", "less_noise", "all_labels", "random_labels", "own_labels")


_REFUSED: Final = "refused_candidate"


class Point(NamedTuple):
    """A measure after a round."""

    value: float
    low: float | None
    high: float | None
    n: int


@dataclass(frozen=True)
class TrendLine:
    """The measure of the policy that is current after each round, of the candidates that were refused, or of a control,
    by the places of a trend; None where it was not measured."""

    name: str
    points: Sequence[Point | None]


@dataclass(frozen=True)
class Trend:
    """A measure on a split over rounds. The first place stands for the policy that the first of them began with."""

    name: str
    """As in the table `metrics`."""
    unit: str
    split: str
    """dataset/split."""
    rounds: Sequence[int]
    lines: Sequence[TrendLine]
    """The policy's first."""


def comparisons(store: Store, campaign: str, until: int) -> dict[str, int]:
    """The rounds of a campaign that measured before and after, by the keys of their comparisons, up to the round
    `until`."""
    state = rounds.state(store, campaign)
    decided = ((number, state.decision(number)) for number in range(1, min(until, state.round) + 1))
    keys = ((number, event.stage_key) for number, event in decided if event is not None and event.stage_key)
    return {
        key: number for number, key in keys if (record := find(store, key)) is not None and record.stage == "compare"
    }


def refused_rounds(store: Store, campaign: str) -> set[int]:
    """The rounds of a campaign that kept the policy that they began with."""
    return {event.round for event in rounds.state(store, campaign).events if event.event == "kept"}


def round_trends(store: Store, facts: RoundFacts) -> list[Trend]:
    """Of a campaign, up to a round of it; nothing where fewer than two rounds have measured."""
    numbered = comparisons(store, facts.campaign, facts.number)
    own = facts.key("compare")
    if own is not None:
        numbered[own] = facts.number
    if len(numbered) < 2:
        return []
    metrics = read(store, "metrics", stage_keys=list(numbered)).to_pylist()
    return trends(metrics, numbered, refused_rounds(store, facts.campaign))


def trends(
    metrics: Iterable[Mapping[str, Any]], numbered: Mapping[str, int], refused: Collection[int] = ()
) -> list[Trend]:
    """The rows of `metrics` of the comparisons `numbered`, by split and measure; the leading measures first.

    After a round that was `refused` the policy is the one before it, and what the round trained has a line of its own.
    """
    places = sorted({at for number in numbered.values() for at in (number - 1, number)})
    found: dict[tuple[str, str], dict[str, dict[int, Point]]] = {}
    units: dict[tuple[str, str], str] = {}
    for row in metrics:
        number, role = numbered[row["stage_key"]], row["role"]
        if role not in (_FIRST_ROLE, *_ROLES) and not (role == "change" and row["name"] in ("drift",)):
            continue
        at, line = [number], role
        if role == _FIRST_ROLE:
            # what the round before has measured is there already
            at = [number - 1] * (number - 1 not in numbered.values()) + [number] * (number in refused)
            line = "after"
        elif role in ("after", "change") and number in refused:
            line = _REFUSED
        named = f"{row['dataset']}/{row['split']}", row["name"]
        for place in at:
            units[named] = row["unit"]
            points = found.setdefault(named, {}).setdefault(line, {})
            points[place] = Point(row["value"], row["low"], row["high"], row["n"])
    rank = {name: place for place, name in enumerate(LEADING)}
    return [
        Trend(
            name,
            units[split, name],
            split,
            places,
            [
                TrendLine(_words(role), [points.get(at) for at in places])
                for role, points in sorted(found[split, name].items())
            ],
        )
        for split, name in sorted(found, key=lambda named: (named[0], rank.get(named[1], len(rank)), named[1]))
    ]


def _words(role: str) -> str:
    return "policy" if role == "after" else role.replace("_", " ")
