"""The stage that makes the synthetic folders: all domains and splits in one go, then each folder's two tables.

synthetic/<key>/<domain>-<split>/images/, boxes.csv, labels.parquet     what a user's own folder looks like
synthetic/<key>/records/<domain>-<split>/                               what the shards noted for those tables
"""

import io
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from pathlib import PurePosixPath
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import torch

from infra import faults
from infra.shards import Shard, cut
from infra.store import TEMPORARY, Store, naming_full_disks
from models.bodies import load_body
from schemas.ids import StageKey, Target
from schemas.splits import SYNTHETIC
from tasks.engine.context import Context
from tasks.engine.sharded import ShardOutput, StageResult
from tasks.engine.stage import ShardedStage
from tasks.ingest.formats.folder.reader import NAME as FOLDER
from tasks.ingest.people.annotations import AnnotationSource
from tasks.synthesize.domains import domain_named
from tasks.synthesize.write import write_pictures, write_tables


@dataclass(frozen=True)
class Synthesize(ShardedStage):
    """Makes the synthetic pictures -> folders with tables of boxes and labels, as a user's own; no rows.

    A folder that was removed after the stage was finished is made again, bit for bit.
    """

    name = "synthesize"
    unit = "pictures"

    def key_config(self, context: Context) -> Mapping[str, Any]:
        """Numbers of pictures, the domains' descriptions, and the body."""
        return {
            "synthesize": context.config.synthesize,
            "domains": {name: _description(name) for name in sorted({target.dataset for target in SYNTHETIC})},
            "body": load_body(context.config.body).digest,
        }

    def ids(self, context: Context) -> Sequence[str]:
        counts = {
            target: getattr(context.config.synthesize, f"{target.dataset}_{target.split}") for target in SYNTHETIC
        }
        return [f"{target}/{index:08d}" for target, count in counts.items() for index in range(count)]

    def shard_size(self, context: Context) -> int:
        return context.config.synthesize.shard_size

    def device(self, context: Context) -> str:
        return "cpu"

    def max_failed_share(self, context: Context) -> float:
        return 0.0  # a picture of our own that can't be made is a fault of ours or of the disk

    def worker(self, context: Context) -> "SyntheticPictureWorker":
        return SyntheticPictureWorker(context, _folder(self.key(context)))

    def run(self, context: Context) -> StageResult:
        result = super().run(context)
        folder = _folder(result.key)
        for target in SYNTHETIC:
            if not context.store.exists(f"{folder}/{_name(target)}/boxes.csv"):
                _complete(context, folder, target)
        return result


def synthetic_sources(context: Context, key: StageKey) -> tuple[AnnotationSource, ...]:
    """The folders that the stage `key` made, as ingest takes them; data sets are called after their domains."""

    def source(target: Target) -> AnnotationSource:
        place = partial(context.store.uri, _folder(key), _name(target))
        options = {"boxes": place("boxes.csv")} | ({"labels": place("labels.parquet")} if _labelled(target) else {})
        return AnnotationSource(FOLDER, place("images"), target.dataset, target.split, options=options)

    return tuple(map(source, SYNTHETIC))


def labelled_targets() -> list[Target]:
    """The splits that have labels."""
    return [target for target in SYNTHETIC if _labelled(target)]


class SyntheticPictureWorker:
    """Makes the pictures of a shard, whose ids are domain/split/index, and notes their boxes and labels."""

    def __init__(self, context: Context, folder: str) -> None:
        torch.set_num_threads(context.config.ray.threads_per_actor)
        torch.set_flush_denormal(True)
        self.store, self.folder = context.store, folder
        self.seed, self.body = context.config.synthesize.seed, context.config.body

    def __call__(self, shard: Shard) -> ShardOutput:
        for target, indices in _by_target(shard.ids):
            write = partial(_write_picture, self.store, f"{self.folder}/{_name(target)}")
            domain = domain_named(target.dataset)
            records = write_pictures(domain, target.split, indices, self.seed, write, self.body)
            buffer = io.BytesIO()
            pq.write_table(records, buffer)
            name = f"{indices[0]:08d}-{indices[-1]:08d}.parquet"
            self.store.atomic_write(f"{_records(self.folder, target)}/{name}", buffer.getvalue())
        if self.store.is_local:
            os.sync()  # the receipt that follows must not outlive the pictures when the power fails
        return ShardOutput({}, ok=len(shard.ids))


def _write_picture(store: Store, folder: str, name: str, data: bytes) -> None:
    """Write a picture whole or not at all; to wait for the disk after each would take half as long as making it."""
    path = PurePosixPath(store.path(folder, name))
    if not store.is_local:
        store.fs.pipe_file(str(path), data)
        return
    unfinished = path.with_name(f"{TEMPORARY}{os.getpid()}-{path.name}")
    with naming_full_disks(path):
        os.makedirs(path.parent, exist_ok=True)
        with open(unfinished, "wb") as file:
            file.write(data)
    faults.reach("file:pictures")
    os.replace(unfinished, path)


def _complete(context: Context, folder: str, target: Target) -> None:
    """Write a folder's tables from the records of its pictures; pictures without a record are made (again) first."""
    store, name = context.store, Synthesize.name
    pictures = [picture for picture in Synthesize().ids(context) if picture.startswith(f"{target}/")]
    records = _read_records(store, folder, target)
    present = set(records.column("path").to_pylist()) if records is not None else set()
    absent = [picture for picture in pictures if f"{picture.rsplit('/', 1)[1]}.jpg" not in present]
    if absent:
        context.progress.say(f"{name}: {len(absent)} pictures of {target} were removed and are made again")
        worker = SyntheticPictureWorker(context, folder)
        context.progress.begin(name, len(absent), "pictures")
        for shard in cut(absent, context.config.synthesize.shard_size):
            worker(shard)
            context.progress.advance(name, len(shard.ids))
        context.progress.end(name, f"{len(absent)} pictures of {target}")
        records = _read_records(store, folder, target)
    assert records is not None
    write_tables(records, lambda file, data: store.atomic_write(f"{folder}/{_name(target)}/{file}", data))


def _read_records(store: Store, folder: str, target: Target) -> pa.Table | None:
    """All records of a folder, one for each picture; None where there are none.

    A shard that met an error left records of its single pictures, and once more those of all when it was made again.
    """
    files = store.list_files(_records(folder, target))
    parts = [pq.read_table(io.BytesIO(store.read_bytes(name))) for name in files if name.endswith(".parquet")]
    if not parts:
        return None
    records = pa.concat_tables(parts).combine_chunks()
    first = {path: row for row, path in reversed(list(enumerate(records.column("path").to_pylist())))}
    return records.take(sorted(first.values()))


def _by_target(ids: tuple[str, ...]) -> Iterator[tuple[Target, list[int]]]:
    """Runs of neighbouring indices: sorted ids keep the pictures of a split together and in order."""
    for (domain, split), names in groupby(ids, key=lambda name: tuple(name.split("/")[:2])):
        yield Target(domain, split), [int(name.rsplit("/", 1)[1]) for name in names]


def _description(name: str) -> dict[str, object]:
    plain = domain_named(name).model_dump(mode="json")
    plain["unlabelled_splits"] = sorted(plain["unlabelled_splits"])  # a set: its order may differ between processes
    return plain


def _labelled(target: Target) -> bool:
    return domain_named(target.dataset).labelled(target.split)


def _folder(key: StageKey) -> str:
    return f"synthetic/{key[:12]}"


def _name(target: Target) -> str:
    return f"{target.dataset}-{target.split}"


def _records(folder: str, target: Target) -> str:
    return f"{folder}/records/{_name(target)}"
