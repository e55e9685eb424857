"""HMR-Scorer at its published size, from picture to score, and how its inputs are made."""

import pytest
import torch
from torch import Tensor

from models.hmr_scorer import HMRScorer
from models.item_graph import MaskedLinear, apply_masks
from models.scorer_input import encoder_picture, upright_joints, upright_joints_of_camera, upright_picture
from schemas.profiles import paper
from tests.parity.rules import assert_golden, assert_manifest, golden, normal, rng, state, uniform

FILE = "06_scorer.npz"
PREFIX = "module."


@pytest.fixture(scope="module")
def scorer() -> HMRScorer:
    network = HMRScorer(paper().scorer)
    published = {f"encoder.{key}": value for key, value in state("vit_b_backbone").items()}
    published |= {f"score_net.{key}": value for key, value in state("hmr_scorenet").items()}
    network.load_state_dict(published)
    apply_masks(network)
    return network.eval().requires_grad_(False)


def pictures() -> Tensor:
    return uniform("sc.img", (2, 3, 512, 384), 0, 1)


def uvd() -> Tensor:
    places = uniform("sc.uv", (2, 5, 29, 2), -0.95, 0.95)
    return torch.cat([places, uniform("sc.d", (2, 5, 29, 1), -0.6, 0.6)], dim=-1)


def test_state_dicts_are_the_published_ones(scorer: HMRScorer) -> None:
    assert_manifest(scorer.encoder.state_dict(), "vit_b_backbone")
    assert_manifest(scorer.score_net.state_dict(), "hmr_scorenet")
    assert_manifest(scorer.state_dict(prefix=PREFIX), "hmr_scorer_checkpoint_network")


def test_weights_follow_the_rule(scorer: HMRScorer) -> None:
    # The decoder's are drawn once more, without masks.
    for name, made in (("vit", scorer.encoder.state_dict()), ("scorenet", state("hmr_scorenet"))):
        floats = [value.double() for value in made.values() if value.is_floating_point()]
        sums = [
            sum(value.sum().item() for value in floats),
            sum(value.square().sum().item() for value in floats),
            sum(value.numel() for value in floats),
        ]
        assert sums == pytest.approx(golden(FILE)[f"wsum.{name}"].tolist(), rel=1e-9)


def test_encoder(scorer: HMRScorer) -> None:
    shown = encoder_picture(pictures())
    assert_golden(shown, FILE, "interp.body_img", atol=0)
    features, tokens = scorer.encoder(shown)
    assert_golden(features, FILE, "vit.feat")
    assert_golden(tokens, FILE, "vit.tokens")


def test_decoder_alone(scorer: HMRScorer) -> None:
    pyramid = scorer.score_net.maps(normal("sc.global", (2, 768, 16, 12)))
    assert_golden(pyramid.fine, FILE, "isolated.deconv")
    assert_golden(scorer.local_features(pyramid, uvd()).reshape(2, 5, -1), FILE, "isolated.local_feature")
    raw = scorer.score_upright(pyramid, uvd())
    assert_golden(raw, FILE, "isolated.score_raw")
    assert_golden(torch.sigmoid(scorer.config.sharpness * raw), FILE, "isolated.score_sigmoid")


def test_masks(scorer: HMRScorer) -> None:
    start = scorer.score_net.linear_start_j
    assert isinstance(start, MaskedLinear)
    assert start.weight.count_nonzero() == golden(FILE)["masked_weight_nonzero"]


def test_picture_to_score(scorer: HMRScorer) -> None:
    pyramid = scorer.encode_upright(pictures())
    raw = scorer.score_upright(pyramid, uvd())
    assert_golden(raw, FILE, "multi.score_raw")
    assert_golden(torch.sigmoid(scorer.config.sharpness * raw), FILE, "multi.score_sigmoid")
    single = scorer.score_upright(pyramid, uvd()[:, :1])[:, 0]
    assert_golden(single, FILE, "single.score_raw")
    assert_golden(single, FILE, "mode_clean.score")

    assert raw.argsort(dim=1, descending=True).tolist() == golden(FILE)["mode_dpo.order"].tolist()


@pytest.mark.parametrize("mode", ["train", "test"])
def test_joints_of_a_body(mode: str) -> None:
    stored = golden(FILE)
    joints = torch.from_numpy(stored["proj.in_joints29"])
    place = torch.from_numpy(stored["proj.in_transl"])[:, None]
    if mode == "train":
        # The picture was turned, and with it the body about the camera; the recorded body took no part in the turn of
        # its own root, so that the pelvis alone moved.
        pelvis = joints[:, :1]
        place = (pelvis + place) @ torch.from_numpy(stored["proj.in_rot_aug"]).mT - pelvis
    joints = joints + place
    # The stored camera is that of a picture twice as large as the encoder's, as ours.
    found = upright_joints_of_camera(joints, torch.from_numpy(stored["proj.in_focal_princpt"]).float())
    assert_golden(found, FILE, f"proj.{mode}.joint_uvd_29")
    assert_golden((found[..., :2] + 1) / 2 * torch.tensor([12.0, 16.0]), FILE, f"proj.{mode}.joint_proj_29", atol=1e-3)


def test_stored_hypotheses() -> None:
    stored = golden(FILE)
    found = upright_joints(torch.from_numpy(stored["dpo_loader.in_score_joints"]).unflatten(1, (29, 3)))
    assert_golden(found, FILE, "dpo_loader.out_score_joints", atol=1e-6)
    crop = torch.from_numpy(rng("in:dpo256").integers(0, 256, (256, 256, 3))).permute(2, 0, 1)[None].float()
    assert_golden(upright_picture(crop / 127.5 - 1)[0], FILE, "dpo_loader.img")
