"""Further training on cleaned data: labelled source crops and kept pseudo-labels side by side."""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn

from models.policy import Policy
from schemas.config.training import TrainCleanConfig
from tasks.train.augment import Augmentation
from tasks.train.base import policy_groups
from tasks.train.data import (
    LabelledBatch,
    LabelledCrops,
    check_estimate,
    encode_together,
    supervised_loss_of,
    timesteps,
    unit_noise,
)


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
        check_estimate(config.losses, policy.config.condition)
        self.config, self.labelled, self.pseudo, self.device, self.seed = config, labelled, pseudo, device, config.seed
        self.model: Policy = policy.to(device).train()
        if config.optimiser.encoder_learning_rate == 0:
            self.model.condition.requires_grad_(False).eval()

    def parameter_groups(self) -> Mapping[str, list[nn.Parameter]]:
        """Encoder and denoiser."""
        return policy_groups(self.model)

    def loss(self, step: int, draw: np.random.Generator) -> tuple[Tensor, Mapping[str, float]]:
        """Supervised loss of labelled crops plus `pseudo_weight` times that of pseudo-labelled ones."""
        config = self.config
        kinds = {"pseudo": self._batch(self.pseudo, config.pseudo_images, draw)}
        if config.labelled_images:
            kinds["labelled"] = self._batch(self.labelled, config.labelled_images, draw)
        encoded = encode_together(self.model, [batch.crops for batch in kinds.values()])
        loss = torch.zeros((), device=self.device)
        figures: dict[str, float] = {}
        for (kind, batch), (context, estimate) in zip(kinds.items(), encoded, strict=True):
            count = len(batch.crops) * config.noise_draws
            time = timesteps(draw, count, self.model.config.diffusion.timesteps).to(self.device)
            noise = unit_noise(draw, count).to(self.device)
            part, named = supervised_loss_of(self.model, context, estimate, batch, time, noise, config.losses)
            loss = loss + (config.pseudo_weight if kind == "pseudo" else 1.0) * part
            figures |= {f"{kind}_{name}": value for name, value in named.items()}
        return loss, figures

    def _batch(self, data: LabelledCrops, images: int, draw: np.random.Generator) -> LabelledBatch:
        rows = draw.choice(len(data), images, replace=len(data) < images)
        change = Augmentation.draw(self.config.augment, draw, images, self.device)
        return data.batch(rows, self.device).augmented(change)
