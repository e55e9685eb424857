"""train_scorer: the pool is drawn once, each hypothesis in it stands for itself, and training starts at the policy."""

import numpy as np
import pytest
import torch

from infra.tables import read
from models.bodies import load_body
from models.hmr_scorer import HMRScorer
from schemas.config.networks import ConditionConfig, ScorerConfig
from schemas.errors import ConfigError
from schemas.splits import SCORER_TRAIN
from tasks.engine.run_folder import RunFolder
from tasks.engine.share import WHOLE
from tasks.evaluate import ErrorMeter
from tasks.rows.crops import crop_tensor
from tasks.rows.instances import as_labelled_crops, instance_ids, load_instances
from tasks.rows.models import load_policy, load_scorer, model_of
from tasks.stages.training import TrainScorer
from tasks.train import scorer as module
from tasks.train.scorer import HypothesisPool, ScorerRecipe, draw_pool
from tests.tasks import micro
from tests.tasks.conftest import MicroStore

CPU = torch.device("cpu")


def test_a_scorer_is_trained(micro_store: MicroStore) -> None:
    here = micro_store.context
    done = TrainScorer(micro.of(micro_store.ingest_key, SCORER_TRAIN), micro_store.policy).run(here)
    digest = model_of(here.store, done.key)
    assert load_scorer(here.store, digest).config == micro.CONFIG.scorer
    row = next(row for row in read(here.store, "models").to_pylist() if row["digest"] == digest)
    assert (row["kind"], row["parents"]) == ("scorer", [micro_store.policy])
    assert TrainScorer(micro.of(micro_store.ingest_key, SCORER_TRAIN), micro_store.policy).run(here).reused
    assert TrainScorer(micro.of(micro_store.ingest_key, SCORER_TRAIN), "0" * 64).spec(here).key != done.key


def pool_of(held: MicroStore, ids: list[str], seed: int = 0) -> HypothesisPool:
    """The pool that would be drawn for these instances alone."""
    store, config = held.store, micro.CONFIG.train_scorer.model_copy(update={"seed": seed})
    people = load_instances(store, [held.ingest_key], ids)
    measure = ErrorMeter(load_body(micro.CONFIG.body), micro.CONFIG.root_solver, 50)
    run = RunFolder(store, "x")
    return draw_pool(load_policy(store, held.policy), people, config, measure, CPU, run)


def test_a_hypothesis_depends_on_its_instance_and_index_alone(micro_store: MicroStore) -> None:
    ids = instance_ids(micro_store.store, [micro_store.ingest_key], [SCORER_TRAIN])[:6]
    whole, some, other = pool_of(micro_store, ids), pool_of(micro_store, ids[3:5]), pool_of(micro_store, ids[3:5], 1)
    count = micro.CONFIG.train_scorer.pool_samples + micro.CONFIG.train_scorer.pool_blends
    assert whole.uvd.shape == (6, count, 29, 3)
    assert whole.twists.shape == (6, count, 23, 2)
    assert whole.errors_mm.shape == (6, count)
    np.testing.assert_allclose(some.uvd, whole.uvd[3:5], atol=1e-5)
    np.testing.assert_allclose(some.errors_mm, whole.errors_mm[3:5], rtol=1e-3)
    assert np.abs(other.uvd - some.uvd).max() > 0.01
    assert np.abs(whole.uvd[:, 0] - whole.uvd[:, 1]).max() > 0.01
    np.testing.assert_allclose(np.linalg.norm(whole.twists, axis=-1), 1.0, atol=1e-5)


def test_blends_lie_between_label_and_sample(micro_store: MicroStore) -> None:
    keys = [micro_store.ingest_key]
    ids = instance_ids(micro_store.store, keys, [SCORER_TRAIN])
    pool, found = pool_of(micro_store, ids), load_instances(micro_store.store, keys, ids)
    samples = micro.CONFIG.train_scorer.pool_samples
    for blend in range(micro.CONFIG.train_scorer.pool_blends):
        way = np.linalg.norm(pool.uvd[:, samples + blend] - found.uvd, axis=(1, 2))
        whole = np.linalg.norm(pool.uvd[:, blend % samples] - found.uvd, axis=(1, 2))
        shares = way / whole
        assert ((shares >= 0) & (shares <= 1 + 1e-5)).all()
        assert shares.std() > 0.1  # not all alike
    assert np.median(pool.errors_mm[:, samples:]) < np.median(pool.errors_mm[:, :samples])


