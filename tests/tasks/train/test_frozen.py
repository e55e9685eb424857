"""Policies with a frozen encoder: it stays as it was given, what projects its maps is trained, features are kept."""

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from infra.node_cache import NodeCache
from models.condition import CompactBackbone
from models.encoder_files import EncoderFile
from models.policy import Policy
from schemas.config.networks import ConditionConfig
from schemas.config.training import AlignConfig, TrainBaseConfig, TrainCleanConfig
from schemas.errors import ConfigError
from schemas.profiles import paper
from tasks.engine.loop import Training
from tasks.engine.share import WHOLE
from tasks.rows.crops import crop_tensor
from tasks.train.align import AlignRecipe
from tasks.train.base import BaseRecipe
from tasks.train.clean import CleanRecipe
from tasks.train.data import PolicyRecipe
from tasks.train.frozen import freeze
from tests.tasks import micro
from tests.tasks.train.alignment import AS_THEY_ARE, CPU, random_pairs, random_replay, settings

MIB = 1 << 20
MIRRORED = {**AS_THEY_ARE, "mirror": 0.5}
NETWORK = micro.CONFIG.policy
Kinds = dict[str, Any]


def encoder() -> EncoderFile:
    """One of random weights, whose statistics are not those of a new one."""
    torch.manual_seed(5)
    backbone = CompactBackbone(NETWORK.condition).train()
    with torch.no_grad():
        backbone(torch.rand(8, 3, 64, 64))
    return EncoderFile(
        NETWORK.condition, {name: value.numpy() for name, value in backbone.state_dict().items()}, "none"
    )


def changed(config: Any, **changes: Any) -> Any:
    """A training's configuration with a frozen encoder."""
    optimiser = {
        "steps": 3,
        "encoder_learning_rate": 0.0,
        "projections": True,
        "ema_decay": 0.0,
        **changes.pop("optimiser", {}),
    }
    plain = {"augment": MIRRORED, **changes, "optimiser": {**config.optimiser.model_dump(), **optimiser}}
    return type(config).model_validate({**config.model_dump(), **plain})


def base(room: int = MIB, cache: NodeCache | None = None, **changes: Any) -> BaseRecipe:
    config: TrainBaseConfig = changed(micro.CONFIG.train_base, batch_images=4, **changes)
    return BaseRecipe(config, NETWORK, random_replay(), CPU, encoder(), room, cache)


def policy() -> Policy:
    return copy.deepcopy(base().model)


def clean(room: int = MIB, cache: NodeCache | None = None, **changes: Any) -> CleanRecipe:
    config: TrainCleanConfig = changed(micro.CONFIG.train_clean, labelled_images=3, pseudo_images=3, **changes)
    return CleanRecipe(config, policy(), random_replay(), random_replay(), CPU, room, cache)


def align(room: int = MIB, cache: NodeCache | None = None, **changes: Any) -> AlignRecipe:
    config: AlignConfig = changed(settings(), encoder_distillation=0.0, **changes)
    moved = policy()
    with torch.no_grad():
        for parameter in moved.condition.projections():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return AlignRecipe(config, moved, policy(), random_pairs(), random_replay(), CPU, room, cache)


def trained(recipe: PolicyRecipe) -> dict[str, torch.Tensor]:
    Training(recipe, recipe.config.optimiser).run(lambda *heard: None)  # type: ignore[arg-type]
    return recipe.model.state_dict()


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("made", [base, clean, align])
def test_the_encoder_stays_and_its_projections_learn(made: Any) -> None:
    recipe = made()
    before = {name: value.clone() for name, value in recipe.model.state_dict().items()}
    after = trained(recipe)
    given = encoder().state
    for name, value in after.items():
        if name.startswith("condition.backbone."):
            assert (value.numpy() == given[name.removeprefix("condition.backbone.")]).all(), name
    for name in ("condition.to_context.weight", "condition.to_local.weight", "hyponet.linear_final_j.weight"):
        assert not torch.equal(before[name], after[name]), name


@pytest.mark.parametrize("made", [base, clean, align])
def test_the_room_for_features_changes_no_bit(made: Any) -> None:
    assert same(trained(made(0)), trained(made(MIB)))


def test_trainings_of_one_encoder_find_in_the_caches_file_what_another_made(tmp_path: Path) -> None:
    """What is kept is that of the backbone alone, which all of them share, and no bit of a training changes."""
    cache = NodeCache(tmp_path, 2**30)
    for made in (base, clean, align):
        assert same(trained(made(0, cache)), trained(made())), made.__name__
    assert len(list(tmp_path.glob("features-*.records"))) == 1


