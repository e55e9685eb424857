"""Checkpoints: what is saved comes back, and what does not fit, or is damaged, is refused in words."""

import json
import random
import struct
from collections.abc import Callable

import pytest
import torch
from safetensors.torch import save
from torch import Tensor

from models.checkpoints.fitting import check_finite, load_into
from models.checkpoints.ours import digest_of, from_bytes, policy_of, scorer_of, to_bytes
from models.hmr_scorer import HMRScorer
from models.policy import Policy
from schemas.errors import DataError, EngineError
from schemas.profiles import micro

CONFIG = micro()


def policy(seed: int = 0) -> Policy:
    torch.manual_seed(seed)
    return Policy(CONFIG.policy).eval()


def saved(seed: int = 0) -> bytes:
    return to_bytes("policy", policy(seed).state_dict(), CONFIG.policy, parents=["a" * 64])


def test_a_policy_comes_back_as_it_was() -> None:
    before = policy()
    checkpoint = from_bytes(saved())
    after = policy_of(checkpoint)
    assert not after.training
    assert after.config == CONFIG.policy
    assert checkpoint.manifest.parents == ("a" * 64,)
    assert checkpoint.manifest.digest == digest_of(before.state_dict(), CONFIG.policy)
    for name, value in before.state_dict().items():
        assert torch.equal(value, after.state_dict()[name]), name


def test_a_scorer_comes_back_as_it_was() -> None:
    torch.manual_seed(0)
    before = HMRScorer(CONFIG.scorer)
    after = scorer_of(from_bytes(to_bytes("scorer", before.state_dict(), CONFIG.scorer)))
    assert digest_of(after.state_dict(), CONFIG.scorer) == digest_of(before.state_dict(), CONFIG.scorer)


@pytest.mark.parametrize("changes", [{}, {"score_heads": 2, "sees_betas": True, "silhouette": "limbs"}])
def test_fields_that_came_later_count_where_they_say_something(changes: dict[str, object]) -> None:
    """A scorer that has none of them has the digest and the bytes that it had before there were any."""
    config = CONFIG.scorer.model_copy(update=changes)
    before = HMRScorer(config)
    checkpoint = from_bytes(to_bytes("scorer", before.state_dict(), config))
    assert scorer_of(checkpoint).config == config
    assert checkpoint.manifest.digest == digest_of(before.state_dict(), config)
    assert changes.keys() == checkpoint.manifest.config.keys() & {"score_heads", "sees_betas", "silhouette"}


def test_metrics_come_back_and_do_not_change_the_digest() -> None:
    measured = {"zero_noise_mpjpe_mm": 57.25}
    data = to_bytes("policy", policy().state_dict(), CONFIG.policy, metrics=measured)
    manifest = from_bytes(data).manifest
    assert manifest.metrics == measured
    assert manifest.digest == from_bytes(saved()).manifest.digest
    assert from_bytes(saved()).manifest.metrics == {}


def test_equal_models_are_equal_files_and_others_are_not() -> None:
    assert saved() == saved()
    assert from_bytes(saved(0)).manifest.digest != from_bytes(saved(1)).manifest.digest
    state = policy().state_dict()
    turned = {name: state[name] for name in reversed(state)}
    assert digest_of(turned, CONFIG.policy) == digest_of(state, CONFIG.policy)
    other = CONFIG.policy.model_copy(update={"diffusion": CONFIG.policy.diffusion.model_copy(update={"eta": 0.5})})
    assert digest_of(state, other) != digest_of(state, CONFIG.policy)


def test_views_can_be_saved() -> None:
    state = policy().state_dict()
    name = next(name for name, value in state.items() if value.ndim == 2)
    wide = torch.cat([state[name], state[name]], dim=1)
    viewed = {**state, name: wide[:, : state[name].shape[1]]}
    assert to_bytes("policy", viewed, CONFIG.policy, parents=["a" * 64]) == saved()


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers_are_refused(bad: float) -> None:
    state = {name: value.clone() for name, value in policy().state_dict().items()}
    state["condition.backbone.pooled.bias"][3] = bad
    with pytest.raises(DataError, match=r"NaN or infinity in 1 of .*condition\.backbone\.pooled\.bias"):
        to_bytes("policy", state, CONFIG.policy)
    with pytest.raises(DataError, match="run 7 holds NaN"):
        load_into(policy(), state, "run 7")


@pytest.mark.parametrize("bad", [[float("inf"), float("-inf")], [float("nan"), 0.0], [float("inf"), 0.0]])
def test_what_is_no_number_is_found_and_large_numbers_are_none(bad: list[float]) -> None:
    largest = torch.finfo(torch.float32).max
    check_finite({"a": torch.full((2,), largest), "steps": torch.ones(1, dtype=torch.int64)}, "it")
    with pytest.raises(DataError, match="it holds NaN or infinity in 1 of 2 weights, the first: b"):
        check_finite({"a": torch.full((2,), largest), "b": torch.tensor(bad)}, "it")


