"""The plan of an ingest of pairs: whose each pair of a file is, and which of its hypotheses it compares."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from schemas.config.networks import JOINTS, TWISTS
from schemas.errors import DataError
from schemas.ids import Target
from tasks.ingest.formats.dpo_json.reader import PairJsonReader
from tasks.ingest.hypotheses.people import PeopleOfCrops
from tasks.ingest.plan.rows import RowMatcher, rows_matrix
from tasks.ingest.source.folder import RefusedError


class PairMatcher(RowMatcher):
    """Goes through the file once: whose each pair is, which numbers its hypotheses have, which pairs come twice."""

    columns = pa.schema([
        ("instance_id", pa.string()),
        ("crop_affine", pa.list_(pa.float64(), 6)),
        ("crop_intrinsics", pa.list_(pa.float64(), 4)),
        ("winner", pa.int32()),
        ("loser", pa.int32()),
    ])  # fmt: skip
    long = ("winner_uvd", "winner_twist", "loser_uvd", "loser_twist")

    def __init__(self, reader: PairJsonReader, people: PeopleOfCrops, target: Target) -> None:
        super().__init__(reader, f"{target}/{reader.name}")
        self.people, self.target = people, target
        self.numbers: dict[str, dict[int, int]] = {}
        """Instance -> hash of a hypothesis -> its number."""
        self.first_rows: dict[tuple[str, int, int], int] = {}
        """Pair -> the row that has it."""
        self.by_suffix = 0

    def described(self, rows: pa.Table) -> list[dict[str, Any]]:
        """With hashes of the two hypotheses."""
        described = super().described(rows)
        parts = (("uvd", JOINTS * 3), ("twist", TWISTS * 2))
        for side in ("winner", "loser"):
            poses = [rows_matrix(rows, f"{side}_{part}", (size,)) for part, size in parts]
            for row, pose in zip(described, np.concatenate(poses, axis=1), strict=True):
                row[side] = hash(pose.tobytes())
        return described

    def match(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """As the base class says; the crop as if it had CROP_PX a side."""
        person = self.people.find(row["img_path"], np.reshape(row["trans"], (2, 3)))
        numbers = self.numbers.setdefault(person.instance_id, {})
        winner, loser = (numbers.setdefault(row[side], len(numbers)) for side in ("winner", "loser"))
        first = self.first_rows.setdefault((person.instance_id, winner, loser), row["row"])
        if first != row["row"]:
            raise RefusedError("duplicate id", f"the same pair as row {first}, which stands")
        self.by_suffix += person.by_suffix
        return {
            "instance_id": person.instance_id,
            "crop_affine": person.affine.reshape(-1).tolist(),
            "crop_intrinsics": person.intrinsics.tolist(),
            "winner": winner,
            "loser": loser,
        }

    def facts(self) -> dict[str, Any]:
        """DataError where no pair has found its person: then it is the wrong file, or the wrong ingest."""
        if not self.matched and self.unmatched:
            raise DataError(
                f"None of the pairs of {self.reader.source.url} belongs to a person of {self.target}. The first: "
                f"{self.unmatched}. First ingest the pictures that the pairs name, under paths that end alike."
            )
        return {"by_suffix": self.by_suffix}
