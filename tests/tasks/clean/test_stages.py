"""The stages of cleaning beside the default: the scorer's choice as label, swaps of labels brought, and filters."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from flows.run.decision.gates import of_kept_labels
from infra.shards import Tally
from infra.tables import read
from models.calibration import calibrate
from schemas.config.engine import RayConfig
from schemas.ids import StageKey
from schemas.splits import WILD_TRAIN, WILD_VALIDATION
from schemas.tables import matrix
from tasks.clean.filtering import why_none
from tasks.clean.given import GivenLabels
from tasks.clean.pseudo import PseudoLabelWorker, swaps
from tasks.clean.swapped import SwapLabels
from tasks.engine.context import Context
from tasks.rows.instances import load_instances
from tasks.rows.metrics import read_metrics
from tasks.rows.scores import Scored
from tasks.score import HypothesisScorer
from tasks.stages.clean import Keep, PseudoLabel, ScoreLabels
from tasks.stages.evaluate import Evaluate
from tasks.stages.generate import Generate
from tasks.stages.published_scorer import CalibrateScorer
from tasks.stages.score import Score
from tests.tasks import micro
from tests.tasks.conftest import MicroStore
from tests.tasks.test_clean import scored_as

pytestmark = pytest.mark.slow
TARGETS = (WILD_TRAIN,)


def cleaning(held: MicroStore, **changes: object) -> Context:
    """A context with other settings of cleaning."""
    clean = micro.CONFIG.clean.model_copy(update=changes)
    return replace(held.context, config=micro.CONFIG.model_copy(update={"clean": clean}))


def by_twist(
    self: HypothesisScorer, crops: np.ndarray, uvd: np.ndarray, twists: np.ndarray, betas: np.ndarray
) -> Scored:
    """Scores that differ: an untrained scorer likes all hypotheses of a person alike."""
    return Scored(0.5 + 0.4 * twists[:, :, 0, 0].astype(np.float64))


def test_bodies_are_where_the_models_are(micro_store: MicroStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """On the device `meta`, which holds no numbers: what was posed there can't be written."""
    stage = PseudoLabel((micro_store.ingest_key,), TARGETS, micro_store.policy)
    drawing = PseudoLabelWorker(stage, micro_store.context)
    names = stage.ids(micro_store.context)[:3]
    people = load_instances(micro_store.store, stage.ingests, names)
    hypotheses = drawing.draw(people.ids, people.crops, people.crop_intrinsics, people.root_depth)
    assert np.isfinite(drawing._bodies(people, hypotheses, np.arange(3))[0]).all()
    monkeypatch.setattr(RayConfig, "actor_device", "meta")
    worker = PseudoLabelWorker(stage, micro_store.context)
    assert worker.body.template.device.type == "meta"
    assert worker.draw.body.template.device.type == "cpu"
    with pytest.raises(NotImplementedError, match="meta"):
        worker._bodies(people, hypotheses, np.arange(3))


