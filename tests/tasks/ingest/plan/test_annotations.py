"""What tells rows apart: it outlives releases, because ingests that are done go by it."""

import pyarrow as pa

from tasks.ingest.formats.json_rows import as_batch
from tasks.ingest.plan.annotations import _contents

ROW = {"row": 0, "counts_as": 0, "origin": "a", "path": "a.jpg", "box": [1.0, 2.0, 3.0, 4.0], "crop_rule": "box"}


def test_columns_that_came_later_change_no_row_that_lacks_them() -> None:
    rows = pa.Table.from_batches([as_batch([ROW])])
    assert _contents(rows) == _contents(rows.drop_columns(["box_relative"]))
    assert _contents(pa.Table.from_batches([as_batch([{**ROW, "box_relative": True}])])) != _contents(rows)
