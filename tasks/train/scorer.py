"""HMR-Scorer: trained to order hypotheses of labelled crops by their error.

Hypotheses are samples of the base policy, drawn and measured once before training, and blends of label and sample. On
truth plus noise alone, the published way, a scorer learns to tell noise, not errors that a policy really makes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import torch
from safetensors.numpy import load, save
from torch import Tensor, nn

from infra.noise import generator, standard_normal_batch
from models.bodies import load_body
from models.condition import ConditionNetwork, PoseEstimate
from models.diffusion import POSE_SIZE
from models.hmr_scorer import HMRScorer
from models.objectives import error_to_score, rank_loss
from models.policy import Policy
from schemas.config.networks import ConditionConfig, ScorerConfig
from schemas.config.training import TrainScorerConfig
from schemas.errors import ConfigError
from schemas.ids import ModelDigest, StageKey
from tasks.engine.context import Context
from tasks.engine.loop import Figures, figure
from tasks.engine.stage import TrainingStage
from tasks.engine.training_worker import RunFolder
from tasks.evaluate import ErrorMeter
from tasks.rows.crops import LabelledCrops, crop_tensor
from tasks.rows.hypotheses import Hypotheses
from tasks.rows.instances import Instances, as_labelled_crops, instance_ids, load_instances
from tasks.rows.mix import Mix, draw_rows
from tasks.rows.models import load_policy
from tasks.train.augment import Augmentation
from tasks.train.data import LabelledBatch, estimate_loss


@dataclass(frozen=True)
class HypothesisPool:
    """For each of N crops S samples of the policy, then blends between label and sample: K hypotheses."""

    uvd: np.ndarray
    """(N, K, 29, 3) normalised."""
    twists: np.ndarray
    """(N, K, 23, 2) unit (cos, sin)."""
    errors_mm: np.ndarray
    """(N, K) mesh error (MPVPE) of each, mm."""
    samples: int
    """S: how many of the K are samples."""


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
        self.config, self.data, self.pool, self.device, self.seed = config, data, pool, device, config.seed
        check_start(config, network, policy.config.condition)
        torch.manual_seed(config.seed)
        self.model: HMRScorer = HMRScorer(network).to(device).train()
        if config.start_from_policy:
            assert isinstance(policy.condition, ConditionNetwork)
            self.model.encoder.load_state_dict(policy.condition.backbone.state_dict())

    def parameter_groups(self) -> Mapping[str, list[nn.Parameter]]:
        """Encoder and ScoreNet with its projections."""
        encoder = list(self.model.encoder.parameters())
        of_encoder = {id(parameter) for parameter in encoder}
        return {"encoder": encoder, "rest": [p for p in self.model.parameters() if id(p) not in of_encoder]}

    def loss(self, step: int, draw: np.random.Generator) -> tuple[Tensor, Figures]:
        """One batch: the encoder's own estimate, and after `encoder_steps` the ranking of hypotheses beside it."""
        config = self.config
        rows = draw_rows(draw, config.batch_images, len(self.data), self.data.chances)
        change = Augmentation.draw(config.augment, draw, len(rows), self.device)
        batch = LabelledBatch.of(self.data, rows, self.device).augmented(change)
        if step < config.encoder_steps:
            own = self._own(self.model.encode(batch.crops)[1], batch)
            return own, {"estimate": figure(own)}
        picks = self._picks(draw)
        uvd, twists, errors = (
            torch.from_numpy(part[rows[:, None], picks]).to(self.device)
            for part in (self.pool.uvd, self.pool.twists, self.pool.errors_mm)
        )
        pyramid, estimate = self.model.encode(batch.crops)
        raw = self.model.score(pyramid, estimate, change.uvd(uvd), change.twists(twists))
        ranking = rank_loss(raw, errors, config.rank_sigma).mean()
        target = error_to_score(errors, config.best_mm, config.worst_mm)
        score_error = (torch.sigmoid(self.model.config.sharpness * raw) - target).square().mean()
        own = self._own(estimate, batch)
        figures = {"rank": figure(ranking), "score": figure(score_error), "estimate": figure(own)}
        return ranking + config.score_weight * score_error + own, figures

    def _own(self, estimate: PoseEstimate | None, batch: LabelledBatch) -> Tensor:
        """Loss of the encoder's own estimate; zero for an encoder that makes none."""
        if estimate is None:
            return torch.zeros((), device=self.device)
        return estimate_loss(estimate, batch, self.config.estimate)

    def _picks(self, draw: np.random.Generator) -> np.ndarray:
        """(B, H) columns of the pool: different samples first, different blends behind them."""
        config, pool = self.config, self.pool
        images = config.batch_images
        samples = draw.permuted(np.tile(np.arange(pool.samples), (images, 1)), axis=1)[:, : config.samples]
        blends = np.arange(pool.samples, pool.uvd.shape[1])
        blended = draw.permuted(np.tile(blends, (images, 1)), axis=1)[:, : config.blends]
        return np.concatenate([samples, blended], axis=1)


