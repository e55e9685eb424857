"""Labels that a folder brings: bodies of its people, in a Parquet table beside the boxes."""

from collections.abc import Mapping, Set
from functools import cached_property
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from schemas.errors import DataError
from schemas.tables import FLOAT_VECTOR, contract
from tasks.ingest.people.keypoints import BY_BODY
from tasks.ingest.source.files import read_url
from tasks.ingest.source.folder import RefusedError
from tasks.ingest.source.parquet_files import parquet_table
from tasks.ingest.source.spellings import folded

VECTORS: Final = ("global_orient", "body_pose", "betas", "transl", "joints", "twist")
NEEDED: Final = ("path", "person", *VECTORS)


class FolderLabels:
    """The labels of one folder, by picture and person. Raises DataError for a table that can't be used as a whole.

    Columns: path, person, global_orient 3, body_pose 69, betas 10, transl 3, joints 87, twist 46 and, if there is one,
    gender ("neutral" where it is not). Angles in radians, lengths in metres, in the picture's camera frame.
    """

    def __init__(self, url: str, pictures: Set[str]) -> None:
        """`pictures` are the names of those in the folder."""
        self.url, self._pictures = url, pictures
        data = read_url(url, "table of labels")
        try:
            table = parquet_table(data, f"The table of labels {url}", (*NEEDED, "gender"))
        except pa.ArrowException as error:
            raise DataError(f"The table of labels {url} is no readable Parquet file: {error}") from error
        missing = [name for name in NEEDED if name not in table.column_names]
        if missing:
            raise DataError(f"The table of labels {url} lacks the columns {', '.join(missing)}.")
        self.vectors = {name: self._vector(table, name) for name in VECTORS}
        self.finite = np.logical_and.reduce([np.isfinite(vector).all(1) for vector in self.vectors.values()])
        self.genders = table.column("gender").to_pylist() if "gender" in table.column_names else [None] * len(table)
        places = zip(table.column("path").to_pylist(), table.column("person").to_pylist(), strict=True)
        self.rows: dict[tuple[str, int], int] = {}
        for row, place in enumerate(places):
            if self.rows.setdefault(place, row) != row:
                raise DataError(f"The table of labels {url} has two rows for person {place[1]} of {place[0]}.")

    def row(self, key: str, person: int) -> int | None:
        """The row of a person, None if there is none: by the picture's path, or by another spelling of it.

        Raises RefusedError for one with numbers that are not finite, and where several may be meant.
        """
        row = self.rows.get((key, person))
        if row is None:
            # a path that is a picture of its own means that one
            alike = [row for path, row in self._spelled.get((folded(key), person), ()) if path not in self._pictures]
            if len(alike) > 1:
                raise RefusedError(
                    "label not clear", f"{len(alike)} rows of {self.url} may be person {person} of {key}"
                )
            row = alike[0] if alike else None
        if row is not None and not self.finite[row]:
            raise RefusedError("label not finite", f"person {person} of {key} in {self.url}")
        return row

    def annotation(self, key: str, person: int) -> Mapping[str, Any]:
        """A person's columns of ANNOTATIONS that describe the body; none without a label. Raises as `row`."""
        row = self.row(key, person)
        if row is None:
            return {}
        vectors = {name: vector[row] for name, vector in self.vectors.items()}
        gender = self.genders[row] or "neutral"
        return {**vectors, "label_kind": "gt", "body_model": "smpl", "gender": gender, "joints_by": BY_BODY}

    @cached_property
    def _spelled(self) -> dict[tuple[str, int], list[tuple[str, int]]]:
        """Paths and rows by what is the same of all spellings of a path, and by person."""
        alike: dict[tuple[str, int], list[tuple[str, int]]] = {}
        for (path, person), row in self.rows.items():
            alike.setdefault((folded(str(path)), person), []).append((str(path), row))
        return alike

    def _vector(self, table: pa.Table, name: str) -> np.ndarray:
        length = contract("labels").vector_length(name)
        assert length is not None
        column = table.column(name).combine_chunks()
        try:
            lists = column.cast(FLOAT_VECTOR)
            lengths = pc.unique(pc.list_value_length(lists)).to_pylist()
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
            raise DataError(f"The table of labels {self.url}, column {name}: {error}") from error
        if lengths not in ([], [length]):
            raise DataError(f"The table of labels {self.url}, column {name}: {length} numbers are needed in each row.")
        return np.asarray(lists.flatten().to_numpy(zero_copy_only=False), np.float32).reshape(len(table), length)
