"""The stage that takes in the folders of pictures that another stage made: several splits at once, labels as they are.

Folders of users go through `tasks.ingest.annotated`, as all formats do. This one has a key that is known
before the folders are looked at, and shards that go over all of them: what the tables hold is the same to the last bit
whenever the folders are made again.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from infra.repair import find_or_mend
from infra.shards import Shard
from infra.standing import INGEST
from models.body_arrays import body_digest
from schemas.ids import StageKey, image_id, instance_id
from tasks.engine.context import Context
from tasks.engine.results import StageResult
from tasks.engine.stage import Stage
from tasks.ingest.formats.folder.reader import FolderReader
from tasks.ingest.people.annotations import ANNOTATIONS, AnnotationSource
from tasks.ingest.plan.files import run_planned

if TYPE_CHECKING:
    from tasks.ingest.people.worker import Unit

_NO_UNITS = pa.table({"id": pa.array([], pa.string())})


@dataclass(frozen=True)
class Ingest(Stage):
    """Reads the pictures of folders and cuts a crop for each person -> tables `images`, `instances`, `labels`.

    `made_by` is the stage that made the folders (`sources` of the format folder). Rows and pictures that can't be used
    end in `failures`; more of them than the gates allow raise GateError, a folder or table that is not there DataError.
    Pictures are not compared with those of other splits: the stage draws each split by itself.
    """

    sources: tuple[AnnotationSource, ...]
    made_by: StageKey

    name = INGEST
    writes = ("images", "instances", "labels")

    def key_config(self, context: Context) -> Mapping[str, Any]:
        described = [_described(source) for source in self.ordered]
        return {"ingest": context.config.ingest, "sources": described, "body": self.body_digest(context)}

    def run(self, context: Context) -> StageResult:
        from tasks.ingest.people.posed import AsWritten
        from tasks.ingest.people.worker import PeopleWorker, SplitPictures

        spec, units = self.spec(context), _NO_UNITS
        if find_or_mend(context.store, spec, context.progress.say) is None:
            units = _planned(self.ordered, context.progress.say)
        splits = [SplitPictures(source, source.url, compared=False) for source in self.ordered]
        bodies = AsWritten(self.body_digest(context))
        worker = partial(PeopleWorker, units_of=partial(_units_of, units), splits=splits, bodies=bodies)
        return run_planned(self, context, spec, units.column("id").to_pylist(), worker)

    @property
    def ordered(self) -> tuple[AnnotationSource, ...]:
        """The sources in an order that doesn't depend on who names them."""
        return tuple(sorted(self.sources, key=str))

    def body_digest(self, context: Context) -> str | None:
        """The body that labels are taken to be of; None where no folder has labels."""
        labelled = any("labels" in source.options for source in self.sources)
        return body_digest(context.config.body) if labelled else None


def _units_of(units: pa.Table, shard: Shard) -> list["Unit"]:
    """The units of a shard, out of all, which are sorted as its ids are."""
    rows: list[Unit] = units.filter(pc.is_in(units.column("id"), value_set=pa.array(shard.ids))).to_pylist()
    return rows


def _planned(sources: Sequence[AnnotationSource], say: Callable[[str], None]) -> pa.Table:
    """All units, sorted by id. `say` gets what a user should know of the folders."""
    with TemporaryDirectory(prefix="adhmr-ingest-") as work:
        readers = [FolderReader(source, Path(work)) for source in sources]
        for reader in readers:
            for remark in reader.survey().remarks:
                say(f"{reader.source}: {remark}")
        units = pa.concat_tables([_of_split(number, reader) for number, reader in enumerate(readers)]).sort_by("id")
    first: dict[tuple[int, str], int] = {}
    columns = (units.column(name).to_pylist() for name in ("split", "key", "reason"))
    for place, (split, key, reason) in enumerate(zip(*columns, strict=True)):
        if reason is None:
            first.setdefault((split, key), place)  # the first good unit of a picture writes its row
    are_first = np.isin(np.arange(len(units)), list(first.values()))
    return units.append_column("first", pa.array(are_first, pa.bool_()))


def _of_split(number: int, reader: FolderReader) -> pa.Table:
    rows = pa.Table.from_batches(reader.batches(), ANNOTATIONS)
    source = reader.source

    def name(path: str | None, person: int | None, reason: str | None, row: int) -> str:
        if path is None or person is None or reason is not None:
            return f"{source}/{path} (row {row})"
        return instance_id(image_id(source.dataset, source.split, path), person)

    columns = (rows.column(column).to_pylist() for column in ("path", "person", "reason", "row"))
    ids = [name(*values) for values in zip(*columns, strict=True)]
    return (
        rows.append_column("id", pa.array(ids, pa.string()))
        .append_column("key", rows.column("path"))
        .append_column("number", rows.column("person"))
        .append_column("source_digest", pa.nulls(len(rows), pa.string()))
        .append_column("split", pa.array([number] * len(rows), pa.int32()))
    )


def _described(source: AnnotationSource) -> dict[str, Any]:
    """What of a source counts towards the stage's key."""
    followed = {} if source.follow_links is None else {"follow_links": source.follow_links}
    return {
        "dataset": source.dataset,
        "split": source.split,
        "boxes": "boxes" in source.options,
        "labels": "labels" in source.options,
        "content": None,
        **followed,
    }
