"""The stage train_scorer: HMR-Scorer learns to order samples of the policy by their error on labelled crops."""

import numpy as np
import torch
from safetensors.numpy import load, save

from infra.noise import standard_normal_batch
from infra.stages import StageSpec
from models.diffusion import POSE_SIZE
from models.policy import Policy
from schemas.config.networks import ScorerConfig
from schemas.config.training import TrainScorerConfig
from tasks.context import Context, Target
from tasks.instances import Instances, as_labelled_crops, instance_ids, load_instances
from tasks.model_store import load_policy
from tasks.sharded import StageResult
from tasks.training.data import crop_tensor
from tasks.training.scorer import HypothesisPool, ScorerRecipe
from tasks.training.stage import train_stage
from tasks.training.worker import RunFolder

SCORER = Target("scorer", "train")
_CROPS_AT_ONCE = 50


def train_scorer_spec(context: Context, ingest_key: str, policy: str, target: Target = SCORER) -> StageSpec:
    """What `train_scorer` is going to do."""
    config = context.config
    about = {
        "train": config.train_scorer,
        "network": config.scorer,
        "target": str(target),
        "threads": config.ray.threads_per_trainer,
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
        },
        kind="scorer",
        network=config.scorer,
        optimiser=config.train_scorer.optimiser,
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
) -> ScorerRecipe:
    """The recipe, in a training worker. The policy's samples are drawn once in a run's life and kept with it."""
    found = load_instances(run.store, [ingest_key], instance_ids(run.store, [ingest_key], [target]))
    data = as_labelled_crops(found)
    drawer = load_policy(run.store, policy).to(device)

    def make() -> bytes:
        pool = draw_pool(drawer, found, config.pool, config.seed, device, run)
        return save({"uvd": pool.uvd, "twists": pool.twists})

    kept = load(run.load_or_make("pool.safetensors", make))
    return ScorerRecipe(config, network, data, HypothesisPool(kept["uvd"], kept["twists"]), drawer, device)


def draw_pool(
    policy: Policy, found: Instances, count: int, seed: int, device: torch.device, run: RunFolder
) -> HypothesisPool:
    """`count` random samples of the policy for each instance; a sample depends on seed, instance and index alone."""
    uvd, twists = [], []
    for start in range(0, len(found), _CROPS_AT_ONCE):
        ids = found.ids[start : start + _CROPS_AT_ONCE]
        names = [name for name in ids for _ in range(count)]
        indices = [index for _ in ids for index in range(1, count + 1)]
        noise = standard_normal_batch(seed, names, indices, (POSE_SIZE,), purpose="scorer pool")
        with torch.no_grad():
            context, _ = policy.encode(crop_tensor(found.crops[start : start + len(ids)], device))
            drawn = policy.sample(context, torch.from_numpy(noise).view(len(ids), count, POSE_SIZE).to(device))
        uvd.append(drawn[0].cpu().numpy())
        twists.append(drawn[1].cpu().numpy())
        run.say(0, f"drawing hypotheses: {(start + len(ids)) * count} of {len(found) * count}")
    return HypothesisPool(np.concatenate(uvd), np.concatenate(twists))
