"""What frozen encoders make of crops is made once, whatever the room for it, and is what each step would make."""

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from infra.node_cache import NodeCache
from models.policy import Policy
from schemas.config.optimiser import OptimiserConfig
from schemas.config.training import AlignConfig
from schemas.digests import canonical_json
from schemas.profiles import paper
from tasks.engine.ahead import _mapped
from tasks.engine.loop import Training
from tasks.engine.share import WHOLE
from tasks.train.align import AlignRecipe
from tasks.train.align_batch import AlignBatch
from tasks.train.features import Encoding, KeptFeatures
from tests.tasks import micro
from tests.tasks.train.alignment import AS_THEY_ARE, CPU, CROPS, random_pairs, random_replay, settings

ALL_MIB = 1 << 30
MIRRORED = {**AS_THEY_ARE, "mirror": 0.5}


def frozen(**changes: Any) -> AlignConfig:
    wanted = {"encoder": 0.0, "replay": 0.0, "encoder_distillation": 0.0, "fixed_statistics": True, "augment": MIRRORED}
    return settings(**{**wanted, "keep_features": True, **changes})


def recipe(config: AlignConfig, room: int = ALL_MIB, cache: NodeCache | None = None) -> AlignRecipe:
    """The denoiser begins a little away from its reference, and the encoder at it."""
    torch.manual_seed(3)
    reference = Policy(micro.CONFIG.policy)
    policy = copy.deepcopy(reference)
    with torch.no_grad():
        for weights in policy.hyponet.parameters():
            weights.add_(0.02 * weights.std() * torch.randn_like(weights) if weights.numel() > 1 else 0)
    return AlignRecipe(config, policy, reference, random_pairs(), random_replay(), CPU, room, cache)


def drawn(made: AlignRecipe, seed: int) -> AlignBatch:
    return made.batch(made.draw(0, np.random.default_rng(seed), WHOLE))


def trained(made: AlignRecipe) -> dict[str, torch.Tensor]:
    Training(made, made.config.optimiser).run(lambda *heard: None)
    return made.model.state_dict()


def same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(first[name], second[name]) for name in first)


def test_a_crop_is_encoded_once_in_each_of_its_forms() -> None:
    torch.manual_seed(0)
    policy = Policy(micro.CONFIG.policy).eval()
    passes: list[int] = []
    policy.condition.register_forward_hook(lambda module, given, made: passes.append(len(given[0])))
    crops = np.random.default_rng(0).integers(0, 256, (20, 64, 64, 3), dtype=np.uint8)
    kept = KeptFeatures(Encoding.of(policy), crops, CPU, ALL_MIB)
    rows, mirrored = np.array([3, 3, 7, 3]), np.array([False, True, False, False])
    first = kept.of(kept.fetch(rows, mirrored))
    assert passes == [8]
    again = kept.of(kept.fetch(rows, mirrored))
    assert all(torch.equal(one, other) for one, other in zip(first, again, strict=True))
    assert passes == [8]
    pixels = torch.from_numpy(crops[[3, 3, 7, 3]]).permute(0, 3, 1, 2) / 127.5 - 1
    pixels[1] = pixels[1].flip(-1)
    with torch.no_grad():
        direct = policy.encode(pixels)[0]
    for one, other in zip(first, direct, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)


class Asked:
    """Crops of which it is known how often some were asked for."""

    def __init__(self, crops: np.ndarray) -> None:
        self.crops, self.shape, self.count = crops, crops.shape, 0

    def __len__(self) -> int:
        return len(self.crops)

    def __getitem__(self, rows: np.ndarray, /) -> np.ndarray:
        self.count += 1
        part: np.ndarray = self.crops[rows]
        return part


def test_a_step_finds_what_is_kept_stacked_and_asks_for_no_crop(tmp_path: Path) -> None:
    """A thread that draws ahead has read it, and decoded what is missing; computed is the latter alone, in the step."""
    torch.manual_seed(0)
    policy, cache = Policy(micro.CONFIG.policy).eval(), NodeCache(tmp_path / "cache", 2**30)
    passes: list[int] = []
    policy.condition.register_forward_hook(lambda module, given, made: passes.append(len(given[0])))
    crops = Asked(np.random.default_rng(0).integers(0, 256, (20, 64, 64, 3), dtype=np.uint8))
    kept, as_they_are = KeptFeatures(Encoding.of(policy), crops, CPU, 0, cache), np.zeros(4, bool)
    first, second = (kept.fetch(rows, as_they_are) for rows in (np.arange(4), np.arange(2, 6)))
    assert passes == []
    asked = crops.count
    expected = [kept.of(one) for one in (first, second)]
    assert (crops.count, sum(passes)) == (asked, 16)
    whole = kept.fetch(np.arange(2, 6), as_they_are)
    moved = _mapped(whole, lambda tensor: tensor.double())
    assert {part.dtype for part in moved.whole} == {torch.float64}
    assert all(torch.equal(one, other) for one, other in zip(kept.of(whole), expected[1], strict=True))
    assert (crops.count, sum(passes)) == (asked, 16)
    assert kept._digests is not None
    assert kept._digests.nbytes == 64 * len(crops), "known crops take no object each"
    partly = _mapped(kept.fetch(np.arange(4, 8), as_they_are), lambda tensor: tensor.double())
    assert {part.dtype for part in kept.of(partly)} == {torch.float32}, "a part is stacked before it is moved"


