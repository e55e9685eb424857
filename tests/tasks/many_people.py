"""Stores with as many people as one likes, in seconds for ten thousand of them: crops of distinct bytes, labels, pairs.

The pictures are few; a comment in each crop's JPEG file makes its bytes its own.
"""

import io
from functools import partial

import numpy as np
import pyarrow as pa
from PIL import Image

from infra.shards import Shard
from infra.stages import StageSpec
from infra.store import Store
from infra.tables import read
from schemas.ids import StageKey, Target, image_id, instance_id
from schemas.splits import SOURCE_TRAIN
from schemas.tables import build
from tasks.engine.results import ShardOutput
from tasks.engine.sharded import run_sharded

SPLIT = Target("many", "train")
_SHARD = 500
_PICTURES = 16


def make_many(store: Store, example: Store, count: int, crop_size: int = 256) -> tuple[StageKey, StageKey]:
    """The keys of an ingest of `count` people of SPLIT in `store`, and of a stage with a pair for each.

    Their rows are those of source/train in a `micro` store, `example`, under other names.
    """
    ids = [instance_id(image_id(*SPLIT, f"{number:09d}"), 0) for number in range(count)]
    people = {
        table: pa.Table.from_pylist(
            [row for row in read(example, table).to_pylist() if (row["dataset"], row["split"]) == SOURCE_TRAIN],
            read(example, table).schema,
        )
        for table in ("instances", "labels")
    }
    spec = StageSpec("ingest", 1, {"people": count, "crop_size": crop_size})
    worker = partial(_people, people, _pictures(crop_size), crop_size)
    run_sharded(
        store, spec, ids, _SHARD, lambda: worker, tables=("instances", "labels"), in_process=True, max_failed_share=0.0
    )
    pairs = StageSpec("invented_pairs", 1, {"people": count}, reads=(spec.key,))
    run_sharded(
        store,
        pairs,
        ids,
        _SHARD,
        lambda: partial(_pairs, pairs.key),
        tables=("pairs",),
        in_process=True,
        max_failed_share=0.0,
    )
    return spec.key, pairs.key


def _pictures(size: int) -> list[bytes]:
    """JPEG files of soft patches with some grain, about 10 KB each at 256 px."""
    draw = np.random.default_rng(0)
    files = []
    for _ in range(_PICTURES):
        patches = Image.fromarray(draw.integers(0, 256, (8, 8, 3), dtype=np.uint8)).resize((size, size), Image.BICUBIC)
        grain = draw.normal(0, 6, (size, size, 3))
        file = io.BytesIO()
        Image.fromarray((np.asarray(patches) + grain).clip(0, 255).astype(np.uint8)).save(file, "JPEG", quality=85)
        files.append(file.getvalue())
    return files


def _people(people: dict[str, pa.Table], pictures: list[bytes], crop_size: int, shard: Shard) -> ShardOutput:
    numbers = [int(name.rsplit("/", 1)[1].split("#")[0]) for name in shard.ids]
    crops = [_named(pictures[number % _PICTURES], number) for number in numbers]
    images = [name.split("#")[0] for name in shard.ids]
    own = {"instance_id": shard.ids, "image_id": images, "crop": crops, "crop_size_px": [crop_size] * len(numbers)}
    tables = {}
    for table, rows in people.items():
        rows = rows.take([number % len(rows) for number in numbers]).drop_columns(["stage_key"])
        values = {**own, "dataset": [SPLIT.dataset] * len(numbers), "split": [SPLIT.split] * len(numbers)}
        for name in set(values) & set(rows.column_names):
            place = rows.schema.get_field_index(name)
            rows = rows.set_column(place, rows.field(name), pa.array(values[name], rows.field(name).type))
        tables[table] = rows
    return ShardOutput(tables, ok=len(numbers))


def _named(jpeg: bytes, number: int) -> bytes:
    """The same picture as a file of its own: with a comment."""
    comment = f"{number:09d}".encode()
    return jpeg[:2] + b"\xff\xfe" + (len(comment) + 2).to_bytes(2, "big") + comment + jpeg[2:]


def _pairs(key: StageKey, shard: Shard) -> ShardOutput:
    count, draw = len(shard.ids), np.random.default_rng(shard.index)
    payload = {
        f"{side}_{what}": draw.uniform(-0.5, 0.5, (count, size)).astype(np.float32)
        for side in ("winner", "loser")
        for what, size in (("uvd", 87), ("twist", 46), ("betas", 10))
    }
    columns = {
        "pair_set": key,
        "instance_id": list(shard.ids),
        "generation_id": "g",
        "winner": [1] * count,
        "loser": [2] * count,
        "strategy": "invented",
        "dataset": SPLIT.dataset,
        "round": [1] * count,
        "stage_key": key,
    }
    return ShardOutput({"pairs": build("pairs", {**columns, **payload})}, ok=count)
