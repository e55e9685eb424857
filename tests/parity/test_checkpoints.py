"""Checkpoints in the published layout, at the published size: what is loaded, what it samples, what is written back."""

import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from infra.store import Store
from models.checkpoints.export import Progress, published_content, write_published
from models.checkpoints.loading import (
    load_hmr_scorer,
    load_policy,
    load_scorehypo,
    start_condition,
    start_encoder,
    warm_start,
)
from models.checkpoints.opening import open_scorer
from models.checkpoints.ours import digest_of, from_bytes
from models.checkpoints.published import PublishedFile, read_published, recognise
from models.diffusion import JOINT_SIZE
from models.hmr_scorer import HMRScorer, ScoreNet
from models.hrnet_condition import HRNetFeatures
from models.hyponet import Context
from models.item_graph import MaskedLinear
from models.lora import add_low_rank
from models.policy import Policy
from schemas.errors import DataError
from schemas.profiles import paper, scorehypo_scorer
from tasks.engine.context import Context as StageContext
from tasks.rows.models import load_policy as store_policy
from tasks.rows.models import load_scorer
from tasks.stages.import_model import import_model
from tests.models.hostile import Hostile
from tests.parity.rules import FIXTURES, HRNET_GAINS, golden, manifest, normal, published_order, state

CONFIG = paper()
PARTS = {"model": ("hyponet", ()), "model_cond": ("hrnet_cond", HRNET_GAINS)}


@cache
def rule(name: str) -> dict[str, Tensor]:
    return state(name, HRNET_GAINS if name.startswith("hrnet") else ())


def raw(name: str) -> dict[str, Tensor]:
    """Weights by rule with every 1-D parameter moved, so that they are not the averages."""
    moved = set(published_order(name))
    return {key: value + 0.5 if value.ndim == 1 and key in moved else value for key, value in rule(name).items()}


def average(name: str) -> dict[str, Any]:
    listed = [rule(name)[key] for key in published_order(name)]
    return {"decay": 0.9999, "num_updates": 3150, "shadow_params": listed}


def hyponet_checkpoint() -> dict[str, Any]:
    """A checkpoint as ADHMR saves one; the averages are the weights by rule."""
    return {
        "model": raw("hyponet"),
        "model_cond": raw("hrnet_cond"),
        "ema": average("hyponet"),
        "ema_cond": average("hrnet_cond"),
        "optimizer": {"state": {}, "param_groups": [{"lr": 5e-5, "params": [0]}]},
        "optimizer_cond": {"state": {}, "param_groups": [{"lr": 2.5e-5, "params": [0]}]},
        "epoch": 50,
        "step": 3150,
        "min_mpjpe_h36m": 36.9,
        "min_mpjpe_pw3d": 57.2,
    }


@cache
def policy() -> Policy:
    """One for all tests: whatever is loaded replaces all of it."""
    return Policy(CONFIG.policy).eval()


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PublishedFile]:
    path = tmp_path_factory.mktemp("published") / "adhmr.pth"
    torch.save(hyponet_checkpoint(), path)
    yield read_published(path)
    path.unlink()


def assert_weights(module: nn.Module, expected: dict[str, Tensor]) -> None:
    """Key for key, in order and to the bit; what the graph bars is zero."""
    found = module.state_dict()
    assert list(found) == list(expected)
    masks = {f"{name}.weight": layer.mask for name, layer in module.named_modules() if isinstance(layer, MaskedLinear)}
    for name, value in expected.items():
        assert torch.equal(found[name], value * masks[name] if name in masks else value), name


def assert_golden_poses() -> None:
    context = Context(
        normal("hypo.global2", (2, 512, 8, 8)),
        normal("hypo.local2", (2, 52, 256)),
        torch.zeros(2, 87),
        torch.zeros(2, 46),
    )
    noise = torch.cat([normal("ddim.nj", (2, 4, 87)), normal("ddim.nt", (2, 4, 46))], dim=-1)
    noise[:, 0] = 0
    poses = policy().diffusion.sample(policy().hyponet, noise.flatten(0, 1), context)
    for name, found in (("j", poses[:, :JOINT_SIZE]), ("t", poses[:, JOINT_SIZE:])):
        expected = torch.from_numpy(golden("02_hyponet.npz")[f"ddim.xs_{name}.4"]).view_as(found)
        assert float((found - expected).abs().max()) <= 1e-4 * float(expected.abs().max())


