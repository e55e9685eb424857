"""The compact encoder and HMR-Scorer on untrained weights: geometry, shapes, independence."""

import torch

from models.condition import CompactBackbone, ConditionNetwork, item_points, sample_map
from models.hmr_scorer import HMRScorer
from models.skeleton import PARENTS
from schemas.config.networks import ConditionConfig, ScorerConfig


def test_shapes() -> None:
    network = ConditionNetwork(ConditionConfig(), width=64, local_channels=32).eval()
    context, estimate = network(torch.zeros(2, 3, 64, 64))
    assert context.image.shape == (2, 64, 8, 8)
    assert context.local.shape == (2, 52, 32)
    assert context.centre_joints.shape == (2, 87)
    assert context.centre_twists.shape == (2, 46)
    assert estimate.uvd.shape == (2, 29, 3)
    assert estimate.betas.shape == (2, 10)


def test_soft_argmax_finds_the_peak_and_its_depth() -> None:
    backbone = CompactBackbone(ConditionConfig())
    heat, depth = torch.full((1, 29, 16, 16), -5.545), torch.zeros(1, 29, 16, 16)  # log(1/256): everywhere alike
    heat[0, 7] = -60.0
    heat[0, 7, 3, 12] = 0.0  # joint 7 at row 3, column 12
    depth[0, 7] = 0.25
    found = backbone._soft_argmax(heat, depth)[0]
    torch.testing.assert_close(found[7], torch.tensor([(12.5 / 8) - 1, (3.5 / 8) - 1, 0.25]), atol=1e-4, rtol=0)
    torch.testing.assert_close(found[8], torch.zeros(3), atol=1e-4, rtol=0)


def test_twists_look_at_the_middle_of_their_bone() -> None:
    uv = torch.rand(1, 29, 2)
    points = item_points(uv)
    assert torch.equal(points[:, :29], uv)
    left_elbow = 18
    middle = (uv[0, left_elbow] + uv[0, PARENTS[left_elbow]]) / 2
    torch.testing.assert_close(points[0, 29 + left_elbow - 1], middle)


def test_swapped_twists_exchange_u_and_v_of_the_twists_alone() -> None:
    uv = torch.rand(2, 29, 2)
    plain, swapped = item_points(uv), item_points(uv, swapped_twists=True)
    assert torch.equal(plain[:, :29], swapped[:, :29])
    assert torch.equal(plain[:, 29:, [1, 0]], swapped[:, 29:])


def test_corners_are_the_centres_of_the_outermost_pixels() -> None:
    features = torch.arange(16.0).view(1, 1, 4, 4)
    corners = torch.tensor([[[-1.0, -1.0], [1.0, 1.0]]])
    assert sample_map(features, corners, corners=True)[0, :, 0].tolist() == [0.0, 15.0]
    assert sample_map(features, corners)[0, :, 0].tolist() == [0.0, 15.0 / 4]


def test_sampling_reads_columns_by_u_and_rows_by_v() -> None:
    features = torch.zeros(1, 1, 4, 4)
    features[0, 0, 0, 3] = 1.0  # top right
    corners = torch.tensor([[[0.75, -0.75], [-0.75, 0.75]]])
    assert sample_map(features, corners)[0, :, 0].tolist() == [1.0, 0.0]


def test_a_score_does_not_depend_on_the_other_hypotheses() -> None:
    torch.manual_seed(0)
    scorer = HMRScorer(ScorerConfig()).eval()
    crops, uvd, twists = torch.rand(2, 3, 64, 64), torch.rand(2, 5, 29, 3) - 0.5, torch.rand(2, 5, 23, 2)
    with torch.no_grad():
        together = scorer(crops, uvd, twists)
        alone = scorer(crops[1:], uvd[1:, 3:4], twists[1:, 3:4])
    assert together.shape == (2, 5)
    assert ((together > 0) & (together < 1)).all()
    torch.testing.assert_close(alone[0, 0], together[1, 3], atol=1e-5, rtol=1e-4)


def test_a_scorer_of_joints_alone_ignores_twists() -> None:
    torch.manual_seed(0)
    scorer = HMRScorer(ScorerConfig(twists=0)).eval()
    crops, uvd = torch.rand(1, 3, 64, 64), torch.rand(1, 2, 29, 3) - 0.5
    with torch.no_grad():
        assert torch.equal(scorer(crops, uvd, torch.zeros(1, 2, 23, 2)), scorer(crops, uvd, torch.ones(1, 2, 23, 2)))
