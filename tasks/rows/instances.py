"""Instances out of the tables and into arrays: crops, crop cameras, and labels where there are any."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from infra.standing import read_standing
from infra.store import Store
from infra.table_rows import ascending
from infra.tables import read
from schemas.config.networks import JOINTS, TWISTS
from schemas.errors import DataError
from schemas.ids import StageKey, Target
from schemas.tables import matrix
from tasks.rows.crops import LabelledCrops, decoded, stacked
from tasks.rows.mix import Mix
from tasks.rows.part import Part

NO_LABEL = "no label"
"""Reason of instances that have nothing to be measured against."""

_CROP_COLUMNS = ("instance_id", "dataset", "split", "crop", "crop_intrinsics")
LABEL_COLUMNS = (
    "instance_id",
    "label_kind",
    "global_orient",
    "body_pose",
    "betas",
    "joints",
    "joints_valid",
    "twist",
)

GROUND_TRUTH = (pc.field("label_kind") == "gt") & pc.field("body_model").is_valid()
"""The labels that count where none are named; those of joints alone, without a body, are for those who ask for them."""


@dataclass(frozen=True)
class Instances:
    """N instances in the order in which they were asked for. Label arrays are NaN in rows where `labelled` is False."""

    ids: tuple[str, ...]
    dataset: tuple[str, ...]
    split: tuple[str, ...]
    crops: np.ndarray
    """(N, S, S, 3) uint8."""
    crop_intrinsics: np.ndarray
    """(N, 4) fx, fy, cx, cy of the crop camera, crop pixels."""
    labelled: np.ndarray
    """(N,) bool."""
    theta: np.ndarray
    """(N, 24, 3) axis-angle, radians; row 0 in the camera frame."""
    betas: np.ndarray
    """(N, 10)."""
    uvd: np.ndarray
    """(N, 29, 3) normalised joints of the label; NaN where a joint is not known."""
    twists: np.ndarray
    """(N, 23, 2) (cos, sin)."""
    root_depth: np.ndarray
    """(N,) depth of the pelvis, metres."""

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def targets(self) -> list[Target]:
        """The split of each."""
        return [Target(*names) for names in zip(self.dataset, self.split, strict=True)]

    @property
    def measurable(self) -> np.ndarray:
        """(N,) bool: whose label is known, pelvis included."""
        return self.labelled & np.isfinite(self.root_depth)

    @property
    def crop_size(self) -> int:
        """Side of the crops, pixels."""
        return int(self.crops.shape[1])

    @property
    def reach(self) -> np.ndarray:
        """(N,) half a crop's side in metres, at 1 m."""
        return np.asarray(self.crop_size / 2 / self.crop_intrinsics[:, 0])


def instance_ids(
    store: Store, ingest_keys: Sequence[StageKey], targets: Sequence[Target], part: Part | None = None
) -> list[str]:
    """The instances of these splits, or those in a `part` of them, sorted.

    Raises DataError for a split that those ingests have no instance of, or none in the part.
    """
    ids: list[str] = sorted_ids(store, ingest_keys, targets, part).to_pylist()
    return ids


def sorted_ids(
    store: Store, ingest_keys: Sequence[StageKey], targets: Sequence[Target], part: Part | None = None
) -> pa.StringArray:
    """The same as an Arrow array, which takes a third of the memory."""
    ids = [pa.array([], pa.string())]
    for target in targets:
        rows = read_standing(store, "instances", ingest_keys, where=of_target(target), columns=["instance_id"])
        if len(rows) == 0:
            raise DataError(nothing_of(store, ingest_keys, Target(*target)))
        everybody = rows.column("instance_id")
        if part is not None:
            everybody = pa.chunked_array([in_part(everybody.to_pylist(), part, Target(*target))], pa.string())
        ids.extend(everybody.chunks)
    return ascending(pa.concat_arrays(ids))


