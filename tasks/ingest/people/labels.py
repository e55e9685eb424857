"""Labels that a folder brings: bodies of its people, in a Parquet table beside the boxes."""

from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from schemas.errors import DataError
from schemas.tables import FLOAT_VECTOR, build, contract
from tasks.ingest.people.keypoints import BY_BODY
from tasks.ingest.source.files import read_url
from tasks.ingest.source.folder import Folder, FolderSource, RefusedError
from tasks.ingest.source.parquet_files import parquet_table
from tasks.ingest.source.spellings import folded

LABEL_SET = "gt"
VECTORS = ("global_orient", "body_pose", "betas", "transl", "joints", "twist")
_HANDS = ("left_hand_pose", "right_hand_pose", "jaw_pose", "expression")
_NEEDED = ("path", "person", *VECTORS)


class FolderLabels:
    """The labels of one folder, by picture and person. Raises DataError for a table that can't be used as a whole.

    Columns: path, person, global_orient 3, body_pose 69, betas 10, transl 3, joints 87, twist 46 and, if given,
    gender ("neutral" where it is not). Angles in radians, lengths in metres, in the picture's camera frame.
    """

    def __init__(self, source: FolderSource) -> None:
        assert source.labels is not None
        self.source, self.url = source, source.labels
        data = read_url(source.labels, "table of labels")
        try:
            table = parquet_table(data, f"The table of labels {self.url}", (*_NEEDED, "gender"))
        except pa.ArrowException as error:
            raise DataError(f"The table of labels {self.url} is no readable Parquet file: {error}") from error
        missing = [name for name in _NEEDED if name not in table.column_names]
        if missing:
            raise DataError(f"The table of labels {self.url} lacks the columns {', '.join(missing)}.")
        self.vectors = {name: self._vector(table, name) for name in VECTORS}
        self.finite = np.logical_and.reduce([np.isfinite(vector).all(1) for vector in self.vectors.values()])
        unset = ["neutral"] * len(table)
        self.genders: list[str] = table.column("gender").to_pylist() if "gender" in table.column_names else unset
        places = zip(table.column("path").to_pylist(), table.column("person").to_pylist(), strict=True)
        self.rows: dict[tuple[str, int], int] = {}
        for row, place in enumerate(places):
            if self.rows.setdefault(place, row) != row:
                raise DataError(f"The table of labels {self.url} has two rows for person {place[1]} of {place[0]}.")

    def row(self, key: str, person: int) -> int | None:
        """The row of a person, None if there is none: by the picture's path, or by another spelling of it.

        Raises RefusedError for one with numbers that are not finite, and where several may be meant.
        """
        row = self.rows.get((key, person))
        if row is None:
            # a path that is a picture of its own means that one
            alike = [row for path, row in self._spelled.get((folded(key), person), ()) if not self._is_picture(path)]
            if len(alike) > 1:
                raise RefusedError(
                    "label not clear", f"{len(alike)} rows of {self.url} may be person {person} of {key}"
                )
            row = alike[0] if alike else None
        if row is not None and not self.finite[row]:
            raise RefusedError("label not finite", f"person {person} of {key} in {self.url}")
        return row

    def annotation(self, row: int) -> dict[str, Any]:
        """A row's columns of ANNOTATIONS, as far as they pose its body and are compared with that."""
        told = {name: self.vectors[name][row].tolist() for name in VECTORS}
        none = dict.fromkeys(("root", "extrinsics", "human36m", *_HANDS))
        return {**none, **told, "body_model": "smpl", "gender": "neutral", "joints_by": BY_BODY}

    @cached_property
    def _spelled(self) -> dict[tuple[str, int], list[tuple[str, int]]]:
        """Paths and rows by what is the same of all spellings of a path, and by person."""
        found: dict[tuple[str, int], list[tuple[str, int]]] = {}
        for (path, person), row in self.rows.items():
            found.setdefault((folded(str(path)), person), []).append((str(path), row))
        return found

    def _is_picture(self, path: str) -> bool:
        folder = Folder(self.source.images, self.source.follow_links)
        return bool(folder.fs.exists(folder.path(path)))

    def table(self, rows: list[int], instances: list[str], body_digest: str) -> pa.Table:
        """Rows of the table `labels`, without stage_key, for these rows of ours and the instances that they label."""
        count = len(rows)
        columns = {
            "instance_id": instances,
            "label_set": [LABEL_SET] * count,
            "dataset": [self.source.dataset] * count,
            "split": [self.source.split] * count,
            "label_kind": ["gt"] * count,
            "body_model": ["smpl"] * count,
            "body_digest": [body_digest] * count,
            "gender": [self.genders[row] or "neutral" for row in rows],
            "joints_valid": pa.array([[True] * 29] * count, contract("labels").schema.field("joints_valid").type),
            **{name: vector[rows] for name, vector in self.vectors.items()},
            "stage_key": [""] * count,
        }
        return build("labels", columns).drop_columns(["stage_key"])

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
