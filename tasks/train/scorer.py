"""HMR-Scorer: trained to order hypotheses of labelled crops by their error.

Hypotheses are samples of the base policy, drawn and measured once before training, and blends of label and sample. On
truth plus noise alone, the published way, a scorer learns to tell noise, not errors that a policy really makes.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

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
from schemas.config.networks import ScorerConfig
from schemas.config.training import TrainScorerConfig
from schemas.ids import StageKey
from tasks.engine.context import Context
from tasks.engine.run_folder import RunFolder
from tasks.engine.share import Share
from tasks.evaluate import ErrorMeter
from tasks.rows.crops import LabelledCrops, crop_tensor
from tasks.rows.hypotheses import Hypotheses
from tasks.rows.instances import Instances, as_labelled_crops, load_instances
from tasks.rows.mix import draw_rows
from tasks.rows.models import load_policy
from tasks.rows.streams import People, Space, training_crops
from tasks.train.augment import Augmentation
from tasks.train.checks import check_start
from tasks.train.data import DrawnCrops, LabelledBatch, estimate_loss
from tasks.train.frozen import is_frozen

if TYPE_CHECKING:
    from tasks.stages.training import TrainScorer


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


@dataclass(frozen=True)
class DrawnHypotheses:
    """H hypotheses of the pool for each of B crops."""

    uvd: Tensor
    """(B, H, 29, 3)"""
    twists: Tensor
    """(B, H, 23, 2)"""
    errors_mm: Tensor
    """(B, H)"""


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
        check_start(config, network, policy.config.condition)
        torch.manual_seed(config.seed)
        self.model: HMRScorer = HMRScorer(network).to(device).train()
        if config.start_from_policy:
            assert isinstance(policy.condition, ConditionNetwork)
            self.model.encoder.load_state_dict(policy.condition.backbone.state_dict())
        self.frozen = is_frozen(config.optimiser)
        if self.frozen:
            # what it makes of crops is not kept: that would take 66 kB a crop, and measured it saves nothing
            self.model.encoder.requires_grad_(False).eval()

    def parameter_groups(self) -> Mapping[str, list[nn.Parameter]]:
        """Encoder and ScoreNet with its projections."""
        encoder = list(self.model.encoder.parameters())
        of_encoder = {id(parameter) for parameter in encoder}
        return {"encoder": encoder, "rest": [p for p in self.model.parameters() if id(p) not in of_encoder]}

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
        parts = (part[rows[places, None], picks] for part in (pool.uvd, pool.twists, pool.errors_mm))
        return crops, DrawnHypotheses(*map(torch.from_numpy, parts))

    def loss(self, step: int, drawn: tuple[DrawnCrops, DrawnHypotheses | None]) -> tuple[Tensor, Mapping[str, Tensor]]:
        """The encoder's own estimate, and after `encoder_steps` the ranking of hypotheses beside it."""
        config, change, hypotheses = self.config, drawn[0].change, drawn[1]
        batch = drawn[0].batch()
        if hypotheses is None:
            own = self._own(self.model.encode(batch.crops)[1], batch)
            return own, {"estimate": own}
        pyramid, estimate = self.model.encode(batch.crops)
        raw = self.model.score(pyramid, estimate, change.uvd(hypotheses.uvd), change.twists(hypotheses.twists))
        ranking = rank_loss(raw, hypotheses.errors_mm, config.rank_sigma).mean()
        target = error_to_score(hypotheses.errors_mm, config.best_mm, config.worst_mm)
        score_error = (torch.sigmoid(self.model.config.sharpness * raw) - target).square().mean()
        figures = {"rank": ranking, "score": score_error}
        if self.frozen:
            return ranking + config.score_weight * score_error, figures
        own = self._own(estimate, batch)
        return ranking + config.score_weight * score_error + own, {**figures, "estimate": own}

    def _own(self, estimate: PoseEstimate | None, batch: LabelledBatch) -> Tensor:
        """Loss of the encoder's own estimate; zero for an encoder that makes none."""
        if estimate is None:
            return torch.zeros((), device=batch.crops.device)
        return estimate_loss(estimate, batch, self.config.estimate)

    def _picks(self, draw: np.random.Generator) -> np.ndarray:
        """(B, H) columns of the pool: different samples first, different blends behind them."""
        config, pool = self.config, self.pool
        images = config.batch_images
        samples = draw.permuted(np.tile(np.arange(pool.samples), (images, 1)), axis=1)[:, : config.samples]
        blends = np.arange(pool.samples, pool.uvd.shape[1])
        blended = draw.permuted(np.tile(blends, (images, 1)), axis=1)[:, : config.blends]
        return np.concatenate([samples, blended], axis=1)


_CROPS_AT_ONCE = 50
_POOL_PART = 40 * _CROPS_AT_ONCE
"""People of a part of a pool: as many as are decoded at once."""


def recipe(stage: "TrainScorer", context: Context, run: RunFolder, device: torch.device) -> ScorerRecipe:
    """The pool of hypotheses is made once in a run's life and kept with it."""
    config, space = context.config.train_scorer, Space.of(context.config.ray)
    everybody = People.of_mix(run.store, stage.labelled)
    policy = load_policy(run.store, stage.policy).to(device)
    measure = ErrorMeter(load_body(context.config.body), context.config.root_solver, _CROPS_AT_ONCE)

    def pool_of(people: Instances, file: str) -> Mapping[str, np.ndarray]:
        def make() -> bytes:
            pool = draw_pool(policy, people, config, measure, device, run)
            return save({"uvd": pool.uvd, "twists": pool.twists, "errors_mm": pool.errors_mm})

        return load(run.load_or_make(file, make))

    if everybody.fit(space):
        people = load_instances(run.store, stage.labelled.ingests, everybody.ids.to_pylist())
        crops, arrays = as_labelled_crops(people, stage.labelled), pool_of(people, "pool.safetensors")
    else:
        crops = training_crops(run.store, stage.labelled, space)
        arrays = _gathered(everybody, stage.labelled.ingests, space, pool_of)
    pool = HypothesisPool(**arrays, samples=config.pool_samples)
    return ScorerRecipe(config, context.config.scorer, crops, pool, policy, device)


def _gathered(
    everybody: People,
    ingests: Sequence[StageKey],
    space: Space,
    pool_of: Callable[[Instances, str], Mapping[str, np.ndarray]],
) -> Mapping[str, np.ndarray]:
    """The arrays of a large pool, which is made and kept in parts."""
    whole: dict[str, np.ndarray] = {}
    for start in range(0, len(everybody), _POOL_PART):
        ids = everybody.ids[start : start + _POOL_PART].to_pylist()
        people = load_instances(everybody.store, ingests, ids)
        for name, part in pool_of(people, f"pool-{start:09d}.safetensors").items():
            if name not in whole:
                whole[name] = space.cache.array((len(everybody), *part.shape[1:]), part.dtype)
            whole[name][start : start + len(ids)] = part
    return whole


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
