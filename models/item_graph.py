"""Which items of a hypothesis (joints, then twists) are neighbours, and linear layers that connect neighbours only."""

import torch
from torch import Tensor, nn

from models.skeleton import PARENTS


def neighbours(joints: int, twists: int) -> Tensor:
    """Adjacency (I, I) of the I = joints + twists items, true on the diagonal.

    A joint touches its parent and its children. Twist k sits on the bone that ends in joint k + 1: it touches that
    joint and the joint's neighbours, and the twists that share a joint with it.
    """
    linked = torch.eye(joints + twists, dtype=torch.bool)
    for joint in range(1, joints):
        linked[joint, PARENTS[joint]] = linked[PARENTS[joint], joint] = True
    for twist in range(twists):
        touched = linked[twist + 1, :joints].clone()
        linked[joints + twist, :joints] = touched
        linked[:joints, joints + twist] = touched
    shared = linked[:joints, joints:].float()
    linked[joints:, joints:] |= (shared.T @ shared) > 0
    return linked


def within(adjacency: Tensor, hops: int) -> Tensor:
    """(I, I) true where an item can be reached in at most `hops` steps (every item is its own neighbour)."""
    return torch.linalg.matrix_power(adjacency.double(), hops) > 0


class MaskedLinear(nn.Linear):
    """A linear layer between items: the weights between items that are not neighbours are zero, and stay zero.

    `mask` (I, I) says which items are connected; input and output features are item-major. After loading weights call
    `apply_mask` once; gradients of the barred weights are dropped on the way, so that no forward pass has to mask
    again.
    """

    mask: Tensor

    def __init__(self, mask: Tensor, features_in: int, features_out: int) -> None:
        items = mask.shape[0]
        super().__init__(items * features_in, items * features_out)
        full = mask.repeat_interleave(features_out, 0).repeat_interleave(features_in, 1)
        self.register_buffer("mask", full.to(self.weight.dtype), persistent=False)
        self.apply_mask()
        self.weight.register_hook(lambda gradient: gradient * self.mask)

    @torch.no_grad()
    def apply_mask(self) -> None:
        """Set the weights between items that are not neighbours to zero."""
        self.weight.mul_(self.mask)


def apply_masks(module: nn.Module) -> None:
    """Apply the masks of every `MaskedLinear` inside `module`; to be called once after weights were loaded."""
    for layer in module.modules():
        if isinstance(layer, MaskedLinear):
            layer.apply_mask()
