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
from tasks.rows.crops import LabelledCrops
from tasks.rows.instances import labelled_crops
from tasks.train.checks import check_estimate
from tasks.train.data import LabelledBatch, PolicyRecipe, supervised_loss

if TYPE_CHECKING:
    from tasks.stages.training import TrainBase


class BaseRecipe(PolicyRecipe):
    """Supervised training of a policy."""

    def __init__(
        self, config: TrainBaseConfig, network: PolicyConfig, data: LabelledCrops, device: torch.device
    ) -> None:
        check_estimate(config.losses, network.condition)
        self.config, self.data, self.device, self.seed = config, data, device, config.seed
        torch.manual_seed(config.seed)
        self.model = Policy(network).to(device).train()

    def loss(self, step: int, draw: np.random.Generator) -> tuple[Tensor, Mapping[str, float]]:
        """Denoising and estimate loss of one batch."""
        config = self.config
        batch = LabelledBatch.drawn(self.data, config.batch_images, config.augment, draw, self.device)
        noise = self.noise(draw, config.batch_images * config.noise_draws)
        return supervised_loss(self.model, *self.model.encode(batch.crops), batch, *noise, config.losses)


def recipe(stage: "TrainBase", context: Context, run: RunFolder, device: torch.device) -> BaseRecipe:
    crops = labelled_crops(run.store, stage.labelled)
    return BaseRecipe(context.config.train_base, context.config.policy, crops, device)
