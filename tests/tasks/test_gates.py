"""Gates: each limit decides, on the split that it is meant to be read on."""

import math

import numpy as np
import pytest

from infra.shards import Tally
from models.statistics import Interval
from schemas.config.stages import GateConfig
from schemas.errors import DataError
from schemas.ids import Target
from schemas.splits import SOURCE_TEST, WILD_TEST, WILD_TRAIN, WILD_VALIDATION
from tasks.gates import (
    all_passed,
    gates_before_promotion,
    gates_before_training,
    gates_for_a_judge,
    gates_of_a_judge,
    gates_of_a_watch,
    margins_of,
    why_not,
)
from tasks.rows.metrics import Metric
from tasks.stages.generate import Generate
from tasks.stages.pair import Pair
from tasks.stages.score import Score
from tests.tasks import micro
from tests.tasks.conftest import MicroStore

CONFIG = GateConfig()


def metrics(**changes: tuple[float, float, float]) -> list[Metric]:
    """A good comparison, but for the changes; the test split says the opposite throughout."""
    good = {
        "zero_noise_mpvpe": (-5.0, -6.0, -4.0),
        "best_of_m_mpvpe": (-4.0, -5.0, -3.0),
        "diversity": (0.85, 0.8, 0.9),
        "drift": (0.5, -0.5, 1.5),
        "drift_expected": (0.7, -0.5, 1.5),
    }
    found = []
    for name, (value, low, high) in {**good, **changes}.items():
        role = "share_of_first" if name == "diversity" else "change"
        target = SOURCE_TEST if name.startswith("drift") else WILD_VALIDATION
        unit = "1" if name == "diversity" else "%"
        found.append(Metric(name, role, target, unit, value, 400, low, high))
        if target == WILD_VALIDATION:
            found.append(Metric(name, role, WILD_TEST, unit, 99.0, 400, 98.0, 100.0))
    return found


def test_a_good_round_is_promoted() -> None:
    verdicts = gates_before_promotion(CONFIG, metrics(), [WILD_VALIDATION], [SOURCE_TEST])
    assert all_passed(verdicts)
    assert why_not(verdicts) == ""
    assert len(verdicts) == 5


@pytest.mark.parametrize(
    ("name", "values", "word"),
    [
        (
            "zero_noise_mpvpe",
            (-2.0, -4.0, 0.0),
            "zero-noise MPVPE, change: -2 %, interval wholly below 0 %: NOT passed",
        ),
        ("best_of_m_mpvpe", (1.1, -1.0, 2.0), "best of M, MPVPE, change: 1.1 %, at most 1 %: NOT passed"),
        ("diversity", (0.74, 0.7, 0.8), "diversity over the first policy's: 0.74, at least 0.75: NOT passed"),
        ("drift", (3.5, 3.0, 4.0), "drift on source, zero noise: 3.5 %, at most 3 %: NOT passed"),
        ("drift_expected", (3.5, 3.0, 4.0), "drift on source, expected: 3.5 %, at most 3 %: NOT passed"),
    ],
)
def test_each_limit_keeps_the_old_policy(name: str, values: tuple[float, float, float], word: str) -> None:
    verdicts = gates_before_promotion(CONFIG, metrics(**{name: values}), [WILD_VALIDATION], [SOURCE_TEST])
    assert why_not(verdicts) == word


def test_the_limits_themselves_pass() -> None:
    edge = {"diversity": (0.75, 0.7, 0.8), "best_of_m_mpvpe": (1.0, 0.5, 1.5), "drift": (3.0, 2.0, 4.0)}
    assert all_passed(gates_before_promotion(CONFIG, metrics(**edge), [WILD_VALIDATION], [SOURCE_TEST]))


def test_every_split_that_is_held_out_for_gates_counts_whatever_their_order() -> None:
    """The test split of these metrics says the opposite: named as one that gates read, it keeps the old policy."""
    for validation in ([WILD_VALIDATION, WILD_TEST], [WILD_TEST, WILD_VALIDATION]):
        verdicts = gates_before_promotion(CONFIG, metrics(diversity=(0.85, 0.8, 0.9)), validation, [SOURCE_TEST])
        assert len(verdicts) == 8
        missed = [(verdict.name, verdict.note) for verdict in verdicts if not verdict.passed]
        assert missed == [(f"{name}, change", f"on {WILD_TEST}") for name in ("zero-noise MPVPE", "best of M, MPVPE")]
    assert all_passed(gates_before_promotion(CONFIG, metrics(), [WILD_VALIDATION], []))


