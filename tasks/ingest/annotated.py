"""The stage that turns annotations of any format into `images`, `instances` and `labels`.

Done again after the source changed, it does only what is new or changed (`chains`), in one new commit.
"""

import json
import math
import tempfile
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import torch

from infra.repair import mend
from infra.shards import Shard
from infra.stages import Failure, StageRecord, StageSpec, records
from infra.standing import INGEST, builds_on, read_standing
from infra.store import Store
from infra.whole import torn_stages
from models.bodies import BUILT_IN
from schemas.digests import canonical_json, digest
from schemas.errors import ConfigError, DataError, GateError
from schemas.ids import image_id
from schemas.progress import SILENT
from tasks.engine.context import Context
from tasks.engine.sharded import ShardOutput, StageResult, run_sharded
from tasks.engine.stage import Intake
from tasks.ingest.formats.registry import reader_of
from tasks.ingest.image.leakage import LEAKED, Apart, Pictures, elsewhere_digest, pictures_elsewhere
from tasks.ingest.image.reading import Photograph
from tasks.ingest.people.annotations import AnnotationSource, Reader
from tasks.ingest.people.person_rows import Person, instance_rows, label_rows, rows_of, see, uri_of
from tasks.ingest.people.posed import Bodies
from tasks.ingest.plan.annotations import GONE, Before, described, picture_states, plan, units_of
from tasks.ingest.plan.files import forget_plan, plan_folder, shares_plan
from tasks.ingest.source.files import content_digest
from tasks.ingest.source.folder import Folder, RefusedError, printable

VERSION = 2
"""2 since deep and transparent pictures are read as they are meant, and paths of other systems find their pictures."""
_VIDEO = "video"


@dataclass(frozen=True)
class IngestAnnotations(Intake):
    """Ingests a source -> tables `images`, `instances`, `labels`.

    `bodies` is a folder of published bodies (or one body's name or file) that labels are posed with: no file says which
    body its parameters are of, and posed by another one they are other labels. Rows that can't be used end in
    `failures`; if those are more of the whole source than the gates allow, GateError tells it each time, after the
    commit. Pictures that another split of the data set has too, train against the others, are failures unless
    `allow_leakage`.

    ConfigError for parameters of bodies without `bodies`. DataError for a source that can't be used as a whole, and for
    one that would take the place of another source of the same split, unless `replace_source`.
    """

    source: AnnotationSource
    bodies: str | None = None
    allow_leakage: bool = False
    replace_source: bool = False
    open_reader: Callable[[AnnotationSource, Path], Reader] = reader_of

    name = INGEST
    version = VERSION
    writes = ("images", "instances", "labels")

    @shares_plan
    def run(self, context: Context) -> StageResult:
        store, config = context.store, context.config
        source = _with_frames(store, self.source)
        posing = Bodies(self.bodies or config.body)
        elsewhere = None if self.allow_leakage else pictures_elsewhere(store, source.dataset, source.split)
        with tempfile.TemporaryDirectory(prefix="adhmr-ingest-") as work:
            reader = self.open_reader(source, Path(work))
            survey = reader.survey()
            if self.bodies is None and survey.bodies:
                raise ConfigError(bodies_missing(source.url, survey.bodies))
            images = Folder(survey.images, source.follow_links)
            pictures = partial(picture_states, images, store)
            settings = {
                "ingest": config.ingest,
                "source": described(source),
                "bodies": posing.digest(),
                "allow_leakage": self.allow_leakage,
            }
            content = digest(
                {
                    "url": source.url,
                    "source": content_digest(survey.files, None if source.format == _VIDEO else pictures()),
                    "elsewhere": elsewhere_digest(elsewhere),
                }
            )
            earlier = _newest(store, settings, context.progress.say)
            if earlier is not None and earlier.config["content"] == content:
                context.progress.say(f"{INGEST}: reused, {source} is as it was ({earlier.stage_key[:12]})")
                forget_plan(store, plan_folder(earlier.stage_key))  # of a run that was killed after its commit
                _gate(context, earlier.stage_key)
                return StageResult(earlier, reused=True)
            reads = (earlier.stage_key,) if earlier else ()
            spec = StageSpec(
                self.name,
                self.version,
                {**settings, "url": source.url, "content": content},
                reads=reads,
                campaign=config.campaign,
                in_round=context.round,
            )
            folder = plan_folder(spec.key)
            context.progress.say(f"{INGEST}: reading {source.url}")
            for remark in survey.remarks:
                context.progress.say(f"{INGEST}: {printable(remark)}")
            before = _before(store, reads, source)
            planned = plan(store, folder, reader, pictures, before, config.ingest.shard_size, images.url)
        if planned.remark:
            context.progress.say(f"{INGEST}: {source}: {planned.remark}")
        if planned.unchanged:
            context.progress.say(f"{INGEST}: {planned.unchanged} rows of {source} are as they were, and stay")
        if planned.gone:
            context.progress.say(f"{INGEST}: {planned.gone} people of {source} are no longer in {source.url}, and go")
            if earlier is not None and earlier.config["url"] != source.url and not self.replace_source:
                forget_plan(store, folder)
                raise DataError(
                    f"{source} was ingested from {earlier.config['url']}, and {planned.gone} of its people are not in "
                    f"{source.url}. If this source is to take the other's place, say so (--replace); else give it a "
                    "data set or split of its own, or all sources at once where the format takes several."
                )
        quiet = replace(context, progress=SILENT)
        result = run_sharded(
            store,
            spec,
            planned.ids,
            config.ingest.shard_size,
            partial(AnnotationWorker, quiet, folder, source, images.url, posing.source, elsewhere),
            tables=self.writes,
            progress=context.progress,
            unit="people",
            settings=config.ray,
            in_process=context.in_process,
        )
        forget_plan(store, folder)
        _gate(context, result.key)
        return result


