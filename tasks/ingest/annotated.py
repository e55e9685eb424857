"""The stage that turns annotations of any format into `images`, `instances` and `labels`.

Done again after the source changed, it does only what is new or changed (`chains`), in one new commit.
"""

import json
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import torch

from infra.shards import Shard
from infra.stages import Failure, StageRecord, StageSpec, find, records
from infra.store import Store
from infra.tables import read
from schemas.config.stages import IngestConfig
from schemas.digests import canonical_json, config_digest
from schemas.errors import DataError
from schemas.ids import image_id
from tasks.context import Context
from tasks.ingest.annotations import AnnotationSource, Reader
from tasks.ingest.chains import INGEST, read_standing
from tasks.ingest.folder import Folder, RefusedError, source_digest
from tasks.ingest.formats.registry import reader_of
from tasks.ingest.hashes import perceptual_hash, resembling
from tasks.ingest.person_rows import Person, instance_rows, label_rows, rows_of, see, uri_of
from tasks.ingest.planned import GONE, Before, described, forget, plan, units_of
from tasks.ingest.posed import Bodies
from tasks.ingest.reading import Photograph, read_picture
from tasks.sharded import ShardOutput, StageResult, run_sharded

VERSION = 1
TABLES = ("images", "instances", "labels")
_VIDEO = "video"
TRAIN = "train"
"""The split whose pictures no other split of the data set may have."""


def ingest_annotations(
    context: Context,
    source: AnnotationSource,
    bodies: str | None = None,
    allow_leakage: bool = False,
    open_reader: Callable[[AnnotationSource, Path], Reader] = reader_of,
) -> StageResult:
    """Ingest a source, or find that done.

    `bodies` is a folder of published bodies (or one body's name or file) that labels are posed with, by default the
    configuration's. Rows that can't be used end in `failures`; more of them than the gates allow raise GateError.
    Pictures that another split of the data set has too, train against the others, are failures unless
    `allow_leakage`. DataError for a source that can't be used as a whole.
    """
    store, config = context.store, context.config
    source = _with_frames(store, source)
    posing = Bodies(bodies or config.body)
    with tempfile.TemporaryDirectory(prefix="adhmr-ingest-") as work:
        reader = open_reader(source, Path(work))
        images = Folder(reader.survey().images)
        settings = {
            "ingest": config.ingest,
            "source": described(source),
            "bodies": posing.digest(),
            "allow_leakage": allow_leakage,
        }
        tables = [str(source.options["boxes"])] if source.options.get("boxes") else []
        content = source_digest([source.url, *tables], None if source.format == _VIDEO else images)
        earlier = _newest(store, settings)
        if earlier is not None and earlier.config["content"] == content:
            spec = _spec(context, settings, content, earlier.reads)
            done = find(store, spec.key)
            assert done is not None
            context.progress.say(f"{INGEST}: reused, {source} is as it was ({spec.key[:12]})")
            return StageResult(done, reused=True)
        reads = (earlier.stage_key,) if earlier else ()
        spec = _spec(context, settings, content, reads)
        folder = f"ingests/{spec.key[:16]}"
        context.progress.say(f"{INGEST}: reading {source.url}")
        before = _before(store, reads, source)
        planned = plan(store, folder, reader, images, before, config.ingest.shard_size)
    if planned.unchanged:
        context.progress.say(f"{INGEST}: {planned.unchanged} of {source} are as they were, and stay")
    result = run_sharded(
        store,
        spec,
        planned.ids,
        config.ingest.shard_size,
        AnnotatedMaker,
        {
            "store": store,
            "folder": folder,
            "source": source,
            "images": images.url,
            "bodies": posing.source,
            "config": config.ingest,
            "elsewhere": None if allow_leakage else _elsewhere(store, source),
            "threads": config.ray.threads_per_actor,
        },
        tables=TABLES,
        progress=context.progress,
        unit="people",
        actors=config.ray.actors,
        cpus_per_actor=config.ray.cpus_per_actor,
        threads=config.ray.threads_per_actor,
        max_failed_share=config.gates.max_failed_share,
        in_process=context.in_process,
    )
    forget(store, folder)
    return result


