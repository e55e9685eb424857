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
from tasks.engine.loop import Figures
from tasks.engine.stage import TrainingStage
from tasks.engine.training_worker import RunFolder
from tasks.rows.crops import LabelledCrops
from tasks.rows.instances import labelled_crops
from tasks.rows.mix import Mix
from tasks.train.data import LabelledBatch, PolicyRecipe, check_estimate, supervised_loss


class BaseRecipe(PolicyRecipe):
    """Supervised training of a policy."""

    def __init__(
        self, config: TrainBaseConfig, network: PolicyConfig, data: LabelledCrops, device: torch.device
    ) -> None:
        check_estimate(config.losses, network.condition)
        self.config, self.data, self.device, self.seed = config, data, device, config.seed
        torch.manual_seed(config.seed)
        self.model = Policy(network).to(device).train()

    def loss(self, step: int, draw: np.random.Generator) -> tuple[Tensor, Figures]:
        """Denoising and estimate loss of one batch."""
        config = self.config
        batch = LabelledBatch.drawn(self.data, config.batch_images, config.augment, draw, self.device)
        noise = self.noise(draw, config.batch_images * config.noise_draws)
        return supervised_loss(self.model, *self.model.encode(batch.crops), batch, *noise, config.losses)


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
        crops = labelled_crops(run.store, self.labelled)
        return BaseRecipe(context.config.train_base, context.config.policy, crops, device)
