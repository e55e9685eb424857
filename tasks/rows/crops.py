"""Crops with what is known of the people in them, as arrays."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

from schemas.errors import DataError
from tasks.rows.mix import Chances

if TYPE_CHECKING:
    import torch
    from torch import Tensor


class Crops(Protocol):
    """(N, S, S, 3) uint8: an array, or what decodes rows of it when they are asked for."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(N, S, S, 3)."""

    def __len__(self) -> int:
        """N."""

    def __getitem__(self, rows: np.ndarray, /) -> np.ndarray:
        """(R, S, S, 3) of the rows (R,)."""


@dataclass(frozen=True)
class LabelledCrops:
    """N crops and what is known of the person in each."""

    crops: Crops
    """(N, S, S, 3) uint8."""
    uvd: np.ndarray
    """(N, 29, 3) normalised joints."""
    twists: np.ndarray
    """(N, 23, 2) (cos, sin)."""
    betas: np.ndarray
    """(N, 10)."""
    chances: Chances | None = None
    """None: all alike."""

    def __len__(self) -> int:
        return len(self.crops)


def decoded(name: str, data: bytes) -> np.ndarray:
    """(S, S, 3) uint8 of the encoded crop of an instance. DataError, which names it, for what can't be read."""
    from PIL import Image

    try:
        return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
    except (OSError, ValueError) as error:
        raise DataError(f"The stored crop of {name} can't be read: {error}. Ingest the pictures again.") from error


def stacked(crops: list[np.ndarray]) -> np.ndarray:
    """(N, S, S, 3) of crops of one size; DataError if they have several."""
    sizes = {crop.shape for crop in crops}
    if len(sizes) > 1:
        raise DataError(
            f"Crops of different sizes can't go through one model: {sorted(sizes)}. Ingest all with one crop size."
        )
    return np.stack(crops)


def crop_tensor(crops: np.ndarray | Tensor, device: torch.device) -> Tensor:
    """(B, S, S, 3) uint8 -> (B, 3, S, S) float in [-1, 1]."""
    import torch

    return torch.as_tensor(crops).to(device).permute(0, 3, 1, 2).float().mul_(2 / 255).sub_(1)
