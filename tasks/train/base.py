"""The base policy: encoder and denoiser trained from nothing on labelled source crops."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from models.policy import Policy
from schemas.config.networks import PolicyConfig
from schemas.config.training import TrainBaseConfig
from schemas.ids import StageKey
from tasks.engine.context import Context
from tasks.engine.share import Share
from tasks.engine.stage import TrainingStage
from tasks.engine.training_worker import RunFolder
from tasks.rows.crops import LabelledCrops
from tasks.rows.mix import Mix
from tasks.rows.streams import Space, training_crops
from tasks.train.data import DrawnCrops, DrawnNoise, PolicyRecipe, check_estimate, supervised_loss


class BaseRecipe(PolicyRecipe):
    """Supervised training of a policy."""

    def __init__(
        self, config: TrainBaseConfig, network: PolicyConfig, data: LabelledCrops, device: torch.device
    ) -> None:
        check_estimate(config.losses, network.condition)
        self.config, self.data, self.seed = config, data, config.seed
        torch.manual_seed(config.seed)
        self.model = Policy(network).to(device).train()

    def draw(self, step: int, draw: np.random.Generator, share: Share) -> tuple[DrawnCrops, DrawnNoise]:
        """Crops of a batch, and noise for them."""
        config = self.config
        drawn = DrawnCrops.draw(self.data, config.batch_images, config.augment, draw, share)
        noise_count = config.batch_images * config.noise_draws
        return drawn, self.noise(draw, noise_count).of(share.places(noise_count))

    def loss(self, step: int, drawn: tuple[DrawnCrops, DrawnNoise]) -> tuple[Tensor, Mapping[str, Tensor]]:
        """Denoising and estimate loss of one batch."""
        batch, noise = drawn[0].batch(), drawn[1]
        encoded = self.model.encode(batch.crops)
        return supervised_loss(self.model, *encoded, batch, noise.time, noise.noise, self.config.losses)


@dataclass(frozen=True)
class TrainBase(TrainingStage):
    """Trains the base policy on labelled crops -> tables `models`, `curves`. DataError where labels are missing."""

    labelled: Mix

    name = "train_base"

    def key_config(self, context: Context) -> Mapping[str, Any]:
        return {**super().key_config(context), "network": context.config.policy, "target": self.labelled.key()}

    def reads(self, context: Context) -> Sequence[StageKey]:
        return self.labelled.ingests

    def recipe(self, context: Context, run: RunFolder, device: torch.device) -> BaseRecipe:
        crops = training_crops(run.store, self.labelled, Space.of(context.config.ray))
        return BaseRecipe(context.config.train_base, context.config.policy, crops, device)
