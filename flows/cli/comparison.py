"""compare: two policies, rounds or evaluations of a store by all measures; and the same over stores of other seeds."""

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from infra import rounds
from infra.stages import StageRecord, find, records
from infra.store import Store
from schemas.config.engine import EngineConfig
from schemas.errors import ConfigError, DataError
from schemas.ids import StageKey, Target
from tasks.measures.columns import Columns, figures_of, measured
from tasks.measures.comparison import Change, OverSeeds, changes, common, over_seeds
from tasks.measures.table import MEASURES
from tasks.rows.drawn import is_moved
from tasks.stages.compare import Compare
from tasks.stages.evaluate import Evaluate

_ROUND, _FIRST = "round-", "first"
_LISTED = 6
"""Evaluations that an error names."""


class Side(NamedTuple):
    """An evaluation that was asked for."""

    said: str
    evaluation: StageKey
    policy: str


@dataclass(frozen=True)
class Compared:
    """Two sides of a store by all measures, by split; and over the stores of several seeds, if there are any others."""

    before: Side
    after: Side
    splits: dict[Target, list[Change]]
    seeds: dict[Target, list[OverSeeds]]
    stores: tuple[str, ...]
    """Those that `seeds` are over."""


def compare(
    store: Store,
    one: str,
    other: str | None,
    config: EngineConfig,
    campaign: str,
    beside: Sequence[Store] = (),
    target: Target | None = None,
) -> Compared:
    """Compare what `one` and `other` name, or a round's policy before with that after, if only the round is named.

    Other stores `beside` hold the same words for other seeds. Raises ConfigError or DataError, which say what may be
    named, for words that name nothing, ConfigError for a store that is given twice, and DataError where the two were
    measured on no split together.
    """
    places = [os.path.realpath(one.root) if one.is_local else one.url for one in (store, *beside)]
    place, times = Counter(places).most_common(1)[0]
    if times > 1:
        raise ConfigError(f"The store {place} is given {times} times, but holds one seed: give each store once.")
    found = [_of_store(opened, one, other, config, campaign, target) for opened in (store, *beside)]
    before, after, splits = found[0]
    seeds = over_seeds([of for _, _, of in found]) if beside else {}
    return Compared(before, after, splits, seeds, tuple(opened.url for opened in (store, *beside)))


def _of_store(
    store: Store, one: str, other: str | None, config: EngineConfig, campaign: str, target: Target | None
) -> tuple[Side, Side, dict[Target, list[Change]]]:
    if other is None and not one.startswith(_ROUND):
        raise ConfigError(f"Compare {one} with what? Name a second policy, round or evaluation, or one round alone.")
    words = (f"{one}:before", one) if other is None else (one, other)
    before, after = _sides(store, words, campaign)
    sides = [(figures_of(store, side), measured(store, side, config)) for side in (before, after)]
    shared = [split for split in sides[0][0] if split in sides[1][0] and target in (None, split)]
    if not shared:
        measured_on = " and ".join(", ".join(map(str, figures)) for figures, _ in sides)
        raise DataError(
            f"{words[0]} and {words[1]} were not measured on the same split{f' {target}' if target else ''}: they were "
            f"on {measured_on}. `adhmr evaluate --policy DIGEST` measures a policy on any labelled split."
        )
    options = config.evaluate.bootstrap
    splits = {}
    for split in shared:
        old, new = common([_both(figures[split], more[split]) for figures, more in sides])
        splits[split] = changes(MEASURES.values(), old, new, **options)
    return _side(store, words[0], before), _side(store, words[1], after), splits


def _both(figures: Columns, more: Columns) -> Columns:
    """All numbers of the same people."""
    return Columns(figures.ids, {**figures.values, **more.values}, figures.samples)


def _side(store: Store, said: str, key: StageKey) -> Side:
    record = find(store, key)
    assert record is not None
    return Side(said, key, record.models[0])


