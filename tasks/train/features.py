"""What a frozen encoder makes of crops, kept from step to step: it never changes, and costs most of a step."""

from collections.abc import Callable, Iterable
from typing import Generic, TypeVar

import numpy as np
import torch
from torch import Tensor

from models.precision import in_32_bits
from tasks.engine.worker import microbatches
from tasks.rows.crops import Crops, crop_tensor

Features = TypeVar("Features", bound=tuple[Tensor, ...])
"""A NamedTuple of what is made of B crops, each part (B, ...)."""
Place = tuple[int, bool]
"""Row of a crop, and whether it is mirrored."""
_AT_ONCE = 8
"""Crops of one pass: always as many, so that a crop's features don't depend on the step that asked for them first."""


class KeptFeatures(Generic[Features]):
    """What `encode`, of a frozen encoder, makes of crops (B, 3, S, S): once each, as far as `budget_bytes` go.

    `crops` are (N, S, S, 3) uint8. What comes out does not depend on the budget, nor on what was asked before.
    """

    def __init__(
        self, encode: Callable[[Tensor], Features], crops: Crops, device: torch.device, budget_bytes: int
    ) -> None:
        self.encode, self.crops, self.device, self.left = encode, crops, device, budget_bytes
        self.kept: dict[Place, Features] = {}

    def of(self, rows: np.ndarray, mirrored: np.ndarray) -> Features:
        """The features of the crops `rows` (B,), some of them `mirrored` (B,)."""
        places: list[Place] = list(zip(rows.tolist(), mirrored.tolist(), strict=True))
        made = self._made([place for place in dict.fromkeys(places) if place not in self.kept])
        found = [made[place] if place in made else self.kept[place] for place in places]
        return _like(found[0], (torch.stack(part).to(self.device) for part in zip(*found, strict=True)))

    @torch.no_grad()
    def _made(self, places: list[Place]) -> dict[Place, Features]:
        """Features of single crops, in memory of the CPU; they are kept while there is room."""
        made: dict[Place, Features] = {}
        for chosen, used in microbatches(len(places), _AT_ONCE):
            rows, mirrored = (np.array(column) for column in zip(*(places[place] for place in chosen), strict=True))
            crops = self.crops[rows]
            crops = np.where(mirrored[:, None, None, None], crops[:, :, ::-1], crops)
            with in_32_bits(self.device):
                features = self.encode(crop_tensor(crops, self.device))
            features = _like(features, (part.cpu() for part in features))
            for place, index in enumerate(chosen[:used].tolist()):
                made[places[index]] = _like(features, (part[place].clone() for part in features))
        for named, single in made.items():
            size = sum(part.numel() * part.element_size() for part in single)
            if size <= self.left:
                self.kept[named], self.left = single, self.left - size
        return made


def _like(features: Features, parts: Iterable[Tensor]) -> Features:
    return type(features)(*parts)
