"""The plan of hypotheses that are bodies: whose each row is, in which order a person's are sampled, who is left out.

A unit is a person with all their bodies, because scores and pairs compare those: each needs as many as the others. Rows
that say of nobody whose they are stand alone. A row that can't be used costs its person, and the failure names the row.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Set
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any, Final

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from schemas.errors import DataError
from tasks.ingest.formats.bodies.reader import BODIES, BodiesReader
from tasks.ingest.hypotheses.people import AMBIGUOUS_PERSON, NO_SUCH_INSTANCE
from tasks.ingest.source.folder import PicturePlace, RefusedError, key_of, printable
from tasks.ingest.source.spellings import spellings

_PARAMETERS: Final = (
    *("origin", "source", "body_model", "gender", "global_orient", "body_pose", "betas", "transl", "fx", "fy", "cx"),
    *("cy", "left_hand_pose", "right_hand_pose", "jaw_pose", "expression", "width_px", "height_px"),
)
"""What of a row becomes a hypothesis."""
PEOPLE: Final = pa.schema([
    ("id", pa.string()),
    ("key", pa.string()),
    ("number", pa.int32()),
    ("first", pa.bool_()),
    ("box", pa.list_(pa.float64(), 4)),
    ("bodies", pa.list_(pa.struct([(name, BODIES.field(name).type) for name in _PARAMETERS]))),
    ("reason", pa.string()),
    ("detail", pa.string()),
])  # fmt: skip
"""The columns of a unit: of one that is refused, the first four and the last two may be all there is."""
_GROUP: Final = 1000
_ROWS_IN_GROUP: Final = 5000
_SHOWN: Final = 3


class PeopleWithBodies:
    """Goes through a table of bodies, and gives its people. DataError for a table of which none can be used."""

    def __init__(self, reader: BodiesReader, images: str, pictures: Callable[[], pa.Table], known: Set[str]) -> None:
        """`pictures` as `Folder.listing` gives them, of the folder `images`; `known`: the people whom rows that name
        people may mean."""
        self.reader, self.target = reader, reader.source.target
        self.images, self.pictures, self.known = images, pictures, known
        self.count = 0
        """M, which most people have."""
        self.good = self.refused = 0
        self.first_refusal = ""
        self.remark: str | None = None
        self._keys: dict[str, None] = {}

    def tables(self) -> Iterator[pa.Table]:
        """The units, sorted by their ids, with the schema PEOPLE."""
        rows = self.reader.work / "bodies.parquet"
        if not self._write(rows):
            raise DataError(f"{self.reader.source.url} has no row: it holds no body to ingest.")
        every, work = self.reader.source.every, str(self.reader.work)
        with duckdb.connect(config={"memory_limit": "1GB", "temp_directory": work, "threads": 2}) as database:
            database.register("spelled", self._spelled())
            database.execute(_TAKEN, {"rows": str(rows), "every": every, "prefix": f"{self.target}/"})
            counts = Counter(dict(database.execute(_COUNTS).fetchall()))
            self.count = min(counts, key=lambda many: (-counts[many], many), default=0)
            yield from self._people(database.sql(_SORTED).to_arrow_reader(_GROUP))

    def facts(self) -> dict[str, Any]:
        """M, and what a user should know; asked when all is read."""
        if not self.good and self.refused:
            raise DataError(f"No body of {self.reader.source.url} can be used. The first: {self.first_refusal}")
        return {"count": self.count, "remark": self.remark}

    def _write(self, path: Path) -> int:
        """Write the rows with their pictures, and with the people whose they are where it isn't the picture that says
        so; gives their number."""
        schema, rows = pa.schema([*BODIES, *_OWNERS]), 0
        with pq.ParquetWriter(path, schema) as writer:
            for batch in self.reader.batches():
                described = batch.select(["row", "path", "instance_id", "reason", "detail"]).to_pylist()
                owners = list(map(self._owner, described))
                table = pa.Table.from_batches([batch])
                for name in ("reason", "detail"):
                    values = pa.array([row[name] for row in described], pa.string())
                    table = table.set_column(table.schema.get_field_index(name), name, values)
                for place, (name, kind) in enumerate(_OWNERS):
                    table = table.append_column(name, pa.array([owner[place] for owner in owners], kind))
                writer.write_table(table.cast(schema))
                self._keys.update(dict.fromkeys(key for key, _ in owners if key is not None))
                rows += len(table)
        return rows

    def _owner(self, row: dict[str, Any]) -> tuple[str | None, str | None]:
        """The picture of a row, or the id of its person. One that says of nobody whose it is stands alone; where it
        names somebody who isn't there, it gets that for a reason."""
        name, path = row["instance_id"], row["path"]
        try:
            if path is not None:
                return key_of(PicturePlace(self.images, *self.target), path), None
            if name in self.known:
                return None, name
            if name is not None:
                raise RefusedError(NO_SUCH_INSTANCE, f"{printable(name)[:200]} is not among those of {self.target}")
        except RefusedError as refusal:
            if row["reason"] is None:
                row |= {"reason": refusal.reason, "detail": refusal.detail}
        source = printable(self.reader.source.url.rstrip("/").rsplit("/", 1)[-1])
        return None, f"{self.target}/{source} row {row['row']:09d}"

    def _spelled(self) -> pa.Table:
        """Pictures that paths mean which name none that is there, or why it isn't clear; sets the remark."""
        names = [] if self.reader.named else self.pictures().column("key").to_pylist()
        there = set(names)
        alike = spellings((key for key in self._keys if key not in there), names)
        self.remark = alike.in_words()
        found: list[dict[str, str]] = []
        for key in alike.alike:
            meant = alike.of(key)
            if isinstance(meant, RefusedError):
                found.append({"key": key, "reason": meant.reason, "detail": meant.detail})
            else:
                found.append({"key": key, "meant": meant})
        return pa.Table.from_pylist(found, _SPELLED)

    def _people(self, batches: pa.RecordBatchReader) -> Iterator[pa.Table]:
        rows = (row for batch in batches for row in batch.to_pylist())
        waiting: list[dict[str, Any]] = []
        picture: str | None = None
        for name, theirs in groupby(rows, itemgetter("id")):
            person = self._person(name, list(theirs))
            if person["reason"] is None and person["key"] is not None:  # people of a picture follow each other
                person["first"], picture = person["key"] != picture, person["key"]
            waiting.append(person)
            if len(waiting) == _GROUP:
                yield pa.Table.from_pylist(waiting, PEOPLE)
                waiting = []
        yield pa.Table.from_pylist(waiting, PEOPLE)

    def _person(self, name: str, rows: list[dict[str, Any]]) -> dict[str, Any]:
        """The unit of a person, from their rows in the order of their samples."""
        person: dict[str, Any] = {"id": name, "key": rows[0]["key"], "first": False, "reason": None, "detail": None}
        try:
            _check(rows)
            if len(rows) != self.count:
                detail = f"{len(rows)} bodies, where most people have {self.count}"
                raise RefusedError("hypothesis count", f"{rows[0]['origin']}: {detail}")
            number = rows[0]["person"] or 0
            bodies = [{column: row[column] for column in _PARAMETERS} for row in rows]
            self.good += 1
            return person | {"number": number, "box": rows[0]["box"], "bodies": bodies}
        except RefusedError as refusal:
            self.refused += 1
            self.first_refusal = self.first_refusal or f"{refusal.reason}: {refusal.detail}"
            return person | {"reason": refusal.reason, "detail": refusal.detail}


