"""Further training on cleaned data: labelled source crops and kept pseudo-labels side by side."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from models.policy import Policy
from schemas.config.training import TrainCleanConfig
from tasks.engine.context import Context
from tasks.engine.run_folder import RunFolder
from tasks.rows.crops import LabelledCrops
from tasks.rows.instances import labelled_crops, pseudo_labelled_crops
from tasks.rows.models import load_policy
from tasks.train.checks import check_estimate
from tasks.train.data import LabelledBatch, PolicyRecipe, encode_together, supervised_loss

if TYPE_CHECKING:
    from tasks.stages.training import TrainClean


class CleanRecipe(PolicyRecipe):
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
        self.model = policy.to(device).train()
        if config.optimiser.encoder_learning_rate == 0:
            self.model.condition.requires_grad_(False).eval()

    def loss(self, step: int, draw: np.random.Generator) -> tuple[Tensor, Mapping[str, float]]:
        """Supervised loss of labelled crops plus `pseudo_weight` times that of pseudo-labelled ones."""
        config = self.config
        kinds = {
            kind: LabelledBatch.drawn(data, count, config.augment, draw, self.device)
            for kind, data, count in (
                ("pseudo", self.pseudo, config.pseudo_images),
                ("labelled", self.labelled, config.labelled_images),
            )
            if count
        }
        encoded = encode_together(self.model, [batch.crops for batch in kinds.values()])
        loss = torch.zeros((), device=self.device)
        figures: dict[str, float] = {}
        for (kind, batch), (context, estimate) in zip(kinds.items(), encoded, strict=True):
            noise = self.noise(draw, len(batch.crops) * config.noise_draws)
            part, named = supervised_loss(self.model, context, estimate, batch, *noise, config.losses)
            loss = loss + (config.pseudo_weight if kind == "pseudo" else 1.0) * part
            figures |= {f"{kind}_{name}": value for name, value in named.items()}
        return loss, figures


def recipe(stage: "TrainClean", context: Context, run: RunFolder, device: torch.device) -> CleanRecipe:
    labelled = labelled_crops(run.store, stage.labelled)
    pseudo = pseudo_labelled_crops(run.store, stage.people or stage.labelled, stage.labels)
    return CleanRecipe(context.config.train_clean, load_policy(run.store, stage.policy), labelled, pseudo, device)
