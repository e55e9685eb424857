"""Training data that may be larger than memory.

A set whose decoded crops fit into `Space.held_bytes` is decoded once and kept. Of a larger one the crops stay encoded,
in a file that the machine keeps (`tasks.rows.cached_crops`), and large arrays of labels lie in files too; what
is in memory is little more than the names, whatever the crops are.
"""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from infra.node_cache import NodeCache
from infra.pieces import read_pieces
from infra.standing import read_standing
from infra.store import Store
from infra.table_rows import ascending
from infra.tables import read
from schemas.config.engine import RayConfig
from schemas.config.networks import JOINTS, TWISTS
from schemas.errors import DataError
from schemas.ids import StageKey, Target
from schemas.tables import matrix
from tasks.rows.cached_crops import CachedCrops, CropFile
from tasks.rows.crops import Crops, LabelledCrops
from tasks.rows.instances import (
    GROUND_TRUTH,
    LABEL_COLUMNS,
    check_complete,
    in_part,
    label_arrays,
    labelled_crops,
    load_instances,
    nothing_of,
    of_target,
    pseudo_labelled_crops,
    twice_labelled,
)
from tasks.rows.mix import Mix

_COLUMNS: Final = ("instance_id", "dataset", "split", "stage_key", "crop_size_px")
_BETAS: Final = 10


@dataclass(frozen=True)
class Space:
    """What a training worker has for its data."""

    cache: NodeCache
    held_bytes: int
    """Of decoded crops that are kept in memory."""

    @staticmethod
    def of(settings: RayConfig) -> "Space":
        """The space that the configuration gives."""
        return Space(NodeCache.of(settings.cache_folder, settings.cache_gib), settings.held_crops_mib * 2**20)