def test_a_missing_number_is_not_a_pass() -> None:
    with pytest.raises(DataError, match="No metric drift with role change on source/test"):
        gates_before_promotion(CONFIG, [m for m in metrics() if m.name != "drift"], [WILD_VALIDATION], [SOURCE_TEST])


def judged(target: Target = WILD_TRAIN, **rises: tuple[float, float, float]) -> list[Metric]:
    """What a judge likes, but for the rises that are given; the levels before and after say the opposite."""
    good = {
        "judge_zero_noise": (0.05, 0.02, 0.08),
        "beyond_limits": (-1.0, -2.0, 0.0),
        "bone_miss": (-0.1, -0.2, 0.0),
    }
    found = []
    for name, (value, low, high) in {**good, **rises}.items():
        unit = "score" if name == "judge_zero_noise" else "percentage points"
        found += [Metric(name, role, target, unit, -99.0, 90, -99.0, -99.0) for role in ("before", "after")]
        found.append(Metric(name, "change", target, unit, value, 90, low, high))
    return found


@pytest.mark.parametrize(
    ("rises", "word"),
    [
        ({}, ""),
        ({"judge_zero_noise": (0.0001, 0.00001, 0.0002)}, ""),
        (
            {"judge_zero_noise": (-0.05, -0.08, -0.02)},
            "judge's score, zero noise, rise: -0.05, interval wholly above 0: NOT passed",
        ),
        (
            {"judge_zero_noise": (0.05, 0.0, 0.1)},
            "judge's score, zero noise, rise: 0.05, interval wholly above 0: NOT passed",
        ),
        ({"beyond_limits": (2.0, 1.0, 3.0)}, ""),
        (
            {"beyond_limits": (2.1, 1.0, 3.0)},
            "bodies beyond joint limits, rise: 2.1 percentage points, at most 2: NOT passed",
        ),
        ({"bone_miss": (0.5, 0.4, 0.6)}, ""),
        ({"bone_miss": (0.6, 0.4, 0.8)}, "miss of bone lengths, rise: 0.6 percentage points, at most 0.5: NOT passed"),
        (
            {"bone_miss": (math.nan, math.nan, math.nan)},
            "miss of bone lengths, rise: nan percentage points, at most 0.5: NOT passed",
        ),
    ],
)
def test_a_judge_decides_by_what_it_likes_and_by_what_can_be(
    rises: dict[str, tuple[float, float, float]], word: str
) -> None:
    verdicts = gates_of_a_judge(CONFIG, judged(**rises), [WILD_TRAIN])
    assert why_not(verdicts) == word
    assert len(verdicts) == 3
    assert {verdict.when for verdict in verdicts} == {"before promotion"}


def test_a_judge_has_to_like_every_split_by_as_much_as_is_asked_for() -> None:
    both = [*judged(), *judged(WILD_TEST, judge_zero_noise=(0.01, -0.01, 0.03))]
    missed = [verdict.note for verdict in gates_of_a_judge(CONFIG, both, [WILD_TRAIN, WILD_TEST]) if not verdict.passed]
    assert missed == [f"on {WILD_TEST}, people set aside"]
    levels = [verdict.note for verdict in gates_of_a_judge(CONFIG, judged(), [WILD_TRAIN])][1:]
    assert levels == [f"on {WILD_TRAIN}, people set aside; from -99.0 to -99.0 %"] * 2
    strict = CONFIG.model_copy(update={"min_judge_rise": 0.02})
    assert not all_passed(gates_of_a_judge(strict, judged(), [WILD_TRAIN]))
    with pytest.raises(DataError, match="No metric judge_zero_noise with role change on wild/test"):
        gates_of_a_judge(CONFIG, judged(), [WILD_TRAIN, WILD_TEST])


def test_a_judge_has_to_see_enough_people_of_every_split() -> None:
    verdicts = gates_for_a_judge(CONFIG, {WILD_TRAIN: 30, WILD_TEST: 29})
    assert why_not(verdicts) == "people for the judge: 29 people, at least 30: NOT passed"
    assert [(verdict.note, verdict.when) for verdict in verdicts] == [
        (f"of {target}", "before training") for target in (WILD_TRAIN, WILD_TEST)
    ]


def followed(**changes: tuple[float, float, float]) -> list[Metric]:
    """A score that rises, which judge and error follow, but for the changes; on another split the opposite."""
    good = {
        "watched_score": (0.03, 0.02, 0.04),
        "watched_judge": (0.02, 0.01, 0.03),
        "watched_error": (-3.0, -4.0, -2.0),
    }
    found = []
    for name, interval in good.items():
        for figure in ("zero_noise", "expected"):
            value, low, high = changes.get(f"{name}_{figure}", interval)
            unit = "%" if name == "watched_error" else "score"
            found.append(Metric(f"{name}_{figure}", "change", WILD_VALIDATION, unit, value, 100, low, high))
            found.append(Metric(f"{name}_{figure}", "change", WILD_TEST, unit, -value, 100, -high, -low))
    return found


