"""The stage that takes hypotheses which somebody else made, with their crops, so that they can be scored and paired.

Two formats are read: published hypothesis caches (multihypo-npz) and the test caches of HMR-Scorer (scorer-eval), which
bring errors too. All rows carry the key of this stage, which is the generation_id: `score` and `pair` take it for both
the ingest and the generation.
"""

import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Final

import pyarrow as pa

from infra.repair import find_or_mend
from infra.stages import StageSpec
from infra.standing import HYPOTHESES
from models.bodies import load_body
from schemas.errors import DataError
from schemas.ids import image_id
from schemas.progress import SILENT
from tasks.engine.context import Context
from tasks.engine.sharded import StageResult, run_sharded
from tasks.engine.stage import Intake
from tasks.ingest.formats.multihypo_npz import reader as hypothesis_cache
from tasks.ingest.formats.multihypo_npz.reader import HypothesisCacheReader
from tasks.ingest.formats.scorer_eval import reader as scorer_cache
from tasks.ingest.formats.scorer_eval.reader import ScorerCacheReader
from tasks.ingest.hypotheses.crops import PICTURES, CropNames, CropWorker
from tasks.ingest.hypotheses.given import TABLES, Facts
from tasks.ingest.hypotheses.pictures import PictureNames, PictureWorker
from tasks.ingest.image.leakage import elsewhere_digest, pictures_elsewhere
from tasks.ingest.people.annotations import AnnotationSource, Survey
from tasks.ingest.plan.files import forget_plan, plan_folder, shares_plan
from tasks.ingest.plan.rows import plan_rows, row_id
from tasks.ingest.source.files import content_digest
from tasks.ingest.source.folder import Folder, RefusedError, is_picture

FORMATS: Final = (hypothesis_cache.NAME, scorer_cache.NAME)
_LONG: Final = ("uvd", "twist", "errors", "scores", "picture")
_UNUSED: Final = ("gt_uvd", "gt_twist")
"""Labels without a pose, which no table takes."""
_OURS: Final = pa.schema([
    pa.field("id", pa.string(), False),
    pa.field("key", pa.string()),
    pa.field("person", pa.int32()),
    pa.field("first", pa.bool_()),
])  # fmt: skip
"""What the plan adds to a row of the cache."""
_Reader = HypothesisCacheReader | ScorerCacheReader


@dataclass(frozen=True)
class IngestHypotheses(Intake):
    """Takes a cache (format multihypo-npz or scorer-eval) into the tables.

    multihypo-npz -> images, instances and hypotheses; scorer-eval -> these, and errors and scores where it has them.
    A unit is an entry of the cache. Entries that can't be used end in `failures`: more of them than the gates allow
    raise GateError. Pictures that another split of the data set has too, train against the others, are failures unless
    `allow_leakage`. DataError for a cache that can't be used as a whole.
    """

    source: AnnotationSource
    allow_leakage: bool = False

    name = HYPOTHESES
    writes = TABLES

    def spec(self, context: Context) -> StageSpec:
        """What the stage is going to do. Reads the cache for its digest."""
        with tempfile.TemporaryDirectory(prefix="adhmr-hypotheses-") as work:
            return self._spec(context, _open(self.source, Path(work)).survey(), self._elsewhere(context))

    @shares_plan
    def run(self, context: Context) -> StageResult:
        store, config, source = context.store, context.config, self.source
        elsewhere = self._elsewhere(context)
        with tempfile.TemporaryDirectory(prefix="adhmr-hypotheses-") as work:
            reader = _open(source, Path(work))
            survey = reader.survey()
            spec = self._spec(context, survey, elsewhere)
            folder, pictures = plan_folder(spec.key), _pictures(source, survey)
            ids: list[str] = []
            facts: Mapping[str, Any] = {"count": 0, "error_column": None}
            if find_or_mend(store, spec, context.progress.say) is None:
                context.progress.say(f"{self.name}: reading {source.url}")
                if source.format == hypothesis_cache.NAME and PICTURES not in source.options:
                    context.progress.say(
                        f"{self.name}: no folder of the pictures was given (option {PICTURES}), so their sizes and "
                        "focal lengths are guessed from where the crops lie"
                    )
                names = _CacheNames(reader, pictures)
                planned = plan_rows(store, folder, config.ingest.shard_size, names.tables, names.facts)
                ids, facts = planned.ids, planned.facts
        result = run_sharded(
            store,
            spec,
            ids,
            config.ingest.shard_size,
            partial(
                CropWorker if source.format == hypothesis_cache.NAME else PictureWorker,
                replace(context, progress=SILENT),
                folder,
                replace(source, images=pictures.url if pictures else None),
                Facts(facts["count"], facts["error_column"]),
                spec.key,
                elsewhere,
            ),
            tables=self.writes,
            progress=context.progress,
            unit="people",
            settings=config.ray,
            max_failed_share=config.gates.max_failed_share,
            in_process=context.in_process,
        )
        forget_plan(store, folder)
        return result

    def _elsewhere(self, context: Context) -> pa.Table | None:
        source = self.source
        return None if self.allow_leakage else pictures_elsewhere(context.store, source.dataset, source.split)

    def _spec(self, context: Context, survey: Survey, elsewhere: pa.Table | None) -> StageSpec:
        config, source = context.config, self.source
        crops, pictures = _pictures(source, survey), source.options.get(PICTURES)
        seen = Folder(str(pictures), source.follow_links).listing(is_picture) if pictures else None
        config_of_key = {
            "content": content_digest(survey.files, crops.listing(is_picture) if crops else None),
            "pictures": content_digest([], seen) if pictures else None,
            "allow_leakage": self.allow_leakage,
            "elsewhere": elsewhere_digest(elsewhere),
            "format": source.format,
            "dataset": source.dataset,
            "split": source.split,
            "every": source.every,
            "ingest": config.ingest,
            "body": load_body(config.body).digest,
            "threads": config.ray.threads_per_actor,
        }
        if source.follow_links is not None:
            config_of_key["follow_links"] = source.follow_links
        return StageSpec(self.name, self.version, config_of_key, campaign=config.campaign, in_round=context.round)


