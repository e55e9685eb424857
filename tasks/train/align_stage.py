"""The stage align: the policy learns from pairs, against a frozen reference, with replay of labelled source crops."""

from collections.abc import Sequence

import numpy as np
import torch

from infra.stages import StageSpec
from infra.store import Store
from infra.tables import read
from schemas.config.training import AlignConfig
from schemas.errors import DataError
from schemas.tables import matrix
from tasks.engine.context import Context, Target
from tasks.engine.sharded import StageResult
from tasks.rows.instances import labelled_crops, load_instances
from tasks.rows.models import load_policy
from tasks.train.align import AlignRecipe, PreferencePairs
from tasks.train.base_stage import SOURCE
from tasks.train.stage import train_stage
from tasks.train.worker import RunFolder


def align_spec(
    context: Context,
    ingest_key: str,
    pair_key: str,
    policy: str,
    reference: str,
    data_keys: Sequence[str] = (),
    target: Target = SOURCE,
) -> StageSpec:
    """What `align` is going to do."""
    config = context.config
    group = config.ray.decides_training(config.ray.threads_beside_control)
    about = {"train": config.align, "replay": str(target), **group}
    reads = (ingest_key, *(data_keys or (ingest_key,)), pair_key)
    return context.spec("align", 2, about, reads=reads, models=(policy, reference))


def align(
    context: Context,
    ingest_key: str,
    pair_key: str,
    policy: str,
    reference: str,
    data_keys: Sequence[str] = (),
    target: Target = SOURCE,
) -> StageResult:
    """Move `policy` (a digest) along the pairs of stage `pair_key`, measured against `reference`.

    `ingest_key` holds the labelled crops of `target` that are replayed, `data_keys` (by default the same) the crops of
    the pairs. DataError if there are no pairs.
    """
    config = context.config.align
    return train_stage(
        context,
        align_spec(context, ingest_key, pair_key, policy, reference, data_keys, target),
        build_align,
        {
            "config": config,
            "ingest_key": ingest_key,
            "data_keys": tuple(data_keys) or (ingest_key,),
            "pair_key": pair_key,
            "policy": policy,
            "reference": reference,
            "target": target,
        },
        kind="policy",
        network=load_policy(context.store, policy).config,
        optimiser=config.optimiser,
        threads=context.config.ray.threads_beside_control,
        parents=tuple(dict.fromkeys((policy, reference))),
    )


def build_align(
    run: RunFolder,
    device: torch.device,
    config: AlignConfig,
    ingest_key: str,
    data_keys: Sequence[str],
    pair_key: str,
    policy: str,
    reference: str,
    target: Target,
) -> AlignRecipe:
    """The recipe, in a training worker."""
    store = run.store
    run.say(0, "reading pairs")
    pairs = load_pairs(store, pair_key, data_keys)
    replay = labelled_crops(store, [ingest_key], target)
    return AlignRecipe(config, load_policy(store, policy), load_policy(store, reference), pairs, replay, device)


def load_pairs(store: Store, pair_key: str, data_keys: Sequence[str]) -> PreferencePairs:
    """The pairs of a pairing stage with their crops, sorted by instance, winner and loser."""
    columns = ["instance_id", "winner", "loser", "winner_uvd", "winner_twist", "loser_uvd", "loser_twist"]
    rows = read(store, "pairs", stage_keys=[pair_key], columns=columns)
    if len(rows) == 0:
        raise DataError(f"Stage {pair_key[:12]} left no pair to train on; the table failures says why.")
    rows = rows.sort_by([(name, "ascending") for name in columns[:3]])
    names = rows.column("instance_id").to_pylist()
    ids = sorted(set(names))
    place = {name: row for row, name in enumerate(ids)}
    winner, loser = (
        np.concatenate([matrix(rows, f"{side}_uvd"), matrix(rows, f"{side}_twist")], axis=1)
        for side in ("winner", "loser")
    )
    crops = load_instances(store, data_keys, ids).crops
    return PreferencePairs(crops, np.array([place[name] for name in names]), winner, loser)