def test_where_the_score_rises_error_and_judge_have_to_follow() -> None:
    verdicts = gates_of_a_watch(followed(), [WILD_VALIDATION])
    assert all_passed(verdicts)
    assert [verdict.name for verdict in verdicts] == [
        "zero-noise MPVPE beside the score",
        "judge's zero-noise score beside the score",
        "expected MPVPE beside the score",
        "judge's expected score beside the score",
    ]
    assert verdicts[0].note == "on wild/validation; the scorer's score rises, by +0.030"


@pytest.mark.parametrize(
    ("changes", "missed"),
    [
        ({"watched_error_zero_noise": (-1.0, -2.0, 0.0)}, ["zero-noise MPVPE beside the score"]),
        ({"watched_error_expected": (2.0, 1.0, 3.0)}, ["expected MPVPE beside the score"]),
        ({"watched_judge_zero_noise": (0.01, 0.0, 0.02)}, ["judge's zero-noise score beside the score"]),
        ({"watched_judge_expected": (-0.01, -0.02, -0.005)}, ["judge's expected score beside the score"]),
        # a score that doesn't clearly rise was not learned from: whether errors fall is for other gates
        ({"watched_error_expected": (2.0, 1.0, 3.0), "watched_score_expected": (0.01, 0.0, 0.02)}, []),
        ({"watched_judge_zero_noise": (-0.1, -0.2, 0.0), "watched_score_zero_noise": (-0.1, -0.2, 0.1)}, []),
    ],
)
def test_a_score_that_rises_alone_keeps_the_old_policy(
    changes: dict[str, tuple[float, float, float]], missed: list[str]
) -> None:
    verdicts = gates_of_a_watch(followed(**changes), [WILD_VALIDATION])
    assert [verdict.name for verdict in verdicts if not verdict.passed] == missed


def test_a_watch_reads_what_there_is_and_wants_the_score() -> None:
    alone = [metric for metric in followed() if "judge" not in metric.name]
    assert len(gates_of_a_watch(alone, [WILD_VALIDATION])) == 2
    assert gates_of_a_watch([metric for metric in alone if "error" not in metric.name], [WILD_VALIDATION]) == ()
    assert len(gates_of_a_watch(followed(), [WILD_VALIDATION, WILD_TEST])) == 8
    with pytest.raises(DataError, match="No metric watched_score_zero_noise with role change on wild/train"):
        gates_of_a_watch(followed(), [WILD_TRAIN])


GOOD = {
    "margins": np.full(300, 0.1),
    "spearman": Interval(0.35, 0.3, 0.4),
    "tallies": {"generate": Tally(ok=95, failed=5), "score": Tally(ok=95)},
}


@pytest.mark.parametrize(
    ("changes", "names"),
    [
        ({}, []),
        ({"margins": np.full(199, 0.1)}, ["pairs"]),
        ({"margins": np.array([])}, ["pairs", "mean margin"]),
        ({"margins": np.full(300, 0.01)}, ["mean margin"]),
        ({"margins": np.full(300, math.nan)}, ["mean margin"]),
        ({"spearman": Interval(0.19, 0.1, 0.3)}, ["scorer's Spearman within an instance"]),
        ({"spearman": Interval(math.nan, math.nan, math.nan)}, ["scorer's Spearman within an instance"]),
        ({"tallies": {"generate": Tally(ok=94, failed=6)}}, ["failed share of generate"]),
        ({"tallies": {"generate": Tally()}}, []),
    ],
)
def test_before_training(changes: dict[str, object], names: list[str]) -> None:
    verdicts = gates_before_training(CONFIG, **{**GOOD, **changes})  # type: ignore[arg-type]
    assert [verdict.name for verdict in verdicts if not verdict.passed] == names
    assert {verdict.when for verdict in verdicts} == {"before training"}


def test_margins_are_those_of_the_pairs(micro_store: MicroStore) -> None:
    context, keys = micro_store.context, [micro_store.ingest_key]
    made = Generate(keys, (WILD_TRAIN,), micro_store.policy, micro.CONFIG.generate).run(context).key
    scored = Score(made, keys, micro_store.scorer).run(context).key
    margins = margins_of(micro_store.store, Pair(made, scored, micro.CONFIG.pair).run(context).key)
    assert margins.shape == (24,)
    assert (margins > 0).all()
