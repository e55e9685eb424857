"""The stage that turns people of any format, with annotations or without, into `images`, `instances` and `labels`.

Done again after the source changed, it does only what is new or changed (`infra.standing`), in one new commit.
"""

import json
import math
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, cast

import pyarrow as pa
import pyarrow.compute as pc

from infra.repair import mend
from infra.stages import StageRecord, StageSpec, records
from infra.standing import INGEST, builds_on, read_standing
from infra.store import Store
from infra.whole import torn_stages
from schemas.digests import canonical_json, digest
from schemas.errors import ConfigError, DataError, GateError
from tasks.engine.context import Context
from tasks.engine.results import StageResult
from tasks.engine.stage import Stage
from tasks.ingest.formats.format import Format
from tasks.ingest.formats.registry import format_named, reader_of
from tasks.ingest.people.annotations import AnnotationSource, Reader, Survey
from tasks.ingest.plan.files import forget_plan, plan_folder, run_planned, shares_plan
from tasks.ingest.plan.rows import units_of
from tasks.ingest.source.files import content_digest
from tasks.ingest.source.folder import LEFT_OUT, Folder, printable


@dataclass(frozen=True)
class IngestAnnotations(Stage):
    """Ingests a source of any format that brings people -> tables `images`, `instances`, `labels`.

    `bodies` is a folder of published bodies (or one body's name or file) that labels are posed with: no file says which
    body its parameters are of, and posed by another one they are other labels. Rows that can't be used end in
    `failures`; if those are more of the whole source than the gates allow, GateError says so each time, after the
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
    writes = ("images", "instances", "labels")

    def key_config(self, context: Context) -> Mapping[str, Any]:
        """Settings, and what the source holds."""
        return cast(Mapping[str, Any], self.spec(context).config)

    def spec(self, context: Context) -> StageSpec:
        """As the source is now: the ingest that took it in, where one did and none has lost rows since, else a new one.
        Rows of the source are not read."""
        with self._look(context) as look:
            return look.spec

    @shares_plan
    def run(self, context: Context) -> StageResult:
        from tasks.ingest.people.posed import Bodies
        from tasks.ingest.people.worker import PeopleWorker, SplitPictures
        from tasks.ingest.plan.annotations import plan

        store, config, say = context.store, context.config, context.progress.say
        source = self.source
        with self._look(context, _torn(store, say)) as look:
            earlier, spec = look.earlier, look.spec
            if earlier is not None and spec.key == earlier.stage_key:
                say(f"{INGEST}: reused, {source} is as it was ({earlier.stage_key[:12]})")
                forget_plan(store, plan_folder(earlier.stage_key))  # of a run that was killed after its commit
                _gate(context, earlier.stage_key)
                return StageResult(earlier, reused=True)
            folder = plan_folder(spec.key)
            say(f"{INGEST}: reading {source.url}")
            for remark in look.survey.remarks:
                say(f"{INGEST}: {printable(remark)}")
            before = _before(store, spec.reads)
            images = look.survey.images
            planned = plan(store, folder, look.reader, look.pictures, before, config.ingest.shard_size, images)
        remark, unchanged, gone = (planned.facts[name] for name in ("remark", "unchanged", "gone"))
        if remark:
            say(f"{INGEST}: {source}: {remark}")
        if unchanged:
            say(f"{INGEST}: {unchanged} rows of {source} are as they were, and stay")
        if gone:
            say(f"{INGEST}: {gone} people of {source} are no longer in {source.url}, and go")
            if earlier is not None and earlier.config["url"] != source.url and not self.replace_source:
                forget_plan(store, folder)
                raise DataError(
                    f"{source} was ingested from {earlier.config['url']}, and {gone} of its people are not in "
                    f"{source.url}. If this source is to take the other's place, say so (--replace); else give it a "
                    "data set or split of its own, or all sources at once where the format takes several."
                )
        if self.source.every > 1 and not planned.ids and not unchanged:
            forget_plan(store, folder)
            raise DataError(
                f"--every {self.source.every} takes none of the rows of {source.url}: frames are counted by their "
                "numbers (frame_idx, or what ends a file's name), and none of these is a multiple of it. A file that "
                "holds every so many frames only needs no --every."
            )
        splits = (SplitPictures(look.reader.source, images, look.elsewhere),)
        units, bodies = partial(units_of, store, folder), Bodies(self._bodies(context))
        worker = partial(PeopleWorker, units_of=units, splits=splits, bodies=bodies)
        result = run_planned(self, context, spec, planned.ids, worker, max_failed_share=1.0)  # see `_gate`
        _gate(context, result.key)
        return result

    def _bodies(self, context: Context) -> str:
        return self.bodies or context.config.body

    @contextmanager
    def _look(self, context: Context, torn: AbstractSet[str] = frozenset()) -> Iterator["_Look"]:
        """A look at the source, whose reader is of use as long as it is open. On ingests that are `torn`, nothing
        builds."""
        from tasks.ingest.image.leakage import elsewhere_digest, pictures_elsewhere
        from tasks.ingest.people.posed import Bodies, bodies_missing
        from tasks.ingest.plan.annotations import picture_states

        store, config = context.store, context.config
        kind = format_named(self.source.format)
        source = _with_pictures(store, self.source) if kind.makes_pictures else self.source
        elsewhere = None if self.allow_leakage else pictures_elsewhere(store, *source.target)
        with tempfile.TemporaryDirectory(prefix="adhmr-ingest-") as work:
            reader = self.open_reader(source, Path(work))
            survey = reader.survey()
            if self.bodies is None and survey.bodies:
                raise ConfigError(bodies_missing(source.url, survey.bodies))
            pictures = partial(picture_states, Folder(survey.images, source.follow_links), store)
            settings = {
                "ingest": config.ingest,
                "source": _described(source, kind),
                "bodies": Bodies(self._bodies(context)).digest(),
                "allow_leakage": self.allow_leakage,
            }
            content = {
                "url": source.url,
                "source": content_digest(survey.files, None if kind.makes_pictures else pictures()),
                "elsewhere": elsewhere_digest(elsewhere),
                **({} if survey.others is None else {"others": survey.others}),
            }
            earlier = _newest(store, kind.version, settings, torn, context.progress.say)
            spec = StageSpec(
                self.name,
                kind.version,
                {**settings, "url": source.url, "content": digest(content)},
                reads=(earlier.stage_key,) if earlier else (),
                campaign=context.campaign,
                in_round=context.round,
            )
            if earlier is not None and earlier.config["content"] == digest(content):
                spec = replace(spec, config=earlier.config, reads=earlier.reads)
            yield _Look(reader, survey, pictures, elsewhere, earlier, spec)


@dataclass(frozen=True)
class _Look:
    """What a source is, before its rows are read."""

    reader: Reader
    survey: Survey
    pictures: Callable[[], pa.Table]
    elsewhere: pa.Table | None
    earlier: StageRecord | None
    """The ingest to build on, or the very one that took the source in as it is."""
    spec: StageSpec


def _with_pictures(store: Store, source: AnnotationSource) -> AnnotationSource:
    """Frames become pictures that must last: in the store, unless the source has a folder for them."""
    folder = source.images
    if folder is None:
        if not store.is_local:
            raise DataError(
                f"The store is {store.url}: give a folder that lasts for the frames of {source.url} (--images)."
            )
        folder = store.path("frames", *source.target)
    if "://" not in folder:
        Path(folder).mkdir(parents=True, exist_ok=True)
    return replace(source, images=folder)


def _torn(store: Store, say: Callable[[str], None]) -> set[str]:
    """Keys of ingests that have lost rows which can't be put back; those that can are."""
    return {one.stage_key for one in torn_stages(store) if one.stage == INGEST and not mend(store, one, say)}


