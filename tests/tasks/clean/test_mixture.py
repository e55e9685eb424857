"""Two groups: found where there are two, and not where there is one."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.clean.mixture import LEAST, fit, two_groups

seeds = st.integers(0, 2**32 - 1)


def groups(seed: int, lower: int, upper: int, apart: float = 6.0, wide: float = 1.0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.concatenate([wide * rng.standard_normal(lower), apart + rng.standard_normal(upper)])


@given(seeds, st.floats(0.15, 0.85), st.permutations(range(6)))
@settings(max_examples=30)
def test_shares_means_and_widths_are_found_whatever_the_order(seed: int, share: float, order: list[int]) -> None:
    values = groups(seed, round(600 * share), 600 - round(600 * share))
    found = fit(values)
    np.testing.assert_allclose(found.mean, [0, 6], atol=0.5)
    np.testing.assert_allclose(found.share, [share, 1 - share], atol=0.05)
    np.testing.assert_allclose(found.deviation, 1, atol=0.3)
    shuffled = np.concatenate([np.array_split(values, 6)[place] for place in order])
    np.testing.assert_allclose(fit(shuffled).mean, found.mean, atol=1e-4)
    np.testing.assert_allclose(fit(10 * values - 3).mean, 10 * found.mean - 3, atol=1e-3)


def test_the_limit_lies_where_both_are_as_likely_and_rises_with_the_chance_that_is_asked_for() -> None:
    values = groups(0, 500, 500)
    limit = two_groups(values, 0.5)
    assert limit == pytest.approx(3, abs=0.3)
    found = fit(values)
    assert found.chance_of_upper(np.array([limit]))[0] == pytest.approx(0.5, abs=0.01)
    stricter = two_groups(values, 0.99)
    assert stricter is not None
    assert limit is not None
    assert limit < stricter < 6


def test_one_group_is_not_split() -> None:
    assert sum(two_groups(np.random.default_rng(seed).standard_normal(300), 0.5) is not None for seed in range(20)) <= 1
    assert two_groups(np.full(50, 2.0), 0.5) is None
    assert two_groups(groups(0, 4, LEAST - 5), 0.5) is None
    assert two_groups(groups(0, 5, LEAST - 5, apart=50.0), 0.5) is not None


def test_the_best_values_are_kept_beside_a_wide_group_of_bad_ones() -> None:
    values = groups(1, 400, 600, apart=3.0, wide=4.0)
    limit = two_groups(values, 0.5)
    assert limit is not None
    assert fit(values).mean[0] <= limit <= fit(values).mean[1] < values.max()


def test_a_single_value_far_away_is_no_group_without_width() -> None:
    values = np.append(np.random.default_rng(0).standard_normal(100), 40.0)
    found = fit(values)
    assert np.isfinite([*found.deviation, found.log_likelihood]).all()
    assert (found.deviation > 0).all()
