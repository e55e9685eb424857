"""The stages of a round on a frozen encoder that is a file: nothing moves it, and its digest is part of the keys."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from schemas.config.engine import EngineConfig
from schemas.ids import ModelDigest, StageKey
from schemas.profiles import tiny
from schemas.splits import SCORER_TRAIN, WILD_TRAIN
from tasks.engine.context import Context
from tasks.rows.mix import Mix
from tasks.rows.models import load_policy, load_scorer, model_of
from tasks.stages.generate import Generate
from tasks.stages.pair import Pair
from tasks.stages.score import Score
from tasks.stages.training import Align, TrainBase, TrainScorer
from tests.profiles import load_profile
from tests.tasks import micro
from tests.tasks.conftest import MicroStore
from tests.tasks.train.test_frozen import encoder

pytestmark = pytest.mark.slow


def small_tiny(file: Path) -> EngineConfig:
    """What profile `tiny` says of training, at micro sizes."""
    recipe, frozen = tiny(), {"encoder_learning_rate": 0.0, "projections": True}
    changes: dict[str, Any] = {
        "start.encoder": str(file),
        "scorer.sees_own_estimate": False,
        "policy.diffusion": recipe.policy.diffusion.model_dump(),
        "train_base.noise_draws": 2,
        "train_scorer.encoder_steps": 0,
        "align.encoder_distillation": 0.0,
        "align.replay": 4.0,
        "align.denoised_crops": 8,
    }
    for section in ("train_base", "train_scorer", "align", "train_clean"):
        changes[f"{section}.augment"] = recipe.align.augment.model_dump()
        changes[f"{section}.optimiser"] = frozen
    return load_profile("micro", changes=changes)


def test_no_stage_of_a_round_moves_a_frozen_encoder(micro_store: MicroStore, tmp_path: Path) -> None:
    file, given = tmp_path / "encoder.safetensors", encoder()
    file.write_bytes(given.to_bytes())
    store, ingest = micro_store.store, StageKey(micro_store.ingest_key)
    here = Context(store, small_tiny(file), in_process=True)
    labelled = micro.of(ingest)

    def is_given(state: dict[str, torch.Tensor], prefix: str) -> bool:
        return all((state[f"{prefix}{name}"].numpy() == value).all() for name, value in given.state.items())

    base = ModelDigest(model_of(store, TrainBase(labelled).run(here).key))
    assert is_given(load_policy(store, base).state_dict(), "condition.backbone.")
    scorer = ModelDigest(model_of(store, TrainScorer(micro.of(ingest, SCORER_TRAIN), base).run(here).key))
    assert is_given(load_scorer(store, scorer).state_dict(), "encoder.")
    generated = Generate((ingest,), (WILD_TRAIN,), base, here.config.generate).run(here).key
    scored = Score(generated, (ingest,), scorer).run(here).key
    pairs = Pair(generated, scored, here.config.pair, (ingest,)).run(here).key
    aligned = model_of(store, Align(labelled, pairs, base, base, Mix((ingest,), (WILD_TRAIN,))).run(here).key)
    after, before = load_policy(store, aligned).state_dict(), load_policy(store, base).state_dict()
    assert is_given(after, "condition.backbone.")
    assert not torch.equal(after["condition.to_local.weight"], before["condition.to_local.weight"])
    assert not torch.equal(after["hyponet.linear_final_j.weight"], before["hyponet.linear_final_j.weight"])


def test_the_encoders_digest_is_part_of_the_key(micro_store: MicroStore, tmp_path: Path) -> None:
    file = tmp_path / "encoder.safetensors"
    file.write_bytes(encoder().to_bytes())
    here = Context(micro_store.store, small_tiny(file), in_process=True)
    stage = TrainBase(micro.of(micro_store.ingest_key))
    key = stage.key(here)
    elsewhere = tmp_path / "copy.safetensors"
    elsewhere.write_bytes(file.read_bytes())
    assert stage.key(replace(here, config=small_tiny(elsewhere))) == key, "the digest counts, not the place"
    file.write_bytes(replace(encoder(), state={n: v + 1 for n, v in encoder().state.items()}).to_bytes())
    assert stage.key(here) != key
    plain = replace(here, config=micro.CONFIG)
    assert "encoder" not in dict(stage.key_config(plain))
