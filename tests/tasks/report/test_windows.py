"""Curves over windows: what a window says, and that no single batch decides it."""

import numpy as np
import pytest

from tasks.report.windows import windows


def test_a_window_is_its_median_with_the_middle_half() -> None:
    values = np.array([0.0, 1, 2, 3, 4, 100, 6, 7, 8, 9])
    curve = windows(np.arange(10) * 10, values)
    assert curve.points == 5
    assert len(curve.steps) == 6
    assert (curve.steps[0], curve.low[0], curve.median[0], curve.high[0]) == (20, 1, 2, 3)
    assert curve.median[-1] == 8
    assert max(curve.median) < 10


def test_a_long_curve_has_a_dozen_windows_side_by_side() -> None:
    rng = np.random.default_rng(0)
    steps = np.arange(0, 6000, 10)
    curve = windows(steps, np.exp(-steps / 2000) + rng.normal(0, 1, steps.size))
    assert curve.points == 50
    assert len(curve.steps) == 551
    assert abs(curve.median[0] - 1) < 0.4
    assert np.diff(curve.median).std() < 0.1


@pytest.mark.parametrize("count", [0, 1, 9])
def test_few_points_stay_as_they_are(count: int) -> None:
    values = np.arange(float(count))
    curve = windows(np.arange(count), values)
    assert curve.points == 1
    for part in (curve.steps, curve.low, curve.median, curve.high):
        np.testing.assert_array_equal(part, values)


def test_what_is_not_finite_is_left_out() -> None:
    values = np.array([np.nan] * 6 + [1.0, np.inf, 3, 3, 3, 3])
    curve = windows(np.arange(12), values)
    assert np.isnan(curve.median[:2]).all()
    np.testing.assert_array_equal(curve.median[2:], [1, 1, 2, 3, 3, 3])