class AnnotatedMaker:
    """Makes the rows of a shard's units. Pictures are read once for all their people in the shard."""

    def __init__(
        self,
        store: Store,
        folder: str,
        source: AnnotationSource,
        images: str,
        bodies: str,
        config: IngestConfig,
        elsewhere: pa.Table | None,
        threads: int = 1,
    ) -> None:
        torch.set_num_threads(threads)
        self.store, self.folder, self.source, self.config = store, folder, source, config
        self.images, self.bodies, self.elsewhere = Folder(images), Bodies(bodies), elsewhere
        self.picture = lru_cache(maxsize=1)(self._picture)

    def __call__(self, shard: Shard) -> ShardOutput:
        units = units_of(self.store, self.folder, shard.index, shard.ids)
        good = [unit for unit in units if unit["reason"] is None]
        embodied = [unit for unit in good if unit["label_kind"] and unit["body_model"]]
        posed = dict(zip((unit["id"] for unit in embodied), self.bodies.pose(embodied), strict=True))
        images: list[dict[str, Any]] = []
        people: list[Person] = []
        failures: list[Failure] = []
        for unit in units:
            try:
                if unit["reason"] is not None:
                    raise RefusedError(unit["reason"], unit["detail"] or "")
                photograph, code = self._photograph(unit["key"])
                if unit["first"]:
                    images.append(self._image(unit, photograph, code))
                body = posed.get(unit["id"])
                if isinstance(body, RefusedError):
                    raise body
                people.append(see(unit, self.source, photograph, body, self.config))
            except RefusedError as refusal:
                outcome = "filtered" if refusal.reason == GONE else "failed"
                failures.append(Failure(unit["id"], refusal.reason, f"{_where(unit)}{refusal.detail}", outcome))
        tables = {
            "images": rows_of("images", images),
            "instances": instance_rows(people, self.config.crop_size_px),
            "labels": label_rows(people),
        }
        return ShardOutput(tables, failures, ok=len(people))

    def _photograph(self, key: str) -> tuple[Photograph, int]:
        found = self.picture(key)
        if isinstance(found, RefusedError):
            raise RefusedError(found.reason, found.detail)
        return found

    def _picture(self, key: str) -> tuple[Photograph, int] | RefusedError:
        """Refusals are handed back, because a cache keeps what is returned and not what is raised."""
        try:
            photograph = read_picture(self.images, key, self.config.max_pixels)
            code = perceptual_hash(photograph.image)
            other = resembling(code, self.elsewhere) if self.elsewhere is not None else None
            if other:
                raise RefusedError(
                    "picture of another split",
                    f"{key} shows what {other} shows: a test on it would tell nothing (--allow-leakage takes it)",
                )
            return photograph, code
        except RefusedError as refusal:
            return refusal

    def _image(self, unit: Mapping[str, Any], photograph: Photograph, code: int) -> dict[str, Any]:
        width, height = photograph.size
        return {
            "image_id": image_id(self.source.dataset, self.source.split, unit["key"]),
            "dataset": self.source.dataset,
            "split": self.source.split,
            "key": unit["key"],
            "uri": uri_of(self.store, self.images, unit["key"]),
            "width_px": width,
            "height_px": height,
            "content_sha256": photograph.sha256,
            "perceptual_hash": code,
        }


def _with_frames(store: Store, source: AnnotationSource) -> AnnotationSource:
    """A video's frames become pictures that must last: in the store, unless a folder for them is given."""
    if source.format != _VIDEO:
        return source
    folder = source.images
    if folder is None:
        if not store.is_local:
            raise DataError(
                f"The store is {store.url}: give a folder that lasts for the frames of {source.url} (--images)."
            )
        folder = store.path("frames", source.dataset, source.split)
    Path(folder).mkdir(parents=True, exist_ok=True)
    return replace(source, images=folder)


def _spec(context: Context, settings: Mapping[str, Any], content: str, reads: Sequence[str]) -> StageSpec:
    return context.spec(INGEST, VERSION, {**settings, "content": content}, reads)


def _newest(store: Store, settings: Mapping[str, Any]) -> StageRecord | None:
    """The last ingest of the same source under the same settings, whatever the source's content was."""
    wanted = config_digest({**json.loads(canonical_json(settings)), "content": ""})
    known = (record for record in reversed(records(store)) if record.stage == INGEST and "content" in record.config)
    return next((of for of in known if config_digest({**of.config, "content": ""}) == wanted), None)


def _before(store: Store, reads: Sequence[str], source: AnnotationSource) -> Before:
    columns = ["instance_id", "source_digest"]
    where = (pc.field("dataset") == source.dataset) & (pc.field("split") == source.split)
    return Before(read_standing(store, "instances", reads, where=where, columns=columns))


def _elsewhere(store: Store, source: AnnotationSource) -> pa.Table | None:
    """Hashes of the data set's pictures in splits that must have none of this one's."""
    apart = pc.field("split") != TRAIN if source.split == TRAIN else pc.field("split") == TRAIN
    where = (pc.field("dataset") == source.dataset) & apart & pc.field("perceptual_hash").is_valid()
    found = read(store, "images", where=where, columns=["image_id", "perceptual_hash"])
    return found if len(found) else None


def _where(unit: Mapping[str, Any]) -> str:
    return f"{unit['origin']}: " if unit["origin"] else ""
