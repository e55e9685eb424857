"""A promotion and a rollback at the same moment, from two processes: both are in the log, one is current."""

from pathlib import Path

import pytest

from infra import rounds
from infra.store import Store
from tests.faults.nursery import Nursery, Order

pytestmark = pytest.mark.slow
CAMPAIGN = "c"
TIMES = 8


def promote(url: str, number: int) -> bool:
    return rounds.promote(Store.open(url), CAMPAIGN, number, f"policy-{number}", "its gates hold")


def roll_back(url: str, to: str) -> bool:
    return rounds.roll_back(Store.open(url), CAMPAIGN, to, "a person wanted it")


def test_both_are_in_the_log_and_the_later_one_is_current(nursery: Nursery, tmp_path: Path) -> None:
    store = Store.open(tmp_path / "store")
    rounds.begin(store, CAMPAIGN, "policy-0")
    rounds.open_round(store, CAMPAIGN, 1)
    rounds.promote(store, CAMPAIGN, 1, "policy-1", "its gates hold")
    rounds.close_round(store, CAMPAIGN, 1)
    here = "tests.faults.test_promotions"
    for number in range(2, 2 + TIMES):
        rounds.open_round(store, CAMPAIGN, number)
        before = len(rounds.state(store, CAMPAIGN).events)
        promoted, rolled = nursery.together(
            Order(f"{here}:promote", [store.url, number]), Order(f"{here}:roll_back", [store.url, "policy-0"])
        )
        assert (promoted.result, rolled.result) == (True, True), (promoted, rolled)
        seen = rounds.state(store, CAMPAIGN)
        new = seen.events[before:]
        assert {event.event for event in new} == {"promoted", "rolled_back"}
        assert len(new) == 2
        assert new[0].previous == seen.events[before - 1].policy
        assert new[1].previous == new[0].policy
        assert seen.policy == new[1].policy
        if new[1].event == "rolled_back":
            assert rounds.roll_back(store, CAMPAIGN, "policy-1", "back to a policy that is not to be promoted next")
        rounds.close_round(store, CAMPAIGN, number)
    events = rounds.state(store, CAMPAIGN).events
    assert [event.sequence for event in events] == list(range(1, 1 + len(events)))


def test_two_promotions_of_one_round_are_one(nursery: Nursery, tmp_path: Path) -> None:
    store = Store.open(tmp_path / "store")
    rounds.begin(store, CAMPAIGN, "policy-0")
    rounds.open_round(store, CAMPAIGN, 1)
    orders = [Order("tests.faults.test_promotions:promote", [store.url, 1])] * 3
    assert sorted(outcome.result for outcome in nursery.together(*orders)) == [False, False, True]
    assert [event.event for event in rounds.state(store, CAMPAIGN).events] == ["promoted", "opened", "promoted"]
