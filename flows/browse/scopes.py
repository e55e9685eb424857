"""What a list is about: a round, or hypotheses that were drawn outside of any: the stages that its rows come from."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple

from infra import rounds
from infra.stages import StageRecord, records
from infra.standing import HYPOTHESES, INGEST, chain
from infra.store import Store
from infra.tables import read
from schemas.digests import digest
from tasks.review.verdicts import asked_of, frozen_of
from tasks.review.worklist import REVIEW
from tasks.rows.drawn import DRAW

DRAWING = ("generate", DRAW, "given_labels", "pseudo_label", HYPOTHESES, "evaluate")
"""Stages whose people have hypotheses or labels of their own, in the order in which one of a round is shown."""
_SCORING = ("score", DRAW, "score_labels")
_ALIGN = "align"


class Leg(NamedTuple):
    """The stages of a leg of a round, which has one or several (`align.legs`); nobody is in two. Keys are None where
    there is no such stage."""

    drawn: str | None = None
    """Hypotheses (or pseudo-labels) of the people whom it learns from."""
    scored: str | None = None
    pairs: str | None = None
    """Those that the policy was trained on."""
    judged: str | None = None
    """Those that people say something of: the pairs as the scorer chose them, before anything was said."""
    control_pairs: str | None = None


@dataclass(frozen=True)
class Scope:
    """The stages of a round, or of one drawing outside of rounds. Keys are None where there is no such stage."""

    name: str
    """As addresses of pages have it."""
    title: str
    campaign: str = ""
    round: int = 0
    outcome: str = ""
    """promoted, kept, open or abandoned; empty outside of rounds."""
    why: str = ""
    compared: str | None = None
    measured: str | None = None
    """The stage `measures` of the evaluations that were compared."""
    before: str | None = None
    after: str | None = None
    """Evaluations of held-out people, by the policy before and after."""
    legs: tuple[Leg, ...] = ()
    earlier: tuple[str, ...] = ()
    """Pairs of earlier rounds that the policy was trained on as well (`sources.reviewed`)."""
    ingests: tuple[str, ...] = ()
    stages: tuple[str, ...] = field(default=(), repr=False)

    @property
    def drawings(self) -> tuple[str, ...]:
        """Stages with hypotheses, the newest word first."""
        return tuple(key for key in (self.after, self.before, *self.drawn) if key)

    @property
    def scores(self) -> tuple[str, ...]:
        """Stages with scores of these."""
        return tuple(key for key in (self.after, self.before, *self.scored) if key)

    @property
    def scores_of(self) -> dict[str, str]:
        """Of each of the drawings that was scored the stage with the scores."""
        held_out = {key: key for key in (self.after, self.before) if key}
        return held_out | {leg.drawn: leg.scored for leg in self.legs if leg.drawn and leg.scored}

    @property
    def drawn(self) -> tuple[str, ...]:
        """Of each leg, one after the other, the hypotheses of the people whom it learns from."""
        return tuple(leg.drawn for leg in self.legs if leg.drawn)

    @property
    def scored(self) -> tuple[str, ...]:
        """Of each leg the scores of these."""
        return tuple(leg.scored for leg in self.legs if leg.scored)

    @property
    def pairs(self) -> tuple[str, ...]:
        """The pairs that the policy was trained on: of each leg its own, then the earlier ones."""
        return (*(leg.pairs for leg in self.legs if leg.pairs), *self.earlier)

    @property
    def judged(self) -> tuple[str, ...]:
        """Of each leg the pairs that people say something of."""
        return tuple(leg.judged for leg in self.legs if leg.judged)

    @property
    def control_pairs(self) -> tuple[str, ...]:
        """Of each leg those of the control."""
        return tuple(leg.control_pairs for leg in self.legs if leg.control_pairs)


def scopes(store: Store) -> list[Scope]:
    """Every round of every campaign, the newest first, then the drawings that belong to none, and last all people."""
    every = records(store)
    by_key: dict[str, StageRecord] = {record.stage_key: record for record in every}
    makers = read(store, "models", columns=["digest", "stage_key"]).to_pylist()
    made_by = {row["digest"]: row["stage_key"] for row in makers}
    found: list[Scope] = []
    for campaign in rounds.campaigns(store):
        state = rounds.state(store, campaign)
        found += [_of_round(store, by_key, made_by, state, number) for number in range(1, state.round + 1)]
    logs = {campaign: rounds.state(store, campaign).events for campaign in {scope.campaign for scope in found}}
    found.sort(key=lambda scope: _last_touched(by_key, logs[scope.campaign], scope), reverse=True)
    taken = {key for scope in found for key in scope.drawings}
    found += [
        _of_drawing(store, by_key, record, every)
        for record in reversed(every)
        if record.stage in DRAWING and record.stage_key not in taken and _holds(record, "hypotheses")
    ]
    shown = {key for scope in found for key in (*scope.pairs, *scope.control_pairs)}
    found += [
        _of_pairs(store, by_key, record)
        for record in reversed(every)
        if record.rows.get("pairs") and record.stage_key not in shown
    ]
    ingests = tuple(dict.fromkeys(record.stage_key for record in reversed(every) if record.rows.get("instances")))
    return [*found, Scope("everyone", "everyone in the store", ingests=ingests)]


def _of_round(
    store: Store,
    by_key: dict[str, StageRecord],
    made_by: dict[str, str],
    state: rounds.CampaignState,
    number: int,
) -> Scope:
    own = [record for record in by_key.values() if (record.campaign, record.round) == (state.campaign, number)]
    decision = state.decision(number)
    compared = by_key.get(decision.stage_key or "") if decision else None
    before = after = None
    if compared is not None and compared.stage == "compare":
        before, after = (by_key.get(key) for key in compared.reads[:2])
    trained = [] if before is None or after is None else _trainings(by_key, made_by, before.models[0], after.models[0])
    if not trained:
        own += [one for one in _asked_for(store, by_key, state.campaign, number) if one not in own]
    read_by = [_pairs_of(by_key, one) for one in trained or [one for one in own if one.stage == _ALIGN]]
    policy = decision.previous if decision else state.policy
    if before is None:  # the round is open, or a gate stopped it: people are held out all the same
        evaluated = (record for record in reversed(by_key.values()) if record.stage == "evaluate")
        before = next((one for one in evaluated if one.rows.get("scores") and one.models[0] == policy), None)
    legs = _legs(by_key, own, [read[0] for read in read_by] if trained else ()) or (
        Leg(_key(_first(own, DRAWING[:-1])), _key(_first(own, _SCORING))),
    )
    measured = next((one for one in by_key.values() if compared is not None and _measures(one, compared)), None)
    abandoned = state.abandoned(number)
    outcome = "abandoned" if abandoned is not None else decision.event if decision else "open"
    every = [record for record in (compared, measured, before, after) if record is not None]
    of_legs = [by_key[key] for leg in legs for key in leg if key is not None]
    drawn = [by_key[leg.drawn] for leg in legs if leg.drawn]
    return Scope(
        f"{state.campaign}/{number}",
        f"{state.campaign}, round {number}",
        campaign=state.campaign,
        round=number,
        outcome=outcome,
        why=abandoned or (decision.why if decision else ""),
        compared=_key(compared),
        measured=_key(measured),
        before=_key(before),
        after=_key(after),
        legs=legs,
        earlier=tuple(dict.fromkeys(one.stage_key for read in read_by for one in read[1:])),
        ingests=_ingests(store, [record for record in (*drawn, after, before) if record is not None]),
        stages=tuple(record.stage_key for record in (*every, *of_legs, *own)),
    )


def _last_touched(by_key: dict[str, StageRecord], log: Sequence[rounds.Event], scope: Scope) -> datetime:
    """When something last happened in a round. Where another campaign has made all of its stages, its log knows."""
    finished = (record.finished_at for key in scope.stages if (record := by_key.get(key)) and record.finished_at)
    return max((*finished, *(event.at for event in log if event.round == scope.round)))


def _asked_for(store: Store, by_key: dict[str, StageRecord], campaign: str, number: int) -> list[StageRecord]:
    """The pairs that a round wants to have judged, and what its verdicts made of them. Their records may name another
    campaign, which made them first."""
    asked = by_key.get(asked_of(store, campaign, number) or "")
    if asked is None:
        return []
    frozen = frozen_of(store, campaign, number)
    own = frozen.own if frozen is not None else None
    said = digest(own.said) if own is not None else ""
    reviews = (one for one in by_key.values() if one.stage == REVIEW and asked.stage_key in one.reads)
    return [asked, *(one for one in reviews if one.config["reviews"] == said)]


def _trainings(by_key: dict[str, StageRecord], made_by: dict[str, str], before: str, after: str) -> list[StageRecord]:
    """The trainings along pairs by which the policy `after` came from the policy `before`, leg by leg."""
    found: dict[str, StageRecord] = {}
    policy = after
    while policy != before:
        training = by_key.get(made_by.get(policy, ""))
        if training is None or training.stage != _ALIGN or training.stage_key in found:
            break  # raw weights that a first round begins with; labels of a cleaning round; a leg that changed nothing
        found[training.stage_key] = training
        policy = training.models[0]
    return [*found.values()][::-1]


def _pairs_of(by_key: dict[str, StageRecord], training: StageRecord) -> list[StageRecord]:
    """The pairs that a training has read: its leg's, then those of earlier rounds."""
    return [by_key[key] for key in dict.fromkeys(training.reads) if key in by_key and by_key[key].rows.get("pairs")]


