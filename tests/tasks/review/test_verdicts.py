"""Whose word counts, how far people agree, and that what a round uses is read back as it was written."""

import math

import pytest

from infra.store import Store
from schemas.ids import StageKey
from tasks.review.agreement import agreement
from tasks.review.verdicts import Counts, Frozen, ReviewedSet, counts, frozen_of, frozen_path, majority

SAID = {
    "a 1>2": {"anna": "accept", "ben": "accept"},
    "b 1>2": {"anna": "swap"},
    "c 1>2": {"anna": "swap", "ben": "reject"},
}


@pytest.mark.parametrize(
    ("verdicts", "counts_as"),
    [
        ([], None),
        (["swap"], "swap"),
        (["swap", "accept"], None),
        (["swap", "accept", "swap"], "swap"),
        (["swap", "accept", "reject"], None),
        (["swap", "accept", "reject", "reject"], "reject"),
        (["swap", "swap", "reject", "reject", "accept"], None),
    ],
)
def test_most_voices_count_and_a_tie_is_no_verdict(verdicts: list[str], counts_as: str | None) -> None:
    assert majority(verdicts) == counts_as


def test_pairs_are_counted_by_what_most_say() -> None:
    assert counts(SAID) == Counts(accepted=1, swapped=1, rejected=0, divided=1)
    assert counts(SAID).judged == 2


def test_cohens_kappa_is_that_of_the_textbook() -> None:
    """Of 50 things two people accept 20 and reject 15 alike; each alone accepts 5 and 10 others: 0.7 and 0.4."""
    couples = [("accept", "accept")] * 20 + [("reject", "reject")] * 15 + [("accept", "reject")] * 5
    couples += [("reject", "accept")] * 10
    found = agreement({f"{place}": {"anna": one, "ben": other} for place, (one, other) in enumerate(couples)})
    assert found.share == pytest.approx(0.7)
    assert found.kappa == pytest.approx(0.4)
    assert (found.pairs, found.reviewers, found.method) == (50, 2, "Cohen's kappa")


def test_fleiss_kappa_of_three() -> None:
    """By hand: shares of equal couples 1, 1/3 and 1/3; accept 5, swap 3, reject 1 of 9."""
    said = {"a": ["accept"] * 3, "b": ["accept", "accept", "swap"], "c": ["swap", "swap", "reject"]}
    found = agreement({pair: dict(zip("abc", verdicts, strict=True)) for pair, verdicts in said.items()})
    share, chance = (1 + 1 / 3 + 1 / 3) / 3, (25 + 9 + 1) / 81
    assert found.share == pytest.approx(share)
    assert found.kappa == pytest.approx((share - chance) / (1 - chance))
    assert found.method == "Fleiss' kappa"


def test_where_nobody_shares_a_pair_nothing_is_said() -> None:
    found = agreement({"a": {"anna": "swap"}, "b": {"ben": "swap"}})
    assert found.pairs == 0
    assert math.isnan(found.share)
    alike = agreement({"a": {"anna": "swap", "ben": "swap"}})
    assert alike.share == 1
    assert math.isnan(alike.kappa), "chance alone agrees as often"


def test_what_a_round_uses_is_read_back(tmp_path: object) -> None:
    store = Store.open(f"{tmp_path}/store")
    assert frozen_of(store, "c", 2) is None
    frozen = Frozen(ReviewedSet(StageKey("0" * 64), 2, SAID), "leave_out", (ReviewedSet(StageKey("1" * 64), 1, SAID),))
    store.atomic_write(frozen_path("c", 2), frozen.to_bytes())
    assert frozen_of(store, "c", 2) == frozen
