"""The stage that takes bodies of any model as hypotheses: of people whom the table brings, or who are in the store.

All rows carry the key of this stage, which is the generation_id: `score` and `pair` take it.
"""

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa

from infra.repair import find_or_mend
from infra.stages import StageSpec
from infra.standing import HYPOTHESES, newest_of_each, read_standing
from infra.store import Store
from models.bodies import load_body
from schemas.errors import ConfigError, DataError
from schemas.ids import StageKey
from tasks.engine.context import Context
from tasks.engine.results import StageResult
from tasks.engine.stage import Stage
from tasks.ingest.formats.bodies.reader import BodiesReader
from tasks.ingest.hypotheses.bodies_plan import PeopleWithBodies
from tasks.ingest.hypotheses.bodies_worker import BodiesWorker
from tasks.ingest.image.leakage import elsewhere_digest, pictures_elsewhere
from tasks.ingest.people.annotations import AnnotationSource
from tasks.ingest.people.posed import Bodies, bodies_missing
from tasks.ingest.plan.annotations import picture_states
from tasks.ingest.plan.files import plan_folder, run_planned, shares_plan
from tasks.ingest.plan.rows import Plan, plan_rows
from tasks.ingest.source.files import content_digest
from tasks.ingest.source.folder import Folder, is_picture, printable
from tasks.rows.instances import of_target


@dataclass(frozen=True)
class IngestBodies(Stage):
    """Takes a table of bodies (format bodies) as hypotheses -> `hypotheses`; of people with pictures and boxes also
    `images` and `instances`.

    A unit is a person with all their bodies. `bodies` are the files that pose them. People who can't be used end in
    `failures`: more of them than the gates allow raise GateError. Pictures that another split of the data set has too
    are failures unless `allow_leakage`. ConfigError without `bodies`; DataError for a table that can't be used as a
    whole, and where it names people of a split that the store doesn't have.
    """

    source: AnnotationSource
    bodies: str | None
    allow_leakage: bool = False

    name = HYPOTHESES
    writes = ("images", "instances", "hypotheses")

    def key_config(self, context: Context) -> Mapping[str, Any]:
        """Reads the table for its digest."""
        with tempfile.TemporaryDirectory(prefix="adhmr-bodies-") as work:
            return self._key_config(context, BodiesReader(self.source, Path(work)))

    def reads(self, context: Context) -> Sequence[StageKey]:
        """The ingest of the people whom the table names, if it does."""
        with tempfile.TemporaryDirectory(prefix="adhmr-bodies-") as work:
            return self._people(context.store, BodiesReader(self.source, Path(work)))

    @shares_plan
    def run(self, context: Context) -> StageResult:
        store, config, say = context.store, context.config, context.progress.say
        planned = Plan([], {"count": 0, "remark": None})
        with tempfile.TemporaryDirectory(prefix="adhmr-bodies-") as work:
            reader = BodiesReader(self.source, Path(work))
            survey, people = reader.survey(), self._people(store, reader)
            spec = StageSpec(
                self.name,
                self.version,
                self._key_config(context, reader),
                reads=tuple(people),
                campaign=context.campaign,
                in_round=context.round,
            )
            if find_or_mend(store, spec, say) is None:
                say(f"{self.name}: reading {self.source.url}")
                for remark in survey.remarks:
                    say(f"{self.name}: {printable(remark)}")
                pictures = partial(picture_states, self._pictures(survey.images), store)
                listed = PeopleWithBodies(reader, survey.images, pictures, self._known(store, people))
                folder, size = plan_folder(spec.key), config.ingest.shard_size
                planned = plan_rows(store, folder, size, listed.tables, listed.facts)
                if planned.facts["remark"]:
                    say(f"{self.name}: {self.source}: {planned.facts['remark']}")
        source = replace(self.source, images=survey.images or None)
        elsewhere = None if reader.named else self._elsewhere(store)
        make = partial(BodiesWorker, plan=plan_folder(spec.key), source=source, people=people, elsewhere=elsewhere)
        worker = partial(make, bodies=Bodies(self._bodies(reader)), count=planned.facts["count"], generation=spec.key)
        return run_planned(self, context, spec, planned.ids, worker)

    def _bodies(self, reader: BodiesReader) -> str:
        if self.bodies is None:
            raise ConfigError(bodies_missing(self.source.url, reader.survey().bodies))
        return self.bodies

    def _people(self, store: Store, reader: BodiesReader) -> tuple[StageKey, ...]:
        if not reader.named:
            return ()
        keys = newest_of_each(store, self.source.target)
        if not keys:
            raise DataError(
                f"{self.source.url} names people by instance_id, and {store.url} has no ingest of {self.source}: give "
                "their data set and split, or ingest them first."
            )
        return (StageKey(keys[0]),)

    def _known(self, store: Store, people: Sequence[StageKey]) -> frozenset[str]:
        if not people:
            return frozenset()
        rows = read_standing(store, "instances", people, where=of_target(self.source.target), columns=["instance_id"])
        return frozenset(rows.column(0).to_pylist())

    def _pictures(self, images: str) -> Folder:
        return Folder(images, self.source.follow_links)

    def _elsewhere(self, store: Store) -> pa.Table | None:
        return None if self.allow_leakage else pictures_elsewhere(store, *self.source.target)

    def _key_config(self, context: Context, reader: BodiesReader) -> dict[str, Any]:
        config, source, survey = context.config, self.source, reader.survey()
        listing = None if reader.named else self._pictures(survey.images).listing(is_picture)
        return {
            "content": content_digest(survey.files, listing),
            "bodies": Bodies(self._bodies(reader)).digest(),
            "allow_leakage": self.allow_leakage,
            "elsewhere": None if reader.named else elsewhere_digest(self._elsewhere(context.store)),
            "ingest": config.ingest,
            "body": load_body(config.body).digest,
            "threads": config.ray.threads_per_actor,
            **source.key_config(),
        }
