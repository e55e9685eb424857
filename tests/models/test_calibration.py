"""Calibration: expected errors fall with the score, are right on people who did not make them, and know how sure."""

import numpy as np
import pytest

from models.calibration import CELLS, calibrate, calibration_error


def drawn(people: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Scores, and errors of 200 - 100 * score with a scatter of 10 mm, of 10 hypotheses each."""
    draw = np.random.default_rng(seed)
    scores = draw.uniform(0, 1, (people, 10))
    return scores, 200 - 100 * scores + draw.normal(0, 10, scores.shape)


def test_a_known_relation_is_found() -> None:
    curve = calibrate(*drawn(400), resamples=200)
    assert len(curve.score) == CELLS
    assert (np.diff(curve.score) > 0).all()
    assert (np.diff(curve.expected_mm) <= 0).all()
    np.testing.assert_allclose(curve.expected_mm, 200 - 100 * curve.score, atol=3)
    np.testing.assert_allclose(curve.spread_mm, 10, atol=1.5)
    assert ((curve.low_mm <= curve.expected_mm) & (curve.expected_mm <= curve.high_mm)).all()
    np.testing.assert_allclose(curve.of([0.5, -1.0]), [150, curve.expected_mm[0]], atol=3)


def test_more_people_make_it_surer() -> None:
    curves = [calibrate(*drawn(people), resamples=200) for people in (40, 640)]
    widths = [np.mean(curve.high_mm - curve.low_mm) for curve in curves]
    assert widths[1] < widths[0] / 2.5


def test_a_rise_is_levelled_and_equal_scores_share_a_cell() -> None:
    scores = np.array([[0.1, 0.2, 0.2, 0.3]] * 6)
    errors = np.array([[50.0, 80.0, 100.0, 20.0]] * 6)
    curve = calibrate(scores, errors, resamples=10)
    np.testing.assert_allclose(curve.score, [0.1, 0.2, 0.3])
    np.testing.assert_allclose(curve.expected_mm, [230 / 3, 230 / 3, 20])


def test_intervals_are_over_people_and_repeat() -> None:
    """Ten copies of a hypothesis are not ten times as sure."""
    scores, errors = drawn(30)
    many = [np.repeat(part, 10, axis=1) for part in (scores, errors)]
    one, other = calibrate(scores, errors, resamples=300), calibrate(*many, resamples=300)
    assert np.mean(other.high_mm - other.low_mm) > 0.7 * np.mean(one.high_mm - one.low_mm)
    np.testing.assert_array_equal(calibrate(scores, errors, 50, seed=3), calibrate(scores, errors, 50, seed=3))


def test_it_is_tested_on_other_people() -> None:
    scores, errors = drawn(400)
    error = calibration_error(scores, errors)
    assert error is not None
    assert error < 2.5
    shifted = errors + 30 * (np.arange(400) % 2)[:, None]  # every other person: each half is off by 30 for the other
    assert calibration_error(scores, shifted) == pytest.approx(30, abs=2)
    assert calibration_error(scores[:1], errors[:1]) is None
    assert calibration_error(np.full((4, 3), 0.5), errors[:4, :3]) is None


def test_what_says_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="all scores are equal"):
        calibrate(np.full((3, 2), 0.5), np.ones((3, 2)))
    with pytest.raises(ValueError, match="must both be"):
        calibrate(np.ones((3, 2)), np.ones((3, 1)))
