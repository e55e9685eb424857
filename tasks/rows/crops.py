"""Crops with what is known of the people in them, as arrays in memory."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class LabelledCrops:
    """N crops and what is known of the person in each."""

    crops: np.ndarray
    """(N, S, S, 3) uint8."""
    uvd: np.ndarray
    """(N, 29, 3) normalised joints."""
    twists: np.ndarray
    """(N, 23, 2) (cos, sin)."""
    betas: np.ndarray
    """(N, 10)."""
    chances: np.ndarray | None = None
    """(N,) of each to be the next that is drawn; None: all alike."""

    def __len__(self) -> int:
        return len(self.crops)


def crop_tensor(crops: np.ndarray | Tensor, device: torch.device) -> Tensor:
    """(B, S, S, 3) uint8 -> (B, 3, S, S) float in [-1, 1]."""
    return torch.as_tensor(crops).to(device).permute(0, 3, 1, 2).float().mul_(2 / 255).sub_(1)
