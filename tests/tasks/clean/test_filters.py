"""Filters on scores that are made up: which labels they keep, and that 30 % of bad ones are found."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.calibration import Calibration
from models.statistics import auc
from schemas.errors import DataError
from tasks.clean.filters import FILTERS, ScoredLabels
from tasks.clean.pseudo import swaps

CURVE = Calibration(np.array([0.2, 0.4, 0.8]), np.array([200.0, 100.0, 50.0]), *(np.zeros(3) for _ in range(3)))
GIVEN = ScoredLabels(np.array([0.9, 0.1, 0.5, 0.4, 0.39]), 0.6, 100.0, 0.5, CURVE, 2, 7)


def scored(seed: int, bad_share: float = 0.3, people: int = 1000) -> tuple[ScoredLabels, np.ndarray]:
    """Scores of labels of which a share is bad, and which (N,): as the scorer tells swapped ones, AUC .98."""
    rng = np.random.default_rng(seed)
    bad = rng.permutation(people) < bad_share * people
    raw = np.where(bad, rng.normal(-1.5, 0.9, people), rng.normal(1.2, 0.9, people))
    return replace(GIVEN, scores=1 / (1 + np.exp(-raw)), share=0.7, count=700), bad


def test_each_filter_by_hand() -> None:
    kept = {name: one.keep(GIVEN).tolist() for name, one in FILTERS.items()}
    assert kept["quantile"] == [True, False, True, True, False]
    assert kept["calibrated"] == [True, False, True, True, False]
    assert kept["mixture"] == [True] * 5, "too few to be two groups"
    assert sum(kept["random"]) == 2
    assert FILTERS["calibrated"].keep(replace(GIVEN, max_error_mm=99.9)).tolist() == [True, False, True, False, False]
    with pytest.raises(DataError, match="no calibration says what a score means"):
        FILTERS["calibrated"].keep(replace(GIVEN, calibration=None))
    assert len({one.reason for one in FILTERS.values()}) == len(FILTERS)


@given(st.integers(0, 2**32 - 1), st.sampled_from(["quantile", "calibrated", "mixture"]))
def test_no_better_label_is_dropped_for_a_worse_one(seed: int, name: str) -> None:
    given_, _ = scored(seed, people=60)
    kept = FILTERS[name].keep(given_)  # type: ignore[index]
    if kept.any() and not kept.all():
        assert given_.scores[kept].min() >= given_.scores[~kept].max()


def test_a_third_of_bad_labels_is_found_and_chance_finds_none() -> None:
    given_, bad = scored(0)
    assert auc(given_.scores[~bad], given_.scores[bad]) >= 0.9
    among = {name: bad[one.keep(given_)].mean() for name, one in FILTERS.items()}
    assert among["quantile"] < 0.06
    assert among["mixture"] < 0.06
    assert among["random"] == pytest.approx(0.3, abs=0.04)
    # the mixture finds by itself how many there are, where a share has to be told
    half, bad = scored(1, bad_share=0.5)
    assert bad[FILTERS["quantile"].keep(half)].mean() > 0.25
    assert bad[FILTERS["mixture"].keep(half)].mean() < 0.08
    clean, _ = scored(2, bad_share=0.0)
    assert FILTERS["mixture"].keep(clean).all()


def test_chance_goes_by_the_seed_and_not_by_scores() -> None:
    given_, _ = scored(0)
    first = FILTERS["random"].keep(given_)
    assert first.sum() == 700
    assert (first == FILTERS["random"].keep(replace(given_, scores=given_.scores[::-1].copy()))).all()
    assert (first != FILTERS["random"].keep(replace(given_, seed=8))).any()


@pytest.mark.parametrize("share", [0.3, 0.5, 0.7])
def test_chance_knows_nothing_of_whose_labels_were_swapped(share: float) -> None:
    """Both are drawn by `clean.seed`."""
    names = [f"{person:04}" for person in range(1000)]
    donors = swaps(names, 0.3, GIVEN.seed)
    swapped = np.array([name in donors for name in names])
    given_ = replace(GIVEN, scores=np.zeros(1000), count=round(share * 1000))
    assert swapped[FILTERS["random"].keep(given_)].mean() == pytest.approx(0.3, abs=0.05)


def test_scores_of_exactly_nought_and_one_are_no_infinities() -> None:
    scores = np.concatenate([np.zeros(30), np.linspace(0.4, 0.6, 40), np.ones(30)])
    assert FILTERS["mixture"].keep(replace(GIVEN, scores=scores))[-30:].all()