def _legs(
    by_key: dict[str, StageRecord], own: Sequence[StageRecord], trained: Sequence[StageRecord]
) -> tuple[Leg, ...]:
    """The legs that made these pairs, which something was trained on, or, where nothing was yet, those that a round has
    made. A control is made of the same hypotheses, and last."""
    made = [record for record in own if record.rows.get("pairs") and record.stage != REVIEW]
    by_drawing: dict[str | None, list[StageRecord]] = {}
    for record in sorted(made, key=lambda one: one.config.get("pair", {}).get("strategy") == "random"):
        by_drawing.setdefault(_key(_behind(by_key, record, "hypotheses")), []).append(record)
    reviewed = {key: record for record in own if record.stage == REVIEW for key in record.reads}
    found = []
    for pairs in trained or [reviewed.get(first.stage_key, first) for first, *_ in by_drawing.values()]:
        judged = _chosen(by_key, pairs)
        drawn, scored = _key(_behind(by_key, pairs, "hypotheses")), _key(_behind(by_key, pairs, "scores"))
        control = next((one for one in by_drawing.get(drawn, ()) if one not in (pairs, judged)), None)
        found.append(Leg(drawn, scored, _key(pairs), _key(judged), _key(control)))
    return tuple(found)


def _measures(record: StageRecord, compared: StageRecord) -> bool:
    return record.stage == "measures" and record.reads[:2] == compared.reads[:2]


