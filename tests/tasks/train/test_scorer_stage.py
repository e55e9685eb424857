"""train_scorer: the pool is drawn once, each hypothesis in it stands for itself, and training starts at the policy."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from infra.tables import read
from models.bodies import load_body
from models.hmr_scorer import HMRScorer
from models.kinematics import Root
from models.objectives import scorer_loss
from models.vit import VIT_SIZES, VisionTransformer
from schemas.config.networks import ConditionConfig, ScorerConfig
from schemas.config.training import SCORER_ERRORS, LabelNoiseConfig, TrainScorerConfig
from schemas.errors import ConfigError, DataError
from schemas.ids import StageKey
from schemas.splits import SCORER_TRAIN
from tasks.engine.loop import Training
from tasks.engine.run_folder import RunFolder
from tasks.engine.share import WHOLE
from tasks.evaluate import ErrorMeter
from tasks.evaluation.scorer_errors import ScorerErrorMeter
from tasks.rows.crops import crop_tensor
from tasks.rows.hypotheses import Hypotheses
from tasks.rows.instances import as_labelled_crops, instance_ids, load_instances
from tasks.rows.models import load_policy, load_scorer, model_of
from tasks.stages.training import TrainScorer
from tasks.train import pool as pool_module
from tasks.train.pool import HypothesisPool, PoolMaker, strangers
from tasks.train.scorer import ScorerRecipe
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


def maker_of(held: MicroStore, **changes: Any) -> PoolMaker:
    """What makes pools by the micro profile's training, but for the changes."""
    config = micro.CONFIG.train_scorer.model_validate({**micro.CONFIG.train_scorer.model_dump(), **changes})
    policy, run = load_policy(held.store, held.policy), RunFolder(held.store, "x")
    keys = (StageKey(held.ingest_key),)
    return PoolMaker(held.store, keys, config, policy, micro.CONFIG.body, micro.CONFIG.root_solver, CPU, run)


def pool_of(held: MicroStore, ids: list[str], seed: int = 0) -> HypothesisPool:
    """The pool that would be drawn for these instances alone."""
    return maker_of(held, seed=seed).draw(load_instances(held.store, [held.ingest_key], ids))


def test_a_hypothesis_depends_on_its_instance_and_index_alone(micro_store: MicroStore) -> None:
    ids = instance_ids(micro_store.store, [micro_store.ingest_key], [SCORER_TRAIN])[:6]
    whole, some, other = pool_of(micro_store, ids), pool_of(micro_store, ids[3:5]), pool_of(micro_store, ids[3:5], 1)
    count = micro.CONFIG.train_scorer.pool_samples + micro.CONFIG.train_scorer.pool_blends
    assert whole.uvd.shape == (6, count, 29, 3)
    assert whole.twists.shape == (6, count, 23, 2)
    assert whole.errors_mm.shape == (6, count, 1)
    assert whole.betas.shape == (6, count, 10)
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
    monkeypatch.setattr(PoolMaker, "draw", None)
    second = built()
    np.testing.assert_array_equal(first.pool.uvd, second.pool.uvd)
    np.testing.assert_array_equal(first.pool.errors_mm, second.pool.errors_mm)
    policy = load_policy(micro_store.store, micro_store.policy)
    pool = f"{run.ray_folder}/engine/hypotheses.safetensors"
    data = bytearray(micro_store.store.read_bytes(pool))
    data[-9] ^= 4
    micro_store.store.atomic_write(pool, bytes(data))
    monkeypatch.undo()
    third = built()
    np.testing.assert_array_equal(first.pool.errors_mm, third.pool.errors_mm)
    assert "hypotheses.safetensors is damaged" in run.warnings[0]
    stem = "stem.0.weight"
    assert torch.equal(second.model.encoder.state_dict()[stem], policy.condition.backbone.state_dict()[stem])


PUBLISHED = {
    "pool_samples": 0,
    "pool_blends": 0,
    "pool_noised": 4,
    "samples": 0,
    "blends": 0,
    "noised": 3,
    "errors": SCORER_ERRORS,
    "rank_rounded": True,
    "score_weight": 0.0,
}
"""As the published scorer was trained, but for its image encoder."""


