"""The recipe of train_clean: it learns from both kinds of crops, and leaves alone what it should."""

import numpy as np
import pytest
import torch

from schemas.config.training import TrainCleanConfig
from schemas.splits import SCORER_TRAIN
from tasks.engine.loop import Training
from tasks.engine.share import WHOLE
from tasks.rows.crops import LabelledCrops
from tasks.rows.instances import labelled_crops
from tasks.rows.models import load_policy
from tasks.train.clean import CleanRecipe
from tests.tasks import micro
from tests.tasks.conftest import MicroStore


def config(encoder: float = 1.0, steps: int = 40, **changes: object) -> TrainCleanConfig:
    base = micro.CONFIG.train_clean
    optimiser = base.optimiser.model_copy(
        update={"steps": steps, "learning_rate": 3e-3, "encoder_learning_rate": encoder}
    )
    return base.model_copy(update={"optimiser": optimiser, **changes})


def crops(held: MicroStore) -> tuple[LabelledCrops, LabelledCrops]:
    key = held.ingest_key
    return labelled_crops(held.store, micro.of(key)), labelled_crops(held.store, micro.of(key, SCORER_TRAIN))


def trained(held: MicroStore, settings: TrainCleanConfig) -> tuple[CleanRecipe, list[dict[str, float]]]:
    labelled, pseudo = crops(held)
    recipe = CleanRecipe(settings, load_policy(held.store, held.policy), labelled, pseudo, torch.device("cpu"))
    seen: list[dict[str, float]] = []
    Training(recipe, settings.optimiser).run(lambda step, figures, state: seen.append(dict(figures)))
    return recipe, seen


@pytest.mark.slow
def test_both_losses_fall(shared_micro_store: MicroStore) -> None:
    _, seen = trained(shared_micro_store, config())
    for name in ("pseudo_estimate", "labelled_estimate", "pseudo_joints", "labelled_joints"):
        assert np.mean([figures[name] for figures in seen[-4:]]) < np.mean([figures[name] for figures in seen[:4]])


def test_a_frozen_encoder_stays_and_another_follows_the_crops(shared_micro_store: MicroStore) -> None:
    before = load_policy(shared_micro_store.store, shared_micro_store.policy).state_dict()
    moving, frozen = (
        trained(shared_micro_store, config(encoder, steps=2))[0].model.state_dict() for encoder in (1.0, 0.0)
    )
    for name, value in before.items():
        if name.startswith("condition."):
            assert torch.equal(frozen[name], value), name
    for name in ("condition.backbone.stem.0.weight", "condition.backbone.stem.1.running_mean"):
        assert not torch.equal(moving[name], before[name]), name
    assert any(not torch.equal(frozen[name], before[name]) for name in before if name.startswith("hyponet."))


def test_without_labelled_crops(shared_micro_store: MicroStore) -> None:
    _, seen = trained(shared_micro_store, config(steps=2, labelled_images=0))
    assert not any(name.startswith("labelled") for name in seen[0])


@pytest.mark.parametrize("weight", [0.0, 2.0])
def test_the_weight_counts(shared_micro_store: MicroStore, weight: float) -> None:
    labelled, pseudo = crops(shared_micro_store)
    losses = []
    for settings in (config(labelled_images=0), config(labelled_images=0, pseudo_weight=weight)):
        policy = load_policy(shared_micro_store.store, shared_micro_store.policy)
        recipe = CleanRecipe(settings, policy, labelled, pseudo, torch.device("cpu"))
        losses.append(recipe.loss(0, recipe.draw(0, np.random.default_rng(0), WHOLE))[0].item())
    assert losses[1] == pytest.approx(weight * losses[0])
