"""HMR-Scorer with a vision transformer, behind the same few methods as with the compact encoder."""

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
