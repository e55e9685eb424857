"""Hypotheses: in memory, as rows of the table, and back."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pyarrow as pa

from infra.spreads import apart_mm
from infra.store import Store
from infra.tables import read, read_ids
from schemas.config.networks import JOINTS, TWISTS
from schemas.errors import DataError
from schemas.ids import StageKey
from schemas.tables import build, matrix
from tasks.rows.instances import Instances

if TYPE_CHECKING:
    from torch import Tensor

    from models.bodies import Body, PosedPart
    from models.kinematics import Root
    from models.recovery import RecoveredBody

BY_SAMPLE = [("instance_id", "ascending"), ("sample_index", "ascending")]
"""How tables with a row for each sample are sorted."""


@dataclass(frozen=True)
class Hypotheses:
    """M hypotheses for each of N instances, in memory."""

    uvd: np.ndarray
    """(N, M, 29, 3) normalised joints."""
    twists: np.ndarray
    """(N, M, 23, 2) unit (cos, sin)."""
    betas: np.ndarray
    """(N, M, 10), the same for all hypotheses of an instance."""
    root_depth: np.ndarray
    """(N, M) depth of the pelvis, metres."""

    def __len__(self) -> int:
        return len(self.uvd)

    @property
    def count(self) -> int:
        """M."""
        return int(self.uvd.shape[1])

    def take(self, rows: np.ndarray) -> Hypotheses:
        """The hypotheses of the instances `rows`."""
        return Hypotheses(*(getattr(self, part.name)[rows] for part in fields(self)))

    def at(self, samples: Sequence[int] | np.ndarray) -> Hypotheses:
        """Of each instance the hypotheses at these places among the M."""
        return Hypotheses(*(getattr(self, part.name)[:, samples] for part in fields(self)))

    def pick(self, samples: np.ndarray) -> Hypotheses:
        """Of each instance the hypotheses at its own places `samples` (N, K) among the M."""
        rows = np.arange(len(self))[:, None]
        return Hypotheses(*(getattr(self, part.name)[rows, samples] for part in fields(self)))

    def bodies(self, body: Body, people: Instances, rows: np.ndarray, root: Root) -> RecoveredBody:
        """The N * M bodies, instance by instance; `rows` (N,) says which of the `people` the instances are."""
        import torch

        from models.recovery import recover_body

        with torch.no_grad():
            return recover_body(body, *self._poses(body, people, rows), root)

    def body_parts(self, body: Body, people: Instances, rows: np.ndarray, root: Root) -> Iterator[PosedPart]:
        """The same bodies, a few meshes at a time."""
        import torch

        from models.recovery import recovered_parts

        with torch.no_grad():
            yield from recovered_parts(body, *self._poses(body, people, rows), root)

    def _poses(
        self, body: Body, people: Instances, rows: np.ndarray
    ) -> tuple[Tensor, Tensor, Tensor, Tensor, int, Tensor]:
        """What `recover_body` takes of all of them, where the body is."""
        import torch

        device = body.template.device
        uvd, twists, betas, depth = (
            torch.from_numpy(np.ascontiguousarray(getattr(self, part.name))).float().flatten(0, 1).to(device)
            for part in fields(self)
        )
        cameras = torch.from_numpy(people.crop_intrinsics[rows]).to(device).repeat_interleave(self.count, 0)
        return uvd, twists, betas, cameras, people.crop_size, depth

    def spread_mm(self, reach: np.ndarray, samples: Sequence[int] | np.ndarray) -> np.ndarray:
        """(N,) how far the hypotheses of each instance lie apart (`infra.spreads.apart_mm`): `samples` (M,) but for the
        zero-noise one. NaN where there are no others. `reach` (N,): half a crop's side in metres, at 1 m."""
        drawn = np.flatnonzero(np.asarray(samples) > 0)
        if not len(self) or not len(drawn):
            return np.full(len(self), np.nan)
        shown = self.at(drawn)
        # those that were just drawn have single precision, those of a table double: they are to give the same bits
        metres = shown.root_depth.astype(np.float64) * reach.astype(np.float64)[:, None]
        starts = np.arange(0, len(self) * len(drawn), len(drawn))
        return apart_mm(shown.uvd.reshape(-1, JOINTS, 3), metres.ravel(), starts)

    def finite(self) -> np.ndarray:
        """(N,) bool: whether every number of all hypotheses of an instance is finite."""
        parts = [getattr(self, part.name).reshape(len(self), -1) for part in fields(self)]
        return np.isfinite(np.concatenate(parts, axis=1)).all(axis=1)