def check_start(config: TrainScorerConfig, network: ScorerConfig, encoder: ConditionConfig) -> None:
    """Raise ConfigError where the scorer can't start as `config` says from a policy that has this encoder."""
    kind = network.condition.kind
    if kind != "compact" and (config.start_from_policy or config.encoder_steps):
        raise ConfigError(
            f"scorer.condition.kind={kind} does not start from the policy's encoder and makes no pose estimate of its "
            "own: set train_scorer.start_from_policy=False and train_scorer.encoder_steps=0."
        )
    if config.start_from_policy and encoder.kind != "compact":
        raise ConfigError(
            f"The scorer's encoder can't start from the policy's, which has condition.kind={encoder.kind}: set "
            "train_scorer.start_from_policy=False."
        )


_CROPS_AT_ONCE = 50


@dataclass(frozen=True)
class TrainScorer(TrainingStage):
    """Trains HMR-Scorer on labelled crops and samples that a policy draws for them -> tables `models`, `curves`.

    DataError where labels are missing; ConfigError for an encoder that can't start from the policy's.
    """

    labelled: Mix
    policy: ModelDigest

    name = "train_scorer"
    kind = "scorer"

    def key_config(self, context: Context) -> Mapping[str, Any]:
        config = context.config
        return {
            **super().key_config(context),
            "network": config.scorer,
            "target": self.labelled.key(),
            "body": load_body(config.body).digest,
            "root_solver": config.root_solver,
        }

    def reads(self, context: Context) -> Sequence[StageKey]:
        return self.labelled.ingests

    def recipe(self, context: Context, run: RunFolder, device: torch.device) -> ScorerRecipe:
        """The pool of hypotheses is made once in a run's life and kept with it."""
        config = context.config.train_scorer
        ingests, targets, part = self.labelled.ingests, self.labelled.targets, self.labelled.part
        people = load_instances(run.store, ingests, instance_ids(run.store, ingests, targets, part))
        crops = as_labelled_crops(people, self.labelled)
        policy = load_policy(run.store, self.policy).to(device)
        measure = ErrorMeter(load_body(context.config.body), context.config.root_solver, _CROPS_AT_ONCE)

        def make() -> bytes:
            pool = draw_pool(policy, people, config, measure, device, run)
            return save({"uvd": pool.uvd, "twists": pool.twists, "errors_mm": pool.errors_mm})

        arrays = load(run.load_or_make("pool.safetensors", make))
        pool = HypothesisPool(**arrays, samples=config.pool_samples)
        return ScorerRecipe(config, context.config.scorer, crops, pool, policy, device)


def draw_pool(
    policy: Policy,
    people: Instances,
    config: TrainScorerConfig,
    measure: ErrorMeter,
    device: torch.device,
    run: RunFolder,
) -> HypothesisPool:
    """Samples, blends and their errors for each person; they depend on seed, instance_id and index alone."""
    parts = []
    for start in range(0, len(people), _CROPS_AT_ONCE):
        rows = np.arange(start, min(start + _CROPS_AT_ONCE, len(people)))
        parts.append(_with_blends(*_samples(policy, people, rows, config, device), people, rows, config))
        run.say(0, f"drawing hypotheses: {rows[-1] + 1} of {len(people)} people")
    pool = Hypotheses(*(np.concatenate([getattr(part, field.name) for part in parts]) for field in fields(Hypotheses)))
    errors = measure(people, pool, np.arange(len(people))).mpvpe.astype(np.float32)
    return HypothesisPool(pool.uvd, pool.twists, errors, config.pool_samples)


def _samples(
    policy: Policy, people: Instances, rows: np.ndarray, config: TrainScorerConfig, device: torch.device
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Uvd (B, S, 29, 3), twists (B, S, 23, 2) and betas (B, 10) of the policy's random samples."""
    ids, count = [people.ids[row] for row in rows], config.pool_samples
    names = [name for name in ids for _ in range(count)]
    indices = list(range(1, count + 1)) * len(ids)
    noise = standard_normal_batch(config.seed, names, indices, (POSE_SIZE,), purpose="scorer pool")
    with torch.no_grad():
        context, estimate = policy.encode(crop_tensor(people.crops[rows], device))
        uvd, twists = policy.sample(context, torch.from_numpy(noise).view(len(ids), count, POSE_SIZE).to(device))
    return uvd.cpu().numpy(), twists.cpu().numpy(), estimate.betas.cpu().numpy()


def _with_blends(
    uvd: np.ndarray,
    twists: np.ndarray,
    betas: np.ndarray,
    people: Instances,
    rows: np.ndarray,
    config: TrainScorerConfig,
) -> Hypotheses:
    """The samples, and behind them `pool_blends` points on the way from a sample to the label."""
    shares = np.stack(
        [generator(config.seed, people.ids[row], 0, "scorer blend").random(config.pool_blends) for row in rows]
    ).astype(np.float32)[:, :, None, None]
    origin = np.arange(config.pool_blends) % config.pool_samples
    blended = uvd[:, origin] + shares * (people.uvd[rows, None] - uvd[:, origin])
    turned = twists[:, origin] + shares * (people.twists[rows, None] - twists[:, origin])
    turned /= np.maximum(np.linalg.norm(turned, axis=-1, keepdims=True), 1e-6)
    count = config.pool_samples + config.pool_blends
    return Hypotheses(
        np.concatenate([uvd, blended], axis=1),
        np.concatenate([twists, turned], axis=1),
        np.repeat(betas[:, None], count, axis=1),
        np.repeat(people.root_depth[rows, None], count, axis=1),
    )
