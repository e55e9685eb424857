"""Hypotheses of others, as rows of our tables: what both forms of published caches have in common.

What such caches leave out: the shape (betas are zero, the mean shape) and the depth of the root, which is
the one that fits the bones. Samples are numbered as the file has them; that number 0 came from zero noise, as with our
own hypotheses, is not known of them.
"""

from abc import abstractmethod
from collections import Counter
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
from schemas.errors import DataError
from schemas.ids import ModelDigest, StageKey, image_id, instance_id
from tasks.engine.context import Context
from tasks.engine.results import ShardOutput
from tasks.engine.worker import ModelWorker, microbatches
from tasks.generate import NOT_FINITE
from tasks.ingest.image.leakage import Apart
from tasks.ingest.people.annotations import AnnotationSource, Reader
from tasks.ingest.people.person_rows import rows_of
from tasks.ingest.plan.rows import RowMatcher, planned_rows
from tasks.ingest.source.folder import Folder, RefusedError
from tasks.rows.hypotheses import Hypotheses, Sampled, errors_table, hypotheses_table
from tasks.rows.scores import scores_table

TABLES: Final = ("images", "instances", "hypotheses", "errors", "scores")
LABEL_SET: Final = "gt"
"""The labelling that a file's errors were measured against is not ours, but it is the truth."""
GIVEN_SCORER: Final = ModelDigest("given")
"""In the place of a digest, for the scorer whose scores came with the file."""
_BETAS: Final = 10
_TOGETHER: Final = 16
"""Instances whose root depths are fitted in one go; fixed, as results may round differently for another number."""


@dataclass(frozen=True)
class CachedPerson:
    """A person with M hypotheses, as a row of a cache has them."""

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

    @property
    def crop_camera(self) -> NDArray[np.float64]:
        """(4,) fx, fy, cx, cy of the crop, pixels."""
        intrinsics, affine = torch.from_numpy(self.intrinsics), torch.from_numpy(self.affine)
        return np.asarray(affine_intrinsics(intrinsics, affine).numpy())