def test_the_top_level_keys_are_the_published_ones(file: PublishedFile) -> None:
    listed = json.loads((FIXTURES / "manifests" / "hyponet_checkpoint_top_keys.json").read_text(encoding="utf-8"))
    assert sorted(hyponet_checkpoint()) == listed
    assert file.kind == "hyponet"
    assert file.facts == {"epoch": 50, "step": 3150, "min_mpjpe_h36m": 36.9, "min_mpjpe_pw3d": 57.2}
    assert file.shadows["condition"].num_updates == 3150


def test_the_averages_load_and_sample_the_golden_poses(file: PublishedFile) -> None:
    loaded = load_policy(policy(), file)
    assert loaded.weights == "ema"
    assert loaded.notes == ()
    assert_weights(policy().hyponet, rule("hyponet"))
    assert_weights(policy().condition, rule("hrnet_cond"))
    assert_golden_poses()


def test_the_raw_weights_load(file: PublishedFile) -> None:
    load_policy(policy(), file, "raw")
    assert_weights(policy().hyponet, raw("hyponet"))
    assert_weights(policy().condition, raw("hrnet_cond"))


def test_a_prefix_of_data_parallel_training_is_taken_off() -> None:
    content = hyponet_checkpoint()
    for name in PARTS:
        content[name] = {f"module.{key}": value for key, value in content[name].items()}
    load_policy(policy(), recognise(content))
    assert_weights(policy().hyponet, rule("hyponet"))
    assert_weights(policy().condition, rule("hrnet_cond"))


def test_what_is_written_back_is_the_same_checkpoint(file: PublishedFile, tmp_path: Path) -> None:
    going_on = Policy(CONFIG.policy)
    load_policy(policy(), file, "ema")
    load_policy(going_on, file, "raw")
    progress = Progress(50, 3150, 36.9, 57.2, num_updates=3150)
    path = write_published(policy(), tmp_path / "back.pth", going_on, progress)
    assert [entry.name for entry in tmp_path.iterdir()] == ["back.pth"]
    back = read_published(path)
    assert back.facts == file.facts
    for part, name in (("hyponet", "hyponet"), ("condition", "hrnet_cond")):
        assert list(back.parts[part]) == list(manifest(name))
        assert back.shadows[part].num_updates == 3150
    with torch.no_grad():
        for parameter in policy().parameters():
            parameter.zero_()
    load_policy(policy(), back, "ema")
    assert_weights(policy().hyponet, rule("hyponet"))
    assert_weights(policy().condition, rule("hrnet_cond"))
    assert_golden_poses()
    load_policy(policy(), back, "raw")
    assert_weights(policy().hyponet, raw("hyponet"))
    assert_weights(policy().condition, raw("hrnet_cond"))
    path.unlink()


def test_low_rank_checkpoints_load_without_their_averages() -> None:
    content = {**hyponet_checkpoint(), "model": rule("hyponet_lora")}
    extended = Policy(CONFIG.policy)
    with pytest.raises(DataError, match="the network has none"):
        load_policy(extended, recognise(content))
    add_low_rank(extended.hyponet)
    loaded = load_policy(extended, recognise(content))
    assert loaded.weights == "raw"
    assert_weights(extended.hyponet, rule("hyponet_lora"))
    assert_weights(extended.condition, raw("hrnet_cond"))


def score_net() -> ScoreNet:
    sizes = {"condition": CONFIG.policy.condition, "twists": 23, "hidden": (1024,)}
    return ScoreNet(CONFIG.scorer.model_copy(update=sizes))


