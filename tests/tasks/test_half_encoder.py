"""An image encoder gets 16 bits only where that leaves the zero-noise hypotheses in place."""

import numpy as np
import pytest
import torch

from models.bodies import load_body
from schemas.errors import ConfigError
from schemas.splits import WILD_TRAIN
from tasks import half_encoder
from tasks.generate import GenerateWorker, HypothesisSampler
from tasks.half_encoder import check_half_encoder, movement_mm
from tasks.rows.hypotheses import Hypotheses
from tasks.rows.instances import Instances, load_instances
from tasks.rows.models import load_policy
from tasks.stages.generate import Generate
from tests.tasks import micro
from tests.tasks.conftest import MicroStore

pytestmark = pytest.mark.slow

HALF = micro.CONFIG.generate.model_copy(update={"encoder_precision": "bfloat16"})
ROOT = micro.CONFIG.root_solver


def sampler(held: MicroStore) -> HypothesisSampler:
    return HypothesisSampler(load_policy(held.store, held.policy), HALF, load_body("tiny"))


def people(held: MicroStore, count: int = 6) -> Instances:
    ids = [f"wild/train/{index:08d}#0" for index in range(count)]
    return load_instances(held.store, [held.ingest_key], ids)


class Moved:
    """Draws what `of` draws with 32 bits, but with every twist bent by an angle where the encoder has 16."""

    def __init__(self, of: HypothesisSampler, bend_rad: float, device: str = "cpu") -> None:
        self.of, self.bend_rad, self.device = of, bend_rad, device

    def zero_noise(self, people: Instances, *, half_encoder: bool) -> Hypotheses:
        drawn = self.of.zero_noise(people, half_encoder=False)
        if not half_encoder:
            return drawn
        angle = torch.from_numpy(drawn.twists).double()
        bend = torch.atan2(angle[..., 1], angle[..., 0]) + self.bend_rad
        twists = torch.stack([bend.cos(), bend.sin()], dim=-1).float().numpy()
        return Hypotheses(drawn.uvd, twists, drawn.betas, drawn.root_depth)

    def computed(self) -> dict[str, str]:
        return {**self.of.computed(), "device": self.device}


def check(held: MicroStore, draw: half_encoder.ZeroNoise) -> None:
    check_half_encoder(draw, held.store, [held.ingest_key], people(held).ids, held.policy, load_body("tiny"), ROOT)


def test_an_encoder_that_stays_in_place_moves_nothing(micro_store: MicroStore) -> None:
    assert movement_mm(Moved(sampler(micro_store), 0.0), people(micro_store), load_body("tiny"), ROOT) < 1e-3


def test_an_encoder_that_moves_bodies_is_refused_with_the_figure(micro_store: MicroStore) -> None:
    bent = Moved(sampler(micro_store), 0.1)
    moved_mm = movement_mm(bent, people(micro_store), load_body("tiny"), ROOT)
    assert moved_mm > half_encoder.LIMIT_MM
    with pytest.raises(ConfigError, match=rf"by {moved_mm:.2f} mm, the mean of 6 people, and 0.1 mm are allowed"):
        check(micro_store, bent)


def test_the_finding_is_kept_and_made_anew_where_its_file_is_damaged(
    micro_store: MicroStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    check(micro_store, Moved(sampler(micro_store), 0.0))
    bent = Moved(sampler(micro_store), 0.1)
    check(micro_store, bent)  # not asked again
    (file,) = micro_store.store.list_files("precision")
    micro_store.store.atomic_write(file, b"{")
    with pytest.raises(ConfigError, match="encoder_precision=bfloat16 would move"):
        check(micro_store, bent)


def test_what_was_found_on_one_device_says_nothing_of_another(micro_store: MicroStore) -> None:
    check(micro_store, Moved(sampler(micro_store), 0.0))
    with pytest.raises(ConfigError, match="encoder_precision=bfloat16 would move"):
        check(micro_store, Moved(sampler(micro_store), 0.1, device="cuda"))


def test_a_stage_measures_before_it_draws(micro_store: MicroStore, monkeypatch: pytest.MonkeyPatch) -> None:
    stage = Generate((micro_store.ingest_key,), (WILD_TRAIN,), micro_store.policy, HALF)
    monkeypatch.setattr(half_encoder, "LIMIT_MM", 1e9)
    worker = GenerateWorker(stage, micro_store.context)
    assert micro_store.store.list_files("precision")
    full = HypothesisSampler(
        load_policy(micro_store.store, micro_store.policy), micro.CONFIG.generate, load_body("tiny")
    )
    found = people(micro_store)
    given = found.ids, found.crops, found.crop_intrinsics, np.full(len(found), 4, np.float32)
    assert 0 < np.abs(worker.draw(*given).uvd - full(*given).uvd).max() < 0.1
    monkeypatch.setattr(half_encoder, "LIMIT_MM", 0.0)
    with pytest.raises(ConfigError, match="Set encoder_precision=float32"):
        GenerateWorker(stage, micro_store.context)
