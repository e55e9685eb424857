"""HypoNet, its item graph and its attention."""

import pytest
import torch

from models.attention import Attention, image_code, sinusoidal_code
from models.hyponet import Context, HypoNet
from models.item_graph import MaskedLinear, apply_masks, neighbours, within
from schemas.config.networks import HypoNetConfig


def _context(images: int, config: HypoNetConfig, seed: int = 0) -> Context:
    generator = torch.Generator().manual_seed(seed)
    return Context(
        torch.randn(images, config.width, 8, 8, generator=generator),
        torch.randn(images, 52, config.local_channels, generator=generator),
        torch.zeros(images, 87),
        torch.zeros(images, 46),
    )


def test_neighbours_are_symmetric_and_local() -> None:
    linked = neighbours(29, 23)
    assert torch.equal(linked, linked.T)
    assert linked.diagonal().all()
    assert linked[15, 12]  # head and neck
    assert linked[15, 24]  # head and head top
    assert not linked[20, 21]  # the two wrists
    assert linked[29 + 19, 20]  # the twist of the left wrist sits on the wrist
    assert linked[29 + 19, 29 + 17]  # and shares a joint with the elbow's


def test_everything_is_within_reach_in_the_end() -> None:
    linked = neighbours(29, 23)
    assert not within(linked, 2).all()
    assert within(linked, 16).all()


def test_masked_weights_stay_zero_through_training() -> None:
    layer = MaskedLinear(within(neighbours(29, 0), 1), 3, 4)
    optimiser = torch.optim.AdamW(layer.parameters(), lr=0.1)
    for _ in range(3):
        optimiser.zero_grad()
        layer(torch.randn(5, 87)).square().sum().backward()
        optimiser.step()
    assert (layer.weight[layer.mask == 0] == 0).all()
    assert (layer.weight[layer.mask == 1] != 0).any()


def test_apply_masks_cuts_what_loading_brought_in() -> None:
    layer = MaskedLinear(torch.eye(3, dtype=torch.bool), 2, 2)
    layer.load_state_dict({"weight": torch.ones(6, 6), "bias": torch.zeros(6)})
    apply_masks(layer)
    assert layer.weight.count_nonzero() == 12


def test_many_hypotheses_equal_each_one_alone() -> None:
    config = HypoNetConfig()
    torch.manual_seed(0)
    network = HypoNet(config, residual=False).eval()
    context = _context(2, config)
    joints, twists, time = torch.randn(6, 87), torch.randn(6, 46), torch.tensor([5, 5, 5, 800, 800, 800])
    together = network(joints, twists, time, context)
    for row in range(6):
        alone = network(
            joints[row : row + 1],
            twists[row : row + 1],
            time[row : row + 1],
            Context(*(part[[row // 3]] for part in context)),
        )
        torch.testing.assert_close(alone[0][0], together[0][row], atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(alone[1][0], together[1][row], atol=1e-5, rtol=1e-4)


def test_residual_adds_the_input() -> None:
    config = HypoNetConfig()
    torch.manual_seed(0)
    bare = HypoNet(config, residual=False).eval()
    residual = HypoNet(config, residual=True).eval()
    residual.load_state_dict(bare.state_dict())
    inputs = torch.randn(2, 87), torch.randn(2, 46), torch.tensor([3, 700]), _context(2, config)
    for with_input, without, given in zip(residual(*inputs), bare(*inputs), inputs[:2], strict=True):
        torch.testing.assert_close(with_input, without + given)


def test_a_short_reach_blocks_far_items() -> None:
    config = HypoNetConfig(attention_hops=(1,), start_hops=1)
    torch.manual_seed(0)
    network = HypoNet(config, residual=False).eval()
    # The first normalisation mixes all joints through its statistics: silence it to see the attention alone.
    network.bn_start_j = torch.nn.Identity()
    joints = torch.randn(1, 87)
    moved = joints.clone()
    moved[0, 22 * 3] += 1.0  # the left hand
    rest = torch.zeros(1, 46), torch.tensor([10]), _context(1, config)
    change = (network(moved, *rest)[0] - network(joints, *rest)[0]).view(29, 3).abs().sum(1)
    assert change[22] > 1e-6
    assert change[5] < 1e-6  # the right knee is too far away


def test_training_copies_nothing_that_was_changed_in_place() -> None:
    """A change in place of a view (`CopySlices`) cost a fifteenth of a step; without gradients it saves memory."""
    config = HypoNetConfig()
    torch.manual_seed(0)
    network = HypoNet(config, residual=False)
    given = torch.randn(2, 87), torch.randn(2, 46), torch.tensor([3, 700]), _context(2, config)
    joints, _ = network(*given)
    assert joints.grad_fn is not None
    seen, ahead = set(), [joints.grad_fn]
    while ahead:
        node = ahead.pop()
        if node not in seen:
            seen.add(node)
            ahead += [following for following, _ in node.next_functions if following is not None]
    names = {node.name() for node in seen}
    assert "ReluBackward0" in names
    assert not names & {"CopySlices", "AsStridedBackward0"}
    with torch.no_grad():
        assert torch.equal(network(*given)[0], joints)


def test_uneven_hypotheses_are_refused() -> None:
    config = HypoNetConfig()
    network = HypoNet(config, residual=False)
    with pytest.raises(ValueError, match="shared out"):
        network(torch.zeros(5, 87), torch.zeros(5, 46), torch.zeros(5), _context(2, config))


def test_attention_equals_torchs_own() -> None:
    torch.manual_seed(0)
    attention = Attention(16, 4).eval()
    query, key = torch.randn(2, 5, 16), torch.randn(2, 7, 16)
    blocked = torch.rand(5, 7) < 0.3
    theirs = attention(query, key, key, attn_mask=blocked, need_weights=False)[0]
    torch.testing.assert_close(attention.attend(query, key, key, blocked), theirs, atol=1e-6, rtol=1e-5)


def test_codes() -> None:
    code = sinusoidal_code(torch.tensor([0, 1]), 8)
    assert torch.equal(code[0], torch.tensor([0.0] * 4 + [1.0] * 4))
    grid = image_code(16, 2, 3).view(2, 3, 16)
    assert torch.equal(grid[0, :, :8], grid[1, :, :8])  # the first half tells the column alone
    assert torch.equal(grid[:, 0, 8:], grid[:, 2, 8:])  # the second the row
    assert grid.flatten(0, 1).unique(dim=0).shape[0] == 6
