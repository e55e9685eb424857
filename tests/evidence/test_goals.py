"""What the seeds have to show, on invented numbers: each goal is reached by some and missed by others."""

from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from schemas.ids import Target
from schemas.splits import SOURCE_TEST, WILD_TEST, WILD_TRAIN, WILD_VALIDATION
from tasks.report.measured import Metrics
from tasks.rows.metrics import DIVERSITY, Metric
from tests.evidence.figures import OfSeeds, of_seeds
from tests.evidence.goals import cleaning_goals, goal_lines, goals, is_below
from tests.evidence.results import SeedEvidence, Shown
from tests.evidence.test_results import result

_GOOD: Mapping[tuple[str, str, Target], tuple[float, ...]] = {
    ("zero_noise_mpvpe", "change", WILD_TEST): (-11.0, -12.0, -11.5),
    ("best_of_m_mpvpe", "change", WILD_TEST): (-10.0, -11.0, -10.5),
    ("expected_mpvpe", "change", WILD_TEST): (-10.0, -11.0, -10.5),
    ("expected_mpvpe", "change_less_noise", WILD_TEST): (-3.0, -3.5, -3.2),
    ("energy_score", "change", WILD_TEST): (-9.0, -9.5, -9.2),
    (DIVERSITY, "change", WILD_TEST): (-3.0, -2.0, -2.5),
    ("drift", "change", SOURCE_TEST): (2.0, 2.2, 1.8),
    ("spearman_within_mpvpe", "before", WILD_VALIDATION): (0.37, 0.38, 0.36),
    ("zero_noise_mpvpe", "change_minus_winners_alone", WILD_TEST): (-9.0, -9.5, -9.2),
    ("zero_noise_mpvpe", "change_random_pairs", WILD_TEST): (0.2, 0.1, 0.3),
    ("zero_noise_mpvpe", "change_replay_alone", WILD_TEST): (-0.2, 0.1, 0.3),
    ("zero_noise_mpvpe", "change_distilled", WILD_TEST): (-8.0, -8.5, -8.2),
    ("zero_noise_mpvpe", "change_no_preference", WILD_TEST): (-0.9, -0.8, -1.0),
    ("zero_noise_mpvpe", "change_constant_offset", WILD_TEST): (-0.4, -0.2, -0.3),
}
_BAD: Sequence[tuple[tuple[str, str, Target], tuple[float, ...], int]] = [
    (("zero_noise_mpvpe", "change", WILD_TEST), (-4.8, -4.9, -5.0), 1),  # too little; distillation is better, too
    (("zero_noise_mpvpe", "change", WILD_TEST), (-2.0, -25.0, -8.0), 1),  # enough, but not surely
    (("best_of_m_mpvpe", "change", WILD_TEST), (-3.9, -3.8, -4.0), 2),
    (("energy_score", "change", WILD_TEST), (-9.0, 5.0, -1.0), 3),
    ((DIVERSITY, "change", WILD_TEST), (-5.1, -5.2, -5.0), 4),
    (("drift", "change", SOURCE_TEST), (2.6, 2.7, 2.5), 5),
    (("spearman_within_mpvpe", "before", WILD_VALIDATION), (0.34, 0.35, 0.33), 6),
    (("zero_noise_mpvpe", "change_minus_winners_alone", WILD_TEST), (-2.4, -2.4, -2.4), 7),
    (("zero_noise_mpvpe", "change_random_pairs", WILD_TEST), (-11.0, -10.9, -11.1), 8),
    (("zero_noise_mpvpe", "change_replay_alone", WILD_TEST), (-11.0, -10.9, -11.1), 9),
    (("zero_noise_mpvpe", "change_constant_offset", WILD_TEST), (-11.0, -10.9, -11.1), 10),
    (("zero_noise_mpvpe", "change_distilled", WILD_TEST), (-11.0, -10.9, -11.1), 11),
    (("expected_mpvpe", "change_less_noise", WILD_TEST), (-10.0, -10.1, -9.9), 12),
    (("zero_noise_mpvpe", "change_no_preference", WILD_TEST), (-3.9, -4.0, -3.9), 13),
    (("zero_noise_mpvpe", "change_constant_offset", WILD_TEST), (-2.9, -2.9, -2.9), 14),
]
"""Numbers that miss a goal, and its place in the table."""


