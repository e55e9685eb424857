"""Hypotheses that somebody else made, as rows of our tables: what both forms of published caches have in common.

What such caches leave out: the shape (the mean shape stands for it: betas are zero) and the depth of the root, which is
the one that fits the bones. Samples are numbered as the file has them; that number 0 came from zero noise, as with our
own hypotheses, is not known of them.
"""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray

from infra.shards import Shard
from infra.stages import Failure
from models.bodies import load_body
from models.cameras import affine_intrinsics
from models.recovery import root_depth_of
from schemas.config.networks import JOINTS, TWISTS
from schemas.ids import image_id, instance_id
from schemas.tables import build
from tasks.engine.context import Context
from tasks.engine.sharded import ShardOutput
from tasks.engine.worker import ModelWorker, microbatches
from tasks.generate import NOT_FINITE
from tasks.ingest.image.leakage import Apart
from tasks.ingest.people.annotations import AnnotationSource
from tasks.ingest.people.person_rows import rows_of
from tasks.ingest.plan.rows import planned_rows
from tasks.ingest.source.folder import RefusedError
from tasks.rows.hypotheses import repeated

TABLES: Final = ("images", "instances", "hypotheses", "errors", "scores")
LABEL_SET: Final = "gt"
"""The labelling that a file's errors were measured against is not ours, but it is the truth."""
GIVEN_SCORER: Final = "given"
"""Stands for the digest of a scorer whose scores came with the file."""
_BETAS: Final = 10
_TOGETHER: Final = 16
"""Instances whose root depths are fitted in one go; fixed, as results may round differently for another number."""


@dataclass(frozen=True)
class Given:
    """A person with M hypotheses, as a row of a cache tells."""

    unit: Mapping[str, Any]
    """The row: id, key, person and what the reader read."""
    crop: bytes
    """An image file, square."""
    affine: NDArray[np.float64]
    """(2, 3), from picture to crop pixels."""
    box: NDArray[np.float64]
    """(4,) x, y, w, h in the picture, pixels."""
    crop_rule: str
    intrinsics: NDArray[np.float64]
    """(4,) fx, fy, cx, cy of the picture, pixels."""
    intrinsics_source: str
    uvd: NDArray[np.float32]
    """(M, 29, 3) normalised over the crop."""
    twists: NDArray[np.float32]
    """(M, 23, 2)."""


@dataclass(frozen=True)
class Facts:
    """What the whole file was found to have."""

    count: int
    """M of most rows; others can't stand beside them."""
    error_column: str | None = None
    """The column of `errors` that the file's errors belong to."""


