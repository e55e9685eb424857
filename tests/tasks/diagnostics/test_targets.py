"""Targets: a pose as its own winner and loser, of the scorer or of the label, and a reason where there is none."""

from dataclasses import replace

import numpy as np
import pyarrow.compute as pc
import pytest
import torch

from infra.tables import read
from schemas.errors import ConfigError
from schemas.splits import WILD_TRAIN, WILD_VALIDATION
from schemas.tables import LABEL_AS_SAMPLE, matrix
from tasks import half_encoder
from tasks.diagnostics.targets import ESTIMATE, LABEL, TAUGHT, TRUTH, Targets
from tasks.engine.context import Context
from tasks.rows.crops import crop_tensor
from tasks.rows.instances import instance_ids, load_instances
from tasks.rows.models import load_scorer
from tasks.rows.part import Part
from tasks.stages.evaluate import Evaluate
from tests.profiles import load_profile
from tests.tasks import micro
from tests.tasks.conftest import MicroStore

pytestmark = pytest.mark.slow


def poses(held: MicroStore, key: str, side: str) -> np.ndarray:
    rows = read(held.store, "pairs", stage_keys=[key]).sort_by("instance_id")
    assert set(rows.column("winner").to_pylist()) == {LABEL_AS_SAMPLE}
    return np.concatenate([matrix(rows, f"{side}_{part}") for part in ("uvd", "twist", "betas")], axis=1)


def test_the_scorers_own_estimate_is_winner_and_loser(micro_store: MicroStore) -> None:
    keys = [micro_store.ingest_key]
    done = Targets(keys, WILD_TRAIN, micro_store.scorer).run(micro_store.context)
    assert done.key == Targets(keys, WILD_TRAIN, micro_store.scorer).spec(micro_store.context).key
    ids = instance_ids(micro_store.store, keys, [WILD_TRAIN])
    crops = load_instances(micro_store.store, keys, ids).crops
    with torch.no_grad():
        _, estimate = load_scorer(micro_store.store, micro_store.scorer).encode(crop_tensor(crops, torch.device("cpu")))
    assert estimate is not None
    unit = estimate.twists / estimate.twists.norm(dim=-1, keepdim=True)
    expected = torch.cat([estimate.uvd.flatten(1), unit.flatten(1), estimate.betas], dim=1).numpy()
    for side in ("winner", "loser"):
        np.testing.assert_allclose(poses(micro_store, done.key, side), expected, atol=1e-5)
    assert set(read(micro_store.store, "pairs", stage_keys=[done.key]).column("strategy").to_pylist()) == {ESTIMATE}


def test_without_a_scorer_it_is_the_label(micro_store: MicroStore) -> None:
    keys = [micro_store.ingest_key]
    done = Targets(keys, WILD_VALIDATION, None).run(micro_store.context)
    people = load_instances(micro_store.store, keys, instance_ids(micro_store.store, keys, [WILD_VALIDATION]))
    expected = [people.uvd.reshape(len(people), -1), people.twists.reshape(len(people), -1), people.betas]
    np.testing.assert_array_equal(poses(micro_store, done.key, "winner"), np.concatenate(expected, axis=1))
    rows = read(micro_store.store, "pairs", stage_keys=[done.key])
    assert set(rows.column("strategy").to_pylist()) == {LABEL}


def test_with_a_teacher_it_is_what_that_draws_without_noise(micro_store: MicroStore) -> None:
    keys = (micro_store.ingest_key,)
    done = Targets(keys, WILD_VALIDATION, None, micro_store.policy).run(micro_store.context)
    evaluated = Evaluate(keys, (WILD_VALIDATION,), micro_store.policy, None, micro.CONFIG.evaluate).run(
        micro_store.context
    )
    assert set(read(micro_store.store, "pairs", stage_keys=[done.key]).column("strategy").to_pylist()) == {TAUGHT}
    rows = read(micro_store.store, "hypotheses", stage_keys=[evaluated.key], where=pc.field("sample_index") == 0)
    drawn = rows.sort_by("instance_id")
    expected = np.concatenate([matrix(drawn, part) for part in ("uvd", "twist", "betas")], axis=1)
    # The teacher draws one of each person, `Evaluate` several: other sizes of batches may have other last bits.
    for side in ("winner", "loser"):
        np.testing.assert_allclose(poses(micro_store, done.key, side), expected, atol=5e-5)