def test_the_label_may_be_the_hypothesis_that_the_scorer_prefers(
    micro_store: MicroStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(HypothesisScorer, "of", by_twist)
    store, ingests = micro_store.store, (micro_store.ingest_key,)
    made = PseudoLabel(ingests, TARGETS, micro_store.policy, scorer=micro_store.scorer).run(micro_store.context).key
    own = PseudoLabel(ingests, TARGETS, micro_store.policy).run(micro_store.context).key
    assert own != made
    drawn = Generate(ingests, TARGETS, micro_store.policy, micro.CONFIG.generate).run(micro_store.context).key
    scores = Score(drawn, ingests, micro_store.scorer).run(micro_store.context).key
    order = [("instance_id", "ascending"), ("sample_index", "ascending")]
    samples = micro.CONFIG.generate.hypotheses
    of_samples = read(store, "scores", stage_keys=[scores]).sort_by(order).column("score").to_numpy()
    best = of_samples.reshape(-1, samples).argmax(axis=1)
    assert (best > 0).any(), "somebody whose best is not the zero-noise one"
    twists = matrix(read(store, "hypotheses", stage_keys=[drawn]).sort_by(order), "twist").reshape(
        len(best), samples, -1
    )
    labels = read(store, "labels", stage_keys=[made]).sort_by("instance_id")
    np.testing.assert_allclose(matrix(labels, "twist"), twists[np.arange(len(best)), best], atol=1e-4)
    assert set(labels.column("label_set").to_pylist()) == {"pseudo"}
    # so does what changes its last bits
    keys = {StageKey(own)}
    for name, value in (("compile", True), ("precision", "bfloat16"), ("encoder_precision", "bfloat16")):
        drawn = micro.CONFIG.generate.model_copy(update={name: value})
        config = micro.CONFIG.model_copy(update={"generate": drawn})
        keys.add(PseudoLabel(ingests, TARGETS, micro_store.policy).key(replace(micro_store.context, config=config)))
    assert len(keys) == 4
    # what it is chosen among counts, and only then
    other = micro.CONFIG.model_copy(update={"generate": micro.CONFIG.generate.model_copy(update={"seed": 99})})
    context = replace(micro_store.context, config=other)
    assert PseudoLabel(ingests, TARGETS, micro_store.policy).key(context) == own
    assert PseudoLabel(ingests, TARGETS, micro_store.policy, scorer=micro_store.scorer).key(context) != made


def test_a_swapped_best_is_the_best_of_the_others_picture(
    micro_store: MicroStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(HypothesisScorer, "of", by_twist)
    ingests = (micro_store.ingest_key,)
    keys = [
        PseudoLabel(ingests, TARGETS, micro_store.policy, share, 3, scorer=micro_store.scorer)
        .run(micro_store.context)
        .key
        for share in (0.0, 0.5)
    ]
    own, swapped = (read(micro_store.store, "labels", stage_keys=[key]).sort_by("instance_id") for key in keys)
    names = own.column("instance_id").to_pylist()
    donors = swaps(names, 0.5, 3)
    kept = [row for row, name in enumerate(names) if name not in donors]
    np.testing.assert_allclose(matrix(swapped, "twist")[kept], matrix(own, "twist")[kept], atol=1e-4)
    betas = matrix(own, "betas")[[names.index(donors.get(name, name)) for name in names]]
    np.testing.assert_allclose(matrix(swapped, "betas"), betas, atol=1e-4)


def test_brought_labels_are_swapped_as_they_fill_the_crop(micro_store: MicroStore, tmp_path: Path) -> None:
    store, ingests = micro_store.store, (micro_store.ingest_key,)
    guessed = PseudoLabel(ingests, TARGETS, micro_store.policy).run(micro_store.context).key
    rows = read(store, "labels", stage_keys=[guessed]).drop_columns(["stage_key", "label_set"])
    pq.write_table(rows, tmp_path / "labels.parquet")
    brought = GivenLabels(ingests, str(tmp_path / "labels.parquet")).run(micro_store.context).key
    stage = SwapLabels(StageKey(brought), ingests, 0.5, 3)
    made = stage.run(micro_store.context)
    assert made.record.tally == Tally(ok=24)
    assert stage.run(micro_store.context).reused
    before, after = (read(store, "labels", stage_keys=[key]).sort_by("instance_id") for key in (brought, made.key))
    names = before.column("instance_id").to_pylist()
    donors = swaps(names, 0.5, 3)
    sets = dict(zip(names, after.column("label_set").to_pylist(), strict=True))
    assert sets == {name: "given-swapped" if name in donors else "given" for name in names}
    seen = [names.index(donors.get(name, name)) for name in names]
    for column in ("betas", "body_pose", "global_orient", "twist"):
        np.testing.assert_array_equal(matrix(after, column), matrix(before, column)[seen])
    own, others = (load_instances(store, ingests, names, [key]) for key in (brought, made.key))
    # the pelvis is where the other's was; the rest as perspective has it
    np.testing.assert_allclose(others.uvd[:, 0, :2], own.uvd[seen, 0, :2], atol=1e-4)
    np.testing.assert_allclose(others.uvd[..., :2], own.uvd[seen][..., :2], atol=0.25)
    still = [row for row, name in enumerate(names) if name not in donors]
    assert after.take(still).drop_columns(["stage_key"]).equals(before.take(still).drop_columns(["stage_key"]))
    transl = matrix(after, "transl") - matrix(before, "transl")[seen]
    joints = (matrix(after, "joints") - matrix(before, "joints")[seen]).reshape(24, 29, 3)
    np.testing.assert_allclose(joints, np.repeat(transl[:, None], 29, axis=1), atol=1e-5)
    scores = scored_as(micro_store, made.key, {name: 0.2 if name in donors else 0.8 for name in names})
    kept = Keep(made.key, scores, share=0.5).run(micro_store.context)
    numbers = {metric.name: metric.value for metric in read_metrics(store, kept.key)}
    assert (numbers["auc"], numbers["swapped_share"], numbers["swapped_among_kept"]) == (1, 0.5, 0)


def test_labels_that_are_no_bodies_keep_their_nulls(micro_store: MicroStore) -> None:
    store, ingests = micro_store.store, (micro_store.ingest_key,)
    guessed = PseudoLabel(ingests, TARGETS, micro_store.policy).run(micro_store.context).key

    def bare(labels: list[dict[str, object]]) -> None:
        rows = read(store, "labels", stage_keys=[guessed]).to_pylist()
        labels[:] = [row | {"transl": None, "joints_valid": [False] * 29} if place < 2 else row
                   for place, row in enumerate(rows)]  # fmt: skip

    labels = StageKey(micro.reingested(store, WILD_TRAIN, bare))
    made = SwapLabels(labels, ingests, 1.0, 3).run(micro_store.context).key
    rows = read(store, "labels", stage_keys=[made])
    assert rows.column("transl").null_count == 2
    assert np.isfinite(matrix(rows, "joints")).all()


def test_what_a_score_means_decides_where_it_is_asked(micro_store: MicroStore) -> None:
    store, ingests = micro_store.store, (micro_store.ingest_key,)
    context = micro_store.context
    evaluation = Evaluate(ingests, (WILD_VALIDATION,), micro_store.policy, micro_store.scorer, micro.CONFIG.evaluate)
    measured = StageKey(evaluation.run(context).key)
    said = StageKey(CalibrateScorer(measured, measured, micro_store.scorer, WILD_VALIDATION).run(context).key)
    guessed = StageKey(PseudoLabel(ingests, TARGETS, micro_store.policy).run(context).key)
    scores = StageKey(ScoreLabels(guessed, ingests, micro_store.scorer).run(context).key)
    values = read(store, "scores", stage_keys=[scores]).column("score").to_numpy()
    of = read(store, "scores", stage_keys=[measured]).sort_by(
        [("instance_id", "ascending"), ("sample_index", "ascending")]
    )
    errors = read(store, "errors", stage_keys=[measured]).sort_by(
        [("instance_id", "ascending"), ("sample_index", "ascending")]
    )
    shape = (-1, micro.CONFIG.evaluate.generate.hypotheses)
    curve = calibrate(
        of.column("score").to_numpy().reshape(shape)[:, 1:], errors.column("mpvpe_mm").to_numpy().reshape(shape)[:, 1:]
    )
    limit = float(np.median(curve.of(values)))
    context = cleaning(micro_store, max_error_mm=limit)
    made = Keep(guessed, scores, filter="calibrated", calibration=said).run(context)
    assert made.record.tally.ok == (curve.of(values) <= limit + 1e-9).sum()
    numbers = {metric.name: metric for metric in read_metrics(store, made.key)}
    assert numbers["kept_expected_error"].unit == "mm"
    assert numbers["kept_expected_error"].value <= limit
    if made.record.tally.filtered:
        reasons = read(store, "failures", stage_keys=[made.key]).column("reason").to_pylist()
        assert set(reasons) == {"expected error above the limit"}
    assert not why_none(Keep(guessed, scores, filter="calibrated", calibration=said), context, StageKey(made.key))


def test_where_no_label_is_good_none_is_kept_and_it_says_why(micro_store: MicroStore) -> None:
    """It is an outcome, which a round ends by; not an error, by which a round would stay open."""
    store, ingests = micro_store.store, (micro_store.ingest_key,)
    evaluation = Evaluate(ingests, (WILD_VALIDATION,), micro_store.policy, micro_store.scorer, micro.CONFIG.evaluate)
    measured = StageKey(evaluation.run(micro_store.context).key)
    calibration = CalibrateScorer(measured, measured, micro_store.scorer, WILD_VALIDATION)
    said = StageKey(calibration.run(micro_store.context).key)
    guessed = StageKey(PseudoLabel(ingests, TARGETS, micro_store.policy).run(micro_store.context).key)
    scores = StageKey(ScoreLabels(guessed, ingests, micro_store.scorer).run(micro_store.context).key)
    for stage, changes, words in (
        (
            Keep(guessed, scores, filter="calibrated", calibration=said),
            {"max_error_mm": 0.001},
            r"by its score the best has an error of .* and clean\.max_error_mm is 0\.001",
        ),
        (Keep(guessed, scores), {"keep_share": 0.01}, r"passes the filter quantile: clean\.keep_share is 0\.01"),
    ):
        context = cleaning(micro_store, **changes)
        made = stage.run(context)
        assert made.record.tally == Tally(filtered=24)
        assert len(read(store, "labels", stage_keys=[made.key])) == 0
        assert read(store, "failures", stage_keys=[made.key]).column("detail")[0].as_py().endswith("none was kept")
        (verdict,) = of_kept_labels(context, stage, StageKey(made.key))
        assert str(verdict) == "labels kept: 0 labels, at least 1: NOT passed"
        assert re.search(words, verdict.note)


def test_chance_keeps_as_many_and_its_seed_counts(micro_store: MicroStore) -> None:
    context, store, ingests = micro_store.context, micro_store.store, (micro_store.ingest_key,)
    guessed = StageKey(PseudoLabel(ingests, TARGETS, micro_store.policy).run(context).key)
    names = sorted(read(store, "labels", stage_keys=[guessed]).column("instance_id").to_pylist())
    scores = StageKey(scored_as(micro_store, guessed, {name: place / 24 for place, name in enumerate(names)}))
    kept = Keep(guessed, scores, share=0.25).run(context)
    stage = Keep(guessed, scores, filter="random", like=StageKey(kept.key))
    made = stage.run(context)
    assert made.record.tally == kept.record.tally == Tally(ok=6, filtered=18)
    drawn, best = (
        set(read(store, "labels", stage_keys=[key]).column("instance_id").to_pylist()) for key in (made.key, kept.key)
    )
    assert best == set(names[-6:]) != drawn
    assert set(read(store, "failures", stage_keys=[made.key]).column("reason").to_pylist()) == {"not drawn"}
    assert stage.key(cleaning(micro_store, seed=5)) != made.key


def test_the_default_filter_has_the_key_that_it_had(micro_store: MicroStore) -> None:
    """And what other filters are told does not count for it."""
    a, b = StageKey("a" * 64), StageKey("b" * 64)
    plain = Keep(a, b)
    assert plain.key_config(micro_store.context) == {"keep_share": micro.CONFIG.clean.keep_share}
    changed = cleaning(micro_store, max_error_mm=1.0, least_chance=0.9, filter="mixture", label="best_of_m")
    assert plain.key(changed) == plain.key(micro_store.context)
    mixed = Keep(a, b, filter="mixture")
    assert mixed.key(changed) != mixed.key(micro_store.context) != plain.key(micro_store.context)
    assert mixed.key(cleaning(micro_store, keep_share=0.1)) == mixed.key(micro_store.context)
