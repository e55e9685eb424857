"""Further training on cleaned data: labelled source crops and kept pseudo-labels side by side."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from models.policy import Policy
from schemas.config.networks import PolicyConfig
from schemas.config.training import TrainCleanConfig
from schemas.ids import ModelDigest, StageKey
from tasks.engine.context import Context
from tasks.engine.loop import Figures
from tasks.engine.stage import TrainingStage
from tasks.engine.training_worker import RunFolder
from tasks.rows.crops import LabelledCrops
from tasks.rows.instances import labelled_crops, pseudo_labelled_crops
from tasks.rows.mix import Mix
from tasks.rows.models import load_policy
from tasks.train.data import LabelledBatch, PolicyRecipe, check_estimate, encode_together, supervised_loss


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

    def loss(self, step: int, draw: np.random.Generator) -> tuple[Tensor, Figures]:
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
        figures: dict[str, Tensor] = {}
        for (kind, batch), (context, estimate) in zip(kinds.items(), encoded, strict=True):
            noise = self.noise(draw, len(batch.crops) * config.noise_draws)
            part, named = supervised_loss(self.model, context, estimate, batch, *noise, config.losses)
            loss = loss + (config.pseudo_weight if kind == "pseudo" else 1.0) * part
            figures |= {f"{kind}_{name}": value for name, value in named.items()}
        return loss, figures


@dataclass(frozen=True)
class TrainClean(TrainingStage):
    """Trains a policy further on what the stages `labels` wrote, beside labelled crops -> tables `models`, `curves`.

    `people` are those with pseudo-labels, by default of the same ingests as `labelled`. DataError if there are none.
    """

    labelled: Mix
    labels: tuple[StageKey, ...]
    policy: ModelDigest
    people: Mix | None = None

    name = "train_clean"
    beside_control = True

    def key_config(self, context: Context) -> Mapping[str, Any]:
        people = {} if self.people is None else self.people.named_if_several("people")
        return {**super().key_config(context), "labelled": self.labelled.key(), **people}

    def reads(self, context: Context) -> Sequence[StageKey]:
        return (*self.labelled.ingests, *(self.people or self.labelled).ingests, *self.labels)

    def network(self, context: Context) -> PolicyConfig:
        return load_policy(context.store, self.policy).config

    def recipe(self, context: Context, run: RunFolder, device: torch.device) -> CleanRecipe:
        labelled = labelled_crops(run.store, self.labelled)
        pseudo = pseudo_labelled_crops(run.store, self.people or self.labelled, self.labels)
        return CleanRecipe(context.config.train_clean, load_policy(run.store, self.policy), labelled, pseudo, device)
