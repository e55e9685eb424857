"""Mixes: each split is drawn in proportion to its weight, whatever its size; one split as if there were no weights."""

import timeit
from collections.abc import Callable

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.ids import StageKey, Target
from tasks.rows.mix import Chances, Mix, draw_rows

A, B = Target("a", "train"), Target("b", "train")
INGEST = (StageKey("i" * 64),)


@given(st.integers(1, 200), st.integers(1, 20), st.floats(0.05, 20))
@settings(deadline=None)
def test_a_split_has_its_share_whatever_its_size(large: int, small: int, weight: float) -> None:
    chances = Mix(INGEST, (A, B), (1.0, weight)).chances([A] * large + [B] * small)
    assert chances is not None
    np.testing.assert_allclose(chances.each.sum(), 1)
    np.testing.assert_allclose(chances.each[:large].sum(), 1 / (1 + weight))
    assert len(set(chances.each[:large])) == len(set(chances.each[large:])) == 1


def test_people_of_a_mix_are_drawn_in_its_shares() -> None:
    chances = Mix(INGEST, (A, B), (0.5, 0.5)).chances([A] * 990 + [B] * 10)
    rows = draw_rows(np.random.default_rng(0), 20_000, 1000, chances)
    assert abs((rows >= 990).mean() - 0.5) < 0.02


def test_a_split_without_people_leaves_its_share_to_the_others() -> None:
    chances = Mix(INGEST, (A, B), (1.0, 3.0)).chances([B, B])
    assert chances is not None
    np.testing.assert_allclose(chances.each, [0.5, 0.5])


@given(
    weights=st.lists(st.floats(1e-6, 1e6), min_size=1, max_size=300), count=st.integers(0, 40), seed=st.integers(0, 99)
)
@settings(deadline=None)
def test_draws_are_numpys_own_bit_by_bit(weights: list[float], count: int, seed: int) -> None:
    """What was trained with `Generator.choice` trains the same: rows, and what is drawn after them."""
    chances = Chances(np.array(weights) / np.sum(weights))
    ours, numpys = (np.random.Generator(np.random.Philox(key=[seed, 7])) for _ in range(2))
    for _ in range(3):
        expected = numpys.choice(len(weights), count, replace=True, p=chances.each)
        rows = draw_rows(ours, count, len(weights), chances)
        assert rows.dtype == expected.dtype
        np.testing.assert_array_equal(rows, expected)
    assert ours.random() == numpys.random()


def test_a_draw_does_not_cost_more_the_more_people_there_are() -> None:
    count, draw = 1_000_000, np.random.default_rng(0)
    chances = Chances(np.full(count, 1 / count))
    draw_rows(draw, 40, count, chances)

    def seconds(call: Callable[[], object]) -> float:
        return min(timeit.repeat(call, number=1, repeat=5))

    over_all = seconds(lambda: draw.choice(count, 40, p=chances.each))
    assert seconds(lambda: draw_rows(draw, 40, count, chances)) < over_all / 10


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