def _of_pairs(store: Store, by_key: dict[str, StageRecord], record: StageRecord) -> Scope:
    """Pairs that belong to no round and to no drawing that is shown: ingested ones."""
    drawn, scored = _behind(by_key, record, "hypotheses"), _behind(by_key, record, "scores")
    return Scope(
        record.stage_key[:12],
        f"{record.stage} {record.stage_key[:12]}",
        legs=(Leg(_key(drawn), _key(scored), record.stage_key, _key(_chosen(by_key, record))),),
        ingests=_ingests(store, [drawn] if drawn is not None else []),
        stages=(record.stage_key,),
    )


def _key(record: StageRecord | None) -> str | None:
    return None if record is None else record.stage_key


def _chosen(by_key: dict[str, StageRecord], pairs: StageRecord | None) -> StageRecord | None:
    """The pairs that these were before people had a say in them."""
    if pairs is None or pairs.stage != REVIEW:
        return pairs
    return next((by_key[key] for key in pairs.reads if key in by_key and by_key[key].rows.get("pairs")), None)


def _holds(record: StageRecord, table: str) -> bool:
    """Whether a stage has made rows of the table, kept or not: those of a draw can be made again."""
    return bool(record.rows.get(table)) or (record.stage == DRAW and table == "hypotheses")


def _of_drawing(
    store: Store, by_key: dict[str, StageRecord], record: StageRecord, every: Sequence[StageRecord]
) -> Scope:
    scored = next((one for one in reversed(every) if one.stage in _SCORING and record.stage_key in one.reads), None)
    own_scores = record.stage_key if record.rows.get("scores") else None
    pairs = next((one for one in reversed(every) if one.rows.get("pairs") and record.stage_key in one.reads), None)
    return Scope(
        record.stage_key[:12],
        f"{record.stage} {record.stage_key[:12]}",
        after=record.stage_key if record.rows.get("errors") else None,
        legs=(Leg(record.stage_key, own_scores or _key(scored), _key(pairs), _key(_chosen(by_key, pairs))),),
        ingests=_ingests(store, [record]),
        stages=(record.stage_key,),
    )


def _first(own: Sequence[StageRecord], names: Sequence[str]) -> StageRecord | None:
    return next((record for name in names for record in own if record.stage == name), None)


def _behind(by_key: dict[str, StageRecord], made: StageRecord, table: str) -> StageRecord | None:
    """The nearest of the stages that this one was made from which has made rows of the table."""
    waiting = list(made.reads)
    for key in waiting:
        record = by_key.get(key)
        if record is not None and _holds(record, table):
            return record
        waiting += [] if record is None else [one for one in record.reads if one not in waiting]
    return None


def _ingests(store: Store, drawn: Sequence[StageRecord]) -> tuple[str, ...]:
    """The ingests of the people of these stages, with those that they build on, newest first."""
    keys = dict.fromkeys(key for record in drawn for key in record.reads)
    own = [record.stage_key for record in drawn if record.stage in (INGEST, HYPOTHESES)]
    return tuple(dict.fromkeys(one for key in [*keys, *own] for one in chain(store, key)))
