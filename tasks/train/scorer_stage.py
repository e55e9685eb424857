"""The stage train_scorer: HMR-Scorer learns to order samples of the policy by their error on labelled crops."""

from dataclasses import fields

import numpy as np
import torch
from safetensors.numpy import load, save

from infra.noise import generator, standard_normal_batch
from infra.stages import StageSpec
from models.bodies import load_body
from models.diffusion import POSE_SIZE
from models.policy import Policy
from models.recovery import RootSolver
from schemas.config.networks import ScorerConfig
from schemas.config.training import TrainScorerConfig
from tasks.engine.context import Context, Target
from tasks.engine.sharded import StageResult
from tasks.evaluate import ErrorMeter
from tasks.rows.hypotheses import Hypotheses
from tasks.rows.instances import Instances, as_labelled_crops, instance_ids, load_instances
from tasks.rows.models import load_policy
from tasks.train.data import LabelledCrops, crop_tensor
from tasks.train.scorer import HypothesisPool, ScorerRecipe
from tasks.train.stage import train_stage
from tasks.train.worker import RunFolder

SCORER = Target("scorer", "train")
_CROPS_AT_ONCE = 50


def train_scorer_spec(context: Context, ingest_key: str, policy: str, target: Target = SCORER) -> StageSpec:
    """What `train_scorer` is going to do."""
    config = context.config
    about = {
        "train": config.train_scorer,
        "network": config.scorer,
        "target": str(target),
        "body": load_body(config.body).digest,
        "root_solver": config.root_solver,
        **config.ray.decides_training(config.ray.threads_per_trainer),
    }
    return context.spec("train_scorer", 1, about, reads=(ingest_key,), models=(policy,))


def train_scorer(context: Context, ingest_key: str, policy: str, target: Target = SCORER) -> StageResult:
    """Train HMR-Scorer on the labelled crops of `target` and samples that `policy` (a digest) draws for them."""
    config = context.config
    return train_stage(
        context,
        train_scorer_spec(context, ingest_key, policy, target),
        build_scorer,
        {
            "config": config.train_scorer,
            "network": config.scorer,
            "ingest_key": ingest_key,
            "policy": policy,
            "target": target,
            "body": config.body,
            "root": config.root_solver,
        },
        kind="scorer",
        network=config.scorer,
        optimiser=config.train_scorer.optimiser,
        threads=config.ray.threads_per_trainer,
        parents=(policy,),
    )


def build_scorer(
    run: RunFolder,
    device: torch.device,
    config: TrainScorerConfig,
    network: ScorerConfig,
    ingest_key: str,
    policy: str,
    target: Target,
    body: str,
    root: RootSolver,
) -> ScorerRecipe:
    """The recipe, in a training worker. The pool of hypotheses is made once in a run's life and kept with it."""
    found = load_instances(run.store, [ingest_key], instance_ids(run.store, [ingest_key], [target]))
    data = as_labelled_crops(found)
    drawer = load_policy(run.store, policy).to(device)
    measure = ErrorMeter(load_body(body), root, _CROPS_AT_ONCE)

    def make() -> bytes:
        pool = draw_pool(drawer, found, data, config, measure, device, run)
        return save({"uvd": pool.uvd, "twists": pool.twists, "errors_mm": pool.errors_mm})

    kept = load(run.load_or_make("pool.safetensors", make))
    return ScorerRecipe(config, network, data, HypothesisPool(**kept, samples=config.pool_samples), drawer, device)


def draw_pool(
    policy: Policy,
    found: Instances,
    data: LabelledCrops,
    config: TrainScorerConfig,
    measure: ErrorMeter,
    device: torch.device,
    run: RunFolder,
) -> HypothesisPool:
    """Samples, blends and their errors for each instance; each depends on seed, instance and index alone."""
    parts = []
    for start in range(0, len(found), _CROPS_AT_ONCE):
        rows = np.arange(start, min(start + _CROPS_AT_ONCE, len(found)))
        parts.append(_with_blends(*_samples(policy, found, rows, config, device), data, found, rows, config))
        run.say(0, f"drawing hypotheses: {rows[-1] + 1} of {len(found)} people")
    made = Hypotheses(*(np.concatenate([getattr(part, field.name) for part in parts]) for field in fields(Hypotheses)))
    errors = measure(found, made, np.arange(len(found))).mpvpe.astype(np.float32)
    return HypothesisPool(made.uvd, made.twists, errors, config.pool_samples)


def _samples(
    policy: Policy, found: Instances, rows: np.ndarray, config: TrainScorerConfig, device: torch.device
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Uvd (B, S, 29, 3), twists (B, S, 23, 2) and betas (B, 10) of the policy's random samples."""
    ids, count = [found.ids[row] for row in rows], config.pool_samples
    names = [name for name in ids for _ in range(count)]
    indices = list(range(1, count + 1)) * len(ids)
    noise = standard_normal_batch(config.seed, names, indices, (POSE_SIZE,), purpose="scorer pool")
    with torch.no_grad():
        context, estimate = policy.encode(crop_tensor(found.crops[rows], device))
        uvd, twists = policy.sample(context, torch.from_numpy(noise).view(len(ids), count, POSE_SIZE).to(device))
    return uvd.cpu().numpy(), twists.cpu().numpy(), estimate.betas.cpu().numpy()


def _with_blends(
    uvd: np.ndarray,
    twists: np.ndarray,
    betas: np.ndarray,
    data: LabelledCrops,
    found: Instances,
    rows: np.ndarray,
    config: TrainScorerConfig,
) -> Hypotheses:
    """The samples, and behind them `pool_blends` points on the way from a sample to the label."""
    shares = np.stack(
        [generator(config.seed, found.ids[row], 0, "scorer blend").random(config.pool_blends) for row in rows]
    ).astype(np.float32)[:, :, None, None]
    origin = np.arange(config.pool_blends) % config.pool_samples
    blended = uvd[:, origin] + shares * (data.uvd[rows, None] - uvd[:, origin])
    turned = twists[:, origin] + shares * (data.twists[rows, None] - twists[:, origin])
    turned /= np.maximum(np.linalg.norm(turned, axis=-1, keepdims=True), 1e-6)
    count = config.pool_samples + config.pool_blends
    return Hypotheses(
        np.concatenate([uvd, blended], axis=1),
        np.concatenate([twists, turned], axis=1),
        np.repeat(betas[:, None], count, axis=1),
        np.repeat(data.root_depth[rows, None], count, axis=1),
    )
