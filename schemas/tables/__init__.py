"""The tables' contracts: one Arrow schema each, with what every column means and in which unit.

Numeric vectors are lists of fixed length (Delta has no fixed-size list type), so the length is in the column's
metadata and `conform` enforces it. Every table carries `stage_key`, the key of the stage that wrote the row; readers
see a row only once that stage is in `stages`.
"""

from schemas.tables.checks import build, conform, matrix
from schemas.tables.contracts import (
    BOOL_VECTOR,
    FLOAT_VECTOR,
    LABEL_AS_SAMPLE,
    OUTSIDE_ROUNDS,
    STRINGS,
    TABLES,
    TIME,
    contract,
)
from schemas.tables.form import TableContract

__all__ = [
    "BOOL_VECTOR",
    "FLOAT_VECTOR",
    "LABEL_AS_SAMPLE",
    "OUTSIDE_ROUNDS",
    "STRINGS",
    "TABLES",
    "TIME",
    "TableContract",
    "build",
    "conform",
    "contract",
    "matrix",
]
