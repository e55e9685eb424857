"""A reference that follows the policy: after each step it keeps `align.reference_decay` of itself.

Source: Kang et al., AAAI 2026 (arXiv 2505.18736), whose reference is renewed a little at a time so that the policy may
go further than a frozen one lets it. Hazard: what it is measured against is no longer what the campaign began with, and
a drift that is slow enough is never seen in the loss; gates on drift and diversity have to see it.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from models.lora import merged
from models.policy import Policy


@torch.no_grad()
def follow(reference: Policy, policy: Policy, decay: float, *, encoder_too: bool) -> None:
    """Move the reference's weights, in place, to `decay` times themselves and the rest the policy's.

    Not those of an image encoder that isn't trained: what the reference's makes of crops may be kept.
    """
    mine = merged(policy.state_dict())
    trained = {name for name, weights in policy.named_parameters() if weights.requires_grad}
    for name, value in reference.state_dict().items():
        moves = encoder_too or name.startswith("hyponet.") or name in trained
        if value.is_floating_point() and moves:
            value.lerp_(mine[name], 1 - decay)


def kept(reference: Policy) -> dict[str, Tensor]:
    """What a checkpoint has to hold of a reference that moves."""
    return {name: value.detach().clone() for name, value in reference.state_dict().items()}


def put_back(reference: Policy, state: Mapping[str, Tensor]) -> None:
    """Go on from what `kept` gave."""
    reference.load_state_dict(dict(state))