@pytest.mark.parametrize("room", [0, 20_000])
def test_the_room_for_features_changes_no_bit(room: int) -> None:
    made = recipe(frozen(), room)
    assert same(trained(made), trained(recipe(frozen())))
    assert made.kept.policy is not None
    assert len(made.kept.policy.kept) < 2 * CROPS


def encoded(policy: Policy, room: int, cache: NodeCache | None) -> tuple[list[torch.Tensor], int]:
    """What is kept of 20 crops, asked for in two steps, and the crops that were encoded for it."""
    passes: list[int] = []
    hook = policy.condition.register_forward_hook(lambda module, given, made: passes.append(len(given[0])))
    crops = np.random.default_rng(0).integers(0, 256, (20, 64, 64, 3), dtype=np.uint8)
    kept, rows = KeptFeatures(Encoding.of(policy), crops, CPU, room, cache), np.arange(20)
    found = [part for chosen in (rows[:4], rows) for part in kept.of(kept.fetch(chosen, chosen % 2 == 1))]
    hook.remove()
    return found, sum(passes)


@pytest.mark.parametrize("room", [0, 20_000, ALL_MIB])
def test_what_one_training_has_encoded_another_finds(room: int, tmp_path: Path) -> None:
    torch.manual_seed(0)
    policy, cache = Policy(micro.CONFIG.policy).eval(), NodeCache(tmp_path / "cache", 2**30)
    expected, _ = encoded(policy, ALL_MIB, None)
    first, passes = encoded(policy, room, cache)
    assert passes == 24, "each once, in passes of eight"
    again, passes = encoded(policy, room, cache)
    assert passes == 0
    for found in (first, again):
        assert all(torch.equal(one, other) for one, other in zip(found, expected, strict=True))
    (file,) = (tmp_path / "cache").glob("features-*.records")
    with torch.no_grad():
        next(policy.condition.parameters()).add_(1e-3)
    assert encoded(policy, room, cache)[1] == 24, "another encoder's are others"
    assert len(list(file.parent.glob("features-*.records"))) == 2


def test_a_file_for_features_changes_no_bit(tmp_path: Path) -> None:
    cache = NodeCache(tmp_path / "cache", 2**30)
    made = [recipe(frozen(), 20_000, cache) for _ in range(2)]
    expected = trained(recipe(frozen()))
    for one in made:
        assert same(trained(one), expected)
        assert one.kept.policy is not None
        assert one.kept.policy.file is not None


def test_kept_features_teach_what_those_of_each_step_teach() -> None:
    kept, fresh = recipe(frozen()), recipe(frozen(keep_features=False))
    assert fresh.kept.policy is fresh.kept.reference is None
    one, other = (made.loss_of(drawn(made, 5))[0] for made in (kept, fresh))
    torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-4)


def test_frozen_encoders_that_are_alike_share_their_features_and_need_no_crops() -> None:
    made = recipe(frozen())
    assert made.kept.policy is made.kept.reference
    batch = drawn(made, 0)
    assert batch.crops is None
    assert batch.seen is batch.seen_by_reference


def test_the_reference_of_a_trained_encoder_keeps_its_own_alone() -> None:
    made = recipe(frozen(encoder=1.0))
    assert made.kept.policy is None
    assert made.kept.reference is not None
    batch = drawn(made, 0)
    assert batch.crops is not None
    with torch.no_grad():
        fresh = made.reference.encode(batch.crops)[0]
    assert batch.seen_by_reference is not None
    torch.testing.assert_close(batch.seen_by_reference.image, fresh.image, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    "changes",
    [
        {"encoder": 1.0, "augment": {**AS_THEY_ARE, "noise": 0.1}},
        {"encoder": 1.0, "fixed_statistics": False},
        {"keep_features": False},
    ],
    ids=["crops change", "statistics are the batch's", "not asked for"],
)
def test_features_that_change_are_not_kept(changes: dict[str, Any]) -> None:
    assert recipe(frozen(**changes)).kept == (None, None)


def test_replayed_crops_are_seen_beside_kept_features() -> None:
    made = recipe(frozen(replay=1.0))
    _, figures = made.loss_of(drawn(made, 0))
    assert figures["replay"] > 0


def test_a_training_in_16_bits_keeps_weights_of_32_and_goes_another_way() -> None:
    half = frozen().optimiser.model_copy(update={"precision": "bfloat16"})
    found, full = trained(recipe(frozen(optimiser=half))), trained(recipe(frozen()))
    assert {weights.dtype for weights in found.values() if weights.is_floating_point()} == {torch.float32}
    assert not same(found, full)
    for name, weights in found.items():
        torch.testing.assert_close(weights, full[name], atol=0.02, rtol=0.02)


def test_keys_know_of_precision_and_kept_features_only_where_they_are_asked_for() -> None:
    plain = canonical_json(micro.CONFIG)
    assert "keep_features" not in plain
    assert "encoder_precision" not in plain
    assert "double_errors" not in plain
    assert '"precision"' not in canonical_json(OptimiserConfig(steps=1, learning_rate=1.0))
    assert '"keep_features":true' in canonical_json(paper().align)
    assert '"precision":"bfloat16"' in canonical_json(paper().score)
