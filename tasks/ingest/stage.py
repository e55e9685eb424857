"""The stage that turns folders of pictures into the tables `images`, `instances` and, where known, `labels`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from typing import Any

import pyarrow as pa
import torch

from infra.repair import find_or_mend
from infra.shards import Shard
from infra.stages import Failure, StageSpec
from infra.standing import INGEST
from models.bodies import load_body
from models.cameras import square_box
from schemas.config.stages import IngestConfig
from schemas.ids import StageKey, image_id
from schemas.progress import SILENT
from tasks.engine.context import Context
from tasks.engine.sharded import ShardOutput, StageResult, run_sharded
from tasks.engine.stage import Stage
from tasks.ingest.image.crop import cut_crop, encode_crop
from tasks.ingest.image.leakage import Apart, Pictures, elsewhere_digest, pictures_elsewhere
from tasks.ingest.image.reading import Photograph
from tasks.ingest.people.agreement import check_agreement
from tasks.ingest.people.labels import FolderLabels
from tasks.ingest.people.person_rows import Person, check_box, instance_rows, rows_of, uri_of
from tasks.ingest.people.posed import Bodies
from tasks.ingest.people.units import UNITS, check_sources, plan_units, with_own_boxes
from tasks.ingest.source.files import content_digest
from tasks.ingest.source.folder import LEFT_OUT, Folder, FolderSource, RefusedError

OWN_VERSION = 2
"""Of people's own folders: 2 since deep and transparent pictures are read as is meant; of a stage's, 1."""


@dataclass(frozen=True)
class Ingest(Stage):
    """Reads the pictures of folders and cuts a crop for each person -> tables `images`, `instances`, `labels`.

    `made_by` is the stage that made the folders; without it, the folders' own content (names, sizes, times and tables)
    is part of the key, and what pictures they must not share with others.

    A unit is a row of a table of boxes (or a picture, where there is no table). Rows and pictures that can't be used
    end in `failures`; more of them than the gates allow raise GateError, a table that can't be used DataError, as does
    a folder or table that is not there. Pictures that an earlier ingest has in another split of the data set, train
    against the others, are failures unless `allow_leakage`. Folders that a stage made are not compared: it draws each
    split by itself.
    """

    sources: tuple[FolderSource, ...]
    made_by: StageKey | None = None
    allow_leakage: bool = False

    name = INGEST
    writes = ("images", "instances", "labels")

    def key_config(self, context: Context) -> Mapping[str, Any]:
        check_sources(self.sources)
        described = [_described(source, self.made_by is None) for source in self.ordered]
        config = {"ingest": context.config.ingest, "sources": described, "body": self.body_digest(context)}
        if self.made_by is None:
            hashes = [elsewhere_digest(table) for table in self.elsewhere(context)]
            config |= {"allow_leakage": self.allow_leakage, "elsewhere": hashes}
        return config

    def spec(self, context: Context) -> StageSpec:
        return replace(super().spec(context), version=OWN_VERSION if self.made_by is None else self.version)

    def run(self, context: Context) -> StageResult:
        spec, config = self.spec(context), context.config
        done = find_or_mend(context.store, spec, context.progress.say) is not None
        units = UNITS.empty_table() if done else plan_units(self.ordered, context.progress.say)
        return run_sharded(
            context.store,
            spec,
            units.column("id").to_pylist(),
            config.ingest.shard_size,
            partial(FolderWorker, self, replace(context, progress=SILENT), units, self.elsewhere(context)),
            tables=self.writes,
            progress=context.progress,
            unit="people",
            settings=config.ray,
            max_failed_share=config.gates.max_failed_share,
            in_process=context.in_process,
        )

    @property
    def ordered(self) -> tuple[FolderSource, ...]:
        """The sources in an order that doesn't depend on who names them."""
        return tuple(sorted(self.sources, key=str))

    def body_digest(self, context: Context) -> str | None:
        """The body that labels are taken to speak of; of no weight where no folder has labels."""
        return load_body(context.config.body).digest if any(source.labels for source in self.sources) else None

    def elsewhere(self, context: Context) -> list[pa.Table | None]:
        """For each source, in their order, the pictures that it must not have."""
        if self.allow_leakage or self.made_by is not None:
            return [None] * len(self.sources)
        return [pictures_elsewhere(context.store, source.dataset, source.split) for source in self.ordered]


