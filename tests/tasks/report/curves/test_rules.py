"""The curve doctor's rules, each with a case that is so and one beside it, just not so."""

import math
from collections.abc import Mapping

import numpy as np
import pytest

from models.statistics import Interval
from schemas.ids import Target
from tasks.report.curves.findings import Row
from tasks.report.curves.lines import LegCurves, Line
from tasks.report.curves.rules import (
    Evidence,
    Lacks,
    Look,
    both_errors_rise,
    diversity_collapses,
    loss_is_stuck,
    margin_without_error,
    score_without_error,
    winners_error_rises,
)
from tasks.rows.metrics import Metric

HERE = Target("wild", "validation")
STEPS = np.arange(0, 200, 5)
"""40 points: windows of five."""
UP, DOWN, FLAT = np.linspace(0, 1, 40), np.linspace(1, 0, 40), np.zeros(40)
LOG2 = 2 * math.log(2)


def noise(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 0.1, 40)


def curves(**values: np.ndarray) -> tuple[LegCurves, ...]:
    return (LegCurves(1, {name: Line(STEPS[: len(one)], one) for name, one in values.items()}),)


def errors(
    zero: tuple[float, float], expected: tuple[float, float] = (-1, 1)
) -> Mapping[tuple[str, str, Target], Metric]:
    found = [
        Metric(f"{name}_mpvpe", "change", HERE, "%", sum(span) / 2, 9, *span)
        for name, span in (("zero_noise", zero), ("expected", expected))
    ]
    return {(one.name, one.role, HERE): one for one in found}


def seen(**what: object) -> Evidence:
    return Evidence("dpo", **{"validation": (HERE,), **what})  # type: ignore[arg-type]


def rows(look: Look, evidence: Evidence) -> list[Row]:
    found = look(evidence)
    assert not isinstance(found, Lacks), found
    return list(found)


@pytest.mark.parametrize(
    ("winner", "loser", "both", "winner_alone"),
    [
        (UP, UP, True, False),
        (UP, FLAT, False, True),
        (UP, DOWN, False, True),
        (FLAT, UP, False, False),
        (DOWN, UP, False, False),
        (DOWN, DOWN, False, False),
    ],
)
def test_errors_that_rise(winner: np.ndarray, loser: np.ndarray, both: bool, winner_alone: bool) -> None:
    legs = curves(winner_change=winner + noise(), loser_change=loser + noise(1))
    assert bool(rows(both_errors_rise, seen(legs=legs))) == both
    assert bool(rows(winners_error_rises, seen(legs=legs))) == winner_alone


def test_the_ends_lie_wholly_apart() -> None:
    """The last window's middle half has to lie wholly above the first one's: at the same place it does not."""
    first, last = np.array([0.0, 1, 2, 3, 4]), np.array([2.0, 3, 4, 5, 6])  # quartiles 1 to 3, and 3 to 5
    for lift, rises in ((0.0, False), (0.01, True)):
        line = np.concatenate([first, np.linspace(2.1, 3.9, 30), last + lift])
        legs = curves(winner_change=line, loser_change=line)
        assert bool(rows(both_errors_rise, seen(legs=legs))) == rises


def test_noise_is_no_rise() -> None:
    """The ends of every tenth curve of mere noise lie apart by chance."""
    alarms = sum(
        bool(rows(winners_error_rises, seen(legs=curves(winner_change=noise(seed), loser_change=FLAT))))
        for seed in range(100)
    )
    assert alarms <= 1


def test_a_trifle_is_no_rise() -> None:
    for scale, rises in ((0.009, False), (0.02, True)):
        legs = curves(winner_change=scale * UP, loser_change=FLAT, winner=np.ones(40))
        assert bool(rows(winners_error_rises, seen(legs=legs))) == rises


def test_rows_say_which_steps_and_values() -> None:
    legs = curves(winner_change=UP, loser_change=2 * UP)
    first, last, _, loser = rows(both_errors_rise, seen(legs=legs))
    assert (first.name, first.where) == ("winner_change", "steps 0 to 20")
    assert (last.name, last.where) == ("winner_change", "steps 175 to 195")
    assert (last.value, last.low, last.high) == pytest.approx((UP[-3], UP[-4], UP[-2]))
    assert (loser.name, loser.value) == ("loser_change", pytest.approx(2 * UP[-3]))


def test_a_leg_is_looked_at_by_itself() -> None:
    """Of legs that each fall, the second higher than the first, none rises; and the one that does is named."""
    falling = LegCurves(1, {name: Line(STEPS, DOWN) for name in ("winner_change", "loser_change")})
    higher = LegCurves(2, {name: Line(STEPS, DOWN + 5) for name in ("winner_change", "loser_change")})
    rising = LegCurves(2, {name: Line(STEPS, UP) for name in ("winner_change", "loser_change")})
    assert rows(both_errors_rise, seen(legs=(falling, higher))) == []
    assert {row.where.split(",")[0] for row in rows(both_errors_rise, seen(legs=(falling, rising)))} == {"leg 2"}