def _sides(store: Store, words: tuple[str, str], campaign: str) -> tuple[StageKey, StageKey]:
    """The evaluations that the words name: of those of a policy the two that were measured alike on the most splits."""
    every = records(store)
    many = [_named(store, every, word, campaign) for word in words]
    pairs = [(old, new) for old in many[0] for new in many[1] if _alike(old, new)]
    if not pairs:
        raise DataError(
            f"{words[0]} and {words[1]} were not measured alike: with the same number of samples, on the same split. "
            "`adhmr evaluate --policy DIGEST` measures a policy as the configuration says."
        )
    old, new = max(pairs, key=lambda pair: len(_splits(pair[0]) & _splits(pair[1])))
    return old.stage_key, new.stage_key


def _named(store: Store, every: Sequence[StageRecord], word: str, campaign: str) -> list[StageRecord]:
    """The evaluations that a word may mean, the newest first."""
    evaluations = [record for record in reversed(every) if record.stage == Evaluate.name]
    if word.startswith(_ROUND) or word == _FIRST:
        key = _of_round(store, every, word, campaign)
        return [record for record in evaluations if record.stage_key == key]
    by_key = [record for record in evaluations if word and record.stage_key.startswith(word)]
    own = [record for record in evaluations if not is_moved(record)]
    plain = [record for record in own if record.config.get("temperature", 1.0) == 1.0]
    by_policy = [record for record in plain if word and record.models[0].startswith(word)]
    named = {record.stage_key for record in by_key} | {record.models[0] for record in by_policy}
    if len(named) > 1:
        raise DataError(f"{word} may be {len(named)} evaluations and policies: give more digits. {_listed(own)}")
    if not named:
        raise DataError(f"Nothing that was evaluated is called {word}. {_listed(own)}")
    return by_key or by_policy


def _of_round(store: Store, every: Sequence[StageRecord], word: str, campaign: str) -> StageKey:
    """The evaluation of a campaign's first policy, or of a round: `round-2`, `round-2:before`, `round-2:CONTROL`."""
    state = rounds.state(store, campaign)
    by_key: dict[str, StageRecord] = {record.stage_key: record for record in every}
    made = {
        event.round: by_key[event.stage_key]
        for event in state.events
        if event.event in ("promoted", "kept") and event.stage_key in by_key
    }
    compared = {number: record for number, record in made.items() if record.stage == Compare.name}
    if not compared:
        raise DataError(f"Campaign {campaign} has no round that compared two policies on held-out people.")
    if word == _FIRST:
        return StageKey(compared[max(compared)].reads[2])
    number, _, role = word.removeprefix(_ROUND).partition(":")
    if not number.isdigit() or int(number) not in compared:
        listed = ", ".join(f"{_ROUND}{one}" for one in sorted(compared))
        raise DataError(f"{word}: campaign {campaign} has these rounds to compare: {listed}.")
    record = compared[int(number)]
    roles = ("before", "after", _FIRST, *sorted(record.config["controls"]))
    if role and role not in roles:
        raise DataError(f"{word}: of that round there are {', '.join(f'{_ROUND}{number}:{one}' for one in roles)}.")
    return StageKey(record.reads[roles.index(role or "after")])


def _alike(old: StageRecord, new: StageRecord) -> bool:
    """Whether they drew as many samples, and share a split."""
    drawn = [record.config["generate"]["hypotheses"] for record in (old, new)]
    return drawn[0] == drawn[1] and bool(_splits(old) & _splits(new))


def _splits(record: StageRecord) -> set[str]:
    return set(record.config["targets"])


def _listed(evaluations: Sequence[StageRecord]) -> str:
    if not evaluations:
        return "Nothing was evaluated yet: `adhmr evaluate` measures a policy."
    newest = [
        f"{record.stage_key[:12]} (policy {record.models[0][:12]}, {', '.join(sorted(_splits(record)))})"
        for record in evaluations[:_LISTED]
    ]
    older = len(evaluations) - len(newest)
    return f"Evaluations: {'; '.join(newest)}{f'; and {older} older ones' if older else ''}. Or a round: round-1."