@dataclass(frozen=True)
class People:
    """N people of ingests, sorted by id, without their crops and labels."""

    store: Store
    ids: pa.Array
    """(N,) strings."""
    targets: list[Target]
    ingest: np.ndarray
    """(N,) which of `ingests` has the row of each that holds."""
    ingests: list[StageKey]
    crop_size: int
    """px"""

    @staticmethod
    def of_mix(store: Store, mix: Mix) -> "People":
        """Those of a mix. DataError as of `instance_ids`."""
        parts = []
        for target in map(Target._make, mix.targets):
            rows = read_standing(store, "instances", mix.ingests, where=of_target(target), columns=_COLUMNS)
            if len(rows) == 0:
                raise DataError(nothing_of(store, mix.ingests, target))
            if mix.part is not None:
                chosen = in_part(rows.column("instance_id").to_pylist(), mix.part, target)
                rows = rows.filter(pc.is_in(rows.column("instance_id"), value_set=pa.array(chosen)))
            parts.append(rows)
        return People._of(store, pa.concat_tables(parts))

    @staticmethod
    def named(store: Store, ingest_keys: Sequence[StageKey], ids: pa.Array) -> "People":
        """Those with these ids, which are sorted. DataError where one is unknown."""
        rows = read_standing(store, "instances", ingest_keys, columns=_COLUMNS)
        rows = rows.filter(pc.is_in(rows.column("instance_id"), value_set=ids))
        people = People._of(store, rows)
        absent = pc.index(pc.is_in(ids, value_set=people.ids), False).as_py()
        if absent >= 0:
            missing = f"{len(ids) - len(people)} of {len(ids)} instances"
            raise DataError(f"{missing} are not in the ingests given; the first: {ids[absent]}.")
        return people

    @staticmethod
    def _of(store: Store, rows: pa.Table) -> "People":
        rows = rows.sort_by("instance_id").combine_chunks()
        ids = rows.column("instance_id").combine_chunks()
        if pc.any(pc.equal(ids[1:], ids[:-1])).as_py():
            raise DataError("Two of the ingests hold the same instance; give only one of them, or rename a data set.")
        sizes = pc.unique(rows.column("crop_size_px")).to_pylist()
        if len(sizes) > 1:
            raise DataError(
                f"Crops of different sizes can't go through one model: {sorted(sizes)} px. Ingest all with one size."
            )
        dataset, split, ingest = (
            rows.column(name).combine_chunks().dictionary_encode() for name in ("dataset", "split", "stage_key")
        )
        codes = dataset.indices.to_numpy().astype(np.int64) * len(split.dictionary) + split.indices.to_numpy()
        one_of_each = {
            first * len(split.dictionary) + second: Target(one, other)
            for first, one in enumerate(dataset.dictionary.to_pylist())
            for second, other in enumerate(split.dictionary.to_pylist())
        }
        return People(
            store,
            ids,
            [one_of_each[code] for code in codes.tolist()],
            ingest.indices.to_numpy().astype(np.int16),
            [StageKey(key) for key in ingest.dictionary.to_pylist()],
            sizes[0],
        )

    def __len__(self) -> int:
        return len(self.ids)

    def fit(self, space: Space) -> bool:
        """Whether their decoded crops may be kept in memory."""
        return len(self) * 3 * self.crop_size**2 <= space.held_bytes

    def crops(self, space: Space) -> Crops:
        """(N, S, S, 3), decoded as they are asked for."""
        row, files = np.zeros(len(self), np.int64), []
        for number, key in enumerate(self.ingests):
            file, mine = CropFile(self.store, space.cache, key), self.ingest == number
            row[mine] = file.places(self.ids.filter(pa.array(mine)))
            files.append(file)
        return CachedCrops(files, self.ingest, row)

    def labelled(self, space: Space, label_keys: Sequence[StageKey] | None = None) -> dict[str, np.ndarray]:
        """`uvd` (N, 29, 3), `twists` (N, 23, 2) and `betas` (N, 10), by labels as of `load_instances`.

        DataError where an instance has no label, two, or not all joints.
        """
        count, new = len(self), space.cache.array
        arrays = {
            "uvd": new((count, JOINTS, 3), np.float32),
            "twists": new((count, TWISTS, 2), np.float32),
            "betas": new((count, _BETAS), np.float32),
        }
        labelled, whole = np.zeros(count, bool), np.zeros(count, bool)
        keys, where = (self.ingests, GROUND_TRUTH) if label_keys is None else (label_keys, None)
        for rows in read_pieces(self.store, "labels", keys, where=where, columns=[*LABEL_COLUMNS, "stage_key"]):
            rows, at = self._mine(rows, by_ingest=label_keys is None)
            if labelled[at].any() or len(np.unique(at)) < len(at):
                names, counts = np.unique(np.concatenate([at[labelled[at]], at]), return_counts=True)
                raise DataError(twice_labelled(str(self.ids[int(names[counts > 1][0])]), keys))
            found = label_arrays(rows, np.arange(len(at)), len(at), self.intrinsics[at], self.crop_size)
            for name, array in arrays.items():
                array[at] = found[name]
            labelled[at] = True
            whole[at] = np.isfinite(found["uvd"]).all((1, 2))
        check_complete(labelled, whole, lambda row: str(self.ids[row]))
        return arrays

    @cached_property
    def intrinsics(self) -> np.ndarray:
        """(N, 4) of their crops."""
        found = np.zeros((len(self), 4), np.float32)
        columns = ["instance_id", "stage_key", "crop_intrinsics"]
        for rows in read_pieces(self.store, "instances", self.ingests, columns=columns):
            rows, at = self._mine(rows, by_ingest=True)
            found[at] = matrix(rows, "crop_intrinsics")
        return found

    def _mine(self, rows: pa.Table, by_ingest: bool) -> tuple[pa.Table, np.ndarray]:
        """Rows of these people, and whose each is; with `by_ingest` those alone of the ingest whose word holds."""
        names = rows.column("instance_id").combine_chunks()
        if not len(names):
            return rows, np.zeros(0, np.int64)
        low, high = pc.min_max(names).as_py().values()
        start = bisect_left(range(len(self)), low, key=lambda row: self.ids[row].as_py())
        end = bisect_left(range(len(self)), f"{high}\0", key=lambda row: self.ids[row].as_py())
        place = pc.index_in(names, value_set=self.ids[start:end])  # a table of all names would take long to make
        known = place.is_valid().to_numpy(zero_copy_only=False)
        at = pc.fill_null(place, 0).to_numpy().astype(np.int64) + start
        if by_ingest and known.any():
            said_by = pc.index_in(rows.column("stage_key").combine_chunks(), value_set=pa.array(self.ingests))
            known[known] = said_by.to_numpy(zero_copy_only=False)[known] == self.ingest[at[known]]
        return rows.filter(pa.array(known)), at[known]


def training_crops(store: Store, mix: Mix, space: Space) -> LabelledCrops:
    """As `labelled_crops`, of a set of any size."""
    people = People.of_mix(store, mix)
    return labelled_crops(store, mix) if people.fit(space) else _streamed(people, mix, space)


def pseudo_training_crops(store: Store, mix: Mix, label_keys: Sequence[StageKey], space: Space) -> LabelledCrops:
    """As `pseudo_labelled_crops`, of a set of any size."""
    names = read(store, "labels", stage_keys=list(label_keys), columns=["instance_id"]).column(0)
    ids = ascending(pc.unique(names))
    if not len(ids) or (people := People.named(store, mix.ingests, ids)).fit(space):
        return pseudo_labelled_crops(store, mix, label_keys)
    return _streamed(people, mix, space, label_keys)


def crops_of(store: Store, ingest_keys: Sequence[StageKey], ids: pa.Array, space: Space) -> tuple[Crops, list[Target]]:
    """The crops and the splits of people with these ids, which are sorted."""
    people = People.named(store, ingest_keys, ids)
    held = people.fit(space)
    return load_instances(store, ingest_keys, ids.to_pylist()).crops if held else people.crops(space), people.targets


def _streamed(people: People, mix: Mix, space: Space, label_keys: Sequence[StageKey] | None = None) -> LabelledCrops:
    arrays = people.labelled(space, label_keys)
    return LabelledCrops(people.crops(space), **arrays, chances=mix.chances(people.targets))
