"""What a round uses of reviews is written down once, as its training is about to begin: what is said later is for later
rounds, whatever was there then."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from flows.run.campaign.opening import note_opening
from flows.run.decision.reviewed import Waiting, ask, honour, state_in_words
from flows.run.dry import DryRunner
from infra.reviews import PairName, Review, add
from infra.store import Store
from schemas.errors import ConfigError
from schemas.ids import StageKey, Target
from schemas.layers import Configured, Setting, changed
from schemas.profiles import micro
from schemas.progress import Progress
from tasks.engine.context import Context
from tasks.review.verdicts import frozen_of
from tasks.rows.mix import Mix
from tests.infra.reviewing import PEOPLE, store_with_pairs

WILD = Mix((StageKey("0" * 64),), (Target("wild", "train"),))
Made = tuple[Store, list[PairName]]


class Noting(DryRunner):
    """Looks stages up, and writes notes as a run does."""

    def note(self, path: str, data: bytes, *, once: bool = False) -> bytes:
        self.context.store.atomic_write(path, data, replace=not once)
        return self.context.store.read_bytes(path)


@pytest.fixture
def made(tmp_path: Path) -> Made:
    return store_with_pairs(tmp_path / "store")


def configured(*, campaign: str = "c", reviewed: bool = False, **review: Any) -> Configured:
    said = {"sources.reviewed": reviewed, **{f"review.{name}": value for name, value in review.items()}}
    return changed(micro(campaign=campaign), [Setting(name, value, "--set") for name, value in said.items()])


def runner(store: Store, *, dry: bool = False, **said_of_it: Any) -> DryRunner:
    said = configured(**said_of_it)
    return (DryRunner if dry else Noting)(Context(store, said.config), said)


def key(made: Made) -> StageKey:
    return StageKey(made[1][0].stage_key)


def keys(looking: DryRunner, pairs: StageKey, number: int = 1) -> list[str | None]:
    """The keys of the stages that a round honours reviews by."""
    honour(looking, number, pairs, WILD)
    assert looking.looks
    return [look.key for look in looking.looks.values()]


def test_without_reviews_asked_for_nothing_is_looked_at(made: Made) -> None:
    store, pairs = made
    add(store, [Review(pairs[0], "anna", "reject")])
    assert ask(runner(store), 1, key(made)) is None
    assert honour(runner(store), 1, key(made), WILD) == honour(runner(store), 1, key(made), WILD)
    assert honour(runner(store), 1, key(made), WILD).trained == (key(made),)
    assert store.list_files("reviews") == []


@pytest.mark.parametrize(("at_least", "judged", "waits"), [(1, 0, True), (1, 1, False), (3, 2, True), (0, 0, False)])
def test_a_round_waits_for_as_many_pairs_as_it_asks_for(made: Made, at_least: int, judged: int, waits: bool) -> None:
    store, pairs = made
    add(store, [Review(pair, "anna", "accept") for pair in pairs[:judged]])
    found = ask(runner(store, before_training=True, at_least=at_least), 1, key(made))
    assert found == (Waiting("c", 1, key(made), judged, PEOPLE, at_least) if waits else None)


def test_one_field_said_on_resuming_leaves_the_others_of_the_round_as_they_were(made: Made) -> None:
    store, pairs = made
    note_opening(store, "c", 1, configured(before_training=True, at_least=3, unjudged="leave_out"), {})
    add(store, [Review(pair, "anna", "reject") for pair in pairs[:2]])
    waiting = ask(runner(store), 1, key(made))
    assert waiting is not None
    assert waiting.at_least == 3
    assert ask(runner(store, at_least=2), 1, key(made)) is None
    honoured = honour(runner(store, at_least=2), 1, key(made), WILD)
    assert honoured.pairs != key(made), "what was judged is trained on"
    assert "2 rejected and left out; the other 8 are left out" in honoured.notices[0]


def test_a_run_may_end_the_wait_and_the_next_one_does_not_wait_again(made: Made) -> None:
    """Though the usual value is what it says: the training may have begun."""
    store, pairs = made
    note_opening(store, "c", 1, configured(before_training=True), {})
    assert ask(runner(store), 1, key(made)) is not None
    ending = runner(store, before_training=False)
    assert ask(ending, 1, key(made)) is None
    assert honour(ending, 1, key(made), WILD).trained == (key(made),)
    add(store, [Review(pairs[0], "anna", "reject")])
    assert ask(runner(store), 1, key(made)) is None
    assert honour(runner(store), 1, key(made), WILD).trained == (key(made),)
    assert state_in_words(store, "c", 1) == ""


def test_what_was_found_first_is_found_again(made: Made) -> None:
    store, pairs = made
    add(store, [Review(pairs[0], "anna", "reject")])
    by = {"before_training": True}
    planned = keys(runner(store, dry=True, **by), key(made))
    assert store.list_files("reviews") == [], "a plan writes nothing"
    first = keys(runner(store, **by), key(made))
    add(store, [Review(pairs[1], "anna", "reject")])
    assert first == planned == keys(runner(store, **by), key(made))
    assert keys(runner(store), key(made)) == first, "though nothing was said of it any more"
    assert keys(runner(store, **by), key(made), 2) != first, "another round finds what is there now"
    with pytest.raises(ConfigError, match="reviews of other pairs"):
        honour(runner(store), 1, StageKey("1" * 64), WILD)


def test_pairs_that_another_campaign_made_count_for_the_rounds_that_asked_for_reviews_of_them(made: Made) -> None:
    """Of the same seed in the same store: the record of the pairs names the campaign that made them first."""
    store, pairs = made
    mine = StageKey("2" * 64)
    assert ask(runner(store, campaign="later", before_training=True), 1, key(made)) is not None
    assert ask(runner(store, campaign="later", before_training=True), 3, key(made)) is not None
    add(store, [Review(pairs[0], "anna", "swap")])
    found = honour(runner(store, campaign="later", reviewed=True), 2, mine, WILD)
    assert len(found.trained) == 2
    assert "Of round 1, 0 accepted and 1 swapped pairs" in found.notices[0]
    assert honour(runner(store, campaign="neither", reviewed=True), 2, mine, WILD).trained == (mine,)


def test_a_round_says_that_it_found_nothing_of_earlier_ones(made: Made) -> None:
    told: list[str] = []

    class Told(Progress):
        def say(self, text: str) -> None:
            told.append(text)

    for number in (1, 2):
        looking = runner(made[0], reviewed=True)
        looking.context = replace(looking.context, progress=Told())
        honour(looking, number, StageKey("2" * 64), WILD)
    assert told == ["review: no pair of an earlier round of this campaign was accepted or swapped by people"]


def test_a_round_that_found_nothing_of_earlier_ones_does_not_find_it_later(made: Made) -> None:
    """Its training may have begun: it goes on with the key that it has."""
    store, pairs = made
    mine = StageKey("2" * 64)
    assert honour(runner(store, reviewed=True), 2, mine, WILD).trained == (mine,)
    add(store, [Review(pairs[0], "anna", "swap")])
    assert honour(runner(store, reviewed=True), 2, mine, WILD).trained == (mine,)
    assert frozen_of(store, "c", 2) is not None
    later = honour(runner(store, reviewed=True), 3, mine, WILD)
    assert len(later.trained) == 2
    assert "Of round 1, 0 accepted and 1 swapped pairs" in later.notices[0]