def load_instances(
    store: Store, ingest_keys: Sequence[StageKey], ids: Sequence[str], label_keys: Sequence[StageKey] | None = None
) -> Instances:
    """These instances, with their labels.

    Labels are the gt labels that the ingests brought, or, where `label_keys` are given, whatever those stages wrote.
    Raises DataError for an unknown id, for crops of different sizes, and for two labels of one instance.
    """
    if not ids:
        raise DataError("No instance was asked for.")
    stored = read_standing(store, "instances", ingest_keys, ids=ids, columns=_CROP_COLUMNS)
    rows = in_order(stored, ids)
    named = zip(rows.column("instance_id").to_pylist(), rows.column("crop").to_pylist(), strict=True)
    crops = stacked([decoded(name, data) for name, data in named])
    intrinsics = matrix(rows, "crop_intrinsics").astype(np.float32)
    labels = _labels(store, list(ingest_keys), ids, label_keys)
    return Instances(
        tuple(ids),
        tuple(rows.column("dataset").to_pylist()),
        tuple(rows.column("split").to_pylist()),
        crops,
        intrinsics,
        **label_arrays(labels, _places(labels, ids), len(ids), intrinsics, crops.shape[1]),
    )


def labelled_crops(store: Store, mix: Mix) -> LabelledCrops:
    """What supervised training needs of all instances of a mix, sorted by id.

    Raises DataError for instances without a label or with a label that lacks joints.
    """
    ids = instance_ids(store, mix.ingests, mix.targets, mix.part)
    return as_labelled_crops(load_instances(store, mix.ingests, ids), mix)


def pseudo_labelled_crops(store: Store, mix: Mix, label_keys: Sequence[StageKey]) -> LabelledCrops:
    """The same of the instances that have a label of the stages `label_keys`, with that label, whatever their split."""
    named = read(store, "labels", stage_keys=list(label_keys), columns=["instance_id"])
    ids = sorted(named.column("instance_id").to_pylist())
    if not ids:
        raise DataError(f"The stages {_short(label_keys)} left no label to train on.")
    return as_labelled_crops(load_instances(store, mix.ingests, ids, label_keys), mix)


def as_labelled_crops(people: Instances, mix: Mix | None = None) -> LabelledCrops:
    """`people` as training data, drawn as `mix` says. DataError where an instance has no label or not all joints."""
    check_complete(people.labelled, np.isfinite(people.uvd).all((1, 2)), people.ids.__getitem__)
    chances = None if mix is None else mix.chances(people.targets)
    return LabelledCrops(people.crops, people.uvd, people.twists, people.betas, chances)


def check_complete(labelled: np.ndarray, whole: np.ndarray, name: Callable[[int], str]) -> None:
    """DataError unless all of N instances are labelled, with all joints (N,); `name` gives the name of a row."""
    for complete, what in ((labelled, "no label"), (whole, "not all 29 joints")):
        if not complete.all():
            raise DataError(
                f"{int((~complete).sum())} of {len(complete)} instances have {what} (the first: "
                f"{name(int(np.argmin(complete)))}); supervised training needs complete labels."
            )


def of_target(target: Target) -> pc.Expression:
    """Rows of this split."""
    return (pc.field("dataset") == target.dataset) & (pc.field("split") == target.split)


def in_order(rows: pa.Table, ids: Sequence[str]) -> pa.Table:
    """One row for each id, in the order of `ids`."""
    place = {name: row for row, name in enumerate(rows.column("instance_id").to_pylist())}
    if len(place) < len(rows):
        raise DataError("Two of the ingests hold the same instance; give only one of them, or rename a data set.")
    absent = [name for name in ids if name not in place]
    if absent:
        raise DataError(f"{len(absent)} of {len(ids)} instances are not in the ingests given; the first: {absent[0]}.")
    return rows.take([place[name] for name in ids])


