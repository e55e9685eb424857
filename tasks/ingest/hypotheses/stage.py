"""The stage that takes hypotheses of others, with their crops, so that they can be scored and paired.

Two formats are read: published hypothesis caches (multihypo-npz) and the test caches of HMR-Scorer (scorer-eval), which
bring errors too. All rows carry the key of this stage, which is the generation_id: `score` and `pair` take it for both
the ingest and the generation.
"""

import tempfile
from collections.abc import Callable, Mapping
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
from tasks.engine.context import Context
from tasks.engine.results import StageResult
from tasks.engine.stage import Stage
from tasks.ingest.formats.multihypo_npz import reader as hypothesis_cache
from tasks.ingest.formats.multihypo_npz.reader import HypothesisCacheReader
from tasks.ingest.formats.scorer_eval import reader as scorer_cache
from tasks.ingest.formats.scorer_eval.reader import ScorerCacheReader
from tasks.ingest.hypotheses.crops import PICTURES, CropNames, CropWorker
from tasks.ingest.hypotheses.given import TABLES, GivenWorker
from tasks.ingest.hypotheses.pictures import PictureNames, PictureWorker
from tasks.ingest.image.leakage import elsewhere_digest, pictures_elsewhere
from tasks.ingest.people.annotations import AnnotationSource, Reader, Survey
from tasks.ingest.plan.files import plan_folder, run_planned, shares_plan
from tasks.ingest.plan.rows import Plan, plan_rows
from tasks.ingest.source.files import content_digest
from tasks.ingest.source.folder import Folder, is_picture

_FORMATS: Final[Mapping[str, tuple[Callable[[AnnotationSource, Path], Reader], Any, type[GivenWorker]]]] = {
    hypothesis_cache.NAME: (HypothesisCacheReader, CropNames, CropWorker),
    scorer_cache.NAME: (ScorerCacheReader, PictureNames, PictureWorker),
}
"""What reads a format, what names its rows (`CacheNames`), and what makes them."""


@dataclass(frozen=True)
class IngestHypotheses(Stage):
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

    def key_config(self, context: Context) -> Mapping[str, Any]:
        """Reads the cache for its digest."""
        with tempfile.TemporaryDirectory(prefix="adhmr-hypotheses-") as work:
            return self._key_config(context, self._reader(Path(work)).survey(), self._elsewhere(context))

    @shares_plan
    def run(self, context: Context) -> StageResult:
        store, config, source, say = context.store, context.config, self.source, context.progress.say
        elsewhere = self._elsewhere(context)
        planned = Plan([], {"count": 0, "error_column": None})
        with tempfile.TemporaryDirectory(prefix="adhmr-hypotheses-") as work:
            reader = self._reader(Path(work))
            survey = reader.survey()
            key_config = self._key_config(context, survey, elsewhere)
            spec = StageSpec(self.name, self.version, key_config, campaign=context.campaign, in_round=context.round)
            folder, pictures = plan_folder(spec.key), self._pictures(survey)
            _, names_of, worker = _FORMATS[source.format]
            if find_or_mend(store, spec, say) is None:
                say(f"{self.name}: reading {source.url}")
                if source.format == hypothesis_cache.NAME and PICTURES not in source.options:
                    say(
                        f"{self.name}: no folder of the pictures was given (option {PICTURES}), so their sizes and "
                        "focal lengths are guessed from where the crops lie"
                    )
                names = names_of(reader, pictures)
                planned = plan_rows(store, folder, config.ingest.shard_size, names.tables, names.facts)
        source = replace(source, images=pictures.url if pictures else None)
        make = partial(worker, folder=folder, source=source, facts=planned.facts, elsewhere=elsewhere)
        return run_planned(self, context, spec, planned.ids, partial(make, generation_id=spec.key))

    def _reader(self, work: Path) -> Reader:
        source = self.source
        image_id(source.dataset, source.split, "any")
        if source.format not in _FORMATS:
            raise DataError(f"{source.format} holds no hypotheses; the formats that do are {' and '.join(_FORMATS)}.")
        return _FORMATS[source.format][0](source, work)

    def _pictures(self, survey: Survey) -> Folder | None:
        """The folder of crops of a hypothesis cache; of a test cache the folder of pictures, if one was named."""
        return Folder(survey.images, self.source.follow_links) if survey.images else None

    def _elsewhere(self, context: Context) -> pa.Table | None:
        return None if self.allow_leakage else pictures_elsewhere(context.store, *self.source.target)

    def _key_config(self, context: Context, survey: Survey, elsewhere: pa.Table | None) -> dict[str, Any]:
        config, source = context.config, self.source
        crops, pictures = self._pictures(survey), source.options.get(PICTURES)
        listing = Folder(str(pictures), source.follow_links).listing(is_picture) if pictures else None
        return {
            "content": content_digest(survey.files, crops.listing(is_picture) if crops else None),
            "pictures": content_digest([], listing) if pictures else None,
            "allow_leakage": self.allow_leakage,
            "elsewhere": elsewhere_digest(elsewhere),
            "ingest": config.ingest,
            "body": load_body(config.body).digest,
            "threads": config.ray.threads_per_actor,
            **source.key_config(),
        }
