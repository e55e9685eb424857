"""The base policy: encoder and denoiser trained on labelled source crops, from nothing or from a given encoder.

An encoder that is given (`start.encoder`) may be left as it is: what it makes of crops is then kept from step to step.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from infra.node_cache import NodeCache
from models.condition import load_backbone
from models.encoder_files import EncoderFile
from models.policy import Policy
from schemas.config.networks import PolicyConfig
from schemas.config.training import TrainBaseConfig
from tasks.engine.context import Context
from tasks.engine.run_folder import RunFolder
from tasks.engine.share import Share
from tasks.rows.crops import LabelledCrops
from tasks.rows.streams import Space, training_crops
from tasks.train.checks import check_encoder, check_estimate
from tasks.train.data import DrawnCrops, DrawnNoise, PolicyRecipe, denoising_loss, supervised_loss
from tasks.train.frozen import Sight, freeze, is_frozen, projecting

if TYPE_CHECKING:
    from tasks.stages.training import TrainBase


class BaseRecipe(PolicyRecipe):
    """Supervised training of a policy."""

    config: TrainBaseConfig

    def __init__(
        self,
        config: TrainBaseConfig,
        network: PolicyConfig,
        data: LabelledCrops,
        device: torch.device,
        encoder: EncoderFile | None = None,
        features_bytes: int = 0,
        cache: NodeCache | None = None,
    ) -> None:
        """`features_bytes` and `cache` are for what a frozen encoder makes of crops; they don't change the result."""
        check_estimate(config.losses, network.condition)
        check_encoder(config.optimiser, network.condition, encoder)
        self.config, self.data, self.seed = config, data, config.seed
        torch.manual_seed(config.seed)
        self.model = Policy(network).to(device).train()
        if encoder is not None:
            load_backbone(projecting(self.model).backbone, encoder)
        self.sight: Sight | None = None
        if is_frozen(config.optimiser):
            freeze(self.model, config.optimiser)
            self.sight = Sight(self.model, data.crops, config, features_bytes, cache)

    def draw(self, step: int, draw: np.random.Generator, share: Share) -> tuple[DrawnCrops, DrawnNoise]:
        """Crops of a batch, and noise for them."""
        config = self.config
        needed = self.sight is None or self.sight.needs_crops
        drawn = DrawnCrops.draw(self.data, config.batch_images, config.augment, draw, share, crops=needed)
        drawn = drawn if self.sight is None else self.sight.fetched(drawn)
        noise_count = config.batch_images * config.noise_draws
        return drawn, self.noise(draw, noise_count, config.antithetic).of(share.places(noise_count))

    def loss(self, step: int, drawn: tuple[DrawnCrops, DrawnNoise]) -> tuple[Tensor, Mapping[str, Tensor]]:
        """Denoising loss of one batch, and that of the encoder's own estimate unless the encoder is frozen."""
        if self.sight is not None:
            context = self.sight.of(drawn[0])
            return denoising_loss(self.model, context, *drawn[0].poses(), drawn[1], self.config.losses)
        batch, noise = drawn[0].batch(), drawn[1]
        encoded = self.model.encode(batch.crops)
        return supervised_loss(self.model, *encoded, batch, noise.time, noise.noise, self.config.losses)


def recipe(
    stage: "TrainBase", context: Context, run: RunFolder, device: torch.device, encoder: EncoderFile | None
) -> BaseRecipe:
    space = Space.of(context.config.ray)
    crops = training_crops(run.store, stage.labelled, space)
    room = context.config.ray.features_mib << 20
    return BaseRecipe(context.config.train_base, context.config.policy, crops, device, encoder, room, space.cache)
