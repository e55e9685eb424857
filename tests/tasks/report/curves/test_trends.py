"""Measures over rounds: the first policy as round 0, each round once, controls beside, other roles left out."""

from pathlib import Path
from typing import Any

from infra import rounds
from infra.store import Store
from tasks.report.curves.trends import Point, refused_rounds, trends


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


def test_a_candidate_that_was_refused_is_not_the_policy() -> None:
    rows = [
        row(key, "zero_noise_mpvpe", role, value)
        for key, role, value in (
            ("one", "before", 100),
            ("one", "after", 105),
            ("one", "random_pairs", 103),
            ("two", "before", 100),
            ("two", "after", 96),
            ("three", "before", 96),
            ("three", "after", 99),
        )
    ]
    rows += [row("three", "drift", "change", 4.0, unit="%"), row("two", "drift", "change", 1.0, unit="%")]
    zero, drift = trends(rows, {"one": 1, "two": 2, "three": 3}, {1, 3})
    lines = {line.name: [point and point.value for point in line.points] for line in zero.lines}
    assert lines == {
        "policy": [100, 100, 96, 96],
        "random pairs": [None, 103, None, None],
        "refused candidate": [None, 105, None, 99],
    }
    assert zero.lines[0].name == "policy", "the thick line"
    lines = {line.name: [point and point.value for point in line.points] for line in drift.lines}
    assert lines == {"change": [None, None, 1.0, None], "refused candidate": [None, None, None, 4.0]}


def test_the_log_says_which_rounds_were_refused(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "store")
    for campaign in ("c", "other"):
        rounds.begin(store, campaign, "base")
        rounds.open_round(store, campaign, 1)
    rounds.keep(store, "c", 1, "a gate does not hold")
    rounds.close_round(store, "c", 1)
    rounds.open_round(store, "c", 2)
    rounds.promote(store, "c", 2, "better", "all gates hold")
    assert refused_rounds(store, "c") == {1}
    assert refused_rounds(store, "other") == set()


def test_a_round_that_did_not_measure_leaves_a_gap() -> None:
    """Then the round after it says what its policy was before."""
    rows = [row(key, "diversity", role, at) for key, role, at in (("one", "after", 1), ("three", "before", 2))]
    (trend,) = trends(rows, {"one": 1, "three": 3})
    assert trend.rounds == [0, 1, 2, 3]
    assert [None if point is None else point.value for point in trend.lines[0].points] == [None, 1, 2, None]
