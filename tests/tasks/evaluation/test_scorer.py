"""Evaluations of scorers: correlations of score and error as published, on noised labels and on given hypotheses."""

import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from flows.run.steps.asked import keeping
from infra.stages import find
from infra.tables import read
from models.calibration import calibrate, calibration_error
from models.skeleton import SMPLX_VERTICES
from models.statistics import Correlations, published_correlations
from schemas.errors import ConfigError, DataError
from schemas.ids import Target
from schemas.splits import SOURCE_TEST, WILD_TRAIN
from tasks.engine.context import Context
from tasks.evaluation.mirrorless import as_published
from tasks.evaluation.score_noised import ERRORS, NOISED
from tasks.evaluation.scorer import GIVEN, given_hypotheses
from tasks.ingest.hypotheses.stage import IngestHypotheses
from tasks.rows.calibrations import SAMPLES, find_calibration, find_expected_mpvpe
from tasks.rows.instances import NO_LABEL
from tasks.rows.metrics import Metric, read_metrics
from tasks.rows.scores import Scored
from tasks.score import HypothesisScorer
from tasks.stages.evaluate import Evaluate
from tasks.stages.published_scorer import EvaluateScorer, ScoreNoised
from tasks.stages.score import Score
from tests.models.smplx_file import smplx_arrays
from tests.samples.preferences import write_hypothesis_cache, write_scorer_cache
from tests.samples.truth import true_people
from tests.tasks import micro
from tests.tasks.conftest import MicroStore

pytestmark = pytest.mark.slow

M = 5
TARGET = SOURCE_TEST


def evaluated(held: MicroStore, target: Target = TARGET, given: str | None = None) -> dict[str, Metric]:
    noised = ScoreNoised((held.ingest_key,), target, held.scorer, M, "tiny")
    stage = EvaluateScorer(target, noised if given is None else Score(given, (given,), held.scorer))
    result = stage.run(held.context)
    assert result.key == stage.key(held.context)
    assert stage.run(held.context).reused
    metrics = read_metrics(held.store, result.key)
    assert {metric.model for metric in metrics} == {held.scorer}
    return {metric.name: metric for metric in metrics}


def columns(held: MicroStore, errors_key: str, scores_key: str, names: tuple[str, ...]) -> dict[str, np.ndarray]:
    """(N, M) each."""
    order = [("instance_id", "ascending"), ("sample_index", "ascending")]
    errors = read(held.store, "errors", stage_keys=[errors_key]).sort_by(order)
    scores = read(held.store, "scores", stage_keys=[scores_key]).sort_by(order)
    count = len(set(errors.column("sample_index").to_pylist()))
    found = {name: errors.column(f"{name}_mm").to_numpy().reshape(-1, count) for name in names}
    return found | {"score": scores.column("score").to_numpy().reshape(-1, count)}


def assert_published(found: dict[str, Metric], table: dict[str, np.ndarray], names: tuple[str, ...], role: str) -> None:
    assert len(found) == 6 * len(names)
    for name in names:
        together = published_correlations(table["score"], table[name])
        each = [published_correlations(*pair) for pair in zip(table["score"], table[name], strict=True)]
        within = Correlations(*np.nanmean(each, axis=0))
        for figure in Correlations._fields:
            one, other = found[f"published_{figure}_{name}"], found[f"published_{figure}_within_{name}"]
            assert one.value == pytest.approx(getattr(together, figure))
            assert other.value == pytest.approx(getattr(within, figure))
            assert (one.role, other.role, one.n, other.n) == (role, role, len(table["score"]), len(table["score"]))
            assert other.low is not None
            assert other.high is not None
            assert other.low <= other.value <= other.high


def test_noised_labels(micro_store: MicroStore) -> None:
    found = evaluated(micro_store)
    spec = ScoreNoised((micro_store.ingest_key,), TARGET, micro_store.scorer, M, "tiny").spec(micro_store.context)
    record = find(micro_store.store, spec.key)
    assert record is not None
    assert (record.tally.ok, record.rows["errors"], record.rows["scores"]) == (12, 12 * M, 12 * M)
    assert_published(found, columns(micro_store, spec.key, spec.key, ERRORS), ERRORS, NOISED)


