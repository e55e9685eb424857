"""Rounds: one opener, one decision for each round, no promotion lost."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from infra import rounds
from infra.store import Store
from schemas.errors import StoreError


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(tmp_path / "store")


def test_life_of_a_campaign(store: Store) -> None:
    assert rounds.state(store, "c").next_round == 1
    assert rounds.state(store, "c").policy is None
    assert rounds.begin(store, "c", "base")
    assert not rounds.begin(store, "c", "another")
    assert rounds.open_round(store, "c", 1)
    assert rounds.state(store, "c").is_open
    assert rounds.state(store, "c").next_round == 1
    assert rounds.promote(store, "c", 1, "aligned-1", "gates passed", stage_key="k")
    assert not rounds.promote(store, "c", 1, "aligned-1", "a rerun")
    assert not rounds.keep(store, "c", 1, "too late")
    assert rounds.close_round(store, "c", 1)
    assert not rounds.close_round(store, "c", 1)
    assert rounds.state(store, "c").next_round == 2
    assert rounds.open_round(store, "c", 2)
    assert rounds.keep(store, "c", 2, "drift")
    assert rounds.close_round(store, "c", 2)
    assert rounds.state(store, "c").policy == "aligned-1"
    assert rounds.roll_back(store, "c", "base", "complaints")
    assert not rounds.roll_back(store, "c", "base", "again")
    assert (rounds.state(store, "c").policy, rounds.state(store, "c").first_policy) == ("base", "base")
    told = rounds.history(store, "c")
    assert told.column("event").to_pylist() == [
        *("promoted", "opened", "promoted", "closed", "opened", "kept", "closed", "rolled_back")
    ]
    assert told.column("sequence").to_pylist() == list(range(1, 9))
    assert told.column("previous").to_pylist()[2] == "base"
    assert rounds.campaigns(store) == ["c"]
    assert rounds.state(store, "other").events == ()


def test_the_first_policy_stays_the_first_after_promotions(store: Store) -> None:
    rounds.begin(store, "c", "base")
    assert rounds.state(store, "c").policies == ["base"]
    for number in (1, 2):
        rounds.open_round(store, "c", number)
        rounds.promote(store, "c", number, f"aligned-{number}", "")
        assert rounds.state(store, "c").policies == ["base", *(f"aligned-{before}" for before in range(1, number + 1))]
        rounds.close_round(store, "c", number)
        seen = rounds.state(store, "c")
        assert (seen.policy, seen.first_policy) == (f"aligned-{number}", "base")


def test_order_is_kept(store: Store) -> None:
    with pytest.raises(StoreError, match="the next one is 1"):
        rounds.open_round(store, "c", 2)
    rounds.open_round(store, "c", 1)
    with pytest.raises(StoreError, match="Round 1 of campaign c is still open"):
        rounds.open_round(store, "c", 2)
    with pytest.raises(StoreError, match="never opened"):
        rounds.close_round(store, "c", 5)
    with pytest.raises(StoreError, match="never the policy"):
        rounds.roll_back(store, "c", "stranger", "")


def test_of_several_openers_one_wins(store: Store) -> None:
    rounds.begin(store, "c", "base")
    with ThreadPoolExecutor(4) as pool:
        won = list(pool.map(lambda _: rounds.open_round(store, "c", 1), range(4)))
    assert sorted(won) == [False, False, False, True]
    assert rounds.history(store, "c").column("event").to_pylist() == ["promoted", "opened"]


def test_no_event_is_lost_when_many_write(store: Store) -> None:
    rounds.begin(store, "c", "p0")
    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(lambda number: rounds.promote(store, "c", number, f"p{number}", ""), range(1, 7)))
    told = rounds.history(store, "c").to_pylist()
    assert [row["sequence"] for row in told] == list(range(1, 8))
    assert {row["policy"] for row in told} == {f"p{number}" for number in range(7)}
    # each event names the policy that stood before it
    assert [row["previous"] for row in told[1:]] == [row["policy"] for row in told[:-1]]


def test_an_abandoned_round_is_closed_and_decides_nothing(store: Store) -> None:
    rounds.begin(store, "c", "base")
    with pytest.raises(StoreError, match="No round of campaign c is open"):
        rounds.abandon(store, "c", "nothing to abandon")
    rounds.open_round(store, "c", 1, "clean round")
    assert rounds.abandon(store, "c", "the labels were bad") == 1
    seen = rounds.state(store, "c")
    assert (seen.is_open, seen.next_round, seen.policy) == (False, 2, "base")
    assert (seen.abandoned(1), seen.newest_reported) == ("the labels were bad", 0)
    assert seen.events[-1].event == "closed", "the only word for it that earlier engines understand"
    # a run that goes on with it, as it did not notice
    for decide in (rounds.promote, lambda *of: rounds.keep(*of[:3], "why")):
        with pytest.raises(StoreError, match=r"Round 1 of campaign c was abandoned meanwhile \(the labels were bad\)"):
            decide(store, "c", 1, "aligned", "all gates hold")
    assert not rounds.close_round(store, "c", 1)
    assert rounds.open_round(store, "c", 2, "dpo round")
    assert rounds.keep(store, "c", 2, "drift")
    assert rounds.close_round(store, "c", 2, "kept")
    assert rounds.state(store, "c").newest_reported == 2
    assert rounds.state(store, "c").abandoned(2) is None


def test_what_a_round_has_decided_stands_when_it_is_abandoned(store: Store) -> None:
    rounds.begin(store, "c", "base")
    rounds.open_round(store, "c", 1)
    rounds.promote(store, "c", 1, "aligned", "all gates hold")
    rounds.abandon(store, "c", "its report can't be made")
    assert rounds.state(store, "c").policy == "aligned"
    assert not rounds.promote(store, "c", 1, "aligned", "a rerun"), "decided already"


def test_files_are_read_again_only_where_they_are_others(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    rounds.begin(store, "c", "base")
    state = rounds.state(store, "c")
    with monkeypatch.context() as without_reading:
        without_reading.setattr(rounds, "read_files", None)
        assert rounds.state(store, "c") == state
    assert rounds.open_round(store, "c", 1)
    assert rounds.state(store, "c").is_open
