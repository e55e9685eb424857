"""Compare: numbers as by hand, paired over the instances that all evaluations have."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from infra.stages import find
from infra.tables import read
from models.cameras import camera_from_uvd
from models.statistics import bootstrap_mean, overall_spearman, paired_bootstrap_change
from schemas.config.stages import EvaluateConfig
from schemas.errors import DataError
from schemas.ids import Target
from schemas.splits import SOURCE_TEST, WILD_VALIDATION
from tasks.compare import ERRORS, EvaluationTable, evaluation_table, measure, ranking
from tasks.rows.hypotheses import read_hypotheses
from tasks.rows.instances import load_instances
from tasks.rows.metrics import Metric, read_metrics
from tasks.stages.compare import Compare
from tasks.stages.evaluate import Evaluate
from tests.tasks import micro
from tests.tasks.conftest import MicroStore

CONFIG = EvaluateConfig(resamples=200)


def table(errors: list[list[float]], scores: list[list[float]], diversity: list[float]) -> EvaluationTable:
    values = np.array(errors)
    ids = tuple(f"wild/validation/{row}#0" for row in range(len(errors)))
    named = {"mpvpe": values, "mpjpe": values / 2, "pa_mpjpe": values / 4}
    return EvaluationTable(ids, named, np.array(scores), np.array(diversity))


BEFORE = table([[100, 90, 110, 130], [60, 80, 40, 60]], [[0.9, 0.3, 0.2, 0.1], [0.1, 0.2, 0.6, 0.4]], [50, 70])
AFTER = table([[90, 80, 100, 60], [54, 50, 50, 44]], [[0.9, 0.2, 0.1, 0.3], [0.1, 0.8, 0.6, 0.4]], [40, 50])
RANDOM = table([[100, 95, 105, 130], [60, 80, 40, 60]], [[0.9, 0.3, 0.2, 0.1], [0.1, 0.2, 0.6, 0.4]], [50, 64])


def by_name(found: list[Metric]) -> dict[tuple[str, str], Metric]:
    named = {(metric.name, metric.role): metric for metric in found}
    assert len(named) == len(found)
    return named


def test_figures_by_hand() -> None:
    tables = {"before": BEFORE, "after": AFTER, "random_pairs": RANDOM, "first": BEFORE}
    found = by_name(list(measure(WILD_VALIDATION, tables, {"after": "f" * 64}, CONFIG)))

    def value(name: str, role: str) -> float:
        return found[name, role].value

    assert value("zero_noise_mpvpe", "before") == 80
    assert value("expected_mpvpe", "before") == (110 + 60) / 2
    assert value("best_of_m_mpvpe", "before") == (90 + 40) / 2
    assert value("selected_mpvpe", "before") == (90 + 40) / 2
    assert value("selected_mpvpe", "after") == (60 + 50) / 2
    assert value("expected_mpjpe", "after") == (80 + 48) / 4
    assert value("diversity", "after") == 45
    assert value("zero_noise_mpvpe", "change") == pytest.approx(-10)
    assert value("best_of_m_mpvpe", "change") == pytest.approx(-20)
    assert value("best_of_m_pa_mpjpe", "change") == pytest.approx(-20)
    assert value("zero_noise_mpvpe", "change_random_pairs") == 0
    assert value("best_of_m_mpvpe", "change_random_pairs") == pytest.approx(100 * (135 / 130 - 1))
    assert value("best_of_m_mpvpe", "change_minus_random_pairs") == pytest.approx(-20 - 100 * (135 / 130 - 1))
    assert value("diversity", "share_of_first") == pytest.approx(45 / 60)
    # before: perfect order in one instance (1), and 60 mm (score .4), 80 (.2), 40 (.6) in the other (1)
    assert value("spearman_within_mpvpe", "before") == 1
    # after: 80, 100, 60 mm with scores .2, .1, .3 (1); 50, 50, 44 mm with .8, .6, .4: ranks 1.5, 1.5, 3 against 3, 2, 1
    assert value("spearman_within_mpvpe", "after") == pytest.approx((1 - np.sqrt(0.75)) / 2)
    # before, over all: 110 mm and 60 mm on average, so the order of scores is not that of errors any more
    overall = overall_spearman(BEFORE.scores[:, 1:], BEFORE.errors["mpvpe"][:, 1:])
    assert value("spearman_overall_mpvpe", "before") == overall < 1
    assert not [name for name, _ in found if name.startswith("drift")]
    assert found["zero_noise_mpvpe", "change"].model == "f" * 64
    assert {metric.n for metric in found.values()} == {2}


def test_best_of_m_is_over_the_random_samples_alone() -> None:
    """A zero-noise sample that is better than all of them is none of them."""
    good_zero = table([[10, 90, 110, 130], [5, 80, 40, 60]], [[0.9, 0.3, 0.2, 0.1]] * 2, [50, 70])
    assert good_zero.figures()["best_of_m_mpvpe"].tolist() == [90, 40]
    assert good_zero.figures()["expected_mpvpe"].tolist() == [110, 60]
    assert good_zero.figures()["selected_mpvpe"].tolist() == [90, 80]
    assert good_zero.figures()["zero_noise_mpvpe"].tolist() == [10, 5]


def test_the_share_of_diversity_is_taken_of_the_campaigns_first_policy() -> None:
    first = replace(BEFORE, diversity=np.array([100.0, 80.0]))
    found = by_name(list(measure(WILD_VALIDATION, {"before": BEFORE, "after": AFTER, "first": first}, {}, CONFIG)))
    assert found["diversity", "share_of_first"].value == pytest.approx(45 / 90)
    assert found["diversity", "change"].value == pytest.approx(100 * (45 / 60 - 1))


def test_drift_is_the_change_on_source() -> None:
    tables = {"before": BEFORE, "after": AFTER, "first": BEFORE}
    found = by_name(list(measure(SOURCE_TEST, tables, {}, CONFIG)))
    for drift, name in (("drift", "zero_noise_mpvpe"), ("drift_expected", "expected_mpvpe")):
        one, other = found[drift, "change"], found[name, "change"]
        assert (one.value, one.low, one.high) == (other.value, other.low, other.high)


def test_intervals_are_those_of_the_paired_bootstrap() -> None:
    found = by_name(list(measure(WILD_VALIDATION, {"before": BEFORE, "after": AFTER, "first": BEFORE}, {}, CONFIG)))
    expected = paired_bootstrap_change([110, 60], [80, 48], resamples=200, seed=CONFIG.seed)
    seen = found["expected_mpvpe", "change"]
    assert (seen.value, seen.low, seen.high) == expected
    mean = bootstrap_mean([110, 60], resamples=200, seed=CONFIG.seed)
    seen = found["expected_mpvpe", "before"]
    assert (seen.value, seen.low, seen.high) == mean


def test_of_an_evaluation_without_scores_nothing_is_selected_or_ranked() -> None:
    bare = replace(RANDOM, scores=None)
    scored, unscored = (
        by_name(
            list(
                measure(WILD_VALIDATION, {"before": BEFORE, "after": AFTER, "random": one, "first": BEFORE}, {}, CONFIG)
            )
        )
        for one in (RANDOM, bare)
    )
    lost = set(scored) - set(unscored)
    roles = ("random", "change_random", "change_minus_random")
    assert lost == {(f"selected_{name}", role) for name in ERRORS for role in roles}
    assert all(unscored[key].value == scored[key].value for key in unscored)
    assert bare.among(bare.ids[:1]).scores is None
    assert ranking(bare, "mpvpe", 100, 0)[1] == 0


def test_a_policy_without_diversity_can_still_be_compared() -> None:
    still = table([[100, 100, 100, 100]] * 2, [[0.5] * 4] * 2, [0, 0])
    found = by_name(list(measure(WILD_VALIDATION, {"before": still, "after": still, "first": still}, {}, CONFIG)))
    assert ("diversity", "change") not in found
    assert ("diversity", "share_of_first") not in found
    assert ("spearman_within_mpvpe", "before") not in found
    assert np.isnan(ranking(still, "mpvpe", 100, 0)[0].value)


@pytest.mark.slow
def test_stage_on_real_evaluations(micro_store: MicroStore) -> None:
    context, keys = micro_store.context, [micro_store.ingest_key]
    other = micro.untrained(micro_store.store, "policy", seed=5)

    def evaluated(policy: str, targets: tuple[Target, ...] = (WILD_VALIDATION, SOURCE_TEST)) -> str:
        return Evaluate(keys, targets, policy, micro_store.scorer, micro.CONFIG.evaluate).run(context).key

    before, after = evaluated(micro_store.policy), evaluated(other)
    less = (
        Evaluate(keys, (WILD_VALIDATION, SOURCE_TEST), micro_store.policy, None, micro.CONFIG.evaluate, 0.4)
        .run(context)
        .key
    )
    result = Compare(before, after, {"less_noise": less}).run(context)
    assert not result.reused
    assert result.key == Compare(before, after, {"less_noise": less}).spec(context).key
    assert Compare(before, after, {"less_noise": less}).run(context).reused
    found = {
        (metric.target, metric.name, metric.role): metric for metric in read_metrics(micro_store.store, result.key)
    }
    rows = read(micro_store.store, "errors", stage_keys=[after]).to_pylist()
    zero = [r["mpvpe_mm"] for r in rows if r["sample_index"] == 0 and r["dataset"] == "wild"]
    assert found[WILD_VALIDATION, "zero_noise_mpvpe", "after"].value == pytest.approx(np.mean(zero))
    assert found[WILD_VALIDATION, "zero_noise_mpvpe", "after"].model == other
    assert found[WILD_VALIDATION, "zero_noise_mpvpe", "change_less_noise"].value == 0
    assert found[WILD_VALIDATION, "diversity", "change_less_noise"].value < -30
    assert (SOURCE_TEST, "drift", "change") in found
    assert (WILD_VALIDATION, "selected_mpvpe", "change") in found
    assert (WILD_VALIDATION, "selected_mpvpe", "change_less_noise") not in found
    assert find(micro_store.store, result.key) is not None

    only_wild = evaluated(other, targets=(WILD_VALIDATION,))
    with pytest.raises(DataError, match="evaluation of after has no instance of source/test"):
        Compare(before, only_wild, {}).run(context)
    with pytest.raises(DataError, match="no finished evaluation"):
        Compare(micro_store.ingest_key, after, {}).run(context)


def test_diversity_is_the_spread_of_the_random_samples(micro_store: MicroStore) -> None:
    keys = [micro_store.ingest_key]
    config = micro.CONFIG.evaluate
    key = (
        Evaluate(keys, (WILD_VALIDATION,), micro_store.policy, micro_store.scorer, config).run(micro_store.context).key
    )
    read_back = evaluation_table(micro_store.store, key)[WILD_VALIDATION]
    found = load_instances(micro_store.store, keys, read_back.ids)
    made = read_hypotheses(micro_store.store, key, read_back.ids).hypotheses
    spreads = []
    for row in range(3):
        poses = []
        for sample in (1, 2, 3):
            uvd = torch.tensor(made.uvd[row, sample])[None]
            camera = torch.tensor(found.crop_intrinsics[row])[None]
            joints = camera_from_uvd(uvd, camera, 64, torch.tensor([found.root_depth[row]]))[0].numpy()
            poses.append(joints - joints[0])
        away = np.array(poses) - np.mean(poses, axis=0)
        spreads.append(np.sqrt((away**2).sum(-1).mean(0)).mean() * 1000)
    np.testing.assert_allclose(read_back.diversity[:3], spreads, rtol=1e-4)
