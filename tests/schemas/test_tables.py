"""The tables' contracts: every column explained, and `check` finds what breaks them."""

import numpy as np
import pyarrow as pa
import pytest

from schemas.errors import DataError
from schemas.tables import TABLES, build, conform, contract, matrix


def hypotheses(**changes: object) -> dict[str, object]:
    columns: dict[str, object] = {
        "generation_id": "g",
        "instance_id": ["d/s/a#0", "d/s/b#0"],
        "sample_index": np.arange(2),
        "dataset": "d",
        "split": "s",
        "round": 1,
        "uvd": np.arange(174, dtype=np.float64).reshape(2, 87),
        "twist": np.zeros((2, 46), dtype=np.float32),
        "betas": [np.zeros(10), [0.5] * 10],
        "root_depth_m": 3.0,
        "root_depth_source": "label",
        "stage_key": "k",
    }
    return {**columns, **changes}


def test_every_column_is_explained() -> None:
    for known in TABLES.values():
        for field in known.schema:
            assert field.metadata[b"description"], (known.name, field.name)
            assert field.metadata[b"unit"], (known.name, field.name)
            if pa.types.is_floating(getattr(field.type, "value_type", pa.null())):
                assert known.vector_length(field.name), (known.name, field.name)
        assert set(known.key) | set(known.partition_by) <= set(known.schema.names)
        assert "stage_key" in known.schema.names


def test_build_reads_back() -> None:
    table = build("hypotheses", hypotheses())
    assert table.schema.equals(contract("hypotheses").schema, check_metadata=True)
    np.testing.assert_array_equal(matrix(table, "uvd"), np.arange(174, dtype=np.float32).reshape(2, 87))
    assert matrix(table, "betas")[1, 3] == np.float32(0.5)
    assert matrix(table.slice(1), "uvd")[0, 0] == 87.0
    assert matrix(table.slice(0, 0), "uvd").shape == (0, 87)


def test_nullable_columns_may_be_left_out() -> None:
    columns = {"stage_key": "k", "name": ["m"], "unit": "mm", "value": 1.0, "n": 3, "dataset": "d", "split": "s"}
    table = build("metrics", {**columns, "role": "before"})
    assert table.column("low").to_pylist() == [None]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"uvd": np.zeros((2, 86))}, r"uvd: 86 numbers in row 0 .*'d/s/a#0'.*expected 87"),
        ({"uvd": np.zeros((3, 87))}, "different lengths"),
        ({"twist": np.full((2, 46), np.nan)}, "twist: nan in row 0"),
        ({"betas": [[0.0] * 10, [None] * 10]}, "betas: a null inside row 1"),
        ({"dataset": ["d", None]}, "dataset: no value in row 1"),
        ({"instance_id": "d/s/a#0", "sample_index": [4, 4]}, "2 rows have the same key .*sample_index=4"),
        ({"root_depth_m": "far"}, "root_depth_m"),
        ({"sample_index": [0.5, 1.0]}, "sample_index"),
        ({"mood": "good"}, "no column 'mood'"),
    ],
)
def test_broken_rows_are_named(changes: dict[str, object], said: str) -> None:
    with pytest.raises(DataError, match=said):
        build("hypotheses", hypotheses(**changes))


def test_types_and_columns_are_brought_into_form_or_refused() -> None:
    table = build("hypotheses", hypotheses())
    assert conform("hypotheses", table.select(table.column_names[::-1])).equals(table)
    place = table.column_names.index("round")
    wide = table.set_column(place, "round", table.column("round").cast(pa.int64()))
    assert conform("hypotheses", wide).schema.equals(table.schema)
    with pytest.raises(DataError, match="column round: int64 does not fit int32"):
        conform("hypotheses", table.set_column(place, "round", pa.array([2**40] * len(table))))
    with pytest.raises(DataError, match="missing columns uvd"):
        conform("hypotheses", table.drop_columns(["uvd"]))
    with pytest.raises(DataError, match=r"The tables are: .*hypotheses"):
        contract("hypothesis")
