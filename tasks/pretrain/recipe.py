"""What an encoder learns while it is pretrained: places of joints on broad people, all of the pose on level ones.

A head beside it, which is dropped afterwards, tells the camera's pitch from the coarse map that denoisers look at: so
that the pitch can be read there.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from models.condition import CompactBackbone, PoseEstimate
from tasks.engine.share import Share
from tasks.pretrain.people import PretrainPeople
from tasks.pretrain.settings import PretrainConfig
from tasks.rows.mix import draw_rows
from tasks.train.augment import Augmentation
from tasks.train.data import DrawnCrops, estimate_loss

PITCH_UNIT = 20.0
"""Degrees that count as 1 in the loss."""


class PretrainNetwork(nn.Module):
    """The encoder, and the head that tells the pitch. State-dict prefixes: `backbone.` and `pitch.`."""

    def __init__(self, config: PretrainConfig) -> None:
        super().__init__()
        self.backbone = CompactBackbone(config.network)
        self.pitch = nn.Sequential(nn.Linear(2 * config.network.widths[1], 64), nn.ReLU(), nn.Linear(64, 1))

    def forward(self, crops: Tensor) -> tuple[PoseEstimate, Tensor]:
        """Crops (B, 3, S, S) in [-1, 1] -> the encoder's estimate, and the pitch (B,) in degrees."""
        pyramid, estimate = self.backbone(crops)
        pooled = torch.cat([pyramid.coarse.mean((2, 3)), pyramid.coarse.amax((2, 3))], dim=1)
        return estimate, self.pitch(pooled)[:, 0] * PITCH_UNIT


@dataclass(frozen=True)
class DrawnPeople:
    """Some people of a step."""

    crops: DrawnCrops
    pitch: Tensor
    """(B,) degrees."""


class PretrainRecipe:
    """Trains encoder and head on both kinds of people at once."""

    def __init__(
        self, config: PretrainConfig, broad: PretrainPeople, level: PretrainPeople, device: torch.device
    ) -> None:
        self.config, self.broad, self.level, self.seed = config, broad, level, config.seed
        torch.manual_seed(config.seed)
        self.model = PretrainNetwork(config).to(device).train()
        self.in_the_plane = config.losses.model_copy(update={"depth": 0.0, "twist": 0.0, "betas": 0.0})

    def parameter_groups(self) -> Mapping[str, list[nn.Parameter]]:
        """All at one rate."""
        return {"encoder": list(self.model.backbone.parameters()), "rest": list(self.model.pitch.parameters())}

    def draw(self, step: int, draw: np.random.Generator, share: Share) -> tuple[DrawnPeople, DrawnPeople]:
        """Broad people, then level ones."""
        config = self.config
        broad = self._drawn(self.broad, config.broad_images, draw, share)
        return broad, self._drawn(self.level, config.level_images, draw, share)

    def _drawn(self, people: PretrainPeople, count: int, draw: np.random.Generator, share: Share) -> DrawnPeople:
        rows, places = draw_rows(draw, count, len(people), None), share.places(count)
        change = Augmentation.draw(self.config.augment, draw, count).of(places)
        crops = DrawnCrops.of(people.labelled, rows[places], change)
        return DrawnPeople(crops, torch.from_numpy(people.pitch[rows[places]]))

    def loss(self, step: int, drawn: tuple[DrawnPeople, DrawnPeople]) -> tuple[Tensor, Mapping[str, Tensor]]:
        """The estimates' losses, and the pitch's."""
        broad, level = (people.crops.batch() for people in drawn)
        estimate, pitch = self.model(torch.cat([broad.crops, level.crops]))
        sizes = [len(broad.crops), len(level.crops)]
        first, second = (PoseEstimate(*parts) for parts in zip(*(part.split(sizes) for part in estimate), strict=True))
        of_broad = estimate_loss(first, broad, self.in_the_plane)
        of_level = estimate_loss(second, level, self.config.losses)
        target = torch.cat([people.pitch for people in drawn])
        of_pitch = ((pitch - target) / PITCH_UNIT).square().mean()
        loss = of_broad + of_level + self.config.pitch_weight * of_pitch
        return loss, {"broad": of_broad, "level": of_level, "pitch": of_pitch}
