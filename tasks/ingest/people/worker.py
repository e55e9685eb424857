"""The work of an ingest of people: pictures are read, crops cut, bodies posed; rows of three tables come out."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import torch

from infra.shards import Shard
from infra.stages import Failure
from tasks.engine.context import Context
from tasks.engine.results import ShardOutput
from tasks.ingest.image.leakage import LEAKED, Apart, Pictures
from tasks.ingest.people.annotations import AnnotationSource
from tasks.ingest.people.person_rows import Person, image_row, instance_rows, label_rows, rows_of, see, uri_of
from tasks.ingest.people.posed import AsWritten, Bodies
from tasks.ingest.source.folder import LEFT_OUT, Folder, RefusedError

GONE = "no longer in the source"
"""Reason (outcome filtered) of people whom an earlier ingest had and the source has no more."""
Unit = dict[str, Any]
"""A row of ANNOTATIONS with `id`, `key` (the picture), `number` (the person in it), `first` (the picture's row is
theirs to write) and `source_digest`; `split`, where there are several, says which."""


@dataclass(frozen=True)
class SplitPictures:
    """A source and the folder of its pictures, which are compared with those `elsewhere` (`pictures_elsewhere`)."""

    source: AnnotationSource
    images: str
    elsewhere: pa.Table | None = None
    compared: bool = True
    """False: pictures get no hash, because nothing asks whether they are copies."""


class PeopleWorker:
    """Makes the rows of a shard's units. Pictures are read once for all their people in the shard."""

    def __init__(
        self,
        context: Context,
        units_of: Callable[[Shard], Sequence[Unit]],
        splits: Sequence[SplitPictures],
        bodies: Bodies | AsWritten,
    ) -> None:
        """`units_of` gives the units of a shard, in the order of their ids."""
        torch.set_num_threads(context.config.ray.threads_per_actor)
        self.store, self.config = context.store, context.config.ingest
        self.units_of, self.splits, self.bodies = units_of, splits, bodies
        self.pictures = [
            Pictures(
                Folder(split.images, split.source.follow_links),
                self.config.max_pixels,
                Apart(split.elsewhere) if split.compared else None,
            )
            for split in splits
        ]

    def __call__(self, shard: Shard) -> ShardOutput:
        units = self.units_of(shard)
        embodied = [unit for unit in units if unit["reason"] is None and unit["label_kind"] and unit["body_model"]]
        posed = dict(zip((unit["id"] for unit in embodied), self.bodies.pose(embodied), strict=True))
        images: list[dict[str, Any]] = []
        people: list[Person] = []
        failures: list[Failure] = []
        for unit in units:
            number = unit.get("split", 0)
            try:
                if unit["reason"] is not None:
                    raise RefusedError(unit["reason"], unit["detail"] or "")
                photograph, code = self.pictures[number](unit["key"])
                source, folder = self.splits[number].source, self.pictures[number].folder
                if unit["first"]:
                    uri = uri_of(self.store, folder, unit["key"])
                    images.append(image_row(source, unit["key"], uri, photograph.size, photograph.sha256, code))
                body = posed.get(unit["id"])
                if isinstance(body, RefusedError):
                    raise body
                people.append(see(unit, source, photograph, body, self.config, self.bodies.checked))
            except RefusedError as refusal:
                failures.append(_failure(unit, refusal))
        tables = {
            "images": rows_of("images", images),
            "instances": instance_rows(people, self.config.crop_size_px),
            "labels": label_rows(people),
        }
        return ShardOutput(tables, failures, ok=len(people))


def _failure(unit: Unit, refusal: RefusedError) -> Failure:
    where = f"{unit['origin']}: " if unit["origin"] else ""
    return Failure(
        unit["id"],
        refusal.reason,
        f"{where}{refusal.detail}",
        "filtered" if refusal.reason in (GONE, *LEFT_OUT) else "failed",
        source_digest=None if refusal.reason == LEAKED else unit["source_digest"],
    )