def _labels(
    store: Store, ingest_keys: list[StageKey], ids: Sequence[str], label_keys: Sequence[StageKey] | None
) -> pa.Table:
    keys = ingest_keys if label_keys is None else list(label_keys)
    if label_keys is None:
        rows = read_standing(store, "labels", keys, ids=ids, where=GROUND_TRUTH, columns=LABEL_COLUMNS)
    else:
        rows = read(store, "labels", stage_keys=keys, ids=ids, columns=LABEL_COLUMNS)
    names = rows.column("instance_id").to_pylist()
    if len(set(names)) < len(names):
        twice = next(name for name in sorted(names) if names.count(name) > 1)
        raise DataError(twice_labelled(twice, keys))
    return rows


def twice_labelled(name: str, keys: Sequence[StageKey]) -> str:
    """The message about an instance with two labels."""
    return f"{name} has more than one label in the stages {_short(keys)}; one was expected."


def _places(labels: pa.Table, ids: Sequence[str]) -> np.ndarray:
    place = {name: row for row, name in enumerate(ids)}
    return np.array([place[name] for name in labels.column("instance_id").to_pylist()], dtype=np.int64)


def label_arrays(
    labels: pa.Table, at: np.ndarray, count: int, intrinsics: np.ndarray, crop_size: int
) -> dict[str, np.ndarray]:
    """The label arrays of `count` `Instances`, of whom the rows of `labels` are those `at` (L,), by their names.

    `intrinsics` (count, 4) of their crops.
    """
    import torch

    from models.cameras import uvd_from_camera

    labelled = np.zeros(count, dtype=bool)
    labelled[at] = True

    def spread(values: np.ndarray) -> np.ndarray:
        whole = np.full((count, *values.shape[1:]), np.nan, dtype=np.float32)
        whole[at] = values
        return whole

    # copied: Arrow's memory can't be written to, and torch asks that it could
    joints = matrix(labels, "joints").reshape(-1, JOINTS, 3).copy()
    valid = matrix(labels, "joints_valid").reshape(-1, JOINTS)
    uvd, root_depth = uvd_from_camera(torch.from_numpy(joints), torch.from_numpy(intrinsics[at]), crop_size)
    placed = valid & valid[:, :1]  # without the pelvis nothing can be relative to it
    placed_uvd = np.where(placed[..., None], uvd.numpy(), np.float32(np.nan))
    placed_depth = np.where(valid[:, 0], root_depth.numpy(), np.float32(np.nan))
    theta = np.concatenate([matrix(labels, "global_orient"), matrix(labels, "body_pose")], axis=1).reshape(-1, 24, 3)
    return {
        "labelled": labelled,
        "theta": spread(theta),
        "betas": spread(matrix(labels, "betas")),
        "uvd": spread(placed_uvd),
        "twists": spread(matrix(labels, "twist").reshape(-1, TWISTS, 2)),
        "root_depth": spread(placed_depth),
    }


def in_part(everybody: Sequence[str], part: Part, target: Target) -> list[str]:
    """Those of the people of a split who are in the part. DataError where nobody is."""
    ids = part.of(everybody)
    if not ids:
        raise DataError(
            f"Of the {len(everybody)} people of {target} nobody is in the part from {part} of its pictures, which is "
            "asked for: it needs more pictures."
        )
    return ids


def nothing_of(store: Store, ingest_keys: Sequence[StageKey], target: Target) -> str:
    """The message about a split that these ingests have no instance of."""
    rows = read_standing(store, "instances", ingest_keys, columns=["dataset", "split"])
    pairs = zip(rows.column("dataset").to_pylist(), rows.column("split").to_pylist(), strict=True)
    targets = ", ".join(sorted({str(Target(*pair)) for pair in pairs})) or "none"
    return f"There is no instance of {target} in the ingests {_short(ingest_keys)}; they have: {targets}."


def _short(keys: Sequence[StageKey]) -> str:
    return ", ".join(key[:12] for key in keys)