class CacheNames(RowMatcher):
    """Names the rows of a cache: which picture and person each is, and what comes twice."""

    columns = pa.schema([("key", pa.string()), ("person", pa.int32()), ("first", pa.bool_())])
    long = ("uvd", "twist", "errors", "scores", "picture")
    unused = ("gt_uvd", "gt_twist")  # labels without a pose, which no table takes
    error_column: str | None = None
    """The column of `errors` that the file's errors belong to."""

    def __init__(self, reader: Reader, pictures: Folder | None) -> None:
        """`pictures`: the folder of crops of a hypothesis cache; of a test cache that of its pictures, if any."""
        source = reader.source
        super().__init__(reader, f"{source}/{source.url.rstrip('/').rsplit('/', 1)[-1]}")
        self.pictures = pictures
        self.counts: Counter[int] = Counter()

    def match(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """`key`, `person` and `first` of a row. RefusedError for one that can't be used."""
        columns = self.name(row)
        self.counts[row["count"]] += 1
        return columns

    @abstractmethod
    def name(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """As `match`."""

    def facts(self) -> dict[str, Any]:
        """The number of hypotheses that most rows have, and what the errors are. DataError where no row is good: then
        it is the file, or the folder of crops."""
        first = self.unreadable or self.unmatched
        if not self.matched and first:
            raise DataError(f"No entry of {self.reader.source.url} can be used. The first: {first}")
        count = min(self.counts or (0,), key=lambda many: (-self.counts[many], many))
        return {"count": count, "error_column": self.error_column}


class GivenWorker(ModelWorker):
    """Makes the rows of a shard of a cache."""

    def __init__(
        self,
        context: Context,
        folder: str,
        source: AnnotationSource,
        facts: Mapping[str, Any],
        generation_id: StageKey,
        elsewhere: pa.Table | None,
    ) -> None:
        """`facts` of the plan: what `CacheNames` has counted. `elsewhere`: pictures that this split must not have
        (`leakage.pictures_elsewhere`)."""
        super().__init__(context)
        self.folder, self.source, self.config = folder, source, context.config.ingest
        self.count: int = facts["count"]
        self.error_column: str | None = facts["error_column"]
        self.body = load_body(context.config.body)
        self.apart = Apart(elsewhere)
        self.generation_id = generation_id

    @abstractmethod
    def see(self, unit: Mapping[str, Any], images: list[dict[str, Any]]) -> CachedPerson:
        """What a row has; adds a row to `images` where the unit is the `first` of its picture.

        Raises RefusedError for a row that can't be used.
        """

    def work(self, shard: Shard) -> ShardOutput:
        """Rows of the tables, in the order of the file."""
        images: list[dict[str, Any]] = []
        people: list[CachedPerson] = []
        failures: list[Failure] = []
        for unit in _units(planned_rows(self.store, self.folder, shard)):
            try:
                if unit["reason"] is not None:
                    raise RefusedError(unit["reason"], unit["detail"] or "")
                person = self.see(unit, images)  # first, because another person of the picture may count on its row
                if unit["count"] != self.count:
                    detail = f"{unit['count']} hypotheses, where most rows have {self.count}"
                    raise RefusedError("hypothesis count", detail)
                people.append(person)
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
            tables |= self._samples(kept, depth[good])
        return ShardOutput(tables, failures, ok=len(kept))

    def _image_id(self, person: CachedPerson) -> str:
        return image_id(*self.source.target, person.unit["key"])

    def _instances(self, people: Sequence[CachedPerson]) -> pa.Table:
        rows = [
            {
                "instance_id": instance_id(self._image_id(person), person.unit["person"]),
                "image_id": self._image_id(person),
                "dataset": self.source.dataset,
                "split": self.source.split,
                "person": person.unit["person"],
                "box_xywh": person.box,
                "crop": person.crop,
                "crop_size_px": self.config.crop_size_px,
                "crop_intrinsics": person.crop_camera,
                "crop_affine": person.affine.reshape(-1),
                "crop_rule": person.crop_rule,
                "image_intrinsics": person.intrinsics,
                "intrinsics_source": person.intrinsics_source,
            }
            for person in people
        ]
        return rows_of("instances", rows)

    @torch.no_grad()
    def _root_depth(self, people: Sequence[CachedPerson]) -> NDArray[np.float64]:
        """(N, M) metres."""
        depth, size = np.empty((len(people), self.count)), self.config.crop_size_px
        for rows, used in microbatches(len(people), _TOGETHER):
            uvd = torch.from_numpy(np.concatenate([people[row].uvd for row in rows]))
            cameras = torch.from_numpy(np.stack([people[row].crop_camera for row in rows]).astype(np.float32))
            cameras = cameras.repeat_interleave(self.count, 0)
            fitted = root_depth_of(self.body, uvd, torch.zeros(len(uvd), _BETAS), cameras, size)
            depth[rows[:used]] = fitted.view(-1, self.count).numpy()[:used]
        return depth

    def _samples(self, people: Sequence[CachedPerson], depth: NDArray[np.float64]) -> dict[str, pa.Table]:
        """Rows of `hypotheses`, and of `errors` and `scores` where the file has them; depth (N, M) metres."""
        key, samples, rows = self.generation_id, range(self.count), np.arange(len(people))
        ids = [instance_id(self._image_id(person), person.unit["person"]) for person in people]
        dataset, split = ([name] * len(people) for name in self.source.target)
        named = Sampled(ids, dataset, split, np.full(len(people), np.nan))
        uvd, twists = np.stack([person.uvd for person in people]), np.stack([person.twists for person in people])
        hypotheses = Hypotheses(uvd, twists, np.zeros((*depth.shape, _BETAS), np.float32), depth)
        tables = {"hypotheses": hypotheses_table(key, named, hypotheses, samples, self.partition, rows)}
        errors, scores = ([person.unit.get(name) for person in people] for name in ("errors", "scores"))
        if self.error_column is not None and all(value is not None for value in errors):
            columns = {self.error_column.removesuffix("_mm"): np.array(errors, np.float64)}
            tables["errors"] = errors_table(key, named, columns, LABEL_SET, samples, self.partition, rows)
        if all(value is not None for value in scores):
            values = np.array(scores, np.float64).reshape(depth.shape)
            reach = self.config.crop_size_px / 2 / np.array([person.crop_camera[0] for person in people])
            apart = hypotheses.spread_mm(reach, samples)
            tables["scores"] = scores_table(
                key, ids, samples, values, GIVEN_SCORER, self.partition, rows, spread_mm=apart
            )
        return tables


def _units(rows: pa.Table) -> list[dict[str, Any]]:
    """Rows as dictionaries, with the long columns as arrays."""
    long = [name for name in ("uvd", "twist", "errors", "scores") if name in rows.column_names]
    units: list[dict[str, Any]] = rows.drop_columns(long).to_pylist()
    for name in long:
        for unit, value in zip(units, rows.column(name), strict=True):
            unit[name] = value.values.to_numpy(zero_copy_only=False) if value.is_valid else None
    return units
