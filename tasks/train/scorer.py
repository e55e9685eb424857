"""HMR-Scorer: trained to order hypotheses of labelled crops by their error.

What hypotheses there are says `tasks.train.pool`. The image encoder learns with the rest, more slowly, or not at all
(`optimiser.encoder_learning_rate`). Each of several score heads learns from people of its own, so that where heads
differ, people would have made a difference.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from infra.noise import generator
from models.condition import PoseEstimate, Pyramid
from models.hmr_scorer import HMRScorer
from models.objectives import scorer_loss
from models.policy import Policy
from schemas.config.networks import ScorerConfig
from schemas.config.training import TrainScorerConfig
from tasks.engine.context import Context
from tasks.engine.run_folder import RunFolder
from tasks.engine.share import Share
from tasks.rows.crops import LabelledCrops
from tasks.rows.instances import as_labelled_crops, load_instances
from tasks.rows.mix import draw_rows
from tasks.rows.models import load_policy
from tasks.rows.streams import People, Space, training_crops
from tasks.train.augment import Augmentation
from tasks.train.checks import check_start
from tasks.train.data import DrawnCrops, LabelledBatch, estimate_loss, of_encoder
from tasks.train.frozen import is_frozen
from tasks.train.pool import HypothesisPool, PoolMaker
from tasks.train.start import start_encoder_of

if TYPE_CHECKING:
    from tasks.stages.training import TrainScorer


@dataclass(frozen=True)
class DrawnHypotheses:
    """H hypotheses of the pool for each of B crops."""

    uvd: Tensor
    """(B, H, 29, 3)"""
    twists: Tensor
    """(B, H, 23, 2)"""
    betas: Tensor
    """(B, H, 10)"""
    errors_mm: Tensor
    """(B, H, E)"""
    weight: Tensor | None
    """(B, heads) of each crop in each head's loss: zero for heads that don't learn from it, one in the mean over
    people; None where there is one head, which learns from all."""


class ScorerRecipe:
    """Rank loss, score loss and the encoder's own estimate."""

    def __init__(
        self,
        config: TrainScorerConfig,
        network: ScorerConfig,
        data: LabelledCrops,
        pool: HypothesisPool,
        policy: Policy,
        device: torch.device,
    ) -> None:
        self.config, self.data, self.pool, self.seed = config, data, pool, config.seed
        check_start(config, network, policy.config)
        torch.manual_seed(config.seed)
        self.model: HMRScorer = HMRScorer(network).to(device).train()
        start_encoder_of(self.model, config, policy)
        self.frozen = is_frozen(config.optimiser)
        if self.frozen:
            # what it makes of crops is not kept: that would take 66 kB a crop, and measured it saves nothing
            self.model.encoder.requires_grad_(False)
        if self.frozen or config.fixed_statistics:
            self.model.encoder.eval()
        self.weight = _weights(config, network.score_heads, len(data))

    def parameter_groups(self) -> Mapping[str, list[nn.Parameter]]:
        """Encoder and ScoreNet with its projections."""
        known = {id(parameter) for parameter in self.model.encoder.parameters()}
        rest = [parameter for parameter in self.model.parameters() if id(parameter) not in known]
        return {**of_encoder(self.model.encoder, self.config.optimiser), "rest": rest}

    def draw(self, step: int, draw: np.random.Generator, share: Share) -> tuple[DrawnCrops, DrawnHypotheses | None]:
        """Crops of a batch, and after `encoder_steps` hypotheses of each."""
        config, pool = self.config, self.pool
        rows = draw_rows(draw, config.batch_images, len(self.data), self.data.chances)
        change = Augmentation.draw(config.augment, draw, len(rows))
        places = share.places(len(rows))
        crops = DrawnCrops.of(self.data, rows[places], change.of(places))
        if step < config.encoder_steps:
            return crops, None
        picks = self._picks(draw)[places]
        held = (pool.uvd, pool.twists, pool.betas, pool.errors_mm)
        uvd, twists, betas, errors = (torch.from_numpy(part[rows[places, None], picks]) for part in held)
        weight = None if self.weight is None else torch.from_numpy(self.weight[rows[places]])
        return crops, DrawnHypotheses(uvd, twists, betas, errors, weight)

    def loss(self, step: int, drawn: tuple[DrawnCrops, DrawnHypotheses | None]) -> tuple[Tensor, Mapping[str, Tensor]]:
        """The encoder's own estimate, and after `encoder_steps` the ranking of hypotheses beside it."""
        config, hypotheses = self.config, drawn[1]
        batch = drawn[0].batch()
        pyramid, estimate = self._encoded(batch)
        if hypotheses is None:
            own = self._own(estimate, batch)
            return own, {"estimate": own}
        ranking, score_error = self._ranked(pyramid, estimate, hypotheses, drawn[0].change)
        figures = {"rank": ranking, "score": score_error}
        loss = config.rank_weight * ranking + config.score_weight * score_error
        if self.frozen:
            return loss, figures
        own = self._own(estimate, batch)
        return loss + own, {**figures, "estimate": own}

    def _encoded(self, batch: LabelledBatch) -> tuple[Pyramid, PoseEstimate | None]:
        if not self.frozen:
            return self.model.encode(batch.crops)
        with torch.no_grad():
            return self.model.encode(batch.crops)

    def _ranked(
        self, pyramid: Pyramid, estimate: PoseEstimate | None, hypotheses: DrawnHypotheses, change: Augmentation
    ) -> tuple[Tensor, Tensor]:
        """Rank and score losses, summed over the errors, a mean over the heads."""
        config, model = self.config, self.model
        poses = change.uvd(hypotheses.uvd), change.twists(hypotheses.twists), hypotheses.betas
        raw = model.scores(pyramid, estimate, *poses)
        errors: dict[str, Tensor] = dict(zip(config.errors, hypotheses.errors_mm.unbind(-1), strict=True))
        heads = raw.shape[-1]
        ranking = score_error = torch.zeros((), device=raw.device)
        for head in range(heads):
            loss = scorer_loss(
                raw[..., head],
                errors,
                rank_sigma=config.rank_sigma,
                sharpness=model.config.sharpness,
                best_mm=config.best_mm,
                worst_mm=config.worst,
                rounded=config.rank_rounded,
                weight=None if hypotheses.weight is None else hypotheses.weight[:, head],
            )
            ranking = ranking + torch.stack([*loss.rank.values()]).sum() / heads
            score_error = score_error + torch.stack([*loss.score.values()]).sum() / heads
        return ranking, score_error

    def _own(self, estimate: PoseEstimate | None, batch: LabelledBatch) -> Tensor:
        """Loss of the encoder's own estimate; zero for an encoder that makes none."""
        if estimate is None:
            return torch.zeros((), device=batch.crops.device)
        return estimate_loss(estimate, batch, self.config.estimate)

    def _picks(self, draw: np.random.Generator) -> np.ndarray:
        """(B, H) columns of the pool, different ones of each kind, the kinds in the pool's order."""
        config, start, picks = self.config, 0, []
        kinds = [(config.pool_samples, config.samples), (config.pool_blends, config.blends)]
        # what came later draws nothing where it is not asked for: trainings of before keep their draws
        kinds += [(config.pool_noised, config.noised)] if config.pool_noised else []
        kinds += [(config.pool_strangers, config.strangers)] if config.pool_strangers else []
        for held, taken in kinds:
            columns = np.tile(np.arange(start, start + held), (config.batch_images, 1))
            picks.append(draw.permuted(columns, axis=1)[:, :taken])
            start += held
        return np.concatenate(picks, axis=1)


