"""What people say of a round's pairs, where it is to honour that: the round waits for it, and then trains by it.

With `review.before_training` a run ends once the pairs are made, and the round stays open. A later run goes on as soon
as `review.at_least` of them are judged. The reviews that it finds are written down before the pairs are worked on: a
run that was killed after that, and a plan, read the same. What a round began with of `review` holds for the runs that
go on with it, field by field, unless they say something else of one.
"""

from dataclasses import dataclass

from flows.run.campaign.opening import opening_of
from flows.run.runner import Runner
from infra.reviews import history
from infra.sealed import sealed_json
from infra.stages import StageRecord, find, records
from infra.store import Store
from schemas.config.stages import ReviewConfig
from schemas.errors import ConfigError
from schemas.ids import StageKey
from tasks.engine.context import Context
from tasks.review.verdicts import (
    Frozen,
    ReviewedSet,
    asked_of,
    asked_path,
    counts,
    frozen_of,
    frozen_path,
    said_of,
)
from tasks.rows.mix import Mix
from tasks.stages.pair import Pair
from tasks.stages.review import ApplyReviews


@dataclass(frozen=True)
class Waiting:
    """A round that waits for people to judge its pairs. `pairs` is the stage that made them."""

    campaign: str
    number: int
    pairs: StageKey
    judged: int
    total: int
    at_least: int

    def __str__(self) -> str:
        return (
            f"waits for reviews: {self.judged} of its {self.total} pairs are judged, and it goes on with "
            f"{self.at_least} (review.at_least)"
        )


@dataclass(frozen=True)
class Honoured:
    """What is trained on: the pairs of the round, those of earlier rounds, and what to say of both."""

    pairs: StageKey
    earlier: tuple[StageKey, ...] = ()
    notices: tuple[str, ...] = ()

    @property
    def trained(self) -> tuple[StageKey, ...]:
        """All of them."""
        return (self.pairs, *self.earlier)


def ask(runner: Runner, number: int, pairs: StageKey) -> Waiting | None:
    """What a round waits for; None where it goes on."""
    context = runner.context
    settings, campaign = settings_of(runner, number), context.config.campaign
    if not settings.before_training or frozen_of(context.store, campaign, number) is not None:
        return None
    record = find(context.store, pairs)
    if record is None:  # a plan looks at pairs that are still to be made
        return None if not settings.at_least else Waiting(campaign, number, pairs, 0, 0, settings.at_least)
    runner.note(asked_path(campaign, number), sealed_json({"pairs": pairs}))
    waiting = _waiting(context.store, campaign, number, record, settings)
    return waiting if waiting.judged < settings.at_least else None


def honour(runner: Runner, number: int, pairs: StageKey, wild: Mix) -> Honoured:
    """The pairs to train on, by what people said of them until now, or by what was written down of that before.

    `wild` are the people whose pairs may be learned from.
    """
    context = runner.context
    store, campaign = context.store, context.config.campaign
    frozen = frozen_of(store, campaign, number)
    if frozen is None:
        settings = settings_of(runner, number)
        has_asked = asked_of(store, campaign, number) is not None  # and somebody ended the wait: that holds from now on
        if not (settings.before_training or context.config.sources.reviewed or has_asked):
            return Honoured(pairs)
        # nothing is written down, too: what is said later is for later rounds
        frozen = _now(context, number, pairs, settings)
    path = frozen_path(campaign, number)
    frozen = Frozen.of_bytes(runner.note(path, frozen.to_bytes(), once=True), store.uri(path))
    own = frozen.own
    if own is not None:
        if own.pairs != pairs:
            raise ConfigError(
                f"Round {number} of campaign {campaign} goes by reviews of other pairs ({own.pairs[:12]}) than these "
                "settings make: go on with those that it began with, or end it with `adhmr close --why TEXT`."
            )
        pairs = runner.run(ApplyReviews(pairs, own.said, frozen.unjudged))
    earlier = tuple(
        runner.run(ApplyReviews(one.pairs, one.said, "leave_out", wild), role=f"round {one.round}")
        for one in frozen.earlier
    )
    notices = tuple(in_words(store, frozen))
    if context.config.sources.reviewed and number > 1 and not earlier:
        context.progress.say("review: no pair of an earlier round of this campaign was accepted or swapped by people")
    for notice in notices:
        context.progress.say(f"review: {notice}")
    return Honoured(pairs, earlier, notices)