def ids_of(held: MicroStore, count: int = 6) -> list[str]:
    return instance_ids(held.store, [held.ingest_key], [SCORER_TRAIN])[:count]


def recipe_of(held: MicroStore, network: ScorerConfig | None = None, **changes: Any) -> ScorerRecipe:
    """The recipe for six people, by the micro profile but for the changes."""
    maker = maker_of(held, **changes)
    people = load_instances(held.store, [held.ingest_key], ids_of(held))
    data = as_labelled_crops(people)
    return ScorerRecipe(maker.config, network or micro.CONFIG.scorer, data, maker.draw(people), maker.policy, CPU)


def test_noised_labels_have_exact_errors(micro_store: MicroStore) -> None:
    """The same by the meter that measures samples, which knows the label and the hypothesis alone."""
    maker, keys = maker_of(micro_store, **PUBLISHED), [micro_store.ingest_key]
    people = load_instances(micro_store.store, keys, ids_of(micro_store))
    pool = maker.draw(people)
    assert pool.errors_mm.shape == (6, 4, 4)
    mean = pool.errors_mm.mean((0, 1))
    assert 5 < mean[0] < 60  # .05 radians are a few millimetres a joint
    depth = np.repeat(people.root_depth[:, None], 4, axis=1)
    again = Hypotheses(pool.uvd, pool.twists, pool.betas, depth)
    measured = ScorerErrorMeter("tiny", "procrustes", SCORER_ERRORS, 3)(people, again, np.arange(6))
    np.testing.assert_allclose(pool.errors_mm, measured, rtol=0.02, atol=0.3)
    one = ErrorMeter(load_body("tiny"), "procrustes", 5)(people, again, np.arange(6))
    np.testing.assert_allclose(measured[..., 0], one.mpvpe, rtol=1e-5)


@pytest.mark.parametrize("root", ["procrustes", "published"])
def test_bodies_of_a_pool_are_where_its_policy_is(micro_store: MicroStore, root: Root) -> None:
    """On the device `meta`, which holds no numbers: nothing that lay elsewhere could be measured with what is there."""
    maker = replace(maker_of(micro_store), root=root, device=torch.device("meta"))
    people, rows = load_instances(micro_store.store, [micro_store.ingest_key], ids_of(micro_store)), np.arange(6)
    given = (people.uvd, people.twists, people.betas, people.root_depth)
    labels = Hypotheses(*(np.repeat(part[:, None], 4, axis=1) for part in given))
    meter = ScorerErrorMeter("tiny", root, SCORER_ERRORS, 3, "meta")
    errors = meter._measure(people, labels, rows)
    assert {(error.device.type, len(error)) for error in errors.values()} == {("meta", 24)}
    with pytest.raises(NotImplementedError, match="Cannot copy out of meta tensor"):
        maker._measured(people, labels)


def test_each_sigma_moves_what_it_is_for(micro_store: MicroStore) -> None:
    people = load_instances(micro_store.store, [micro_store.ingest_key], ids_of(micro_store))
    still = {"pose": 0.0, "root": 0.0, "shape": 0.0, "expression": 0.0}

    def drawn(**noise: Any) -> HypothesisPool:
        return maker_of(micro_store, **{**PUBLISHED, "noise": LabelNoiseConfig(**{**still, **noise})}).draw(people)

    label = drawn()
    np.testing.assert_allclose(label.uvd, np.repeat(people.uvd[:, None], 4, axis=1), atol=1e-4)
    np.testing.assert_allclose(label.betas, np.repeat(people.betas[:, None], 4, axis=1), atol=1e-6)
    assert label.errors_mm.max() < 0.05
    turned, bent, wide = drawn(root=0.1), drawn(pose=0.1), drawn(shape=1.0)
    aligned = SCORER_ERRORS.index("pa_mpvpe")
    assert turned.errors_mm[..., 0].min() > 1
    assert turned.errors_mm[..., aligned].max() < 0.1  # the whole body turns
    assert bent.errors_mm[..., aligned].min() > 1
    assert np.abs(wide.betas - label.betas).mean() == pytest.approx(0.8, abs=0.2)
    np.testing.assert_array_equal(bent.betas, label.betas)
    levels = drawn(pose=0.1, levels=(0.0, 2.0)).errors_mm[..., 0]
    assert levels[:, [0, 2]].max() < 0.05 < levels[:, [1, 3]].min()
    whole = drawn(pose=0.1)
    people = load_instances(micro_store.store, [micro_store.ingest_key], ids_of(micro_store)[3:])
    np.testing.assert_array_equal(whole.uvd[3:], drawn(pose=0.1).uvd)