def test_without_a_reference_the_errors_themselves_are_looked_at() -> None:
    assert rows(winners_error_rises, seen(legs=curves(winner=UP, loser=FLAT)))[0].name == "winner"


@pytest.mark.parametrize(("share", "stuck"), [(1.0, True), (0.99, True), (0.97, False), (0.5, False), (1.2, True)])
def test_a_loss_that_is_stuck(share: float, stuck: bool) -> None:
    line = np.concatenate([np.full(20, LOG2), np.full(20, share * LOG2)])
    assert bool(rows(loss_is_stuck, seen(legs=curves(preference=line)))) == stuck


def test_a_loss_that_begins_elsewhere_is_not_called_stuck() -> None:
    found = loss_is_stuck(Evidence("ipo", curves(preference=np.full(40, LOG2))))
    assert isinstance(found, Lacks)
    assert "ipo does not begin at log 2" in found.what


@pytest.mark.parametrize(
    ("loser", "zero", "expected", "so"),
    [
        (UP, (-1, 1), (-1, 1), True),
        (UP, (0.5, 1), (0.5, 1), True),
        (UP, (-2, -1), (-1, 1), False),
        (UP, (-1, 1), (-2, -1), False),
        (FLAT, (-1, 1), (-1, 1), False),
        (DOWN, (-1, 1), (-1, 1), False),
    ],
)
def test_a_margin_that_rises_while_no_error_falls(
    loser: np.ndarray, zero: tuple[float, float], expected: tuple[float, float], so: bool
) -> None:
    legs = curves(loser_change=loser, winner_change=FLAT)
    assert bool(rows(margin_without_error, seen(legs=legs, metrics=errors(zero, expected)))) == so


def test_the_margin_is_of_both_sides() -> None:
    """Where winners' errors rise as losers' do, no margin does."""
    assert (
        rows(margin_without_error, seen(legs=curves(loser_change=UP, winner_change=UP), metrics=errors((-1, 1)))) == []
    )


@pytest.mark.parametrize(
    ("score", "zero", "so"),
    [
        (Interval(0.1, 0.01, 0.2), (-1, 1), True),
        (Interval(0.1, 0.01, 0.2), (1, 2), True),
        (Interval(0.1, 0.01, 0.2), (-2, -1), False),
        (Interval(0.1, -0.01, 0.2), (-1, 1), False),
        (Interval(-0.1, -0.2, -0.01), (1, 2), False),
    ],
)
def test_a_score_that_rises_while_no_error_falls(score: Interval, zero: tuple[float, float], so: bool) -> None:
    found = rows(score_without_error, seen(metrics=errors(zero), score_changes={HERE: score}))
    assert bool(found) == so
    if so:
        assert [row.value for row in found] == [score.value, sum(zero) / 2]
        assert {row.where for row in found} == {f"{HERE}, change"}


@pytest.mark.parametrize(
    ("change", "share", "so"),
    [
        ((-15, -14), (0.85, 0.86), True),  # 0.86 * 0.86 is below 0.75
        ((-12, -11), (0.83, 0.84), True),
        ((-12, -11), (0.85, 0.86), False),  # 0.86 * 0.89 is not
        ((-1, 1), (0.70, 0.71), False),  # it was low before, and stays
        ((-0.2, -0.1), (0.70, 0.71), True),
        ((5, 6), (0.70, 0.71), False),
    ],
)
def test_diversity_that_collapses(change: tuple[float, float], share: tuple[float, float], so: bool) -> None:
    metrics = [
        Metric("diversity", "change", HERE, "%", sum(change) / 2, 9, *change),
        Metric("diversity", "share_of_first", HERE, "1", sum(share) / 2, 9, *share),
    ]
    assert bool(rows(diversity_collapses, seen(metrics={(one.name, one.role, HERE): one for one in metrics}))) == so


@pytest.mark.parametrize("look", [both_errors_rise, winners_error_rises, loss_is_stuck, margin_without_error])
def test_few_points_say_nothing(look: Look) -> None:
    few = curves(winner_change=UP[:9], loser_change=UP[:9], preference=UP[:9])
    found = look(seen(legs=few, metrics=errors((-1, 1))))
    assert isinstance(found, Lacks)
    assert "points enough" in found.what


@pytest.mark.parametrize("look", [margin_without_error, score_without_error, diversity_collapses])
def test_what_was_not_measured_is_said(look: Look) -> None:
    found = look(seen(legs=curves(loser_change=UP, winner_change=FLAT)))
    assert isinstance(found, Lacks)
    assert "before and after" in found.what


def test_numbers_that_are_none_say_nothing() -> None:
    line = np.full(40, np.nan)
    assert isinstance(both_errors_rise(seen(legs=curves(winner_change=line, loser_change=line))), Lacks)
    broken = {HERE: Interval(0.1, np.nan, 0.2)}
    assert isinstance(score_without_error(seen(metrics=errors((-1, 1)), score_changes=broken)), Lacks)
