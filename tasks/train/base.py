"""The base policy: encoder and denoiser trained from nothing on labelled source crops."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from models.policy import Policy
from schemas.config.networks import PolicyConfig
from schemas.config.training import TrainBaseConfig
from tasks.engine.context import Context
from tasks.engine.run_folder import RunFolder
from tasks.engine.share import Share
from tasks.rows.crops import LabelledCrops
from tasks.rows.streams import Space, training_crops
from tasks.train.checks import check_estimate
from tasks.train.data import DrawnCrops, DrawnNoise, PolicyRecipe, supervised_loss

if TYPE_CHECKING:
    from tasks.stages.training import TrainBase


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


def recipe(stage: "TrainBase", context: Context, run: RunFolder, device: torch.device) -> BaseRecipe:
    crops = training_crops(run.store, stage.labelled, Space.of(context.config.ray))
    return BaseRecipe(context.config.train_base, context.config.policy, crops, device)
