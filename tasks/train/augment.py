"""Random changes to crops: mirroring, colour, noise, a rectangle painted over.

Each step draws them from its own source.
"""

from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from models import skeleton
from models.cameras import mirror_joints, mirror_twist
from schemas.config.optimiser import AugmentConfig


@dataclass(frozen=True)
class Augmentation:
    """What is done to each of B crops, which have their places in a batch."""

    mirrored: Tensor
    """(B,) bool."""
    factor: Tensor
    """(B, 3, 1, 1) contrast of the channels."""
    shift: Tensor
    """(B, 3, 1, 1) brightness of the channels."""
    noise: Tensor
    """(B, 1, 1, 1) standard deviation of the noise."""
    patch: Tensor
    """(B, 4) left, top, right, bottom of the painted rectangle, shares of the crop; empty where left = right."""
    colour: Tensor
    """(B, 3, 1, 1) colour of the rectangle."""
    grain: int
    """Seed of the noise's pattern."""
    places: Tensor
    """(B,) of each in the batch, whose crops share a pattern."""
    total: int
    """Crops of the batch."""
    only_mirrors: bool = False
    """Whether all else leaves the crops as they are."""

    @staticmethod
    def draw(config: AugmentConfig, draw: np.random.Generator, count: int) -> "Augmentation":
        """Augmentations of a batch of `count` crops."""

        def uniform(low: float, high: float, *shape: int) -> Tensor:
            return torch.from_numpy(draw.uniform(low, high, (count, *shape)).astype(np.float32))

        corner, side = uniform(0.0, 0.8, 2), uniform(0.1, 0.35, 2)
        painted = uniform(0.0, 1.0, 1) < config.cutout
        return Augmentation(
            mirrored=uniform(0.0, 1.0) < config.mirror,
            factor=uniform(-config.contrast, config.contrast, 3, 1, 1).exp(),
            shift=uniform(-config.brightness, config.brightness, 3, 1, 1),
            noise=uniform(0.0, config.noise, 1, 1, 1),
            patch=torch.cat([corner, corner + side * painted], dim=1),
            colour=uniform(-1.0, 1.0, 3, 1, 1),
            grain=int(draw.integers(2**62)),
            places=torch.arange(count),
            total=count,
            only_mirrors=config.only_mirrors,
        )

    def of(self, rows: np.ndarray | slice) -> "Augmentation":
        """What is done to some of the crops."""
        chosen = torch.from_numpy(rows) if isinstance(rows, np.ndarray) else rows
        parts = {part.name: getattr(self, part.name) for part in fields(self)}
        some: dict[str, Any] = {name: part[chosen] for name, part in parts.items() if isinstance(part, Tensor)}
        return replace(self, **some)

    def crops(self, crops: Tensor) -> Tensor:
        """Crops (B, 3, S, S) in [-1, 1], changed; values stay in [-1, 1]."""
        crops = self.mirror(crops)
        if self.only_mirrors:
            return crops
        generator = torch.Generator(crops.device).manual_seed(self.grain)
        grain = torch.randn((self.total, *crops.shape[1:]), generator=generator, device=crops.device)[self.places]
        crops = crops * self.factor + self.shift + grain * self.noise
        place = (torch.arange(crops.shape[-1], device=crops.device) + 0.5) / crops.shape[-1]
        left, top, right, bottom = self.patch[:, :, None].unbind(1)
        inside = ((place > top) & (place < bottom))[:, None, :, None] & ((place > left) & (place < right))[
            :, None, None
        ]
        return torch.where(inside, self.colour, crops).clamp(-1.0, 1.0)

    def mirror(self, crops: Tensor) -> Tensor:
        """(B, 3, S, S) crops, mirrored where this mirrors, and else as they are."""
        return torch.where(self.mirrored[:, None, None, None], crops.flip(3), crops)

    def uvd(self, uvd: Tensor) -> Tensor:
        """Joints (B, ..., 29, 3) that belong to the crops."""
        return torch.where(self._mirrored(uvd), mirror_joints(uvd), uvd)

    def twists(self, twists: Tensor) -> Tensor:
        """Twists (B, ..., 23, 2) that belong to the crops."""
        return torch.where(self._mirrored(twists), mirror_twist(twists), twists)

    def pose(self, pose: Tensor) -> Tensor:
        """Vectors (B, ..., 133) of 87 normalised uvd and 46 twists that belong to the crops."""
        uvd, twists = pose[..., :87].unflatten(-1, (29, 3)), pose[..., 87:].unflatten(-1, (23, 2))
        return torch.cat([self.uvd(uvd).flatten(-2), self.twists(twists).flatten(-2)], dim=-1)

    def weight(self, weight: Tensor) -> Tensor:
        """Weights (B, ..., 133) of such vectors: they change sides with them, and keep their signs."""
        joints, twists = weight[..., :87].unflatten(-1, (29, 3)), weight[..., 87:].unflatten(-1, (23, 2))
        swapped = [
            part[..., list(sides), :].flatten(-2)
            for part, sides in ((joints, skeleton.MIRROR_JOINTS), (twists, skeleton.MIRROR_TWISTS))
        ]
        return torch.where(self._mirrored(weight), torch.cat(swapped, dim=-1), weight)

    def _mirrored(self, like: Tensor) -> Tensor:
        return self.mirrored.view(-1, *(1 for _ in like.shape[1:]))