def test_a_step_takes_of_each_kind_what_is_asked(micro_store: MicroStore) -> None:
    recipe = recipe_of(micro_store, pool_noised=3, noised=2, samples=2, blends=1)
    picks = recipe._picks(np.random.default_rng(0))
    assert picks.shape == (micro.CONFIG.train_scorer.batch_images, 5)
    samples, blends, noised = picks[:, :2], picks[:, 2:3], picks[:, 3:]
    assert samples.max() < 3
    assert (blends == 3).all()
    assert set(noised.ravel()) == {4, 5, 6}
    assert (noised[:, 0] != noised[:, 1]).all()


def test_strangers_are_labels_of_others(micro_store: MicroStore) -> None:
    """Behind all else, with the errors that they have in another's place; a step takes as many as are asked for."""
    few = {"pool_samples": 2, "samples": 2, "pool_strangers": 2, "strangers": 1}
    recipe = recipe_of(micro_store, **few)
    people = load_instances(micro_store.store, [micro_store.ingest_key], ids_of(micro_store))
    pool = recipe.pool
    assert pool.uvd.shape[1] == 2 + 1 + 2
    others = np.empty((6, 2), int)
    for row in range(6):
        for column in (3, 4):
            (whose,) = np.flatnonzero((pool.uvd[row, column] == people.uvd).all((1, 2)))
            assert whose != row
            others[row, column - 3] = whose
            np.testing.assert_array_equal(pool.twists[row, column], people.twists[whose])
            np.testing.assert_array_equal(pool.betas[row, column], people.betas[whose])
    depth = np.repeat(people.root_depth[:, None], 2, axis=1)
    given = Hypotheses(people.uvd[others], people.twists[others], people.betas[others], depth)
    measured = ErrorMeter(load_body("tiny"), "procrustes", 5)(people, given, np.arange(6)).mpvpe
    np.testing.assert_allclose(pool.errors_mm[:, 3:, 0], measured, rtol=1e-4)
    assert measured.min() > 30
    picks = recipe._picks(np.random.default_rng(0))
    assert picks.shape[1] == 4
    assert set(picks[:, 3]) == {3, 4}


def test_whose_label_a_person_gets_does_not_depend_on_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """In parts it is the same as at once; all others are taken, nobody's own but of who is alone."""
    monkeypatch.setattr(pool_module, "_PART", 5)
    ids = [f"person {number}" for number in range(11)]
    whole = strangers(ids, 40, seed=3)
    for first in (0, 5, 10):
        part = strangers(ids[first : first + 5], 40, seed=3)
        np.testing.assert_array_equal(whole[first : first + 5], part + first)
    assert [set(row) for row in whole[:10]] == [
        set(range(row - row % 5, row - row % 5 + 5)) - {row} for row in range(10)
    ]
    assert set(whole[10]) == {10}
    assert not np.array_equal(strangers(ids, 40, seed=4), whole)


