"""What a frozen encoder makes of crops, kept from step to step: it never changes, and costs most of a step."""

from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from models.hyponet import Context
from models.precision import in_32_bits
from tasks.engine.worker import microbatches
from tasks.rows.crops import Crops, crop_tensor

Place = tuple[int, bool]
"""Row of a crop, and whether it is mirrored."""
_AT_ONCE = 8
"""Crops of one pass: always as many, so that a crop's features don't depend on the step that asked for them first."""


class Encoding(Protocol):
    """A policy whose encoder is frozen, or what of a model is."""

    def encode(self, crops: Tensor) -> tuple[Context, object]:
        """Crops (B, 3, S, S) in [-1, 1] -> what is kept of them first."""


class KeptFeatures:
    """The contexts that a policy, whose encoder is frozen, makes of crops: once each, as far as `budget_bytes` go.

    `crops` are (N, S, S, 3) uint8. What comes out does not depend on the budget, nor on what was asked before.
    """

    def __init__(self, policy: Encoding, crops: Crops, device: torch.device, budget_bytes: int) -> None:
        self.policy, self.crops, self.device, self.left = policy, crops, device, budget_bytes
        self.kept: dict[Place, Context] = {}

    def of(self, rows: np.ndarray, mirrored: np.ndarray) -> Context:
        """The context of the crops `rows` (B,), some of them `mirrored` (B,)."""
        places: list[Place] = list(zip(rows.tolist(), mirrored.tolist(), strict=True))
        made = self._made([place for place in dict.fromkeys(places) if place not in self.kept])
        found = [made[place] if place in made else self.kept[place] for place in places]
        return Context(*(torch.stack(part).to(self.device) for part in zip(*found, strict=True)))

    @torch.no_grad()
    def _made(self, places: list[Place]) -> dict[Place, Context]:
        """Contexts of single crops, in memory of the CPU; they are kept while there is room."""
        made: dict[Place, Context] = {}
        for chosen, used in microbatches(len(places), _AT_ONCE):
            rows, mirrored = (np.array(column) for column in zip(*(places[place] for place in chosen), strict=True))
            crops = self.crops[rows]
            crops = np.where(mirrored[:, None, None, None], crops[:, :, ::-1], crops)
            with in_32_bits(self.device):
                context, _ = self.policy.encode(crop_tensor(crops, self.device))
            context = Context(*(part.cpu() for part in context))
            for place, index in enumerate(chosen[:used].tolist()):
                made[places[index]] = Context(*(part[place].clone() for part in context))
        for named, single in made.items():
            size = sum(part.numel() * part.element_size() for part in single)
            if size <= self.left:
                self.kept[named], self.left = single, self.left - size
        return made
