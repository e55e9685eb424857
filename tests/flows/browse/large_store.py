"""A store with many people, their hypotheses, scores and pairs, invented, in shards of the usual size."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from infra.shards import Tally, cut, receipts, write_shard
from infra.stages import StageSpec, commit
from infra.store import Store
from schemas.tables import build

SAMPLES: Final = 4
"""Hypotheses of a person."""
EACH: Final = 4
"""Pairs of a person."""
_SHARD: Final = 250

_INGEST = StageSpec("ingest", 1, {})
_DRAWN = StageSpec("generate", 1, {"targets": ["wild/train"]}, reads=(_INGEST.key,), campaign="large", in_round=1)
_SCORED = StageSpec("score", 1, {}, reads=(_DRAWN.key,), campaign="large", in_round=1)
_PAIRED = StageSpec(
    "pair", 1, {"pair": {"strategy": "top_bottom"}}, reads=(_DRAWN.key, _SCORED.key), campaign="large", in_round=1
)
_STAGES: Final = {"instances": _INGEST, "hypotheses": _DRAWN, "scores": _SCORED, "pairs": _PAIRED}
_LENGTHS: Final = {"uvd": 87, "twist": 46, "betas": 10}


def fill(store: Store, people: int, *, spreads: bool = True) -> None:
    """Invent them. Crops are empty, winners and losers zeros, and hypotheses alike but for their depth: these take
    little room on a disk, and as long to read as any. Without `spreads` the scores are those of an older version."""
    ids = [f"wild/train/{number:07d}#0" for number in range(people)]
    rng = np.random.default_rng(0)
    for table, spec in _STAGES.items():
        shards = cut(ids, _SHARD)
        for shard in shards:
            columns = {**_columns(table, shard.ids, rng), "stage_key": spec.key}
            if table == "scores" and spreads:
                columns["spread_mm"] = np.repeat(rng.uniform(20, 200, len(shard.ids)), SAMPLES)
            rows = build(table, columns)
            write_shard(store, spec.key, shard, {table: rows}, Tally(ok=len(shard.ids)), stage=spec.name)
        files = [file for receipt in receipts(store, spec.key, shards).values() for file in receipt.files]
        commit(store, spec, {table: files}, len(ids), Tally(ok=len(ids)))


def _columns(table: str, ids: Sequence[str], rng: np.random.Generator) -> Mapping[str, Any]:
    """The columns of these people's rows, but for the stage's key."""
    if table == "instances":
        return {
            "instance_id": ids,
            "image_id": [name.partition("#")[0] for name in ids],
            "dataset": "wild",
            "split": "train",
            "person": 0,
            "box_xywh": np.zeros((len(ids), 4)),
            "crop": [b""] * len(ids),
            "crop_size_px": 64,
            "crop_intrinsics": np.tile([80.0, 80.0, 32.0, 32.0], (len(ids), 1)),
            "crop_affine": np.zeros((len(ids), 6)),
            "crop_rule": "box",
            "image_intrinsics": np.zeros((len(ids), 4)),
            "intrinsics_source": "given",
        }
    count = len(ids) * (EACH if table == "pairs" else SAMPLES)
    about = {"generation_id": _DRAWN.key, "instance_id": np.repeat(ids, count // len(ids)).tolist()}
    sample = np.tile(np.arange(SAMPLES, dtype=np.int32), len(ids))
    if table == "hypotheses":
        poses = {name: np.tile(rng.random(length), (count, 1)) for name, length in _LENGTHS.items()}
        depth = {"root_depth_m": rng.uniform(2.0, 9.0, count), "root_depth_source": "bones"}
        return {**about, "sample_index": sample, "dataset": "wild", "split": "train", "round": 1, **poses, **depth}
    score = rng.random(count)
    if table == "scores":
        return {**about, "round": 1, "sample_index": sample, "scorer": "s", "score": score}
    place, margin = np.tile(np.arange(EACH, dtype=np.int32), len(ids)), rng.random(count)
    zeros = {f"{end}_{name}": np.zeros((count, n)) for end in ("winner", "loser") for name, n in _LENGTHS.items()}
    return {
        **about,
        "round": 1,
        "pair_set": _PAIRED.key,
        "winner": place,
        "loser": place + EACH,
        "winner_score": score,
        "loser_score": score - margin,
        "winner_rank": place,
        "loser_rank": place + EACH,
        "margin": margin,
        "strategy": "top_bottom",
        "dataset": "wild",
        **zeros,
    }
