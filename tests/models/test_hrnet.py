"""HRNet and its condition heads, narrow and untrained: geometry and shapes. tests/parity has the published numbers."""

import pytest
import torch
from pydantic import ValidationError

from models.hrnet import HRNet
from models.hrnet_condition import HRNetCondition, HRNetFeatures, soft_argmax
from schemas.config.networks import ConditionConfig

CONFIG = ConditionConfig(kind="hrnet_w48", image_size=64)


def _network(config: ConditionConfig = CONFIG) -> HRNetCondition:
    torch.manual_seed(0)
    return HRNetCondition(config, token_width=16, local_channels=8, width=4).eval()


@torch.no_grad()
def test_branches_halve_in_size_and_double_in_width() -> None:
    network = HRNet(width=4).eval()
    branches = network.branches(torch.zeros(1, 3, 64, 64))
    assert [tuple(branch.shape[1:]) for branch in branches] == [(4, 16, 16), (8, 8, 8), (16, 4, 4), (32, 2, 2)]
    assert network.summary(branches).shape == (1, 1024, 2, 2)


def test_every_branch_hears_of_every_other() -> None:
    torch.manual_seed(0)
    network = HRNet(width=4).eval()
    seen = [torch.rand(1, 4 * 2**branch, 16 >> branch, 16 >> branch, requires_grad=True) for branch in range(4)]
    fused = network.stage4(seen)
    for target in range(4):
        gradients = torch.autograd.grad(fused[target].sum(), seen, retain_graph=True)
        assert all(gradient.abs().sum() > 0 for gradient in gradients), f"branch {target}"


@torch.no_grad()
def test_condition_gives_what_hyponet_needs_and_no_depths_or_twists() -> None:
    context, estimate = _network()(torch.rand(2, 3, 64, 64) * 2 - 1)
    assert context.image.shape == (2, 16, 2, 2)
    assert context.local.shape == (2, 52, 8)
    assert context.centre_joints.shape == (2, 87)
    assert context.centre_twists.shape == (2, 46)
    assert estimate.uvd.shape == (2, 29, 3)
    assert estimate.twists.shape == (2, 23, 2)
    assert estimate.betas.shape == (2, 10)
    assert estimate.heat.shape == (2, 29, 16, 16)
    assert estimate.uvd[..., :2].any()
    assert not any(part.any() for part in (*context[2:], estimate.uvd[..., 2], estimate.twists))


@torch.no_grad()
def test_swapped_twist_points_change_the_features_of_twists_alone() -> None:
    plain, swapped = _network(), _network(CONFIG.model_copy(update={"swapped_twist_points": True}))
    crops = torch.rand(1, 3, 64, 64) * 2 - 1
    here, there = plain(crops)[0].local, swapped(crops)[0].local
    assert torch.equal(here[:, :29], there[:, :29])
    assert not torch.isclose(here[:, 29:], there[:, 29:]).all(-1).any()


def test_only_the_network_with_betas_holds_an_initial_shape() -> None:
    names = set(_network().state_dict()) - set(HRNetFeatures(16, 8, width=4).state_dict())
    assert names == {"init_shape", "pred_beta.weight", "pred_beta.bias"}


def test_soft_argmax_counts_from_the_first_column() -> None:
    heat = torch.full((1, 2, 8, 16), -10.0)
    heat[0, 0, 0, 0] = heat[0, 1, 6, 12] = 10.0
    logarithms, places = soft_argmax(heat)
    torch.testing.assert_close(places[0], torch.tensor([[-1.0, -1.0], [0.5, 0.5]]))
    torch.testing.assert_close(logarithms.exp().sum((2, 3)), torch.ones(1, 2))


def test_crops_that_can_not_be_halved_five_times_are_refused() -> None:
    with pytest.raises(ValidationError, match="image_size=80 is no multiple of 32"):
        ConditionConfig(kind="hrnet_w48", image_size=80)