def _weights(config: TrainScorerConfig, heads: int, people: int) -> np.ndarray | None:
    """(N, heads) of the people in each head's loss; None for a single head."""
    if heads == 1:
        return None
    chances = np.stack([generator(config.seed, str(head), 0, "score head").random(people) for head in range(heads)], 1)
    return ((chances < config.head_share) / config.head_share).astype(np.float32)


def recipe(stage: "TrainScorer", context: Context, run: RunFolder, device: torch.device) -> ScorerRecipe:
    """The pool of hypotheses is made once in a run's life and kept with it."""
    config, space = context.config.train_scorer, Space.of(context.config.ray)
    everybody = People.of_mix(run.store, stage.labelled)
    policy = load_policy(run.store, stage.policy).to(device)
    maker = PoolMaker(
        run.store,
        stage.labelled.ingests,
        config,
        policy,
        context.config.body,
        context.config.root_solver,
        device,
        run,
        by_names=context.config.scorer.condition.is_vit,
    )
    if everybody.fit(space):
        people = load_instances(run.store, stage.labelled.ingests, everybody.ids.to_pylist())
        crops, pool = as_labelled_crops(people, stage.labelled), maker.kept(people)
    else:
        crops = training_crops(run.store, stage.labelled, space)
        pool = maker.in_parts(everybody, space)
    return ScorerRecipe(config, context.config.scorer, crops, pool, policy, device)
