"""The stage train_clean: further training of a policy on labelled source crops and the pseudo-labels that were kept."""

from collections.abc import Sequence

import torch

from infra.stages import StageSpec
from schemas.config.training import TrainCleanConfig
from tasks.engine.context import Context, Target
from tasks.engine.sharded import StageResult
from tasks.rows.instances import labelled_crops
from tasks.rows.models import load_policy
from tasks.train.base_stage import SOURCE
from tasks.train.clean import CleanRecipe
from tasks.train.stage import train_stage
from tasks.train.worker import RunFolder


def train_clean_spec(
    context: Context,
    ingest_key: str,
    label_keys: Sequence[str],
    policy: str,
    data_key: str | None = None,
    target: Target = SOURCE,
) -> StageSpec:
    """What `train_clean` is going to do."""
    config = context.config
    group = config.ray.decides_training(config.ray.threads_beside_control)
    about = {"train": config.train_clean, "labelled": str(target), **group}
    reads = (ingest_key, data_key or ingest_key, *label_keys)
    return context.spec("train_clean", 1, about, reads=reads, models=(policy,))


def train_clean(
    context: Context,
    ingest_key: str,
    label_keys: Sequence[str],
    policy: str,
    data_key: str | None = None,
    target: Target = SOURCE,
) -> StageResult:
    """Train `policy` (a digest) further on the labels that the stages `label_keys` wrote, beside labelled crops.

    `ingest_key` holds the labelled crops of `target`, `data_key` (by default the same) the pseudo-labelled ones.
    DataError if there are no pseudo-labels.
    """
    config = context.config.train_clean
    return train_stage(
        context,
        train_clean_spec(context, ingest_key, label_keys, policy, data_key, target),
        build_clean,
        {
            "config": config,
            "ingest_key": ingest_key,
            "data_key": data_key or ingest_key,
            "label_keys": tuple(label_keys),
            "policy": policy,
            "target": target,
        },
        kind="policy",
        network=load_policy(context.store, policy).config,
        optimiser=config.optimiser,
        threads=context.config.ray.threads_beside_control,
        parents=(policy,),
    )


def build_clean(
    run: RunFolder,
    device: torch.device,
    config: TrainCleanConfig,
    ingest_key: str,
    data_key: str,
    label_keys: tuple[str, ...],
    policy: str,
    target: Target,
) -> CleanRecipe:
    """The recipe, in a training worker."""
    labelled = labelled_crops(run.store, [ingest_key], target)
    pseudo = labelled_crops(run.store, [data_key], label_keys=label_keys)
    return CleanRecipe(config, load_policy(run.store, policy), labelled, pseudo, device)
