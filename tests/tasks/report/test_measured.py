"""Rows of the report: what a control can't say is not shown, and the term that makes the gain is named."""

from dataclasses import replace

from schemas.profiles import micro, paper, tiny
from schemas.splits import WILD_TEST
from tasks.report.facts import RoundFacts
from tasks.report.fill import summary
from tasks.report.measured import DEPTH_NOTE, Metrics, estimate_notice, headline, notices, sentence
from tasks.rows.metrics import Metric

DPO = RoundFacts("dpo", "c", 1, "a" * 64, "b" * 64, "a" * 64, "s" * 64, ())


def found() -> dict[tuple[str, str, object], Metric]:
    rows = [
        Metric(name, role, WILD_TEST, unit, value, 10, value - 1, value + 1)
        for name in ("zero_noise_mpvpe", "expected_mpvpe")
        for role, unit, value in (
            ("before", "mm", 200.0),
            ("after", "mm", 190.0),
            ("change", "%", -5.0),
            ("change_less_noise", "%", 0.0),
            ("change_random_pairs", "%", -1.0),
        )
    ]
    return {(row.name, row.role, row.target): row for row in rows}


def test_less_noise_says_nothing_of_zero_noise() -> None:
    (group,) = headline(found(), tiny())
    controls = {row.name.split(" ")[0]: set(row.controls) for row in group.rows}
    assert controls == {"zero-noise": {"random pairs"}, "expected": {"random pairs", "less noise"}}


def test_where_the_numbers_stand_the_depth_is_said_to_be_the_labels() -> None:
    (group,) = headline(found(), tiny())
    assert DEPTH_NOTE in group.note


def test_the_estimate_term_is_named_where_it_was_trained_on() -> None:
    assert "estimate" in "".join(notices(DPO, micro()))
    assert "not DPO's" in estimate_notice(micro())
    assert notices(replace(DPO, notices=("first",)), micro())[0] == "first"
    config = micro()
    without = config.model_copy(update={"align": config.align.model_copy(update={"encoder_distillation": 0.0})})
    assert not any(map(estimate_notice, (tiny(), paper(), without)))
    assert not notices(replace(DPO, kind="clean"), config)
    assert not notices(replace(DPO, policy_after=None), config)


def test_what_has_not_clearly_changed_is_not_said_to_have_fallen() -> None:
    assert sentence(found(), tiny()) == f"On held-out {WILD_TEST}, zero-noise MPVPE fell by 5.0 %."
    for value, low, high, words in (
        (-0.5, -1.5, 0.0, "did not clearly change (-0.5 %)"),
        (0.5, 0.1, 1.0, "rose by 0.5 %"),
    ):
        change = Metric("zero_noise_mpvpe", "change", WILD_TEST, "%", value, 10, low, high)
        metrics: Metrics = {**found(), ("zero_noise_mpvpe", "change", WILD_TEST): change}
        assert sentence(metrics, tiny()) == f"On held-out {WILD_TEST}, zero-noise MPVPE {words}."


def test_figures_beside_a_judges_decision_are_said_to_be_beside_it() -> None:
    facts = replace(DPO, judge="j" * 64, promoted=False, why="no error was measured, the judge decided: all is worse")
    told = "No error was measured, the judge decided: all is worse. The old policy stays current."
    assert summary(facts, "") == told
    assert (
        summary(facts, "On held-out wild/test, it fell.")
        == f"{told} No gate read this: on held-out wild/test, it fell."
    )