def test_a_scorer_that_knows_the_error_has_negative_correlations(
    micro_store: MicroStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def by_distance(_self: HypothesisScorer, _crops: np.ndarray, uvd: np.ndarray, *_others: Any) -> Scored:
        return Scored(np.asarray(-np.linalg.norm(uvd - uvd[:, :1], axis=-1).mean(-1), np.float64))

    monkeypatch.setattr(HypothesisScorer, "of", by_distance)
    found = evaluated(micro_store)
    assert found["published_spearman_within_mpjpe"].value < -0.8
    assert found["published_pearson_mpvpe"].value < -0.6


def test_only_labels_can_be_noised(micro_store: MicroStore) -> None:
    with pytest.raises(DataError, match="Nothing of wild/train can be correlated"):
        evaluated(micro_store, WILD_TRAIN)
    reasons = set(read(micro_store.store, "failures").column("reason").to_pylist())
    assert reasons == {NO_LABEL}


def test_scores_do_not_look_into_the_mirror(micro_store: MicroStore) -> None:
    assert micro_store.context.config.score.mirror
    spec = ScoreNoised((micro_store.ingest_key,), TARGET, micro_store.scorer, M, "tiny").spec(micro_store.context)
    config = spec.config
    assert isinstance(config, dict)
    assert config["score"].mirror is False


def test_one_hypothesis_is_too_few(micro_store: MicroStore) -> None:
    with pytest.raises(ConfigError, match="needs 2 or more"):
        ScoreNoised((micro_store.ingest_key,), TARGET, micro_store.scorer, 1, "tiny").run(micro_store.context)


def test_given_hypotheses_with_errors(micro_store: MicroStore, tmp_path: Path) -> None:
    sample, context = Target("sample", "test"), micro_store.context
    assert given_hypotheses(micro_store.store, sample) is None
    key = IngestHypotheses(write_scorer_cache(true_people(4), tmp_path, *sample)).run(context).key
    assert given_hypotheses(micro_store.store, sample) == key
    assert given_hypotheses(micro_store.store, TARGET) is None
    found = evaluated(micro_store, sample, key)
    scored = _key_of_scores(micro_store.context, key)
    assert_published(found, columns(micro_store, key, scored, ("mpjpe",)), ("mpjpe",), GIVEN)


def test_real_samples_are_the_random_ones_of_an_evaluation(micro_store: MicroStore) -> None:
    drawn = Evaluate(
        (micro_store.ingest_key,), (TARGET,), micro_store.policy, micro_store.scorer, micro.CONFIG.evaluate
    )
    stage = EvaluateScorer(TARGET, drawn)
    found = {metric.name: metric for metric in read_metrics(micro_store.store, stage.run(micro_store.context).key)}
    assert {metric.role for metric in found.values()} == {SAMPLES}
    assert drawn.run(micro_store.context).reused  # scored as rounds score, so that theirs is found
    names = ("mpvpe", "mpjpe", "pa_mpjpe")
    table = columns(micro_store, drawn.key(micro_store.context), drawn.key(micro_store.context), names)
    assert_published(found, {name: values[:, 1:] for name, values in table.items()}, names, SAMPLES)


def test_what_a_score_means_stands_in_metrics(micro_store: MicroStore) -> None:
    noised = ScoreNoised((micro_store.ingest_key,), TARGET, micro_store.scorer, M, "tiny")
    stage = EvaluateScorer(TARGET, noised)
    stage.run(micro_store.context)
    key = stage.calibration(micro_store.context).run(micro_store.context).key
    scored = noised.key(as_published(micro_store.context))
    table = columns(micro_store, scored, scored, ("mpvpe",))
    expected = calibrate(table["score"], table["mpvpe"], **micro.CONFIG.evaluate.bootstrap)
    found = find_calibration(micro_store.store, micro_store.scorer)
    assert found is not None
    assert found.stage_key == key
    by_scores = find_calibration(micro_store.store, scores=scored)
    assert by_scores is not None
    assert by_scores.stage_key == key
    for one, other in zip(found.curve, expected, strict=True):
        np.testing.assert_allclose(one, other)
    assert (found.error, found.target, found.role, found.people) == ("mpvpe", TARGET, NOISED, 12)
    assert found.missed_mm == pytest.approx(calibration_error(table["score"], table["mpvpe"]))
    assert find_calibration(micro_store.store, micro_store.policy) is None
    # noised labels, scored without the mirror, say nothing of what a round's filter scores
    assert find_expected_mpvpe(micro_store.store, micro_store.scorer) is None
    with pytest.raises(ConfigError, match="by a policy's samples, which nothing has said yet: `adhmr evaluate-scorer"):
        filtered_by_error(micro_store)
    drawn = Evaluate(
        (micro_store.ingest_key,), (TARGET,), micro_store.policy, micro_store.scorer, micro.CONFIG.evaluate
    )
    drawn.run(micro_store.context)
    of_samples = EvaluateScorer(TARGET, drawn).calibration(micro_store.context).run(micro_store.context).key
    assert filtered_by_error(micro_store) == of_samples
    again = ScoreNoised((micro_store.ingest_key,), TARGET, micro_store.scorer, M + 1, "tiny")
    EvaluateScorer(TARGET, again).run(micro_store.context)
    newest = EvaluateScorer(TARGET, again).calibration(micro_store.context).run(micro_store.context).key
    assert newest != of_samples == filtered_by_error(micro_store)


def filtered_by_error(held: MicroStore) -> str | None:
    """The calibration that `adhmr keep --set clean.filter=calibrated` goes by."""
    clean = micro.CONFIG.clean.model_copy(update={"filter": "calibrated"})
    context = replace(held.context, config=micro.CONFIG.model_copy(update={"clean": clean}))
    return keeping(context, ["wild/train"], held.scorer, held.policy, None).calibration


def _key_of_scores(context: Context, given: str) -> str:
    rows = read(context.store, "scores").to_pylist()
    keys = {row["stage_key"] for row in rows if row["generation_id"] == given and row["stage_key"] != given}
    assert len(keys) == 1
    return str(keys.pop())


def test_hypotheses_without_errors_are_not_taken(micro_store: MicroStore, tmp_path: Path) -> None:
    source = write_hypothesis_cache(true_people(2), tmp_path / "sample", hypotheses=3)
    IngestHypotheses(source).run(micro_store.context)
    assert given_hypotheses(micro_store.store, Target(source.dataset, source.split)) is None


def test_labels_of_smplx(micro_store: MicroStore, tmp_path: Path) -> None:
    """GTA-Human II and RenBody have such."""

    def as_smplx(labels: list[dict[str, Any]]) -> None:
        for label in labels[:3]:
            label["body_model"] = "smplx"
        del labels[3:]

    folder = tmp_path / "human_model_files" / "smplx"
    folder.mkdir(parents=True)
    np.savez(folder / "SMPLX_NEUTRAL.npz", **smplx_arrays())
    regressor = np.zeros((14, SMPLX_VERTICES), np.float32)
    regressor[np.arange(14), np.arange(14)] = 1
    (folder / "SMPLX_to_J14.pkl").write_bytes(pickle.dumps(regressor))
    key = micro.reingested(micro_store.store, TARGET, as_smplx)
    context, bodies = micro_store.context, str(tmp_path)
    result = EvaluateScorer(TARGET, ScoreNoised((key,), TARGET, micro_store.scorer, M, bodies)).run(context)
    metrics = read_metrics(micro_store.store, result.key)
    assert len(metrics) == 24
    assert {metric.n for metric in metrics} == {3}
    with pytest.raises(DataError, match="SMPL-X"):
        ScoreNoised((key,), TARGET, micro_store.scorer, M, "tiny").run(context)
