"""Further training on cleaned data: labelled source crops and kept pseudo-labels side by side.

Batch-norm statistics are fixed, so that the two kinds of crops are seen alike and a short training leaves the encoder's
scale as it was.
"""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn

from models.policy import Policy
from schemas.config.training import TrainCleanConfig
from tasks.training.augment import Augmentation
from tasks.training.base import policy_groups
from tasks.training.data import LabelledCrops, supervised_loss, timesteps, unit_noise


class CleanRecipe:
    """Supervised training of a policy that exists, on two sets of crops."""

    def __init__(
        self,
        config: TrainCleanConfig,
        policy: Policy,
        labelled: LabelledCrops,
        pseudo: LabelledCrops,
        device: torch.device,
    ) -> None:
        self.config, self.labelled, self.pseudo, self.device, self.seed = config, labelled, pseudo, device, config.seed
        self.model: Policy = policy.to(device).train()
        for module in self.model.modules():
            if isinstance(module, nn.BatchNorm2d | nn.Dropout):
                module.eval()
        self.model.condition.requires_grad_(config.optimiser.encoder_learning_rate > 0)

    def parameter_groups(self) -> Mapping[str, list[nn.Parameter]]:
        """Encoder and denoiser."""
        return policy_groups(self.model)

    def loss(self, step: int, draw: np.random.Generator) -> tuple[Tensor, Mapping[str, float]]:
        """Supervised loss of labelled crops plus `pseudo_weight` times that of pseudo-labelled ones."""
        config = self.config
        loss, figures = self._supervised(self.pseudo, config.pseudo_images, draw)
        loss = config.pseudo_weight * loss
        named = {f"pseudo_{name}": value for name, value in figures.items()}
        if config.labelled_images:
            known, figures = self._supervised(self.labelled, config.labelled_images, draw)
            loss = loss + known
            named |= {f"labelled_{name}": value for name, value in figures.items()}
        return loss, named

    def _supervised(
        self, data: LabelledCrops, images: int, draw: np.random.Generator
    ) -> tuple[Tensor, dict[str, float]]:
        rows = draw.choice(len(data), images, replace=len(data) < images)
        count = images * self.config.noise_draws
        time = timesteps(draw, count, self.model.config.diffusion.timesteps).to(self.device)
        noise = unit_noise(draw, count).to(self.device)
        change = Augmentation.draw(self.config.augment, draw, images, self.device)
        batch = data.batch(rows, self.device).augmented(change)
        return supervised_loss(self.model, batch, time, noise, self.config.losses)
