"""Measures over rounds: the first policy as round 0, each round once, controls beside, other roles left out."""

from typing import Any

from tasks.report.curves.trends import Point, trends


def row(key: str, name: str, role: str, value: float, **more: Any) -> dict[str, Any]:
    plain = {"stage_key": key, "name": name, "role": role, "value": value, "low": value - 1, "high": value + 1}
    return {**plain, "n": 9, "unit": "mm", "dataset": "wild", "split": "test", **more}


def test_the_policy_goes_from_round_to_round() -> None:
    rows = [
        row("one", "zero_noise_mpvpe", "before", 100),
        row("one", "zero_noise_mpvpe", "after", 90),
        row("one", "zero_noise_mpvpe", "random_pairs", 99, low=None, high=None),
        row("one", "zero_noise_mpvpe", "change", -10, unit="%"),
        row("two", "zero_noise_mpvpe", "before", 91),
        row("two", "zero_noise_mpvpe", "after", 85),
        row("two", "diversity", "after", 60),
        row("two", "drift", "change", 0.5, unit="%", dataset="source"),
    ]
    drift, zero, diversity = trends(rows, {"one": 1, "two": 2})
    assert (drift.split, drift.name, drift.unit, drift.lines[0].name) == ("source/test", "drift", "%", "change")
    assert (zero.name, zero.unit, zero.rounds, zero.split) == ("zero_noise_mpvpe", "mm", [0, 1, 2], "wild/test")
    policy, control = zero.lines
    assert policy.name == "policy"
    assert policy.points == [Point(100, 99, 101, 9), Point(90, 89, 91, 9), Point(85, 84, 86, 9)]
    assert (control.name, control.points) == ("random pairs", [None, Point(99, None, None, 9), None])
    assert diversity.lines[0].points == [None, None, Point(60, 59, 61, 9)]


def test_a_round_that_did_not_measure_leaves_a_gap() -> None:
    """Then the round after it says what its policy was before."""
    rows = [row(key, "diversity", role, at) for key, role, at in (("one", "after", 1), ("three", "before", 2))]
    (trend,) = trends(rows, {"one": 1, "three": 3})
    assert trend.rounds == [0, 1, 2, 3]
    assert [None if point is None else point.value for point in trend.lines[0].points] == [None, 1, 2, None]
