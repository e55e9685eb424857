"""Further training on cleaned data: labelled source crops and kept pseudo-labels side by side."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from infra.node_cache import NodeCache
from models.policy import Policy
from schemas.config.training import TrainCleanConfig
from tasks.engine.context import Context
from tasks.engine.run_folder import RunFolder
from tasks.engine.share import Share
from tasks.rows.crops import LabelledCrops
from tasks.rows.models import load_policy
from tasks.rows.streams import Space, pseudo_training_crops, training_crops
from tasks.train.checks import check_estimate
from tasks.train.data import (
    DrawnCrops,
    DrawnNoise,
    PolicyRecipe,
    denoising_loss,
    encode_together,
    supervised_loss,
)
from tasks.train.frozen import Sight, freeze, is_frozen

if TYPE_CHECKING:
    from tasks.stages.training import TrainClean


class CleanRecipe(PolicyRecipe):
    """Supervised training of a policy that exists, on two sets of crops."""

    config: TrainCleanConfig

    def __init__(
        self,
        config: TrainCleanConfig,
        policy: Policy,
        labelled: LabelledCrops,
        pseudo: LabelledCrops,
        device: torch.device,
        features_bytes: int = 0,
        cache: NodeCache | None = None,
    ) -> None:
        """`features_bytes` and `cache` are for what a frozen encoder makes of crops; they don't change the result."""
        check_estimate(config.losses, policy.config.condition)
        self.config, self.labelled, self.pseudo, self.seed = config, labelled, pseudo, config.seed
        self.model = policy.to(device).train()
        self.sights: dict[str, Sight] = {}
        if is_frozen(config.optimiser):
            freeze(self.model, config.optimiser)
            if config.optimiser.projections:
                self.sights = {
                    kind: Sight(self.model, data.crops, config, features_bytes // 2, cache)
                    for kind, data in (("pseudo", pseudo), ("labelled", labelled))
                }

    def draw(self, step: int, draw: np.random.Generator, share: Share) -> dict[str, tuple[DrawnCrops, DrawnNoise]]:
        """Crops of each kind, and noise for them."""
        config = self.config
        needed = not self.sights or any(sight.needs_crops for sight in self.sights.values())
        kinds = {
            kind: DrawnCrops.draw(data, count, config.augment, draw, share, crops=needed)
            for kind, data, count in (
                ("pseudo", self.pseudo, config.pseudo_images),
                ("labelled", self.labelled, config.labelled_images),
            )
            if count
        }
        if self.sights:
            kinds = {kind: self.sights[kind].fetched(part) for kind, part in kinds.items()}
        counts = {kind: part.change.total * config.noise_draws for kind, part in kinds.items()}
        noise = {kind: self.noise(draw, count).of(share.places(count)) for kind, count in counts.items()}
        return {kind: (part, noise[kind]) for kind, part in kinds.items()}

    def loss(
        self, step: int, drawn: Mapping[str, tuple[DrawnCrops, DrawnNoise]]
    ) -> tuple[Tensor, Mapping[str, Tensor]]:
        """Supervised loss of labelled crops plus `pseudo_weight` times that of pseudo-labelled ones."""
        config = self.config
        losses: list[Tensor] = []
        figures: dict[str, Tensor] = {}
        for kind, (part, named) in self._parts(drawn).items():
            losses.append(part * config.pseudo_weight if kind == "pseudo" else part)
            figures |= {f"{kind}_{name}": value for name, value in named.items()}
        return torch.stack(losses).sum(), figures

    def _parts(self, drawn: Mapping[str, tuple[DrawnCrops, DrawnNoise]]) -> dict[str, tuple[Tensor, dict[str, Tensor]]]:
        """The loss on each kind of crops, with figures."""
        weights = self.config.losses
        if self.sights:
            return {
                kind: denoising_loss(self.model, self.sights[kind].of(crops), *crops.poses(), noise, weights)
                for kind, (crops, noise) in drawn.items()
            }
        batches = [crops.batch() for crops, _ in drawn.values()]
        encoded = encode_together(self.model, [batch.crops for batch in batches])
        return {
            kind: supervised_loss(self.model, *estimated, batch, noise.time, noise.noise, weights)
            for (kind, (_, noise)), batch, estimated in zip(drawn.items(), batches, encoded, strict=True)
        }


def recipe(stage: "TrainClean", context: Context, run: RunFolder, device: torch.device) -> CleanRecipe:
    space = Space.of(context.config.ray)
    labelled = training_crops(run.store, stage.labelled, space)
    pseudo = pseudo_training_crops(run.store, stage.people or stage.labelled, stage.labels, space)
    policy, room = load_policy(run.store, stage.policy), context.config.ray.features_mib << 20
    return CleanRecipe(context.config.train_clean, policy, labelled, pseudo, device, room, space.cache)