class FolderWorker:
    """Makes the rows of a shard's units. Pictures are read once for all their people in the shard."""

    def __init__(self, stage: Ingest, context: Context, units: pa.Table, elsewhere: Sequence[pa.Table | None]) -> None:
        """`elsewhere`: for each source what `pictures_elsewhere` tells; None where nothing is compared."""
        config = context.config
        torch.set_num_threads(config.ray.threads_per_actor)
        # nobody has to compare the labels of a stage with its body
        self.bodies = Bodies(config.body) if stage.made_by is None else None
        self.store, self.sources, self.units, self.config = context.store, stage.ordered, units, config.ingest
        self.body_digest = stage.body_digest(context)
        self.place = {name: row for row, name in enumerate(units.column("id").to_pylist())}
        self.pictures = [
            Pictures(
                Folder(source.images, source.follow_links),
                config.ingest.max_pixels,
                Apart(hashes) if stage.made_by is None else None,
            )
            for source, hashes in zip(self.sources, elsewhere, strict=True)
        ]
        # whole tables, so only of the folders that this worker meets
        self.labels = cache(lambda number: FolderLabels(self.sources[number]))

    def __call__(self, shard: Shard) -> ShardOutput:
        rows = self.units.take([self.place[name] for name in shard.ids]).to_pylist()
        images: list[dict[str, Any]] = []
        people: list[Person] = []
        failures: list[Failure] = []
        disagree = self._disagree(rows)
        labelled: dict[int, list[tuple[int, str]]] = {}
        for unit in rows:
            source = self.sources[unit["source"]]
            try:
                if unit["reason"] is not None:
                    raise RefusedError(unit["reason"], unit["detail"])
                photograph, code = self.pictures[unit["source"]](unit["key"])
                if unit["first"]:
                    images.append(self._image(unit, photograph, code))
                person = _see(unit, source, photograph, self.config)
                label = self.labels(unit["source"]).row(unit["key"], unit["person"]) if source.labels else None
                if unit["id"] in disagree:
                    raise disagree[unit["id"]]
            except RefusedError as refusal:
                outcome = "filtered" if refusal.reason in LEFT_OUT else "failed"
                failures.append(Failure(unit["id"], refusal.reason, refusal.detail, outcome))
                continue
            people.append(person)
            if label is not None:
                labelled.setdefault(unit["source"], []).append((label, unit["id"]))
        tables = {"instances": instance_rows(people, self.config.crop_size_px)}
        tables["images"] = rows_of("images", images)
        if labelled:
            tables["labels"] = pa.concat_tables([self._labels(number, found) for number, found in labelled.items()])
        return ShardOutput(tables, failures, ok=len(people))

    def _disagree(self, units: Sequence[Mapping[str, Any]]) -> dict[str, RefusedError]:
        """Labels that somebody brought whose parameters, posed by the body that they are taken to speak of, give other
        joints than theirs."""
        if self.bodies is None:
            return {}
        found: dict[str, dict[str, Any]] = {}
        for unit in units:
            if unit["reason"] is None and self.sources[unit["source"]].labels:
                labels = self.labels(unit["source"])
                place = labels.rows.get((unit["key"], unit["person"]))
                if place is not None and labels.finite[place]:
                    found[unit["id"]] = labels.annotation(place)
        disagree: dict[str, RefusedError] = {}
        for (name, row), body in zip(found.items(), self.bodies.pose(list(found.values())), strict=True):
            try:
                if isinstance(body, RefusedError):
                    raise body
                check_agreement(row, body.joints, self.config)
            except RefusedError as refusal:
                disagree[name] = refusal
        return disagree

    def _image(self, unit: Mapping[str, Any], photograph: Photograph, code: str | None) -> dict[str, Any]:
        source, folder = self.sources[unit["source"]], self.pictures[unit["source"]].folder
        width, height = photograph.size
        return {
            "image_id": image_id(source.dataset, source.split, unit["key"]),
            "dataset": source.dataset,
            "split": source.split,
            "key": unit["key"],
            "uri": uri_of(self.store, folder, unit["key"]),
            "width_px": width,
            "height_px": height,
            "content_sha256": photograph.sha256,
            "perceptual_hash": code,
        }

    def _labels(self, number: int, found: list[tuple[int, str]]) -> pa.Table:
        assert self.body_digest is not None
        return self.labels(number).table([row for row, _ in found], [name for _, name in found], self.body_digest)


def _see(unit: Mapping[str, Any], source: FolderSource, photograph: Photograph, config: IngestConfig) -> Person:
    width, height = photograph.size
    box = tuple(unit["box"] or (0.0, 0.0, float(width), float(height)))
    check_box(box, width, height)
    focal, focal_source = photograph.focal(unit["focal_px"])
    cx = width / 2 if unit["cx"] is None else unit["cx"]
    cy = height / 2 if unit["cy"] is None else unit["cy"]
    square = square_box(torch.tensor(box, dtype=torch.float64), config.box_padding).numpy()
    crop = cut_crop(photograph.image, (float(square[0]), float(square[1]), float(square[2])), config.crop_size_px)
    columns = {
        "instance_id": unit["id"],
        "image_id": image_id(source.dataset, source.split, unit["key"]),
        "dataset": source.dataset,
        "split": source.split,
        "person": unit["person"],
        "crop": encode_crop(crop, config.jpeg_quality),
        "crop_rule": "box",
        "intrinsics_source": focal_source,
    }
    return Person(columns, box, square, (focal, focal, cx, cy))


def _described(given: FolderSource, with_content: bool) -> dict[str, Any]:
    """What of a source counts towards the stage's key."""
    source = with_own_boxes(given)
    tables = [url for url in (source.boxes, source.labels) if url is not None]
    content = None
    if with_content:
        content = content_digest(tables, Folder(source.images, source.follow_links).listing(lambda name: True))
    followed = {} if source.follow_links is None else {"follow_links": source.follow_links}
    return {
        "dataset": source.dataset,
        "split": source.split,
        "boxes": source.boxes is not None,
        "labels": source.labels is not None,
        "content": content,
        **followed,
    }