class _CacheNames:
    """Goes through a cache once: the names of its rows, what stands twice, how many hypotheses most of them have."""

    def __init__(self, reader: _Reader, pictures: Folder | None) -> None:
        self.reader = reader
        self.name_row: Callable[[Mapping[str, Any]], dict[str, Any]]
        if isinstance(reader, HypothesisCacheReader):
            assert pictures is not None
            self.name_row = CropNames(reader.source, pictures)
        else:
            self.name_row = PictureNames(reader.source)
        self.counts: Counter[int] = Counter()
        self.first_refusal = ""

    def tables(self) -> Iterator[pa.Table]:
        """The rows with their names, in the order of the file."""
        every = self.reader.source.every
        for batch in self.reader.batches():
            rows = pa.Table.from_batches([batch])
            rows = rows.drop_columns([name for name in _UNUSED if name in rows.column_names])
            if every > 1:
                rows = rows.filter(pa.array(rows.column("row").to_numpy() % every == 0)).combine_chunks()
            yield self._judged(rows)

    def facts(self) -> dict[str, Any]:
        """The number of hypotheses that most rows have, and what the errors are. DataError where no row is good: then
        it is the file, or the folder of crops."""
        if not self.counts and self.first_refusal:
            raise DataError(f"No entry of {self.reader.source.url} can be used. The first: {self.first_refusal}")
        count = min(self.counts or (0,), key=lambda many: (-self.counts[many], many))
        errors = self.reader.error_column if isinstance(self.reader, ScorerCacheReader) else None
        return {"count": count, "error_column": errors}

    def _judged(self, rows: pa.Table) -> pa.Table:
        source = self.reader.source
        place = f"{source}/{source.url.rstrip('/').rsplit('/', 1)[-1]}"
        told = rows.drop_columns([name for name in _LONG if name in rows.column_names]).to_pylist()
        if "picture" in rows.column_names:
            for row, there in zip(told, rows.column("picture").is_valid().to_pylist(), strict=True):
                row["picture"] = there or None
        added: list[dict[str, Any]] = []
        for row in told:
            named: dict[str, Any] = {"id": row_id(place, row["row"])}
            if row["reason"] is None:
                try:
                    named.update(self.name_row(row))
                    self.counts[row["count"]] += 1
                except RefusedError as refusal:
                    row["reason"], row["detail"] = refusal.reason, refusal.detail
            if row["reason"] is not None and not self.first_refusal:
                self.first_refusal = f"{row['origin']}: {row['reason']}: {row['detail']}"
            added.append(named)
        for name in ("reason", "detail"):
            values = pa.array([row[name] for row in told], pa.string())
            rows = rows.set_column(rows.schema.get_field_index(name), rows.schema.field(name), values)
        for column in _OURS:
            rows = rows.append_column(column, pa.array([named.get(column.name) for named in added], column.type))
        return rows


def _open(source: AnnotationSource, work: Path) -> _Reader:
    image_id(source.dataset, source.split, "any")
    if source.format == hypothesis_cache.NAME:
        return HypothesisCacheReader(source, work)
    if source.format == scorer_cache.NAME:
        return ScorerCacheReader(source, work)
    raise DataError(f"{source.format} holds no hypotheses; the formats that do are {' and '.join(FORMATS)}.")


def _pictures(source: AnnotationSource, survey: Survey) -> Folder | None:
    """The folder of crops of a hypothesis cache; of a test cache the folder of pictures, if one was named."""
    return Folder(survey.images, source.follow_links) if survey.images else None