def test_a_teacher_whose_encoder_may_not_have_16_bits_is_refused(
    micro_store: MicroStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = micro.CONFIG.evaluate
    half = config.generate.model_copy(update={"encoder_precision": "bfloat16"})
    evaluate = config.model_copy(update={"generate": half})
    context = replace(micro_store.context, config=micro.CONFIG.model_copy(update={"evaluate": evaluate}))
    stage = Targets((micro_store.ingest_key,), WILD_VALIDATION, None, micro_store.policy)
    monkeypatch.setattr(half_encoder, "LIMIT_MM", 0.0)
    with pytest.raises(ConfigError, match="encoder_precision=bfloat16 would move"):
        stage.worker(context)
    stage.worker(micro_store.context)


def test_the_truth_of_a_synthetic_picture_is_the_label_that_it_was_made_with(micro_store: MicroStore) -> None:
    """Validation people have their labels in the store, too: the same but for the digits that the store keeps."""
    keys = (micro_store.ingest_key,)
    done = Targets(keys, WILD_VALIDATION, None, truth=True).run(micro_store.context)
    people = load_instances(micro_store.store, keys, instance_ids(micro_store.store, keys, [WILD_VALIDATION]))
    expected = [people.uvd.reshape(len(people), -1), people.twists.reshape(len(people), -1), people.betas]
    np.testing.assert_allclose(poses(micro_store, done.key, "winner"), np.concatenate(expected, axis=1), atol=1e-4)
    assert set(read(micro_store.store, "pairs", stage_keys=[done.key]).column("strategy").to_pylist()) == {TRUTH}


def test_how_a_teacher_draws_counts_where_it_is_not_as_ever(micro_store: MicroStore) -> None:
    taught = Targets((micro_store.ingest_key,), WILD_TRAIN, None, micro_store.policy)
    label = Targets((micro_store.ingest_key,), WILD_TRAIN, None)

    def drawn_by(**changes: object) -> Context:
        dotted = {f"evaluate.generate.{name}": value for name, value in changes.items()}
        return Context(micro_store.store, load_profile("tiny", changes=dotted), in_process=True)

    assert taught.key_config(drawn_by()) == {**label.key_config(drawn_by()), "of": TAUGHT}, "finished ones are found"
    contexts = [
        drawn_by(),
        drawn_by(precision="bfloat16"),
        drawn_by(encoder_precision="bfloat16"),
        drawn_by(microbatch=3),
        drawn_by(compile=True),
    ]
    assert len({taught.key(context) for context in contexts}) == len(contexts)
    assert len({label.key(context) for context in contexts}) == 1
    assert taught.key(drawn_by(hypotheses=5, seed=3)) == taught.key(drawn_by()), "it draws the one of zero noise"


def test_a_part_of_the_people_is_another_stage(micro_store: MicroStore) -> None:
    whole = Targets((micro_store.ingest_key,), WILD_TRAIN, None)
    half = Targets((micro_store.ingest_key,), WILD_TRAIN, None, part=Part(0.0, 0.5))
    assert half.key(micro_store.context) != whole.key(micro_store.context)
    assert 0 < len(half.ids(micro_store.context)) < len(whole.ids(micro_store.context))


def test_a_scorer_without_an_estimate_has_no_targets(micro_store: MicroStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("models.hmr_scorer.HMRScorer.encode", lambda self, crops: (None, None))
    with pytest.raises(ConfigError, match="makes no estimate"):
        Targets((micro_store.ingest_key,), WILD_TRAIN, micro_store.scorer).run(micro_store.context)
