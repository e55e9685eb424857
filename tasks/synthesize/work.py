"""The work of synthesizing: pictures by shard, then each folder's two tables.

synthetic/<key>/<domain>-<split>/images/, boxes.csv, labels.parquet     what a user's own folder looks like
synthetic/<key>/records/<domain>-<split>/                               what the shards noted for those tables
"""

import io
import os
from collections.abc import Iterator
from functools import partial
from itertools import groupby
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq
import torch

from infra import faults
from infra.shards import Shard, cut
from infra.store import TEMPORARY, Store, naming_full_disks
from schemas.ids import Target
from tasks.engine.context import Context
from tasks.engine.results import ShardOutput
from tasks.synthesize.domains import configured_domain
from tasks.synthesize.places import name_of
from tasks.synthesize.write import write_pictures, write_tables

if TYPE_CHECKING:
    from tasks.stages.synthesize import Synthesize


class SyntheticPictureWorker:
    """Makes the pictures of a shard, whose ids are domain/split/index, and notes their boxes and labels."""

    def __init__(self, context: Context, folder: str) -> None:
        torch.set_num_threads(context.config.ray.threads_per_actor)
        torch.set_flush_denormal(True)
        self.store, self.folder = context.store, folder
        self.config, self.body = context.config.synthesize, context.config.body

    def __call__(self, shard: Shard) -> ShardOutput:
        for target, indices in _by_target(shard.ids):
            write = partial(_write_picture, self.store, f"{self.folder}/{name_of(target)}")
            domain = configured_domain(self.config, target.dataset)
            records = write_pictures(domain, target.split, indices, self.config.seed, write, self.body)
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


def complete(context: Context, stage: "Synthesize", folder: str, target: Target) -> None:
    """Write a folder's tables from the records of its pictures; pictures without a record are made (again) first."""
    store, name = context.store, stage.name
    pictures = [picture for picture in stage.ids(context) if picture.startswith(f"{target}/")]
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
    write_tables(records, lambda file, data: store.atomic_write(f"{folder}/{name_of(target)}/{file}", data))


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


def _records(folder: str, target: Target) -> str:
    return f"{folder}/records/{name_of(target)}"