@pytest.mark.parametrize("form", [torch.float8_e5m2, torch.float8_e4m3fn])
def test_weights_of_eight_bits_are_looked_at_too(form: torch.dtype) -> None:
    check_finite({"a": torch.ones(2).to(form)}, "it")
    with pytest.raises(DataError, match="NaN or infinity in 1 of 1"):
        check_finite({"a": torch.tensor([1.0, float("nan")]).to(form)}, "it")


def without(state: dict[str, Tensor]) -> None:
    del state["condition.to_context.bias"]


def more(state: dict[str, Tensor]) -> None:
    state["condition.to_nowhere"] = torch.zeros(2, 3)


def other_shape(state: dict[str, Tensor]) -> None:
    state["condition.to_context.bias"] = torch.zeros(99)


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (without, r"missing   condition\.to_context\.bias \(16,\)"),
        (more, r"unknown   condition\.to_nowhere \(2, 3\)"),
        (other_shape, r"shape     condition\.to_context\.bias is \(99,\), expected \(16,\)"),
    ],
)
def test_weights_that_do_not_fit_are_listed(change: Callable[[dict[str, Tensor]], None], line: str) -> None:
    state = policy().state_dict()
    change(state)
    with pytest.raises(DataError, match=line):
        load_into(policy(), state)


def test_a_long_list_is_cut() -> None:
    with pytest.raises(DataError, match=r"and \d+ more") as raised:
        load_into(policy(), {})
    assert len(str(raised.value).splitlines()) == 10


def test_a_checkpoint_from_before_a_field_of_the_configuration_is_read() -> None:
    older = CONFIG.policy.model_dump(mode="json")
    del older["condition"]["swapped_twist_points"]
    digest = digest_of(policy().state_dict(), older)
    assert digest != digest_of(policy().state_dict(), CONFIG.policy)
    checkpoint = from_bytes(with_manifest({"config": older, "digest": digest}))
    assert checkpoint.manifest.digest == digest
    assert policy_of(checkpoint).config == CONFIG.policy


def test_the_wrong_kind_is_refused() -> None:
    with pytest.raises(DataError, match="model 1 holds a policy, but a scorer is needed"):
        scorer_of(from_bytes(saved()), "model 1")


def with_manifest(change: dict[str, object], sealed: bool = False) -> bytes:
    data = saved()
    (length,) = struct.unpack("<Q", data[:8])
    raw = json.loads(json.loads(data[8 : 8 + length])["__metadata__"]["adhmr"])
    if not sealed:
        del raw["manifest_sha256"]  # as files of older versions are
    return save(dict(from_bytes(data).state), {"adhmr": json.dumps({**raw, **change})})


def bones() -> str:
    return digest_of(policy().state_dict(), {"bones": 4})


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (lambda: b"", "file 1 is no safetensors file"),
        (lambda: b"no checkpoint at all", "file 1 is no safetensors file"),
        (lambda: saved()[:-100], "file 1 is no safetensors file, or it is damaged"),
        (lambda: saved()[:-1] + b"\x01", "file 1 is damaged: its weights have digest"),
        (lambda: save({"a": torch.zeros(2)}), "without a manifest"),
        (lambda: with_manifest({"format": 2}), "has format 2"),
        (lambda: with_manifest({"config": {"bones": 4}}), "file 1 is damaged: its weights have digest"),
        (lambda: with_manifest({"config": {"bones": 4}, "digest": bones()}), r"the policy's configuration \(bones"),
        (lambda: with_manifest({"metrics": {"mpjpe_mm": 1.0}}, sealed=True), "its manifest does not have the digest"),
        (lambda: with_manifest({"parrots": []}), "file 1 is damaged: its manifest can't be read"),
    ],
)
def test_files_that_are_not_whole_are_refused(data: Callable[[], bytes], words: str) -> None:
    with pytest.raises(DataError, match=words):
        from_bytes(data(), "file 1")


def test_a_flipped_bit_anywhere_in_a_checkpoint_is_noticed_or_changes_nothing() -> None:
    data = saved()
    whole, draw = from_bytes(data), random.Random(0)
    (length,) = struct.unpack("<Q", data[:8])
    for place in [draw.randrange(8 + length) for _ in range(60)] + [draw.randrange(len(data)) for _ in range(20)]:
        flipped = bytearray(data)
        flipped[place] ^= 1 << draw.randrange(8)
        try:
            found = from_bytes(bytes(flipped))
        except EngineError:
            continue
        assert found.manifest == whole.manifest, place
        assert digest_of(found.state, CONFIG.policy) == whole.manifest.digest, place
