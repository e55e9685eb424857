"""Measures of samples: against brute force, and exact where samples and truth are exchangeable."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.measures.samples import BEST_OF, best_of_sizes, coverage, energy_score, expected_best, spread_and_error

seeds = st.integers(0, 2**32 - 1)


def drawn(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape)


@given(seeds, st.integers(1, 7), st.booleans())
@settings(max_examples=40)
def test_the_best_of_a_size_is_the_mean_over_all_choices_of_that_many(seed: int, size: int, ties: bool) -> None:
    errors = np.abs(drawn(seed, 3, 7))
    errors = errors.round() if ties else errors
    every = np.array([[min(chosen) for chosen in combinations(row, size)] for row in errors.tolist()])
    np.testing.assert_allclose(expected_best(errors, size), every.mean(axis=1), rtol=1e-12)


@given(seeds)
def test_the_curve_begins_at_the_mean_and_falls_to_the_least(seed: int) -> None:
    errors = np.abs(drawn(seed, 4, 10))
    curve = np.array([expected_best(errors, size) for size in range(1, 11)])
    np.testing.assert_allclose(curve[0], errors.mean(axis=1))
    np.testing.assert_allclose(curve[-1], errors.min(axis=1))
    assert (np.diff(curve, axis=0) < 0).all()
    np.testing.assert_allclose(expected_best(errors[:, ::-1], 5), curve[4])


def test_a_curve_ends_with_the_samples_that_there_are() -> None:
    assert best_of_sizes(10) == (1, 5, 10)
    assert best_of_sizes(9) == (1, 5)
    assert best_of_sizes(100) == BEST_OF
    for size in (0, 11):
        with pytest.raises(ValueError, match=f"the best of {size} can't be told from 10 samples"):
            expected_best(np.ones((2, 10)), size)
    np.testing.assert_allclose(expected_best(np.ones((1, 100)), 50), 1)  # weights that overflow no number


@given(seeds, st.integers(2, 6))
@settings(max_examples=30)
def test_the_energy_score_by_its_definition(seed: int, count: int) -> None:
    samples, truth = drawn(seed, 2, count, 3, 3), drawn(seed + 1, 2, 3, 3)
    expected = []
    for person in range(2):
        joints = []
        for joint in range(3):
            points = samples[person, :, joint]
            away = np.mean([np.linalg.norm(point - truth[person, joint]) for point in points])
            apart = [np.linalg.norm(one - other) for one in points for other in points if one is not other]
            joints.append(away - 0.5 * np.sum(apart) / (count * (count - 1)))
        expected.append(1000 * np.mean(joints))
    np.testing.assert_allclose(energy_score(samples, truth), expected, rtol=1e-9)


@given(seeds)
@settings(max_examples=20)
def test_the_energy_score_depends_on_no_place_no_turn_and_no_order(seed: int) -> None:
    samples, truth = drawn(seed, 3, 5, 4, 3), drawn(seed + 1, 3, 4, 3)
    turn, _ = np.linalg.qr(drawn(seed + 2, 3, 3))
    score = energy_score(samples, truth)
    np.testing.assert_allclose(energy_score(samples @ turn + 2.5, truth @ turn + 2.5), score, rtol=1e-9)
    np.testing.assert_allclose(energy_score(samples[:, ::-1], truth), score, rtol=1e-9)
    np.testing.assert_allclose(energy_score(2 * samples, 2 * truth), 2 * score, rtol=1e-9)


def test_the_energy_score_is_least_for_the_truths_own_distribution() -> None:
    truth, samples = drawn(1, 4000, 1, 3), drawn(2, 4000, 8, 1, 3)
    own = energy_score(samples, truth).mean()
    for other in (samples + 0.5, 0.5 * samples, 2 * samples, np.zeros_like(samples)):
        assert energy_score(other, truth).mean() > own * 1.02
    np.testing.assert_allclose(energy_score(np.repeat(truth[:, None], 3, axis=1), truth), 0, atol=1e-9)
    alone = energy_score(samples[:, :1], truth)  # which is an error
    np.testing.assert_allclose(alone, 1000 * np.linalg.norm(samples[:, 0] - truth, axis=-1)[:, 0])


@given(seeds, st.integers(2, 8), st.floats(0.05, 0.95), st.booleans())
@settings(max_examples=40)
def test_whoever_is_the_truth_among_equals_spread_and_coverage_are_calibrated(
    seed: int, count: int, level: float, ties: bool
) -> None:
    """Of M + 1 numbers each in turn is the truth of the others: what holds in expectation holds exactly then."""
    points = drawn(seed, count + 1, 2, 3)
    if ties:
        points = points.round()
    turns = [(np.delete(points, one, axis=0)[None], points[one][None]) for one in range(count + 1)]
    covered = [coverage(samples, truth, level)[0] for samples, truth in turns]
    assert np.mean(covered) == pytest.approx(level, abs=1e-9)
    spread, error = np.mean([[part[0] for part in spread_and_error(*turn)] for turn in turns], axis=0)
    assert spread == pytest.approx(error, rel=1e-9)


def test_samples_that_are_too_sure_cover_too_little_and_spread_less_than_they_err() -> None:
    truth, samples = drawn(1, 3000, 2, 3), drawn(2, 3000, 10, 2, 3)
    for scale, compare in ((0.5, np.less), (2.0, np.greater)):
        assert compare(coverage(scale * samples, truth, 0.9).mean(), 0.9 - 0.05 * (scale < 1))
        spread, error = spread_and_error(scale * samples, truth)
        assert compare(spread.mean(), error.mean())
    far = np.full((1, 1, 3), 99.0)
    assert coverage(samples[:1, :, :1], far, 0.5) == 0
    assert coverage(samples[:1, :, :1], np.median(samples[:1, :, :1], axis=1), 0.5) == pytest.approx(1)


def test_units_are_millimetres() -> None:
    samples = np.array([[[[0.0, 0, 0]], [[0.2, 0, 0]]]])
    truth = np.array([[[0.1, 0.3, 0]]])
    spread, error = spread_and_error(samples, truth)
    assert error == pytest.approx(300**2)  # of the mean, at (.1, 0, 0)
    assert spread == pytest.approx(0.02 * 1.5 * 1000**2)  # variance .02, times (2 + 1) / 2
    assert energy_score(samples, truth) == pytest.approx(1000 * (np.hypot(0.1, 0.3) - 0.1))
    with pytest.raises(ValueError, match="a single sample has no spread"):
        spread_and_error(samples[:, :1], truth)
    for level in (0.0, 1.0):
        with pytest.raises(ValueError, match="between 0 and 1"):
            coverage(samples, truth, level)
