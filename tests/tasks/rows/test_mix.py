"""Mixes: each split is drawn in proportion to its weight, whatever its size; one split as if there were no weights."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.ids import StageKey, Target
from tasks.rows.mix import Mix, draw_rows

A, B = Target("a", "train"), Target("b", "train")
INGEST = (StageKey("i" * 64),)


@given(st.integers(1, 200), st.integers(1, 20), st.floats(0.05, 20))
@settings(deadline=None)
def test_a_split_has_its_share_whatever_its_size(large: int, small: int, weight: float) -> None:
    chances = Mix(INGEST, (A, B), (1.0, weight)).chances([A] * large + [B] * small)
    assert chances is not None
    np.testing.assert_allclose(chances.sum(), 1)
    np.testing.assert_allclose(chances[:large].sum(), 1 / (1 + weight))
    assert len(set(chances[:large])) == len(set(chances[large:])) == 1


def test_people_of_a_mix_are_drawn_in_its_shares() -> None:
    chances = Mix(INGEST, (A, B), (0.5, 0.5)).chances([A] * 990 + [B] * 10)
    rows = draw_rows(np.random.default_rng(0), 20_000, 1000, chances)
    assert abs((rows >= 990).mean() - 0.5) < 0.02


def test_a_split_without_people_leaves_its_share_to_the_others() -> None:
    chances = Mix(INGEST, (A, B), (1.0, 3.0)).chances([B, B])
    np.testing.assert_allclose(chances, [0.5, 0.5])


def test_one_split_is_drawn_without_chances_and_without_repetition() -> None:
    assert Mix(INGEST, (A,), (7.0,)).chances([A, A]) is None
    draws = draw_rows(np.random.default_rng(3), 40, 50)
    np.testing.assert_array_equal(draws, np.random.default_rng(3).choice(50, 40, replace=False))
    assert len(set(draws)) == 40
    assert len(draw_rows(np.random.default_rng(3), 40, 3)) == 40


def test_weights_count_for_keys_where_they_decide() -> None:
    alone, twice = Mix(INGEST, (A,), (1.0,)), Mix(INGEST, (A,), (2.0,))
    assert alone.key() == twice.key() == "a/train"
    assert Mix(INGEST, (A, B), (1.0, 2.0)).key() != Mix(INGEST, (A, B), (2.0, 1.0)).key()
    assert alone.named_if_several("people") == {}
    assert list(Mix(INGEST, (A, B), (1.0, 2.0)).named_if_several("people")) == ["people"]