def state_in_words(store: Store, campaign: str, number: int) -> str:
    """What `adhmr status` says of an open round and its reviews; empty where it honours none."""
    frozen = frozen_of(store, campaign, number)
    if frozen is not None:
        return " ".join(in_words(store, frozen))
    asked = asked_of(store, campaign, number)
    record = find(store, asked) if asked is not None else None
    opening = opening_of(store, campaign, number)
    if record is None or opening is None:
        return ""
    return str(_waiting(store, campaign, number, record, opening.review))


def in_words(store: Store, frozen: Frozen) -> list[str]:
    """What reviews do to the pairs of a round, for its log, its report and `adhmr status`."""
    words = []
    if frozen.own is not None:
        done, record = counts(frozen.own.said), find(store, frozen.own.pairs)
        total = record.rows.get("pairs", 0) if record is not None else 0
        rest = "left out" if frozen.unjudged == "leave_out" else "kept as the scorer has them"
        words.append(
            f"People judged {done.judged} of the {total} pairs: {done.accepted} accepted, {done.swapped} swapped, "
            f"{done.rejected} rejected and left out; the other {total - done.judged} are {rest}."
        )
    for one in frozen.earlier:
        done = counts(one.said)
        words.append(
            f"Of round {one.round}, {done.accepted} accepted and {done.swapped} swapped pairs are trained on as well, "
            "as far as they are of people of this round."
        )
    return words


def settings_of(runner: Runner, number: int) -> ReviewConfig:
    """What holds for a round: of each field what is said now, else what it began with."""
    context = runner.context
    now, opening = context.config.review, opening_of(context.store, context.config.campaign, number)
    if opening is None:
        return now
    origins = runner.configured.origins
    said = {name: value for name, value in now if f"review.{name}" in origins}
    return opening.review.model_copy(update=said)


def _now(context: Context, number: int, pairs: StageKey, settings: ReviewConfig) -> Frozen:
    own = ReviewedSet(pairs, number, said_of(context.store, pairs)) if settings.before_training else None
    earlier = tuple(_earlier(context, number)) if context.config.sources.reviewed else ()
    return Frozen(own, settings.unjudged, earlier)


def _earlier(context: Context, number: int) -> list[ReviewedSet]:
    """What is said of pairs of the campaign's rounds before this one."""
    store, campaign = context.store, context.config.campaign
    reviewed = {one.review.pair.stage_key for one in history(store)}
    if not reviewed:
        return []
    # a round that asked for reviews may have found its pairs made by another campaign, whose record they are then
    asked = {key: before for before in reversed(range(1, number)) if (key := asked_of(store, campaign, before))}
    made = (one for one in records(store, Pair.name) if one.campaign == campaign)
    rounds_of = asked | {one.stage_key: one.round for one in made if one.round and one.round < number}
    sets = [ReviewedSet(key, before, said_of(store, key)) for key, before in rounds_of.items() if key in reviewed]
    useful = [one for one in sets if counts(one.said).accepted + counts(one.said).swapped]
    return sorted(useful, key=lambda one: (one.round, one.pairs))


def _waiting(store: Store, campaign: str, number: int, made: StageRecord, settings: ReviewConfig) -> Waiting:
    judged = counts(said_of(store, made.stage_key)).judged
    return Waiting(campaign, number, made.stage_key, judged, made.rows.get("pairs", 0), settings.at_least)
