"""The stage train_base: encoder and denoiser from nothing, on labelled source crops."""

import torch

from infra.stages import StageSpec
from schemas.config.networks import PolicyConfig
from schemas.config.training import TrainBaseConfig
from tasks.engine.context import Context, Target
from tasks.engine.sharded import StageResult
from tasks.rows.instances import labelled_crops
from tasks.train.base import BaseRecipe
from tasks.train.stage import train_stage
from tasks.train.worker import RunFolder

SOURCE = Target("source", "train")


def train_base_spec(context: Context, ingest_key: str, target: Target = SOURCE) -> StageSpec:
    """What `train_base` is going to do."""
    config = context.config
    about = {
        "train": config.train_base,
        "network": config.policy,
        "target": str(target),
        **config.ray.decides_training(config.ray.threads_per_trainer),
    }
    return context.spec("train_base", 1, about, reads=(ingest_key,))


def train_base(context: Context, ingest_key: str, target: Target = SOURCE) -> StageResult:
    """Train the base policy on the labelled crops of `target`. DataError where labels are missing."""
    config = context.config
    return train_stage(
        context,
        train_base_spec(context, ingest_key, target),
        build_base,
        {"config": config.train_base, "network": config.policy, "ingest_key": ingest_key, "target": target},
        kind="policy",
        network=config.policy,
        optimiser=config.train_base.optimiser,
        threads=config.ray.threads_per_trainer,
    )


def build_base(
    run: RunFolder,
    device: torch.device,
    config: TrainBaseConfig,
    network: PolicyConfig,
    ingest_key: str,
    target: Target,
) -> BaseRecipe:
    """The recipe, in a training worker."""
    return BaseRecipe(config, network, labelled_crops(run.store, [ingest_key], target), device)