def test_mixes_that_nothing_can_be_ranked_in_are_refused() -> None:
    for wrong, said in (
        ({"noised": 2}, "noised=2 of a crop, but its pool holds pool_noised=0"),
        ({"strangers": 1}, "strangers=1 of a crop, but its pool holds pool_strangers=0"),
        ({"pool_samples": 0, "samples": 0, "blends": 0}, "set pool_blends=0"),
        ({"samples": 1, "blends": 0}, "at least 2"),
        ({"errors": ()}, "at least one error"),
        ({"errors": ("mpvpe", "mpvpe")}, "each once"),
        ({"rank_weight": 0.0, "score_weight": 0.0}, "nothing to learn from"),
        ({"encoder_file": "a.pth"}, "start_from_policy=False"),
    ):
        with pytest.raises(ValueError, match=said):
            TrainScorerConfig(**wrong)
    frozen = TrainScorerConfig().optimiser.model_copy(update={"encoder_learning_rate": 0.0})
    with pytest.raises(ValueError, match="set encoder_steps=0"):
        TrainScorerConfig(optimiser=frozen)


def test_the_published_loss_comes_of_the_configuration_alone(micro_store: MicroStore) -> None:
    """`scorer_loss` is held to the published outputs by tests/parity; here the recipe is held to `scorer_loss`."""
    plain = {"brightness": 0.0, "contrast": 0.0, "noise": 0.0, "cutout": 0.0, "mirror": 0.0}
    network = micro.CONFIG.scorer.model_copy(update={"sees_own_estimate": False})
    recipe = recipe_of(micro_store, network, **PUBLISHED, encoder_steps=0, augment=plain)
    crops, drawn = recipe.draw(0, np.random.default_rng(0), WHOLE)
    assert drawn is not None
    loss, figures = recipe.loss(0, (crops, drawn))
    raw = recipe.model.score(*recipe.model.encode(crops.batch().crops), drawn.uvd, drawn.twists)
    expected = scorer_loss(raw, dict(zip(SCORER_ERRORS, drawn.errors_mm.unbind(-1), strict=True)))
    assert figures["rank"].item() == pytest.approx(sum(expected.rank.values()).item(), rel=1e-5)
    assert figures["score"].item() == pytest.approx(sum(expected.score.values()).item(), rel=1e-5)
    assert (loss - figures["estimate"]).item() == pytest.approx(figures["rank"].item(), rel=1e-5)
    both = {**PUBLISHED, "rank_weight": 0.5, "score_weight": 100.0}
    weighted = recipe_of(micro_store, network, **both, augment=plain)
    loss, figures = weighted.loss(9, (crops, drawn))
    asked = 0.5 * figures["rank"] + 100 * figures["score"] + figures["estimate"]
    assert loss.item() == pytest.approx(asked.item(), rel=1e-5)


def trained(recipe: ScorerRecipe, steps: int = 3) -> dict[str, torch.Tensor]:
    """Weights after a few steps."""
    training = Training(recipe, recipe.config.optimiser.model_copy(update={"steps": steps}))
    training.run(lambda *_: None)
    return {name: value.detach().clone() for name, value in recipe.model.state_dict().items()}


def test_a_frozen_encoder_stays_the_policys_to_the_last_bit(micro_store: MicroStore) -> None:
    optimiser = micro.CONFIG.train_scorer.optimiser.model_dump()
    frozen = recipe_of(micro_store, encoder_steps=0, optimiser={**optimiser, "encoder_learning_rate": 0.0})
    assert set(frozen.loss(0, frozen.draw(0, np.random.default_rng(0), WHOLE))[1]) == {"rank", "score"}
    after = trained(frozen)
    policy = load_policy(micro_store.store, micro_store.policy)
    for name, value in policy.condition.backbone.state_dict().items():
        assert torch.equal(after[f"encoder.{name}"], value), name
    start = "score_net.linear_start_j.weight"
    assert not torch.equal(after[start], recipe_of(micro_store).model.state_dict()[start])


def test_a_slow_encoder_may_keep_its_statistics(micro_store: MicroStore) -> None:
    optimiser = {**micro.CONFIG.train_scorer.optimiser.model_dump(), "encoder_learning_rate": 0.1}
    slow = recipe_of(micro_store, encoder_steps=0, fixed_statistics=True, optimiser=optimiser)
    rates = Training(slow, slow.config.optimiser).rates
    assert rates["encoder"] == pytest.approx(0.1 * rates["rest"])
    moved, policy = trained(slow), load_policy(micro_store.store, micro_store.policy)
    backbone = policy.condition.backbone.state_dict()
    same = {name: torch.equal(moved[f"encoder.{name}"], value) for name, value in backbone.items()}
    assert all(same[name] for name in same if "running_" in name)
    assert not same["stem.0.weight"]


