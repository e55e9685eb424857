"""Every measure that a page or a card can show has its sentence."""

import numpy as np
import pytest

from infra.shards import Tally
from models.statistics import Interval
from schemas.config.stages import GateConfig
from schemas.ids import Target
from tasks.gates import gates_before_promotion, gates_before_training, gates_for_a_judge, gates_of_a_judge
from tasks.measures.table import MEASURES
from tasks.report.definitions import DEFINITIONS, defined, in_words
from tasks.report.fill import _PANELS
from tasks.rows.metrics import BEYOND, BONES, SCORE, Metric

HERE = Target("wild", "validation")


def measures(*titles: str) -> list[str]:
    return [one.measure for one in defined(titles)]


def test_a_sentence_each_and_no_measure_twice() -> None:
    names = [one.measure for one in DEFINITIONS]
    assert len(set(names)) == len(names)
    for one in DEFINITIONS:
        assert one.text.endswith("."), one.measure
        assert one.stands_in(one.measure), one.measure


@pytest.mark.parametrize(
    ("title", "found"),
    [
        ("zero-noise MPVPE", ["MPVPE", "zero-noise"]),
        ("expected PA-MPJPE", ["PA-MPJPE", "expected"]),
        ("best of 10 MPJPE", ["MPJPE", "best of M"]),
        ("selected MPVPE", ["MPVPE", "selected"]),
        ("scorer's Spearman within an instance, wild/test", ["Spearman"]),
        ("mean margin of the pairs", ["margin", "pairs"]),
        ("change of zero-noise MPVPE minus that of random pairs", ["MPVPE", "zero-noise", "change", "random pairs"]),
        ("AUC of the score for swapped labels", ["AUC", "swapped", "score"]),
        ("pseudo-labels kept", ["kept share"]),
        ("pseudo-labels dropped", ["dropped"]),
        ("disagreement with the scorer, small margins", ["disagreement with the scorer"]),
        ("agreement between reviewers", ["agreement between reviewers"]),
        ("Cohen's kappa", ["kappa"]),
        ("pairs that people swapped", ["pairs"]),
        ("Held-out wild/test", []),
        ("mean age", []),
    ],
)
def test_what_a_title_speaks_of(title: str, found: list[str]) -> None:
    assert measures(title) == found


def test_every_gate_and_every_curve_is_defined() -> None:
    interval = Interval(1.0, 0.5, 1.5)
    names = ("zero_noise_mpvpe", "best_of_m_mpvpe", "drift", "drift_expected")
    metrics = [Metric.of(name, "change", HERE, "%", interval, 9) for name in names]
    metrics.append(Metric.of("diversity", "share_of_first", HERE, "1", interval, 9))
    roles = ("before", "after", "change")
    judged = [Metric.of(name, role, HERE, "%", interval, 9) for name in (SCORE, BEYOND, BONES) for role in roles]
    gates = [
        *gates_before_training(GateConfig(), np.ones(3), interval, {"ingest": Tally(ok=1)}),
        *gates_before_promotion(GateConfig(), metrics, (HERE,), (HERE,)),
        *gates_for_a_judge(GateConfig(), {HERE: 9}),
        *gates_of_a_judge(GateConfig(), judged, (HERE,)),
    ]
    for title in [*(gate.name for gate in gates), *(title for title, *_ in _PANELS)]:
        assert measures(title), title


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("zero_noise_mpvpe", "zero-noise MPVPE"),
        ("best_of_m_pa_mpjpe", "best of 10 PA-MPJPE"),
        ("selected_mpjpe", "selected MPJPE"),
        ("diversity", "diversity"),
        ("spearman_within_mpvpe", "Spearman within a person, MPVPE"),
    ],
)
def test_metrics_in_words(name: str, words: str) -> None:
    assert in_words(name, 10) == words
    assert measures(words)


def test_every_measure_of_the_table_is_defined() -> None:
    for measure in MEASURES.values():
        assert measures(measure.title), measure.name
        assert measures(f"{measure.title}, difference"), measure.name
