"""The plan of existing preference data: whose each pair of a file is, and which of its hypotheses it compares."""

from collections.abc import Iterator
from typing import Any, Final

import numpy as np
import pyarrow as pa

from schemas.config.networks import JOINTS, TWISTS
from schemas.errors import DataError
from schemas.ids import Target
from tasks.ingest.formats.dpo_json.reader import PAIRS, PairJsonReader
from tasks.ingest.hypotheses.people import PeopleOfCrops, Seen
from tasks.ingest.plan.rows import row_id, rows_matrix
from tasks.ingest.source.folder import RefusedError

_FOUND: Final = pa.schema([
    pa.field("id", pa.string(), False),
    pa.field("instance_id", pa.string()),
    pa.field("crop_affine", pa.list_(pa.float64(), 6)),
    pa.field("crop_intrinsics", pa.list_(pa.float64(), 4)),
    pa.field("winner", pa.int32()),
    pa.field("loser", pa.int32()),
])  # fmt: skip
"""What the plan adds to a row of the file; the crop as if it had CROP_PX a side."""


class PairMatcher:
    """Goes through the file once: whose each pair is, which numbers its hypotheses have, which pairs stand twice."""

    def __init__(self, reader: PairJsonReader, people: PeopleOfCrops, target: Target) -> None:
        self.reader, self.people, self.target = reader, people, target
        self.numbers: dict[str, dict[int, int]] = {}
        """Instance -> hash of a hypothesis -> its number."""
        self.stand: dict[tuple[str, int, int], int] = {}
        """Pair -> the row that has it."""
        self.found, self.by_suffix = 0, 0
        self.first_refusal = ""

    def tables(self) -> Iterator[pa.Table]:
        """The rows with what was found, in the order of the file."""
        for batch in self.reader.batches():
            rows = pa.Table.from_batches([batch])
            every = self.reader.source.every
            if every > 1:
                rows = rows.filter(pa.array(rows.column("row").to_numpy() % every == 0))
            yield self._judged(rows.combine_chunks())

    def facts(self) -> dict[str, Any]:
        """DataError where no pair has found its person: then it is the wrong file, or the wrong ingest."""
        if not self.found and self.first_refusal:
            raise DataError(
                f"None of the pairs of {self.reader.source.url} belongs to a person of {self.target}. The first: "
                f"{self.first_refusal}. Ingest the pictures that the pairs speak of first, under paths that end alike."
            )
        return {"found": self.found, "by_suffix": self.by_suffix}

    def _judged(self, rows: pa.Table) -> pa.Table:
        paths, reasons = (rows.column(name).to_pylist() for name in ("img_path", "reason"))
        details, numbers = (rows.column(name).to_pylist() for name in ("detail", "row"))
        trans = rows_matrix(rows, "trans", (2, 3))
        parts = (("uvd", JOINTS * 3), ("twist", TWISTS * 2))
        poses = [
            np.concatenate([rows_matrix(rows, f"{side}_{part}", (size,)) for part, size in parts], axis=1)
            for side in ("winner", "loser")
        ]
        added: list[dict[str, Any]] = []
        for place, number in enumerate(numbers):
            row: dict[str, Any] = {"id": row_id(f"{self.target}/{self.reader.name}", number)}
            if reasons[place] is None:
                try:
                    seen = self.people.find(paths[place], trans[place])
                    self.found += 1
                    row.update(self._numbered(seen, number, *(pose[place].tobytes() for pose in poses)))
                    self.by_suffix += seen.by_suffix
                except RefusedError as refusal:
                    reasons[place], details[place] = refusal.reason, refusal.detail
                    self.first_refusal = self.first_refusal or str(refusal)
            added.append(row)
        for name, values in (("reason", reasons), ("detail", details)):
            rows = rows.set_column(rows.schema.get_field_index(name), PAIRS.field(name), pa.array(values, pa.string()))
        for column in _FOUND:
            rows = rows.append_column(column, pa.array([row.get(column.name) for row in added], column.type))
        return rows

    def _numbered(self, seen: Seen, row: int, winner: bytes, loser: bytes) -> dict[str, Any]:
        known = self.numbers.setdefault(seen.instance_id, {})
        won, lost = (known.setdefault(hash(pose), len(known)) for pose in (winner, loser))
        before = self.stand.setdefault((seen.instance_id, won, lost), row)
        if before != row:
            raise RefusedError("duplicate id", f"the same pair as row {before}, which stands")
        return {
            "instance_id": seen.instance_id,
            "crop_affine": seen.affine.reshape(-1).tolist(),
            "crop_intrinsics": seen.intrinsics.tolist(),
            "winner": won,
            "loser": lost,
        }
