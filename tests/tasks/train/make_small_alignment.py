"""Makes `small_alignment.npz` from the store of a finished default round: a policy, pairs, and people to measure on.

    python -m tests.tasks.train.make_small_alignment STORE

Weights and poses have half precision, crops are JPEG of less quality than in the store: small enough to be committed.
"""

import io
import sys
from pathlib import Path

import numpy as np
from PIL import Image

from infra import rounds
from infra.store import Store
from infra.tables import read
from schemas.profiles import tiny
from schemas.splits import SOURCE_TRAIN, WILD_TRAIN, WILD_VALIDATION
from tasks.report.stage import read_facts
from tasks.rows.instances import Instances, instance_ids, load_instances
from tasks.rows.mix import Mix
from tasks.rows.models import load_policy
from tasks.rows.streams import Space
from tasks.train.pairs import load_pairs

FILE = Path(__file__).parent / "small_alignment.npz"
PEOPLE, TESTED, REPLAYED = 300, 250, 100
_QUALITY = 75


def main(url: str) -> None:
    """Write the file."""
    store = Store.open(url, create=False)
    campaign = rounds.campaigns(store)[0]
    facts = read_facts(store, campaign, 1)
    ingest = facts.key("ingest")
    ids = {
        target: instance_ids(store, [ingest], [target])[:count]
        for target, count in ((WILD_TRAIN, PEOPLE), (WILD_VALIDATION, TESTED), (SOURCE_TRAIN, REPLAYED))
    }
    pairs = load_pairs(store, facts.key("pair"), Mix((ingest,), (WILD_TRAIN,)), Space.of(tiny().ray))
    every = sorted(set(read(store, "pairs", stage_keys=[facts.key("pair")]).column("instance_id").to_pylist()))
    chosen = np.isin(pairs.crop_row, [every.index(name) for name in ids[WILD_TRAIN] if name in set(every)])
    rows = np.unique(pairs.crop_row[chosen])
    held, replayed = (load_instances(store, [ingest], ids[target]) for target in (WILD_VALIDATION, SOURCE_TRAIN))
    policy = load_policy(store, facts.policy_before)
    np.savez_compressed(
        FILE,
        **{f"weight:{name}": _half(value.numpy()) for name, value in policy.state_dict().items()},
        config=np.array(policy.config.model_dump_json()),
        **_jpegs("train", pairs.crops[rows]),
        **_jpegs("held", held.crops),
        **_jpegs("replay", replayed.crops),
        train_row=np.searchsorted(rows, pairs.crop_row[chosen]).astype(np.int32),
        train_winner=_half(pairs.winner[chosen]),
        train_loser=_half(pairs.loser[chosen]),
        **_labels("held", held),
        **_labels("replay", replayed),
    )
    print(f"{FILE}: {FILE.stat().st_size / 1e6:.1f} MB")


def _labels(name: str, people: Instances) -> dict[str, np.ndarray]:
    exact = {f"{name}_{part}": getattr(people, part) for part in ("crop_intrinsics", "root_depth")}
    return exact | {f"{name}_{part}": _half(getattr(people, part)) for part in ("uvd", "twists", "betas")}


def _jpegs(name: str, crops: np.ndarray) -> dict[str, np.ndarray]:
    data = []
    for crop in crops:
        buffer = io.BytesIO()
        Image.fromarray(crop).save(buffer, "JPEG", quality=_QUALITY)
        data.append(buffer.getvalue())
    ends = np.cumsum([len(one) for one in data]).astype(np.int64)
    return {f"{name}_jpeg": np.frombuffer(b"".join(data), np.uint8), f"{name}_end": ends}


def _half(values: np.ndarray) -> np.ndarray:
    return values.astype(np.float16) if values.dtype == np.float32 else values


if __name__ == "__main__":
    main(sys.argv[1])
