"""Parquet files of users: what they say of themselves is looked at before anything is unpacked.

A column of equal values takes no room in a file, however long it is, and so does a long text that is in every row.
"""

import io
from collections.abc import Iterator, Sequence
from typing import BinaryIO, Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from schemas.errors import DataError

MOST_ROWS: Final = 2_000_000
MOST_BYTES: Final = 1 << 31
"""Of unpacked values; the labels of a million people have half of that."""
_AT_ONCE: Final = 10_000
_WIDTHS: Final = {"BOOLEAN": 1, "INT32": 4, "FLOAT": 4, "INT96": 12, "BYTE_ARRAY": 4}
"""Bytes of a value by its physical type, 8 where it isn't listed; a text comes as its number in a list of texts."""


def parquet_columns(data: bytes) -> list[str]:
    """The names of a file's columns. Raises pa.ArrowException where it is no Parquet."""
    return [str(name) for name in pq.read_schema(io.BytesIO(data)).names]


def parquet_table(data: bytes, what: str, columns: Sequence[str] | None = None) -> pa.Table:
    """The table in a file, or those of these columns that it has; raises as `parquet_batches`."""
    fields = _fields(pq.read_schema(io.BytesIO(data)), columns)
    plain = pa.schema([field.with_type(_value_type(field.type)).remove_metadata() for field in fields])
    parts = list(parquet_batches(io.BytesIO(data), what, columns))  # all are looked at before any text is written out
    return pa.concat_tables([plain.empty_table(), *(part.cast(plain) for part in parts)])


def parquet_batches(file: BinaryIO, what: str, columns: Sequence[str] | None = None) -> Iterator[pa.Table]:
    """The table in a file, or those of these columns that it has, some rows at a time; texts are dictionaries.

    Raises pa.ArrowException where it is no Parquet, and DataError, which calls the file `what`, where it unpacks to
    more than MOST_ROWS or MOST_BYTES.
    """
    fields = _fields(pq.read_schema(file), columns)
    names = [field.name for field in fields]
    texts = [field.name for field in fields if _is_text(field.type)]
    with pq.ParquetFile(file, read_dictionary=texts) as opened:
        _check_sizes(opened.metadata, set(names), texts, what)
        yield from _plain(opened.iter_batches(_AT_ONCE, columns=names), what)


def _fields(schema: pa.Schema, columns: Sequence[str] | None) -> list[pa.Field]:
    return [field for field in schema if columns is None or field.name in columns]


def _check_sizes(metadata: pq.FileMetaData, columns: set[str], texts: Sequence[str], what: str) -> None:
    """DataError where the file's own numbers are beyond the limits."""
    if metadata.num_rows > MOST_ROWS:
        raise DataError(f"{what} has {metadata.num_rows} rows, more than the {MOST_ROWS} that are read. Split it.")
    size = 0
    for group in range(metadata.num_row_groups):
        for number in range(metadata.num_columns):
            chunk = metadata.row_group(group).column(number)
            name = chunk.path_in_schema.split(".")[0]
            if name not in columns:
                continue
            if chunk.physical_type == "BYTE_ARRAY" and name not in texts:
                raise DataError(f"{what} has texts within lists in its column {name}; one is expected.")
            size += chunk.num_values * _WIDTHS.get(chunk.physical_type, 8) + chunk.total_uncompressed_size
    _check_size(size, what)


def _plain(batches: Iterator[pa.RecordBatch], what: str) -> Iterator[pa.Table]:
    """Batches as tables, as long as their texts, written out, have room together."""
    size = 0
    for batch in batches:
        for column in batch.columns:
            if pa.types.is_dictionary(column.type):
                lengths = pc.binary_length(column.dictionary).take(column.indices)
                size += int(pc.sum(lengths).as_py() or 0)
        _check_size(size, what)
        yield pa.Table.from_batches([batch])


def _check_size(size: int, what: str) -> None:
    if size > MOST_BYTES:
        raise DataError(f"{what} would unpack to {size} bytes, more than the {MOST_BYTES} that are read. Split it.")


def _is_text(kind: pa.DataType) -> bool:
    return _value_type(kind) in (pa.string(), pa.large_string(), pa.binary(), pa.large_binary())


def _value_type(kind: pa.DataType) -> pa.DataType:
    return kind.value_type if pa.types.is_dictionary(kind) else kind