def seeds(values: Mapping[tuple[str, str, Target], tuple[float, ...]]) -> list[Metrics]:
    return [{key: Metric(*key, "%", numbers[seed], 100) for key, numbers in values.items()} for seed in range(3)]


def test_good_numbers_reach_every_goal() -> None:
    found = list(goals(seeds(_GOOD)))
    assert len(found) == 14
    assert all(goal.is_reached for goal in found), [goal.text for goal in found if not goal.is_reached]
    assert "−11.5 % [−12.7 %, −10.3 %]" in goal_lines(goals(seeds(_GOOD)))[2], "Student's interval of three seeds"


@pytest.mark.parametrize(("key", "numbers", "place"), _BAD)
def test_each_goal_can_be_missed(key: tuple[str, str, Target], numbers: tuple[float, ...], place: int) -> None:
    found = list(goals(seeds({**_GOOD, key: numbers})))
    assert not found[place - 1].is_reached, found[place - 1]
    assert f"| {found[place - 1].text} | {found[place - 1].told} | **not reached** |" in goal_lines(found)


def test_the_difference_of_each_seed_stands_beside_intervals_that_are_not_apart() -> None:
    """Seeds that differ much, of which each alone says the same."""
    values = {
        **_GOOD,
        ("zero_noise_mpvpe", "change", WILD_TEST): (-10.0, -14.0, -12.0),
        ("zero_noise_mpvpe", "change_distilled", WILD_TEST): (-8.0, -12.0, -9.9),
        ("zero_noise_mpvpe", "change_minus_distilled", WILD_TEST): (-2.0, -2.0, -2.1),
    }
    (goal,) = [one for one in goals(seeds(values)) if "distilled" in one.text]
    assert not goal.is_reached, "the goal is that the intervals are apart"
    assert goal.told.endswith("; the difference seed by seed −2.0 % [−2.2 %, −1.9 %]")


def test_a_goal_of_what_was_not_measured_is_left_out() -> None:
    first, *others = seeds(_GOOD)
    without = [{key: one for key, one in first.items() if key[0] != "energy_score"}, *others]
    assert of_seeds(without, "energy_score", "change", WILD_TEST) is None
    assert len(list(goals(without))) == 13


def test_one_seed_shows_nothing_apart() -> None:
    assert not is_below(OfSeeds((-10.0,), "%"), OfSeeds((-1.0,), "%"))
    assert OfSeeds((-10.0,), "%").told == "−10.0 %"


def cleaned(promoted: int = 4, auc: float = 0.97, **apart: float) -> list[SeedEvidence]:
    """Five seeds, the first of which are promoted; `apart`: the kept minus a control, 0 or 1 off."""
    minus = {"all_labels": -9.0, "random_labels": -8.0, **apart}
    rows = [
        (name, f"change_minus_{control}", value)
        for control, value in minus.items()
        for name in ("zero_noise_mpvpe", "expected_mpvpe")
    ]
    return [
        result(
            seed,
            cleaned=result(seed).cleaned.model_copy(update={"promoted": seed < promoted}),
            clean_rows=tuple(
                Shown(name, role, *WILD_TEST, "percentage points", value + seed % 2, 100, None, None)
                for name, role, value in rows
            ),
            filter_rows=(Shown("auc", "filter", *WILD_TRAIN, "1", 1.0 if seed else auc, 100, None, None),),
        )
        for seed in range(5)
    ]


def test_good_labels_reach_every_goal_of_cleaning() -> None:
    found = list(cleaning_goals(cleaned()))
    assert [goal.is_reached for goal in found] == [True] * 6
    assert found[0].told == "4 of 5"


@pytest.mark.parametrize(
    ("bad", "places"),
    [
        ({"promoted": 3}, [0]),
        ({"auc": 0.89}, [1]),
        ({"all_labels": -0.5}, [2, 3]),
        ({"random_labels": -0.5}, [4, 5]),
    ],
)
def test_each_goal_of_cleaning_can_be_missed(bad: dict[str, Any], places: list[int]) -> None:
    assert [place for place, goal in enumerate(cleaning_goals(cleaned(**bad))) if not goal.is_reached] == places
