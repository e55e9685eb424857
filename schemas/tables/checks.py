"""Arrow tables against their contract: build one from columns, bring one into form, read vectors back."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from schemas.errors import DataError
from schemas.tables.contracts import contract
from schemas.tables.form import TableContract


def build(table_name: str, columns: Mapping[str, Any]) -> pa.Table:
    """A checked table from columns: lists, numpy arrays (N, or N x length for vectors), Arrow arrays, or one
    scalar or string that holds for all rows. Nullable columns may be left out.

    Raises DataError as `conform` does, and for columns of different lengths or unknown names.
    """
    form = contract(table_name)
    lengths = {name: len(value) for name, value in columns.items() if not _is_constant(value)}
    count = next(iter(lengths.values()), 1)
    if any(other != count for other in lengths.values()):
        raise DataError(f"Table {table_name}: the columns have different lengths: {lengths}.")
    arrays: dict[str, Any] = {}
    for name, value in columns.items():
        if name not in form.schema.names:
            raise DataError(f"Table {table_name} has no column {name!r}; it has {', '.join(form.schema.names)}.")
        kind = form.schema.field(name).type
        try:
            arrays[name] = _array([value] * count if _is_constant(value) else value, kind)
        except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError, TypeError, ValueError) as error:
            raise DataError(f"Table {table_name}, column {name}: the values are not {kind}: {error}") from error
    return conform(table_name, pa.table(arrays))


def conform(table_name: str, table: pa.Table) -> pa.Table:
    """`table` in the contract's column order and types (safe casts only), absent nullable columns as nulls.

    Raises DataError unless columns, types, nulls, vector lengths, finiteness and keys are as the contract says.
    """
    form = contract(table_name)
    missing = [field.name for field in form.schema if field.name not in table.column_names and not field.nullable]
    unknown = [name for name in table.column_names if name not in form.schema.names]
    if missing:
        raise DataError(f"Table {table_name}: missing columns {', '.join(missing)}.")
    if unknown:
        raise DataError(f"Table {table_name}: unknown columns {', '.join(unknown)}.")
    arrays = []
    for field in form.schema:
        if field.name not in table.column_names:
            arrays.append(pa.nulls(len(table), field.type))
            continue
        column = table.column(field.name)
        if column.null_count and not field.nullable:
            row = pc.index(pc.is_null(column), True).as_py()
            where = _where(form, table, row)
            raise DataError(f"Table {table_name}, column {field.name}: no value in {where}; one is required.")
        try:
            arrays.append(column if column.type == field.type else column.cast(field.type))
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
            raise DataError(
                f"Table {table_name}, column {field.name}: {column.type} does not fit {field.type}: {error}"
            ) from error
    result = pa.Table.from_arrays(arrays, schema=form.schema)
    for field in form.schema:
        if pa.types.is_list(field.type):
            _check_vectors(form, result, field)
    _check_key(form, result)
    return result


def matrix(table: pa.Table, column: str) -> np.ndarray:
    """A vector column as an array (rows x length), float32 or bool. DataError where a row is null or lengths differ."""
    values = table.column(column).combine_chunks()
    if len(values) == 0:
        declared = (table.schema.field(column).metadata or {}).get(b"length", b"0")
        kind = np.bool_ if pa.types.is_boolean(values.type.value_type) else np.float32
        return np.zeros((0, int(declared)), dtype=kind)
    lengths = pc.unique(pc.list_value_length(values)).to_pylist()
    if len(lengths) != 1 or lengths[0] is None:
        raise DataError(f"Column {column}: rows have different lengths or are null ({lengths}); no array fits.")
    return values.flatten().to_numpy(zero_copy_only=False).reshape(len(values), lengths[0])


def _is_constant(value: Any) -> bool:
    return value is None or isinstance(value, str | bytes) or (np.ndim(value) == 0 and not hasattr(value, "__len__"))


def _array(value: Any, kind: pa.DataType) -> Any:
    if isinstance(value, pa.Array | pa.ChunkedArray):
        return value
    if isinstance(value, np.ndarray) and value.ndim == 2 and pa.types.is_list(kind):
        offsets = np.arange(len(value) + 1, dtype=np.int32) * np.int32(value.shape[1])
        # float64 arrays lose digits here on purpose: vectors are stored as float32
        flat = pa.array(np.ascontiguousarray(value).reshape(-1)).cast(kind.value_type, safe=False)
        return pa.ListArray.from_arrays(pa.array(offsets), flat, type=kind)
    if isinstance(value, np.ndarray) and value.ndim == 1 and value.dtype != object:
        return pa.array(value).cast(kind)
    if pa.types.is_integer(kind) and len(value):
        return pa.array(value).cast(kind)  # asked for an integer type at once, Arrow would cut 0.5 down to 0
    return pa.array([item.tolist() if isinstance(item, np.ndarray) else item for item in value], type=kind)


def _where(form: TableContract, table: pa.Table, row: int) -> str:
    values = [f"{name}={table.column(name)[row].as_py()!r}" for name in form.key if name in table.column_names]
    return f"row {row} ({', '.join(values)})"


def _check_vectors(form: TableContract, table: pa.Table, field: pa.Field) -> None:
    column = table.column(field.name).combine_chunks()
    length = form.vector_length(field.name)
    if length is not None:
        wrong = pc.fill_null(pc.not_equal(pc.list_value_length(column), length), False)
        row = pc.index(wrong, True).as_py()
        if row >= 0:
            raise DataError(
                f"Table {form.name}, column {field.name}: {len(column[row])} numbers in {_where(form, table, row)}, "
                f"expected {length}."
            )
    flat = column.flatten()
    if flat.null_count:
        place = pc.index(pc.is_null(flat), True).as_py()
        row = pc.list_parent_indices(column)[place].as_py()
        raise DataError(f"Table {form.name}, column {field.name}: a null inside {_where(form, table, row)}.")
    if pa.types.is_floating(field.type.value_type):
        place = pc.index(pc.is_finite(flat), False).as_py()
        if place >= 0:
            row = pc.list_parent_indices(column)[place].as_py()
            raise DataError(
                f"Table {form.name}, column {field.name}: {flat[place].as_py()} in {_where(form, table, row)}; "
                "only finite numbers are allowed."
            )


def _check_key(form: TableContract, table: pa.Table) -> None:
    keys = list(form.key)
    counted = table.select(keys).group_by(keys, use_threads=False).aggregate([([], "count_all")])
    if len(counted) == len(table):
        return
    twice = counted.filter(pc.greater(counted.column("count_all"), 1)).slice(0, 1).to_pylist()[0]
    times = twice.pop("count_all")
    named = ", ".join(f"{name}={value!r}" for name, value in twice.items())
    raise DataError(f"Table {form.name}: {times} rows have the same key ({named}); keys must be unique.")