class Sampled(NamedTuple):
    """People with samples, as far as tables of samples name them."""

    ids: Sequence[str]
    dataset: Sequence[str]
    split: Sequence[str]
    root_depth: np.ndarray
    """(N,) metres by the label, NaN where there is none."""


def hypotheses_table(
    generation_id: StageKey,
    instances: Instances | Sampled,
    hypotheses: Hypotheses,
    samples: Sequence[int],
    partition: int,
    rows: np.ndarray,
    more: Mapping[str, Any] | None = None,
) -> pa.Table:
    """Rows of `hypotheses` for the instances `rows`; `more` columns, sample by sample, count more than those here."""
    chosen, total = hypotheses.take(rows), len(rows) * hypotheses.count
    source = np.where(np.isfinite(instances.root_depth), "label", "bones")
    columns = {
        **_sample_columns(generation_id, instances, samples, partition, rows),
        "uvd": chosen.uvd.reshape(total, JOINTS * 3),
        "twist": chosen.twists.reshape(total, TWISTS * 2),
        "betas": chosen.betas.reshape(total, chosen.betas.shape[-1]),
        "root_depth_m": chosen.root_depth.reshape(total).astype(np.float64),
        "root_depth_source": repeated(source.tolist(), rows, hypotheses.count),
    }
    return build("hypotheses", {**columns, **(more or {})})


def errors_table(
    generation_id: StageKey,
    instances: Instances | Sampled,
    errors: Mapping[str, np.ndarray],
    label_set: str,
    samples: Sequence[int],
    partition: int,
    rows: np.ndarray,
) -> pa.Table:
    """Rows of `errors` for the instances `rows` (R,): by name of the error (R, M) mm of the M samples."""
    columns = {f"{name}_mm": values.reshape(len(rows) * len(samples)) for name, values in errors.items()}
    named = _sample_columns(generation_id, instances, samples, partition, rows)
    return build("errors", {**named, "label_set": label_set, **columns})


def _sample_columns(
    generation_id: StageKey, instances: Instances | Sampled, samples: Sequence[int], partition: int, rows: np.ndarray
) -> dict[str, Any]:
    """What tables with a row for each sample of each of the instances `rows` have in common."""
    count = len(samples)
    return {
        "generation_id": generation_id,
        "instance_id": repeated(instances.ids, rows, count),
        "sample_index": np.tile(np.asarray(samples, np.int32), len(rows)),
        "dataset": repeated(instances.dataset, rows, count),
        "split": repeated(instances.split, rows, count),
        "round": np.full(len(rows) * count, partition, np.int32),
        "stage_key": generation_id,
    }


def repeated(texts: Sequence[str], rows: np.ndarray, count: int) -> pa.Array:
    """The text of each of `rows`, `count` times."""
    return pa.array(texts, pa.string()).take(pa.array(np.repeat(rows, count)))


@dataclass(frozen=True)
class StoredHypotheses:
    """Hypotheses of the table, by instance and sample."""

    ids: tuple[str, ...]
    dataset: tuple[str, ...]
    samples: np.ndarray
    """(M,) sample indices, the same for all instances."""
    hypotheses: Hypotheses


def generated_ids(store: Store, generation_key: StageKey) -> list[str]:
    """The instances that a finished stage has hypotheses of, sorted."""
    return read_ids(store, "hypotheses", stage_keys=[generation_key]).to_pylist()


def read_hypotheses(store: Store, generation_key: StageKey, ids: Sequence[str]) -> StoredHypotheses:
    """The hypotheses of these instances, in sorted order. DataError unless all have the same samples."""
    columns = ["instance_id", "sample_index", "dataset", "uvd", "twist", "betas", "root_depth_m"]
    rows = read(store, "hypotheses", stage_keys=[generation_key], ids=ids, columns=columns)
    rows = rows.sort_by(BY_SAMPLE)
    count = len(rows) // len(ids)
    samples = rows.column("sample_index").to_numpy()
    names = rows.column("instance_id").to_pylist()[:: max(count, 1)]
    if names != sorted(ids) or not np.array_equal(samples, np.tile(samples[:count], len(ids))):
        raise DataError(
            f"The stage {generation_key[:12]} does not hold the same hypotheses for all of {len(ids)} instances "
            f"({min(ids)} and others). Has something else written to the table?"
        )
    return StoredHypotheses(
        tuple(names),
        tuple(rows.column("dataset").to_pylist()[::count]),
        samples[:count],
        Hypotheses(
            matrix(rows, "uvd").reshape(len(ids), count, JOINTS, 3),
            matrix(rows, "twist").reshape(len(ids), count, TWISTS, 2),
            matrix(rows, "betas").reshape(len(ids), count, -1),
            rows.column("root_depth_m").to_numpy().reshape(len(ids), count),
        ),
    )