def _check(rows: list[dict[str, Any]]) -> None:
    """RefusedError for rows of one person of which one can't be used, or is there twice, or may be another's."""
    seen: dict[tuple[str | None, int], str] = {}
    for row in rows:
        if row["reason"] is None and row["sample"] is not None:
            first = seen.setdefault((row["source"], row["sample"]), row["origin"])
            if first != row["origin"]:
                row |= {"reason": "duplicate id", "detail": f"the same source and sample as {first}"}
    bad = [row for row in rows if row["reason"] is not None]
    if bad:
        raise refusal_of([(row["origin"], row["reason"], row["detail"]) for row in bad], len(rows))
    boxes = {tuple(row["box"] or ()) for row in rows if row["person"] is None}
    if len(boxes) > 1:
        detail = "rows of one picture have different boxes and no person: number its people"
        raise RefusedError(AMBIGUOUS_PERSON, f"{rows[0]['origin']}: {detail}")


def refusal_of(bad: list[tuple[str, str, str]], of: int) -> RefusedError:
    """Why a person of `of` bodies is left out: origin, reason and detail of the rows that can't be used."""
    _, reason, _ = bad[0]
    named = [f"{origin}: {'' if why == reason else f'{why}: '}{detail}" for origin, why, detail in bad[:_SHOWN]]
    more = [f"and {len(bad) - _SHOWN} more"] if len(bad) > _SHOWN else []
    lost = [] if of == len(bad) else [f"their {of - len(bad)} other bodies are left out with it"]
    return RefusedError(reason, "; ".join([*named, *more, *lost]))


_OWNERS: Final = (("key", pa.string()), ("id", pa.string()))
_SPELLED: Final = pa.schema([(name, pa.string()) for name in ("key", "meant", "reason", "detail")])
_TAKEN: Final = """
CREATE TABLE taken AS
WITH meant AS (
    SELECT listed.* REPLACE (
        coalesce(spelled.meant, listed.key) AS key,
        coalesce(listed.reason, spelled.reason) AS reason,
        CASE WHEN listed.reason IS NULL THEN spelled.detail ELSE listed.detail END AS detail
    ) FROM read_parquet($rows) AS listed LEFT JOIN spelled USING (key)
), owned AS (
    SELECT * REPLACE (coalesce(id, $prefix || key || '#' || coalesce(person, 0)) AS id) FROM meant
), counted AS (
    SELECT id, row_number() OVER (ORDER BY min(row)) - 1 AS place FROM owned GROUP BY id
)
SELECT owned.* FROM owned JOIN counted USING (id) WHERE place % $every = 0
"""
_COUNTS: Final = """
SELECT many, count(*) FROM (SELECT count(*) AS many, count(reason) AS bad FROM taken GROUP BY id)
WHERE bad = 0 GROUP BY many
"""
_SORTED: Final = """
SELECT * FROM taken ORDER BY id, source NULLS FIRST, sample NULLS LAST, row
"""
