"""HMR-Scorer with a vision transformer, behind the same few methods as with the compact encoder."""

from typing import Any

import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import load, save

from models.hmr_scorer import AbsentLayer, HMRScorer
from schemas.config.networks import ConditionConfig, PolicyConfig, ScorerConfig

CONFIG = ScorerConfig(
    condition=ConditionConfig(kind="vit_s"), sees_own_estimate=False, attention_hops=(16,), hidden=(32, 8)
)


@pytest.fixture(scope="module")
def scorer() -> HMRScorer:
    torch.manual_seed(0)
    return HMRScorer(CONFIG).eval().requires_grad_(False)


def hypotheses(count: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return torch.rand(2, count, 29, 3, generator=generator) - 0.5, torch.zeros(2, count, 23, 2)


@pytest.mark.slow
def test_square_crops_of_any_size_are_scored(scorer: HMRScorer) -> None:
    uvd, twists = hypotheses(3)
    crops = torch.rand(2, 3, 64, 64) * 2 - 1
    pyramid, estimate = scorer.encode(crops)
    assert estimate is None
    raw = scorer.score(pyramid, estimate, uvd, twists)
    assert raw.shape == (2, 3)
    torch.testing.assert_close(scorer(crops, uvd, twists), torch.sigmoid(5 * raw))
    larger = torch.nn.functional.interpolate(crops, size=(384, 384), mode="bilinear", align_corners=False)
    torch.testing.assert_close(scorer.score(*scorer.encode(larger), uvd, twists), raw, atol=1e-4, rtol=1e-3)


def test_hypotheses_do_not_see_each_other(scorer: HMRScorer) -> None:
    uvd, twists = hypotheses(3)
    encoded = scorer.encode(torch.rand(2, 3, 64, 64))
    together, alone = scorer.score(*encoded, uvd, twists), scorer.score(*encoded, uvd[:, 2:], twists[:, 2:])
    torch.testing.assert_close(together[:, 2:], alone, atol=1e-5, rtol=1e-4)


def test_the_picture_and_the_hypothesis_count(scorer: HMRScorer) -> None:
    uvd, twists = hypotheses(2)
    one, other = (scorer.encode(torch.full((2, 3, 64, 64), shade)) for shade in (-1.0, 1.0))
    raw = scorer.score(*one, uvd, twists)
    assert (raw[:, 0] != raw[:, 1]).all()
    assert (raw != scorer.score(*other, uvd, twists)).all()


def test_layers_without_elements_can_be_saved() -> None:
    state = AbsentLayer(0, 0).state_dict()
    assert {name: tuple(value.shape) for name, value in load(save(dict(state))).items()} == {
        "weight": (0, 0),
        "bias": (0,),
    }


def test_encoders_that_do_not_fit_are_refused() -> None:
    for kind in ("hrnet_w48", "vit_b"):
        with pytest.raises(ValidationError, match="set sees_own_estimate=False"):
            ScorerConfig(condition=ConditionConfig(kind=kind))
    with pytest.raises(ValidationError, match="set twists=0"):
        ScorerConfig(condition=ConditionConfig(kind="vit_b"), sees_own_estimate=False, twists=23)
    with pytest.raises(ValidationError, match="is for HMR-Scorer"):
        PolicyConfig(condition=ConditionConfig(kind="vit_b"))


SMALL = ScorerConfig(
    condition=ConditionConfig(widths=(8, 16, 16), blocks=(1, 1, 1), map_channels=8),
    joint_channels=8,
    local_channels=8,
    attention_hops=(16,),
    norm_groups=8,
    hidden=(16, 8),
)


def compact(**changes: Any) -> HMRScorer:
    """A small scorer that sees 64 px, whose decoder and other inputs are not silent."""
    torch.manual_seed(0)
    scorer = HMRScorer(SMALL.model_copy(update=changes)).eval().requires_grad_(False)
    for head in scorer.score_net.score_heads:
        torch.nn.init.normal_(head[-1].weight)
    for name in ("betas_in", "limbs_in"):
        if hasattr(scorer, name):
            torch.nn.init.normal_(getattr(scorer, name).weight)
    return scorer


def test_the_score_is_the_mean_of_the_heads() -> None:
    scorer = compact(score_heads=3)
    uvd, twists = hypotheses(4)
    encoded = scorer.encode(torch.rand(2, 3, 64, 64))
    each = scorer.scores(*encoded, uvd, twists)
    assert each.shape == (2, 4, 3)
    assert (each.std(-1) > 0).all()
    torch.testing.assert_close(scorer.score(*encoded, uvd, twists), each.mean(-1))
    assert not any("more_heads" in name for name in compact().state_dict())


@pytest.mark.parametrize(
    ("sees", "what"),
    [
        ({"sees_betas": True}, "betas"),
        ({"twists": 23}, "twists"),
        ({"silhouette": "limbs"}, "neither"),
        ({}, "neither"),
    ],
)
def test_what_a_scorer_sees_beside_joints_can_be_taken_from_it(sees: dict[str, Any], what: str) -> None:
    scorer, given = compact(**sees), dict(zip(("uvd", "twists"), hypotheses(3), strict=True))
    given["betas"] = torch.rand(2, 3, 10)
    encoded = scorer.encode(torch.rand(2, 3, 64, 64))
    raw = scorer.score(*encoded, *given.values())
    for name in ("twists", "betas"):
        changed = {**given, name: given[name] + 1.0}
        same = torch.equal(scorer.score(*encoded, *changed.values()), raw)
        assert same == (name != what)


def test_other_inputs_change_nothing_before_they_have_learned() -> None:
    uvd, twists = hypotheses(3)
    crops, betas = torch.rand(2, 3, 64, 64), torch.rand(2, 3, 10)
    torch.manual_seed(0)
    plain = HMRScorer(SMALL).eval()
    torch.manual_seed(0)
    seeing = HMRScorer(SMALL.model_copy(update={"sees_betas": True, "silhouette": "limbs"})).eval()
    torch.testing.assert_close(seeing(crops, uvd, twists, betas), plain(crops, uvd, twists))
    shown = compact(silhouette="limbs"), compact()
    raw = [scorer.score(*scorer.encode(crops), uvd, twists) for scorer in shown]
    assert not torch.allclose(raw[0], raw[1], atol=1e-3)


def test_a_scorer_that_sees_betas_asks_for_them() -> None:
    scorer = compact(sees_betas=True)
    with pytest.raises(ValueError, match="give those of the hypotheses"):
        scorer.score(*scorer.encode(torch.rand(2, 3, 64, 64)), *hypotheses(3))
    with pytest.raises(ValidationError, match="set silhouette=none"):
        ScorerConfig(condition=ConditionConfig(kind="vit_b"), sees_own_estimate=False, silhouette="limbs")
