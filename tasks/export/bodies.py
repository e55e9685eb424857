"""Labels as a table of bodies: one row for each, as the format `bodies` reads them."""

import numpy as np
import pyarrow as pa

from schemas.errors import DataError
from tasks.export.body_table import PEOPLE_COLUMNS, BodyTable
from tasks.export.humandata import IMAGE_COLUMNS, LABEL_COLUMNS
from tasks.export.rows import Lookup, Rows, batches_of, key_of_image, vectors
from tasks.export.target import whole_file

COLUMNS = (*LABEL_COLUMNS, "body_digest")
"""Of labels."""
INSTANCE_COLUMNS = ("image_id", *PEOPLE_COLUMNS)
_POSE = {"smpl": 69, "smplx": 63}
_AS_THEY_ARE = (
    *("body_model", "gender", "global_orient", "body_pose", "betas", "transl"),
    *("left_hand_pose", "right_hand_pose", "jaw_pose", "expression"),
)


def export_bodies(labels: Rows, instances: Rows, images: Rows, target: str) -> int:
    """Write rows of `labels` as the Parquet file `target` (path or URL); returns how many.

    A label's set is the row's `source`. Args as of `export_humandata`, with COLUMNS and INSTANCE_COLUMNS. Raises
    DataError for labels of unknown people, for none, and for a target that can't be written.
    """
    people = Lookup(instances, "instance_id", INSTANCE_COLUMNS, "instances")
    pictures = Lookup(images, "image_id", IMAGE_COLUMNS, "images")
    parts = list(batches_of(labels, COLUMNS, "labels"))
    if not parts:
        raise DataError("There is no label to export.")
    table = pa.concat_tables(parts).sort_by("instance_id")
    digests = sorted(set(table.column("body_digest").to_pylist()) - {None})
    with whole_file(target) as file, BodyTable(file, {"body": " ".join(digests)}) as bodies:
        for part in batches_of(table, COLUMNS, "labels"):
            valid = vectors(part, "joints_valid", 29) > 0
            joints = np.where(valid[..., None], vectors(part, "joints", 87).reshape(-1, 29, 3), np.nan)
            columns = {name: part.column(name) for name in _AS_THEY_ARE}
            columns["body_pose"] = [
                pose[: _POSE[model]]
                for pose, model in zip(
                    part.column("body_pose").to_pylist(), part.column("body_model").to_pylist(), strict=True
                )
            ]
            columns |= {"source": part.column("label_set"), "sample": pa.array([0] * len(part), pa.int32())}
            bodies.add(_places(part.column("instance_id").to_pylist(), people, pictures), joints, columns)
    return len(table)


def _places(names: list[str], people: Lookup, pictures: Lookup) -> pa.Table:
    """What a row says of its person and picture."""
    rows = people.rows(names)
    image_ids = rows.column("image_id").to_pylist()
    sizes = pictures.rows(image_ids)
    rows = rows.append_column("key", pa.array(list(map(key_of_image, image_ids)), pa.string()))
    for name in IMAGE_COLUMNS:
        rows = rows.append_column(name, sizes.column(name))
    return rows