def bodies_missing(url: str, kinds: Sequence[str]) -> str:
    """What to do about labels that are parameters of bodies (smpl, smplx), where nobody said which body files."""
    named = " and ".join({"smpl": "SMPL", "smplx": "SMPL-X"}[kind] for kind in kinds)
    return (
        f"{url} has parameters of {named} bodies. Say which body files pose them: --body DIR, the folder of published "
        "ones (human_model_files). The free body of this engine is another body, whose joints lie 5 to 7 cm "
        f"elsewhere; --body {' or '.join(BUILT_IN)} takes it, for files that were written from it, as this engine's "
        "exports are."
    )


class AnnotationWorker:
    """Makes the rows of a shard's units. Pictures are read once for all their people in the shard."""

    def __init__(
        self,
        context: Context,
        folder: str,
        source: AnnotationSource,
        images: str,
        bodies: str,
        elsewhere: pa.Table | None,
    ) -> None:
        torch.set_num_threads(context.config.ray.threads_per_actor)
        self.store, self.folder, self.source, self.config = context.store, folder, source, context.config.ingest
        self.pictures = Pictures(Folder(images, source.follow_links), self.config.max_pixels, Apart(elsewhere))
        self.bodies = Bodies(bodies)

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
                photograph, code = self.pictures(unit["key"])
                if unit["first"]:
                    images.append(self._image(unit, photograph, code))
                body = posed.get(unit["id"])
                if isinstance(body, RefusedError):
                    raise body
                people.append(see(unit, self.source, photograph, body, self.config))
            except RefusedError as refusal:
                gone, known = refusal.reason == GONE, None if refusal.reason == LEAKED else unit["source_digest"]
                failures.append(
                    Failure(
                        unit["id"],
                        refusal.reason,
                        f"{_where(unit)}{refusal.detail}",
                        "filtered" if gone else "failed",
                        source_digest=known,
                    )
                )
        tables = {
            "images": rows_of("images", images),
            "instances": instance_rows(people, self.config.crop_size_px),
            "labels": label_rows(people),
        }
        return ShardOutput(tables, failures, ok=len(people))

    def _image(self, unit: Mapping[str, Any], photograph: Photograph, code: str | None) -> dict[str, Any]:
        width, height = photograph.size
        return {
            "image_id": image_id(self.source.dataset, self.source.split, unit["key"]),
            "dataset": self.source.dataset,
            "split": self.source.split,
            "key": unit["key"],
            "uri": uri_of(self.store, self.pictures.folder, unit["key"]),
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
    if "://" not in folder:
        Path(folder).mkdir(parents=True, exist_ok=True)
    return replace(source, images=folder)


def _newest(store: Store, settings: Mapping[str, Any], say: Callable[[str], None]) -> StageRecord | None:
    """The last ingest of the same split under the same settings, whatever its source held and wherever that was.

    One that builds on an ingest which has lost rows that can't be put back is no ground to build on.
    """
    wanted = _settings_digest(json.loads(canonical_json(settings)))
    torn = {one.stage_key for one in torn_stages(store) if one.stage == INGEST and not mend(store, one, say)}
    for of in reversed(records(store, INGEST)):
        if of.version == VERSION and "content" in of.config and _settings_digest(of.config) == wanted:
            if not torn or not torn & builds_on(store, of):
                return of
            say(f"{INGEST}: {of.stage_key[:12]} builds on an ingest that has lost rows, so all rows are read again")
    return None


def _settings_digest(config: Mapping[str, Any]) -> str:
    return digest({name: value for name, value in config.items() if name not in ("url", "content")})


def _before(store: Store, reads: Sequence[str], source: AnnotationSource) -> Before:
    """What holds of earlier ingests. Failures that something else than the row brought about have no digest."""
    people = read_standing(store, "instances", reads, columns=["instance_id", "source_digest"])
    refused = read_standing(
        store, "failures", reads, where=pc.field("outcome") == "failed", columns=["id", "source_digest"]
    )
    names = ["id", "source_digest", "was_good"]
    parts = [
        pa.table([rows.column(0), rows.column(1), pa.array([good] * len(rows), pa.bool_())], names=names)
        for rows, good in ((people, True), (refused, False))
    ]
    return Before(pa.concat_tables(parts))


def _gate(context: Context, key: str) -> None:
    """GateError if of all that the source holds, ingested now or before, more failed than the gates allow."""
    store, limit = context.store, context.config.gates.max_failed_share
    failed = read_standing(store, "failures", [key], where=pc.field("outcome") == "failed", columns=["id", "reason"])
    rows = len(read_standing(store, "instances", [key], columns=["instance_id"])) + len(failed)
    if len(failed) > limit * rows:
        counted = Counter(failed.column("reason").to_pylist()).most_common(3)
        raise GateError(
            f"Stage {INGEST}: {len(failed)} of {rows} rows failed, more than the allowed {limit:.1%}. Reasons: "
            f"{'; '.join(f'{count} x {reason}' for reason, count in counted)}. The table failures names each "
            f"(stage_key = '{key}'). What is good is ingested; if that many are right, --set "
            f"gates.max_failed_share={math.ceil(100 * len(failed) / rows) / 100:g} lets them pass.",
            key,
        )


def _where(unit: Mapping[str, Any]) -> str:
    return f"{unit['origin']}: " if unit["origin"] else ""
