"""The published loss on labelled crops, part by part, as its outputs were recorded.

The engine adds it up in `tasks.train.data`, for its own recipes; here are also the crops that KTO doesn't count.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from models.diffusion import JOINT_SIZE
from models.objectives import TWIST_SIZE, DenoisingError


class SmplLoss(NamedTuple):
    """The published loss on labelled crops: four numbers, each with its weight already on it."""

    uv: Tensor
    betas: Tensor
    joints: Tensor
    twists: Tensor

    @property
    def total(self) -> Tensor:
        """What is minimised."""
        return self.uv + self.betas + self.joints + self.twists


def smpl_loss(
    uv_squared: Tensor,
    betas_squared: Tensor,
    error: DenoisingError,
    *,
    counted: Tensor | None = None,
    uv_weight: float = 40.0,
    betas_weight: float = 10.0,
    noise_weight: float = 1.0,
) -> SmplLoss:
    """ScoreHypo's loss of encoder and denoiser: sums over items and coordinates, averaged over the N crops.

    Args:
        uv_squared, betas_squared: (N,) summed squared errors of the encoder's estimate (`squared_error`).
        error: of the noise, its means over items and coordinates.
        counted: (N,) which crops count; the sum over them is divided by N all the same.
    """
    share = torch.ones_like(error.joints) if counted is None else counted.to(error.joints)
    share = share / len(share)
    return SmplLoss(
        uv_weight * (uv_squared * share).sum(),
        betas_weight * (betas_squared * share).sum(),
        noise_weight * JOINT_SIZE * (error.joints * share).sum(),
        noise_weight * TWIST_SIZE * (error.twists * share).sum(),
    )
