"""Comparisons by any measure: by hand, paired, of the people who have it, and over seeds."""

import numpy as np
import pytest

from models.statistics import paired_bootstrap_change, t_interval
from schemas.config.stages import EvaluateConfig
from schemas.errors import DataError
from schemas.splits import WILD_TEST, WILD_VALIDATION
from tasks.measures.columns import Columns
from tasks.measures.comparison import Change, changes, common, over_seeds
from tasks.measures.table import COMPARED, MEASURES, NEW, Measure
from tasks.measures.work import rows
from tests.tasks.test_compare import by_name

CONFIG = EvaluateConfig(resamples=200)
ERROR, SHARE = MEASURES["energy_score"], MEASURES["depth_order"]
RATIO = MEASURES["spread_over_error"]
NAN = float("nan")


def columns(samples: int = 10, **values: list[float]) -> Columns:
    people = len(next(iter(values.values())))
    ids = tuple(f"wild/test/{row}#0" for row in range(people))
    return Columns(ids, {name: np.array(numbers) for name, numbers in values.items()}, samples)


def compared(measure: Measure, before: Columns, after: Columns) -> Change:
    (found,) = changes([measure], before, after, 200, 0)
    return found


def test_errors_change_in_percent_and_shares_by_a_difference() -> None:
    before, after = (
        columns(energy_score=[100, 60], depth_order=[0.5, 0.7]),
        columns(energy_score=[90, 38], depth_order=[0.8, 0.9]),
    )
    error = compared(ERROR, before, after)
    assert (error.before.value, error.after.value, error.n) == (80, 64, 2)
    assert error.change == paired_bootstrap_change([100, 60], [90, 38], 200, 0)
    share = compared(SHARE, before, after)
    assert share.change is not None
    assert share.change.value == pytest.approx(0.25)
    assert (ERROR.change_unit, SHARE.change_unit) == ("%", "1")
    assert MEASURES["expected_beyond_limits"].change_unit == "percentage points"
    assert MEASURES["expected_penetration"].change_unit == "mm"


def test_a_ratio_is_that_of_means_and_not_a_mean_of_ratios() -> None:
    before = columns(spread_squared=[1, 3], error_squared=[4, 12])
    after = columns(spread_squared=[16, 0], error_squared=[8, 8])
    found = compared(RATIO, before, after)
    assert (found.before.value, found.after.value) == (0.5, 1)
    assert found.change is not None
    assert found.change.value == 0.5


def test_people_without_a_number_are_left_out_of_that_measure_in_both() -> None:
    before = columns(energy_score=[100, 60, NAN], depth_order=[NAN, NAN, NAN])
    after = columns(energy_score=[NAN, 30, 10], depth_order=[0.5, 0.5, 0.5])
    found = changes([ERROR, SHARE, RATIO], before, after, 200, 0)
    assert [(one.measure.name, one.n, one.before.value, one.after.value) for one in found] == [
        ("energy_score", 1, 60, 30)
    ]


def test_what_is_relative_to_nothing_has_no_change() -> None:
    flat = Measure("diversity", "", "mm", "neither", "")
    assert compared(flat, columns(diversity=[0, 0]), columns(diversity=[1, 2])).change is None
    still = compared(
        MEASURES["expected_penetration"], columns(expected_penetration=[0, 0]), columns(expected_penetration=[1, 3])
    )
    assert still.change is not None
    assert still.change.value == 2


def test_the_same_people_and_as_many_samples() -> None:
    one = columns(energy_score=[1, 2, 3])
    other = Columns(("wild/test/2#0", "wild/test/7#0"), {"energy_score": np.array([5.0, 6.0])}, 10)
    first, second = common([one, other])
    assert first.ids == second.ids == ("wild/test/2#0",)
    assert (first.values["energy_score"], second.values["energy_score"]) == ([3], [5])
    with pytest.raises(DataError, match="drew 5 and 10 random samples"):
        common([one, columns(samples=5, energy_score=[1, 2, 3])])
    with pytest.raises(DataError, match="no person in common"):
        common([one, Columns(("x",), {}, 10)])


def test_rows_have_the_roles_of_a_comparison() -> None:
    given = {
        "before": columns(energy_score=[100, 60], depth_order=[0.5, 0.7]),
        "after": columns(energy_score=[90, 30], depth_order=[0.8, 0.9]),
        "random_pairs": columns(energy_score=[80, 80], depth_order=[0.6, 0.6]),
    }
    found = by_name(list(rows(WILD_TEST, given, {"after": "f" * 64}, CONFIG)))
    values = {key: metric.value for key, metric in found.items()}
    assert values == {
        ("energy_score", "before"): 80,
        ("energy_score", "after"): 60,
        ("energy_score", "random_pairs"): 80,
        ("energy_score", "change"): pytest.approx(-25),
        ("energy_score", "change_random_pairs"): 0,
        ("energy_score", "change_minus_random_pairs"): pytest.approx(-25),
        ("depth_order", "before"): pytest.approx(0.6),
        ("depth_order", "after"): pytest.approx(0.85),
        ("depth_order", "random_pairs"): pytest.approx(0.6),
        ("depth_order", "change"): pytest.approx(0.25),
        ("depth_order", "change_random_pairs"): pytest.approx(0),
        ("depth_order", "change_minus_random_pairs"): pytest.approx(0.25),
    }
    units = {role: found["energy_score", role].unit for role in ("before", "change", "change_minus_random_pairs")}
    assert units == {"before": "mm", "change": "%", "change_minus_random_pairs": "percentage points"}
    assert found["energy_score", "change"].model == "f" * 64


def test_over_seeds_of_what_all_of_them_have() -> None:
    def of(*errors: float) -> Change:
        return compared(ERROR, columns(energy_score=[100, 100]), columns(energy_score=[*errors]))

    found = over_seeds(
        [
            {WILD_TEST: [of(90, 80)], WILD_VALIDATION: [of(50, 50)]},
            {WILD_TEST: [of(80, 60)]},
            {WILD_TEST: [of(100, 90)], WILD_VALIDATION: [of(50, 50)]},
        ]
    )
    assert list(found) == [WILD_TEST]
    ((error,),) = found.values()
    assert error.of_seeds == pytest.approx((-15, -30, -5))
    assert error.change == pytest.approx(t_interval([-15, -30, -5]))
    assert (error.before, error.after) == pytest.approx((100, 250 / 3))
    assert over_seeds([{WILD_TEST: []}, {WILD_TEST: [of(90, 80)]}]) == {WILD_TEST: []}


def test_names_are_once_and_are_not_those_of_compare() -> None:
    names = [measure.name for measure in (*COMPARED, *NEW)]
    assert len(set(names)) == len(names) == len(MEASURES)
    assert {measure.unit for measure in MEASURES.values()} == {"mm", "px", "%", "1"}