def test_the_encoder_comes_first_and_the_ranking_after(micro_store: MicroStore) -> None:
    keys = [micro_store.ingest_key]
    ids = instance_ids(micro_store.store, keys, [SCORER_TRAIN])
    data = as_labelled_crops(load_instances(micro_store.store, keys, ids))
    config = micro.CONFIG.train_scorer.model_copy(update={"encoder_steps": 3})
    policy = load_policy(micro_store.store, micro_store.policy)
    recipe = ScorerRecipe(config, micro.CONFIG.scorer, data, pool_of(micro_store, ids), policy, CPU)
    figures = [set(recipe.loss(step, recipe.draw(step, np.random.default_rng(step), WHOLE))[1]) for step in (0, 2, 3)]
    assert figures == [{"estimate"}, {"estimate"}, {"estimate", "rank", "score"}]


@pytest.mark.slow
def test_a_vision_transformer_learns_from_the_ranking_alone(micro_store: MicroStore) -> None:
    keys = [micro_store.ingest_key]
    ids = instance_ids(micro_store.store, keys, [SCORER_TRAIN])[:6]
    data, pool = as_labelled_crops(load_instances(micro_store.store, keys, ids)), pool_of(micro_store, ids)
    network = ScorerConfig(
        condition=ConditionConfig(kind="vit_s"), sees_own_estimate=False, attention_hops=(16,), hidden=(32, 8)
    )
    policy = load_policy(micro_store.store, micro_store.policy)
    alone = {"encoder_steps": 0, "start_from_policy": False, "batch_images": 2}
    config = micro.CONFIG.train_scorer.model_copy(update=alone)
    recipe = ScorerRecipe(config, network, data, pool, policy, CPU)
    loss, figures = recipe.loss(0, recipe.draw(0, np.random.default_rng(0), WHOLE))
    assert figures["estimate"] == 0.0
    loss.backward()
    assert all(value.grad is not None for name, value in recipe.model.named_parameters() if value.numel())
    with pytest.raises(ConfigError, match=r"train_scorer\.start_from_policy=False"):
        ScorerRecipe(config.model_copy(update={"start_from_policy": True}), network, data, pool, policy, CPU)


def test_a_scorer_that_has_learned_nothing_ranks_by_agreement_with_its_own_estimate(micro_store: MicroStore) -> None:
    keys = [micro_store.ingest_key]
    ids = instance_ids(micro_store.store, keys, [SCORER_TRAIN])[:6]
    pool = pool_of(micro_store, ids)
    scorer = HMRScorer(micro.CONFIG.scorer).eval()
    crops = crop_tensor(load_instances(micro_store.store, keys, ids).crops, CPU)
    with torch.no_grad():
        scores = scorer(crops, torch.from_numpy(pool.uvd), torch.from_numpy(pool.twists))
        own = scorer.encode(crops)[1].uvd.numpy()
    distance = np.linalg.norm(pool.uvd - own[:, None], axis=-1).mean(-1)
    np.testing.assert_array_equal(np.argsort(-scores.numpy(), axis=1), np.argsort(distance, axis=1))


def test_the_pool_is_drawn_again_only_if_it_is_damaged(
    micro_store: MicroStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = RunFolder(micro_store.store, "train_scorer-x")

    def built() -> ScorerRecipe:
        return TrainScorer(micro.of(micro_store.ingest_key, SCORER_TRAIN), micro_store.policy).recipe(
            micro_store.context, run, CPU
        )

    first = built()
    assert "48 of 48" in (run.read_json("progress.json") or {})["note"]
    monkeypatch.setattr(module, "draw_pool", None)
    second = built()
    np.testing.assert_array_equal(first.pool.uvd, second.pool.uvd)
    np.testing.assert_array_equal(first.pool.errors_mm, second.pool.errors_mm)
    policy = load_policy(micro_store.store, micro_store.policy)
    pool = f"{run.ray_folder}/engine/pool.safetensors"
    data = bytearray(micro_store.store.read_bytes(pool))
    data[-9] ^= 4
    micro_store.store.atomic_write(pool, bytes(data))
    monkeypatch.undo()
    third = built()
    np.testing.assert_array_equal(first.pool.errors_mm, third.pool.errors_mm)
    assert "pool.safetensors is damaged" in run.warnings[0]
    stem = "stem.0.weight"
    assert torch.equal(second.model.encoder.state_dict()[stem], policy.condition.backbone.state_dict()[stem])