def test_scorehypo_loads_and_starts_warm(file: PublishedFile) -> None:
    content = {
        "model_score": raw("scorehypo_scorenet"),
        "model_score_cond": raw("hrnet_cond_score"),
        "ema_score": average("scorehypo_scorenet"),
        "ema_score_cond": average("hrnet_cond_score"),
        "optimizer_score": {},
        "optimizer_score_cond": {},
        "epoch": 1,
        "step": 2,
    }
    network, condition = score_net(), HRNetFeatures(512, 256)
    load_scorehypo(network, condition, recognise(content))
    assert_weights(network, rule("scorehypo_scorenet"))
    assert_weights(condition, rule("hrnet_cond_score"))
    fits = warm_start({"score_net": network, "condition": condition}, file)
    assert torch.equal(network.blocks[5].linear1.weight, rule("hyponet")["blocks.5.linear1.weight"])
    assert torch.equal(network.linear_mlp[0].weight, rule("scorehypo_scorenet")["linear_mlp.0.weight"])
    assert torch.equal(condition.conv1.weight, rule("hrnet_cond")["conv1.weight"])
    assert "linear_mlp.0.weight" in {row.name for row in fits["score_net"].problems}
    assert {row.name for row in fits["condition"].problems} == {"init_shape", "pred_beta.weight", "pred_beta.bias"}


def test_a_store_takes_policy_and_scorer_from_published_files(file: PublishedFile, tmp_path: Path) -> None:
    here = StageContext(Store.open(str(tmp_path / "store")), CONFIG)
    digest = import_model(here, Path(file.where))
    imported = store_policy(here.store, digest)
    assert_weights(imported.hyponet, rule("hyponet"))
    assert_weights(imported.condition, rule("hrnet_cond"))
    manifest = from_bytes(here.store.read_bytes(f"checkpoints/{digest}.safetensors")).manifest
    assert manifest.metrics["min_mpjpe_pw3d"] == 57.2
    raw_digest = import_model(here, Path(file.where), "raw")
    assert raw_digest != digest
    path = tmp_path / "snapshot.pth.tar"
    torch.save({"network": network_of("encoder", "score_net"), "optimizer": {}, "epoch": 3}, path)
    published = load_scorer(here.store, import_model(here, path))
    assert_weights(published.encoder, part_of(network_of("encoder"), "encoder"))
    path = tmp_path / "encoder.pth"
    torch.save({"network": network_of("encoder")}, path)
    with pytest.raises(DataError, match="an encoder alone, no policy and no scorer"):
        import_model(here, path)


@cache
def scorer() -> HMRScorer:
    return HMRScorer(CONFIG.scorer).eval()


@cache
def published_scorer() -> dict[str, Tensor]:
    return state("hmr_scorer_checkpoint_network", strip="module.")


def network_of(*parts: str) -> dict[str, Tensor]:
    return {key: value for key, value in published_scorer().items() if key.split(".")[1] in parts}


def part_of(content: dict[str, Tensor], part: str) -> dict[str, Tensor]:
    begin = f"module.{part}."
    return {key.removeprefix(begin): value for key, value in content.items() if key.startswith(begin)}


def test_hmr_scorer_loads() -> None:
    content = network_of("encoder", "score_net")
    assert len(content) == 282
    body = {"module.smplx_layer.betas": torch.zeros(1, 10)}
    found = recognise({"network": {**content, **body}, "optimizer": {}, "epoch": 3})
    assert found.kind == "hmr_scorer"
    loaded = load_hmr_scorer(scorer(), found)
    assert loaded.notes == ("left out, as published: smplx_layer (1)",)
    assert_weights(scorer().encoder, part_of(content, "encoder"))
    assert_weights(scorer().score_net, part_of(content, "score_net"))


def test_scorers_go_back_into_the_published_layout() -> None:
    """Key for key in the published order; the averages in that of the parameters."""
    load_hmr_scorer(scorer(), recognise({"network": network_of("encoder", "score_net"), "optimizer": {}, "epoch": 3}))
    content = published_content(scorer(), progress=Progress(epoch=3))
    assert sorted(content) == ["epoch", "network", "optimizer"]
    assert list(content["network"]) == list(manifest("hmr_scorer_checkpoint_network"))
    again, _ = open_scorer(recognise(content))
    assert digest_of(again.state_dict(), again.config) == digest_of(scorer().state_dict(), CONFIG.scorer)

    network, condition = score_net(), HRNetFeatures(512, 256)
    given = HMRScorer(scorehypo_scorer())
    given.score_net, given.encoder = network, condition
    content = published_content(given.eval(), progress=Progress(epoch=1, step=2))
    ends = ("_score", "_score_cond")
    named = [f"{part}{end}" for part in ("model", "ema", "optimizer") for end in ends]
    assert sorted(content) == sorted([*named, "epoch", "step"])
    for end, name in zip(ends, ("scorehypo_scorenet", "hrnet_cond_score"), strict=True):
        state_dict, shadow = content[f"model{end}"], content[f"ema{end}"]["shadow_params"]
        assert list(state_dict) == list(manifest(name))
        order = published_order(name)
        assert len(shadow) == len(order)
        assert all(torch.equal(state_dict[key], value) for key, value in zip(order, shadow, strict=True))
    assert recognise(content).kind == "scorehypo_scorenet"