def test_nothing_is_kept_of_an_encoder_that_is_trained(tmp_path: Path) -> None:
    """Of the reference's alone: the policy's weights are others after each step."""
    config = changed(
        settings(fixed_statistics=True, keep_features=True),
        optimiser={"encoder_learning_rate": 1, "projections": False},
    )
    moved = policy()
    with torch.no_grad():
        next(moved.condition.parameters()).add_(1e-3)
    cache = NodeCache(tmp_path, 2**30)
    recipe = AlignRecipe(config, moved, policy(), random_pairs(), random_replay(), CPU, MIB, cache)
    assert recipe.kept.policy is None
    assert recipe.kept.reference is not None
    assert len(list(tmp_path.glob("features-*.records"))) == 1


def test_what_is_kept_is_what_each_step_would_make() -> None:
    recipe = base()
    assert recipe.sight is not None
    drawn, noise = recipe.draw(0, np.random.default_rng(3), WHOLE)
    assert drawn.crops is None
    assert drawn.change.mirrored.any()
    loss = recipe.loss(0, (drawn, noise))[0]
    crops = drawn.change.mirror(crop_tensor(recipe.data.crops[drawn.kept[0]], CPU))
    context, _ = recipe.model.encode(crops)
    kept = recipe.sight.of(drawn)
    for one, other in zip(kept, context, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)
    fresh = base(augment={**MIRRORED, "brightness": 1e-9})
    assert fresh.sight is not None
    assert fresh.sight.needs_crops
    seen = replace(drawn, crops=torch.from_numpy(recipe.data.crops[drawn.kept[0]]))
    torch.testing.assert_close(fresh.loss(0, (seen, noise))[0], loss, atol=1e-4, rtol=1e-4)


def test_aligned_policy_and_reference_share_features_before_their_projections() -> None:
    recipe = align()
    assert recipe.kept.policy is recipe.kept.reference is not None
    batch = recipe.batch(recipe.draw(0, np.random.default_rng(1), WHOLE))
    assert batch.crops is None
    plain = recipe.model.condition, recipe.reference.condition
    contexts = recipe._seen(batch)[0], recipe._frozen(batch)
    assert batch.seen is not None
    for condition, context in zip(plain, contexts, strict=True):
        torch.testing.assert_close(context.local, condition.to_local(batch.seen.local), atol=1e-6, rtol=1e-6)
    assert not torch.allclose(contexts[0].local, contexts[1].local)
    loss, figures = recipe.loss_of(batch)
    loss.backward()
    assert figures["replay"] > 0
    assert recipe.model.condition.to_context.weight.grad is not None


def test_without_projections_all_of_the_encoder_stays() -> None:
    after = trained(align(optimiser={"projections": False}))
    moved = align().model.state_dict()
    assert all(torch.equal(after[name], moved[name]) for name in after if name.startswith("condition."))


@pytest.mark.parametrize("projections", [True, False])
def test_lora_is_of_the_denoiser_and_projections_go_by_their_own_field(projections: bool) -> None:
    """As docs/method.md says: without them the additions alone are trained."""
    made = align(lora_rank=2, optimiser={"projections": projections})
    learning = [name for name, parameter in made.model.named_parameters() if parameter.requires_grad]
    others = {name for name in learning if "lora_proj" not in name}
    projecting = {name for name in others if name.startswith("condition.")}
    assert len(learning) > len(others) == len(projecting)
    assert bool(projecting) == projections


def test_what_cannot_be_frozen_is_refused() -> None:
    config = changed(micro.CONFIG.train_base)
    with pytest.raises(ConfigError, match="has learned nothing: say what it starts from"):
        BaseRecipe(config, NETWORK, random_replay(), CPU)
    with pytest.raises(ConfigError, match=r"set train_base\.optimiser\.projections=True"):
        base(optimiser={"projections": False})
    wider = NETWORK.model_copy(update={"condition": ConditionConfig()})
    with pytest.raises(ConfigError, match=r"widths is \(8, 16, 16\), not \(32, 64, 96\)"):
        BaseRecipe(config, wider, random_replay(), CPU, encoder())
    hrnet = paper().policy.condition
    with pytest.raises(ConfigError, match=r"is another network.*kind is compact, not hrnet_w48"):
        BaseRecipe(
            config.model_copy(update={"losses": paper().train_base.losses}),
            paper().policy,
            random_replay(),
            CPU,
            encoder(),
        )
    assert hrnet.kind == "hrnet_w48"


def test_a_given_encoder_may_be_trained_on() -> None:
    recipe = base(optimiser={"encoder_learning_rate": 1.0, "projections": False})
    assert recipe.sight is None
    given = encoder().state
    before = recipe.model.state_dict()["condition.backbone.stem.0.weight"].clone()
    assert (before.numpy() == given["stem.0.weight"]).all()
    assert not torch.equal(before, trained(recipe)["condition.backbone.stem.0.weight"])


def test_freezing_fixes_statistics() -> None:
    made = policy().train()
    freeze(made, changed(micro.CONFIG.train_base).optimiser)
    before = {name: value.clone() for name, value in made.condition.state_dict().items()}
    made.encode(torch.rand(4, 3, 64, 64))
    assert same(before, made.condition.state_dict())