class GivenWorker(ModelWorker):
    """Makes the rows of a shard of a cache."""

    def __init__(
        self,
        context: Context,
        folder: str,
        source: AnnotationSource,
        facts: Facts,
        generation_id: str,
        elsewhere: pa.Table | None,
    ) -> None:
        """`elsewhere`: pictures that this split must not have (`leakage.pictures_elsewhere`)."""
        super().__init__(context)
        self.folder, self.source, self.facts, self.config = folder, source, facts, context.config.ingest
        self.body = load_body(context.config.body)
        self.apart = Apart(elsewhere)
        self.generation_id = generation_id

    @abstractmethod
    def see(self, unit: Mapping[str, Any], images: list[dict[str, Any]]) -> Given:
        """What a row tells; adds a row to `images` where the unit is the `first` of its picture.

        Raises RefusedError for a row that can't be used.
        """

    def work(self, shard: Shard) -> ShardOutput:
        """Rows of the tables, in the order of the file."""
        images: list[dict[str, Any]] = []
        people: list[Given] = []
        failures: list[Failure] = []
        for unit in _units(planned_rows(self.store, self.folder, shard)):
            try:
                if unit["reason"] is not None:
                    raise RefusedError(unit["reason"], unit["detail"] or "")
                seen = self.see(unit, images)  # first, because another person of the picture may count on its row
                if unit["count"] != self.facts.count:
                    raise RefusedError(
                        "hypothesis count", f"{unit['count']} hypotheses, where most rows have {self.facts.count}"
                    )
                people.append(seen)
            except RefusedError as refusal:
                failures.append(Failure(unit["id"], refusal.reason, f"{unit['origin']}: {refusal.detail}"))
        depth = self._root_depth(people)
        good: NDArray[np.bool_] = np.isfinite(depth).all(axis=-1).reshape(len(people))
        failures += [
            Failure(people[row].unit["id"], NOT_FINITE, "no root depth fits the bones of some hypotheses")
            for row in np.flatnonzero(~good).tolist()
        ]
        kept = [people[row] for row in np.flatnonzero(good)]
        tables = {"images": rows_of("images", images), "instances": self._instances(kept)}
        if kept:
            tables |= self._judged(kept, depth[good])
        return ShardOutput(tables, failures, ok=len(kept))

    def image_row(
        self, unit: Mapping[str, Any], uri: str, size: tuple[int, int], sha256: str, code: str | None
    ) -> dict[str, Any]:
        """A row of `images`; `code` is the perceptual hash."""
        return {
            "image_id": self._image_id(unit),
            "dataset": self.source.dataset,
            "split": self.source.split,
            "key": unit["key"],
            "uri": uri,
            "width_px": size[0],
            "height_px": size[1],
            "content_sha256": sha256,
            "perceptual_hash": code,
        }

    def _image_id(self, unit: Mapping[str, Any]) -> str:
        return image_id(self.source.dataset, self.source.split, unit["key"])

    def _name(self, person: Given) -> str:
        return instance_id(self._image_id(person.unit), person.unit["person"])

    def _instances(self, people: Sequence[Given]) -> pa.Table:
        told = [
            {
                "instance_id": self._name(person),
                "image_id": self._image_id(person.unit),
                "dataset": self.source.dataset,
                "split": self.source.split,
                "person": person.unit["person"],
                "box_xywh": person.box,
                "crop": person.crop,
                "crop_size_px": self.config.crop_size_px,
                "crop_intrinsics": _crop_camera(person),
                "crop_affine": person.affine.reshape(-1),
                "crop_rule": person.crop_rule,
                "image_intrinsics": person.intrinsics,
                "intrinsics_source": person.intrinsics_source,
            }
            for person in people
        ]
        return rows_of("instances", told)

    @torch.no_grad()
    def _root_depth(self, people: Sequence[Given]) -> NDArray[np.float64]:
        """(N, M) metres."""
        count = self.facts.count
        depth = np.empty((len(people), count))
        for rows, used in microbatches(len(people), _TOGETHER):
            uvd = torch.from_numpy(np.concatenate([people[row].uvd for row in rows]))
            cameras = torch.from_numpy(np.stack([_crop_camera(people[row]) for row in rows]).astype(np.float32))
            found = root_depth_of(
                self.body,
                uvd,
                torch.zeros(len(uvd), _BETAS),
                cameras.repeat_interleave(count, 0),
                self.config.crop_size_px,
            )
            depth[rows[:used]] = found.view(-1, count).numpy()[:used]
        return depth

    def _judged(self, people: Sequence[Given], depth: NDArray[np.float64]) -> dict[str, pa.Table]:
        """Rows of `hypotheses`, and of `errors` and `scores` where the file has them."""
        count, total = self.facts.count, depth.size
        names = [self._name(person) for person in people]
        shared: dict[str, Any] = {
            "generation_id": self.generation_id,
            "instance_id": repeated(names, np.arange(len(people)), count),
            "sample_index": np.tile(np.arange(count, dtype=np.int32), len(people)),
            "round": np.full(total, self.partition, np.int32),
            "stage_key": self.generation_id,
        }
        where = {"dataset": self.source.dataset, "split": self.source.split}
        payload = {
            "uvd": np.concatenate([person.uvd for person in people]).reshape(total, JOINTS * 3),
            "twist": np.concatenate([person.twists for person in people]).reshape(total, TWISTS * 2),
            "betas": np.zeros((total, _BETAS), np.float32),
            "root_depth_m": depth.reshape(total),
            "root_depth_source": "bones",
        }
        tables = {"hypotheses": build("hypotheses", {**shared, **where, **payload})}
        errors, scores = ([person.unit.get(name) for person in people] for name in ("errors", "scores"))
        if self.facts.error_column is not None and all(value is not None for value in errors):
            told = {self.facts.error_column: np.array(errors, np.float64).reshape(total)}
            tables["errors"] = build("errors", {**shared, **where, "label_set": LABEL_SET, **told})
        if all(value is not None for value in scores):
            told = {"score": np.array(scores, np.float64).reshape(total)}
            tables["scores"] = build("scores", {**shared, "scorer": GIVEN_SCORER, **told})
        return tables


def _crop_camera(person: Given) -> NDArray[np.float64]:
    camera: NDArray[np.float64] = affine_intrinsics(
        torch.from_numpy(person.intrinsics), torch.from_numpy(person.affine)
    ).numpy()
    return camera


def _units(rows: pa.Table) -> list[dict[str, Any]]:
    """Rows as dictionaries, with the long columns as arrays."""
    long = [name for name in ("uvd", "twist", "errors", "scores") if name in rows.column_names]
    units: list[dict[str, Any]] = rows.drop_columns(long).to_pylist()
    for name in long:
        for unit, value in zip(units, rows.column(name), strict=True):
            unit[name] = value.values.to_numpy(zero_copy_only=False) if value.is_valid else None
    return units
