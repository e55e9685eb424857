"""Statistics against scipy, brute force and simulated truth."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from models import statistics

seeds = st.integers(0, 2**32 - 1)


@given(seeds, st.booleans())
@settings(max_examples=30, deadline=None)
def test_within_spearman_is_the_mean_of_scipys(seed: int, ties: bool) -> None:
    rng = np.random.default_rng(seed)
    scores, errors = rng.standard_normal((7, 10)), rng.random((7, 10))
    if ties:
        scores, errors = scores.round(), errors.round(1)
        scores[:, 0], scores[:, 1], errors[:, 0], errors[:, 1] = 5, -5, 0, 9
    expected = [stats.spearmanr(score, -error).statistic for score, error in zip(scores, errors, strict=True)]
    result = statistics.within_spearman(scores, errors)
    np.testing.assert_allclose(result.per_instance, expected, atol=1e-12)
    assert result.value == pytest.approx(np.mean(expected))
    assert (result.used, result.left_out) == (7, 0)
    flat = stats.spearmanr(scores.ravel(), -errors.ravel()).statistic
    assert statistics.overall_spearman(scores, errors) == pytest.approx(flat)


def test_a_good_scorer_is_positive_and_constant_instances_are_left_out() -> None:
    errors = np.array([[10.0, 20, 30], [5, 5, 5], [1, 2, 3], [4, 5, 6]])
    scores = np.array([[3.0, 2, 1], [1, 2, 3], [7, 7, 7], [1, 2, 3]])
    result = statistics.within_spearman(scores, errors)
    assert (result.value, result.used, result.left_out) == (0, 2, 2)
    np.testing.assert_array_equal(result.per_instance, [1, np.nan, np.nan, -1])


def test_nothing_to_rank_is_nan_and_not_zero() -> None:
    result = statistics.within_spearman(np.ones((3, 4)), np.ones((3, 4)))
    assert np.isnan(result.value)
    assert result.left_out == 3
    assert np.isnan(statistics.overall_spearman(np.ones(4), np.arange(4)))
    assert np.isnan(statistics.within_spearman(np.ones((0, 4)), np.ones((0, 4))).value)


def test_a_number_that_is_not_finite_is_named() -> None:
    errors = np.ones((3, 4))
    errors[2, 1] = np.nan
    with pytest.raises(ValueError, match=r"errors\[2, 1\] is nan"):
        statistics.within_spearman(np.ones((3, 4)), errors)
    with pytest.raises(ValueError, match="one shape"):
        statistics.paired_bootstrap_change(np.ones(3), np.ones(4))


@given(st.lists(st.integers(-3, 3), min_size=1, max_size=20), st.lists(st.integers(-3, 3), min_size=1, max_size=20))
def test_auc_is_the_chance_of_ranking_a_pair_rightly(good: list[int], bad: list[int]) -> None:
    wins = [(g > b) + 0.5 * (g == b) for g in good for b in bad]
    assert statistics.auc(good, bad) == pytest.approx(np.mean(wins))


def test_auc_needs_both_kinds() -> None:
    with pytest.raises(ValueError, match="3 good and 0 bad"):
        statistics.auc([1, 2, 3], [])


def test_change_of_a_hand_made_case_is_exact() -> None:
    change = statistics.paired_bootstrap_change([100, 200, 300], [90, 180, 270])
    np.testing.assert_allclose(change, (-10, -10, -10), atol=1e-9)


def test_pairing_takes_out_what_instances_share() -> None:
    rng = np.random.default_rng(0)
    before = rng.lognormal(4, 1, 400)
    paired = statistics.paired_bootstrap_change(before, before * 0.95 + rng.normal(0, 0.1, 400), 1000)
    shuffled = statistics.paired_bootstrap_change(before, rng.permutation(before) * 0.95, 1000)
    assert paired.high < 0
    assert paired.high - paired.low < (shuffled.high - shuffled.low) / 10


def test_the_same_arguments_give_the_same_interval_also_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(1)
    before, after = rng.random((2, 50)) + 1
    first = statistics.paired_bootstrap_change(before, after, 999, seed=3)
    assert first == statistics.paired_bootstrap_change(before, after, 999, seed=3)
    assert first != statistics.paired_bootstrap_change(before, after, 999, seed=4)
    monkeypatch.setattr(statistics, "_INDICES_AT_ONCE", 120)
    assert first == statistics.paired_bootstrap_change(before, after, 999, seed=3)


def test_the_interval_of_a_mean_agrees_with_the_normal_one() -> None:
    values = np.random.default_rng(2).normal(70, 10, 2500)
    interval = statistics.bootstrap_mean(values)
    half = 1.96 * values.std() / 50
    assert interval.value == pytest.approx(values.mean())
    assert interval.low == pytest.approx(values.mean() - half, abs=0.1 * half)
    assert interval.high == pytest.approx(values.mean() + half, abs=0.1 * half)


def test_the_interval_covers_the_truth_as_often_as_it_says() -> None:
    rng = np.random.default_rng(3)
    covered = 0
    for _ in range(300):
        before = rng.gamma(20, 4, 150)
        after = before * 0.9 + rng.normal(0, 8, 150)
        low, high = statistics.paired_bootstrap_change(before, after, 400)[1:]
        covered += low <= -10 <= high
    assert 0.91 <= covered / 300 <= 0.985


def test_difference_of_changes() -> None:
    rng = np.random.default_rng(4)
    before = rng.gamma(20, 4, 500)
    a, b = before * 0.9 + rng.normal(0, 2, 500), before * 0.97 + rng.normal(0, 2, 500)
    difference = statistics.bootstrap_difference_of_changes(before, a, b, 1000)
    changes = [statistics.paired_bootstrap_change(before, column, 1000).value for column in (a, b)]
    assert difference.value == pytest.approx(changes[0] - changes[1])
    assert difference.low < -7 < difference.high < 0
    same = statistics.bootstrap_difference_of_changes(before, a, a, 1000)
    assert same == (0, 0, 0)


def test_one_instance_is_an_interval_of_no_width_and_none_is_refused() -> None:
    assert statistics.bootstrap_mean([4.0]) == (4, 4, 4)
    with pytest.raises(ValueError, match="no instances"):
        statistics.bootstrap_mean([])
    with pytest.raises(ValueError, match="positive mean before"):
        statistics.paired_bootstrap_change([0.0, 0.0], [1.0, 1.0])
    with pytest.raises(ValueError, match="resamples"):
        statistics.bootstrap_mean([1.0], resamples=0)


def test_published_correlations_are_negative_for_a_good_scorer() -> None:
    rng = np.random.default_rng(5)
    errors = rng.random((6, 20)) + 10 * np.arange(6)[:, None]
    scores = -errors + 0.1 * rng.standard_normal(errors.shape)
    found = statistics.published_correlations(scores, errors)
    assert all(-1 <= value < -0.9 for value in found)
    assert found.spearman == pytest.approx(-statistics.overall_spearman(scores, errors))
    each = [statistics.published_correlations(*pair) for pair in zip(scores, errors, strict=True)]
    spearman, kendall = np.mean(each, axis=0)[1:]
    assert spearman == pytest.approx(-statistics.within_spearman(scores, errors).value)
    assert kendall == pytest.approx(
        np.mean([stats.kendalltau(*pair).statistic for pair in zip(scores, errors, strict=True)])
    )
    # Images that agree with each other only through their difficulty: nothing is left within them.
    shuffled = rng.permuted(scores, axis=1)
    assert statistics.published_correlations(shuffled, errors).pearson < -0.9
    within = [statistics.published_correlations(*pair).pearson for pair in zip(shuffled, errors, strict=True)]
    assert abs(np.mean(within)) < 0.4


def test_published_correlations_of_constants_are_nan() -> None:
    assert np.isnan(statistics.published_correlations([1.0, 1.0], [1.0, 2.0])).all()
    assert statistics.published_correlations([1.0, 2.0], [5.0, 3.0]) == pytest.approx((-1, -1, -1))
    with pytest.raises(ValueError, match="one shape"):
        statistics.published_correlations([1.0], [1.0, 2.0])


def test_the_interval_over_seeds_is_students() -> None:
    values = [-5.0, -6.5, -4.0]
    low, high = stats.t.interval(0.95, 2, np.mean(values), stats.sem(values))
    assert statistics.t_interval(values) == pytest.approx((np.mean(values), low, high))
    alone = statistics.t_interval([3.0])
    assert alone.value == 3
    assert np.isnan([alone.low, alone.high]).all()
    assert statistics.t_interval([2.0, 2.0]) == (2, 2, 2)


def test_any_statistic_of_means_is_resampled_with_the_same_people() -> None:
    rng = np.random.default_rng(0)
    before, after = rng.random(50) + 1, rng.random(50) + 1
    drawn = statistics.resample([before, after], 300, 4)
    change = statistics.paired_bootstrap_change(before, after, 300, 4)
    assert drawn.interval(lambda mean: (mean[1] / mean[0] - 1) * 100) == change
    assert drawn.interval(lambda mean: mean[1]) == statistics.bootstrap_mean(after, 300, 4)
    with pytest.raises(ValueError, match=r"columns\[1\]\[2\] is nan"):
        statistics.resample([before[:3], [1.0, 2.0, np.nan]])
