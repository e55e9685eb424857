"""Noise: a pure function of seed, instance and sample."""

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from infra.noise import standard_normal, standard_normal_batch

seeds = st.integers(0, 2**63 - 1)
instances = st.text(min_size=1, max_size=30)
samples = st.integers(0, 10_000)


@given(seeds, st.lists(st.tuples(instances, samples), min_size=1, max_size=6), st.integers(0, 5))
def test_alone_or_among_others(seed: int, wanted: list[tuple[str, int]], pick: int) -> None:
    together = standard_normal_batch(seed, [name for name, _ in wanted], [index for _, index in wanted], (4, 3))
    name, index = wanted[pick % len(wanted)]
    np.testing.assert_array_equal(together[pick % len(wanted)], standard_normal(seed, name, index, (4, 3)))


def test_each_instance_has_its_sample_index() -> None:
    with pytest.raises(ValueError, match="zip"):
        standard_normal_batch(0, ["a", "b"], [1], (2,))


@given(seeds, instances, samples)
def test_each_argument_counts(seed: int, instance: str, sample: int) -> None:
    base = standard_normal(seed, instance, sample, (8,))
    for other in (
        standard_normal(seed + 1, instance, sample, (8,)),
        standard_normal(seed, instance + "x", sample, (8,)),
        standard_normal(seed, instance, sample + 1, (8,)),
        standard_normal(seed, instance, sample, (8,), purpose="augment"),
    ):
        assert not np.any(base == other)


def test_the_numbers_are_the_same_for_ever() -> None:
    """No stage's version rises with them: another stream under the same keys would make hypotheses that nobody drew."""
    drawn = standard_normal(7, "wild/test/000001#0", 3, (4,))
    np.testing.assert_array_equal(
        drawn,
        np.float32([1.232759714126587, 0.013932420872151852, -0.7129820585250854, -1.5789954662322998]),
    )
    other = standard_normal(7, "wild/test/000001#0", 3, (2,), "random pair")
    np.testing.assert_array_equal(other, np.float32([-0.5429834723472595, 0.043447840958833694]))


def test_is_standard_normal_and_independent_between_samples() -> None:
    drawn = standard_normal_batch(0, ["i"] * 200, list(range(200)), (500,))
    assert drawn.dtype == np.float32
    assert stats.kstest(drawn.ravel(), "norm").pvalue > 1e-3
    assert abs(np.corrcoef(drawn[:-1].ravel(), drawn[1:].ravel())[0, 1]) < 0.02


def test_the_same_in_another_process() -> None:
    code = "from infra.noise import standard_normal as n; print(n(7, 'd/s/k#0', 3, (4,)).tobytes().hex())"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
    assert out == standard_normal(7, "d/s/k#0", 3, (4,)).tobytes().hex()


def test_refuses_negative_samples_and_gives_nothing_for_nothing() -> None:
    with pytest.raises(ValueError, match="0 or more"):
        standard_normal(0, "i", -1, (1,))
    assert standard_normal_batch(0, [], [], (3,)).shape == (0, 3)