def test_heads_learn_from_people_of_their_own(micro_store: MicroStore) -> None:
    network = micro.CONFIG.scorer.model_copy(update={"score_heads": 3})
    recipe = recipe_of(micro_store, network, encoder_steps=0, head_share=0.5)
    assert recipe.weight is not None
    assert recipe.weight.shape == (6, 3)
    assert set(np.unique(recipe.weight)) == {0.0, 2.0}
    crops, drawn = recipe.draw(0, np.random.default_rng(0), WHOLE)
    assert drawn is not None
    assert drawn.weight is not None
    alone = torch.zeros_like(drawn.weight)
    alone[:, 1] = drawn.weight[:, 1]
    replaced = type(drawn)(drawn.uvd, drawn.twists, drawn.betas, drawn.errors_mm, alone)
    recipe.model.zero_grad()
    recipe.loss(0, (crops, replaced))[0].backward()
    felt = [head[-1].bias.grad.abs().item() > 0 for head in recipe.model.score_net.score_heads]
    assert felt == [False, True, False]
    weights = [head[0].weight for head in recipe.model.score_net.score_heads]
    assert not torch.equal(weights[0], weights[1])


@pytest.mark.slow
def test_an_encoder_starts_from_a_published_file(micro_store: MicroStore, tmp_path: Path) -> None:
    torch.manual_seed(5)
    published = VisionTransformer(VIT_SIZES["vit_s"])
    state = {f"module.encoder.{name}": value for name, value in published.state_dict().items()}
    torch.save({"network": state}, tmp_path / "smplerx.pth.tar")
    network = ScorerConfig(condition=ConditionConfig(kind="vit_s"), sees_own_estimate=False, attention_hops=(16,))
    file = str(tmp_path / "smplerx.pth.tar")
    start = {"encoder_steps": 0, "start_from_policy": False, "encoder_file": file}
    recipe = recipe_of(micro_store, network, **start)
    own = recipe.model.encoder.state_dict()
    assert all(torch.equal(own[name], value) for name, value in published.state_dict().items())
    with pytest.raises(ConfigError, match="is for vision transformers"):
        recipe_of(micro_store, **{**start, "encoder_steps": 2})
    with pytest.raises(ConfigError, match="there is no file"):
        recipe_of(micro_store, network, **{**start, "encoder_file": "absent.pth"})
    torch.save({"model": {}, "model_cond": {}}, tmp_path / "hyponet.pth")
    with pytest.raises(DataError, match="HypoNet"):
        recipe_of(micro_store, network, **{**start, "encoder_file": str(tmp_path / "hyponet.pth")})


def test_a_files_bytes_count_and_not_its_place(micro_store: MicroStore, tmp_path: Path) -> None:
    def key(name: str, content: bytes) -> str:
        (tmp_path / name).write_bytes(content)
        start = {"start_from_policy": False, "encoder_file": str(tmp_path / name)}
        train = micro.CONFIG.train_scorer.model_copy(update=start)
        context = replace(micro_store.context, config=micro.CONFIG.model_copy(update={"train_scorer": train}))
        return TrainScorer(micro.of(micro_store.ingest_key, SCORER_TRAIN), micro_store.policy).key(context)

    assert key("one.pth", b"a") == key("two.pth", b"a") != key("three.pth", b"b")


def test_an_encoder_of_another_shape_than_the_policys_is_refused(micro_store: MicroStore) -> None:
    other = micro.CONFIG.scorer.condition.model_copy(update={"widths": (8, 16, 24)})
    with pytest.raises(ConfigError, match=r"has widths=\(8, 16, 16\), where the scorer's has widths=\(8, 16, 24\)"):
        recipe_of(micro_store, micro.CONFIG.scorer.model_copy(update={"condition": other}))