def test_encoders_start_from_smplerx_and_vitpose() -> None:
    content = network_of("encoder")
    with torch.no_grad():
        for parameter in scorer().encoder.parameters():
            parameter.zero_()
    found = recognise({"network": {**content, "module.decoder.weight": torch.zeros(2)}})
    assert found.kind == "smplerx"
    assert start_encoder(scorer().encoder, found).notes == ("left out, as published: decoder (1)",)
    encoder = part_of(content, "encoder")
    assert_weights(scorer().encoder, encoder)
    pose = {f"backbone.{key}": value + 1 for key, value in encoder.items() if key != "task_tokens"}
    found = recognise({"state_dict": {**pose, "keypoint_head.final_layer.weight": torch.zeros(2)}, "meta": {}})
    assert found.kind == "vitpose"
    loaded = start_encoder(scorer().encoder, found)
    assert loaded.notes[0] == "encoder: allowed to differ: missing task_tokens (1)"
    expected = {key: value if key == "task_tokens" else value + 1 for key, value in encoder.items()}
    assert_weights(scorer().encoder, expected)


def test_the_condition_network_starts_from_hrnet() -> None:
    """As pose networks save it: the last module makes the finest map alone, and the head has a name of its own."""
    heads = ("pred_beta", "init_shape", "fmap_layer", "hmap_layer", "incre_modules", "downsamp_modules", "final_feat")
    coarse = tuple(f"stage4.2.fuse_layers.{branch}." for branch in (1, 2, 3))
    published = rule("hrnet_cond")
    content = {key: value + 1 for key, value in published.items() if not key.startswith(heads + coarse)}
    load_policy(policy(), recognise(hyponet_checkpoint()))
    found = recognise({**content, "final_layer.weight": torch.zeros(17, 48, 1, 1)})
    assert found.kind == "hrnet"
    loaded = start_condition(policy().condition, found)
    assert loaded.notes[-1] == "left out, as published: final_layer (1)"
    assert_weights(policy().condition, {key: content.get(key, value) for key, value in published.items()})
    smaller = {**content, "stage2.0.branches.0.0.conv1.weight": torch.zeros(32, 32, 3, 3)}
    with pytest.raises(
        DataError, match=r"branches\.0\.0\.conv1\.weight is \(32, 32, 3, 3\), expected \(48, 48, 3, 3\)"
    ):
        start_condition(policy().condition, recognise(smaller))


def test_a_checkpoint_that_runs_programs_is_refused(tmp_path: Path) -> None:
    path, target = tmp_path / "adhmr.pth", tmp_path / "ran"
    torch.save({"model": {}, "model_cond": {}, "optimizer": Hostile(target)}, path)
    with pytest.raises(DataError, match=r"adhmr\.pth was refused.*posix\.system|nt\.system"):
        read_published(path)
    assert not target.exists()


def test_a_checkpoint_that_is_cut_off_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "adhmr.pth"
    torch.save({"model": rule("hyponet")}, path)
    with path.open("r+b") as opened:
        opened.truncate(path.stat().st_size - 1000)
    with pytest.raises(DataError, match=r"is cut off or damaged.*copy or download it again"):
        read_published(path)


def test_another_architecture_is_refused() -> None:
    content = {**hyponet_checkpoint(), "model": rule("scorehypo_scorenet")}
    with pytest.raises(DataError, match="give the configuration that it was trained with, or another file") as raised:
        load_policy(policy(), recognise(content, "file 1"))
    assert "missing   linear_final_j.weight (87, 14848)" in str(raised.value)


def test_weights_that_are_no_numbers_are_named() -> None:
    content = hyponet_checkpoint()
    name = "stage4.2.branches.3.1.bn2.running_var"
    content["model_cond"][name] = content["model_cond"][name] * float("nan")
    with pytest.raises(DataError, match=rf"NaN or infinity in 1 of \d+ weights, the first: {name}"):
        load_policy(policy(), recognise(content))