def _newest(
    store: Store, version: int, settings: Mapping[str, Any], torn: AbstractSet[str], say: Callable[[str], None]
) -> StageRecord | None:
    """The last ingest of the same split under the same settings, whatever its source held and wherever that was.

    One that builds on an ingest which has lost rows that can't be put back is no ground to build on.
    """
    wanted = _settings_digest(json.loads(canonical_json(settings)))
    for of in reversed(records(store, INGEST)):
        if of.version == version and "content" in of.config and _settings_digest(of.config) == wanted:
            if not torn or not torn & builds_on(store, of):
                return of
            say(f"{INGEST}: {of.stage_key[:12]} builds on an ingest that has lost rows, so all rows are read again")
    return None


def _described(source: AnnotationSource, kind: Format) -> dict[str, Any]:
    """What of a source counts towards the stage's key beside its content."""
    options = {name: str(value) for name, value in sorted(source.options.items()) if name not in kind.by_content}
    return {**source.key_config(), "options": options}


def _settings_digest(config: Mapping[str, Any]) -> str:
    return digest({name: value for name, value in config.items() if name not in ("url", "content")})


def _before(store: Store, reads: Sequence[str]) -> pa.Table:
    """What holds of earlier ingests, as `plan` takes it. A failure with another cause than the row has no digest."""
    people = read_standing(store, "instances", reads, columns=["instance_id", "source_digest"])
    once_and_for_all = (pc.field("outcome") == "failed") | pc.field("reason").isin(sorted(LEFT_OUT))
    refused = read_standing(store, "failures", reads, where=once_and_for_all, columns=["id", "source_digest"])
    names = ["id", "source_digest", "was_good"]
    parts = [
        pa.table([rows.column(0), rows.column(1), pa.array([good] * len(rows), pa.bool_())], names=names)
        for rows, good in ((people, True), (refused, False))
    ]
    return pa.concat_tables(parts)


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
