"""How answers to queries look: on standard output, as a table or as CSV for programs."""

import io
import sys

import pyarrow as pa
import pyarrow.csv
from rich.cells import cell_len
from rich.table import Table

from flows.process.terminal import TextConsole, escape
from flows.process.visible import visible

_MOST_ROWS = 200
_MOST_CHARACTERS = 80
_LEAST_WIDTH = 16
_PLAN = ["explain_key", "explain_value"]
"""Columns of DuckDB's answer to EXPLAIN: the second is a drawing."""


def print_rows(rows: pa.Table, as_csv: bool = False) -> None:
    """The answer to a query."""
    if as_csv:
        flat = pa.table([_flat(column) for column in rows.columns], names=rows.column_names)
        _write_csv(flat)
        return
    out = TextConsole()
    if rows.column_names == _PLAN:
        for plan in rows.column("explain_value").to_pylist():
            out.print(plan, markup=False, soft_wrap=True)
        return
    # column by column: two may have one name
    columns = [[_text(value) for value in column.to_pylist()] for column in rows.slice(0, _MOST_ROWS).columns]
    widths = [max(map(cell_len, (name, *cells))) for name, cells in zip(rows.column_names, columns, strict=True)]
    shown, widest = _layout(widths, out.width)
    table = Table(box=None, pad_edge=False, collapse_padding=True, header_style="bold")
    for name in rows.column_names[:shown]:
        table.add_column(escape(name), no_wrap=True, overflow="ellipsis", max_width=widest)
    for row in zip(*columns[:shown], strict=True):
        table.add_row(*map(escape, row))
    out.print(table)
    left_out = rows.num_rows - _MOST_ROWS
    out.print(
        f"{rows.num_rows} rows" + (f", the last {left_out} not shown: add --csv or LIMIT" if left_out > 0 else "")
    )
    if shown < len(widths):
        named = escape(", ".join(rows.column_names[shown:]))
        out.print(f"no room for the columns {named}: name those that you want, or add --csv")


def _layout(widths: list[int], room: int) -> tuple[int, int]:
    """How many columns, from the left, fit into `room` side by side, and how wide they may be.

    The widest are narrowed first; before any would be narrower than _LEAST_WIDTH, the last column is left out.
    """
    for count in range(len(widths), 1, -1):
        kept = widths[:count]
        for widest in range(max(kept), min(_LEAST_WIDTH, max(kept)) - 1, -1):
            if sum(min(width, widest) for width in kept) + count - 1 <= room:
                return count, widest
    return 1, room


def _write_csv(rows: pa.Table) -> None:
    """On standard output: as it is for a file or a program, with visible control characters for a terminal."""
    if not sys.stdout.isatty():
        pyarrow.csv.write_csv(rows, sys.stdout.buffer)
        return
    written = io.BytesIO()
    pyarrow.csv.write_csv(rows, written)
    sys.stdout.write(visible(written.getvalue().decode("utf-8", errors="replace"), keep="\n"))


def _text(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, bytes):
        return f"{len(value)} bytes"
    text = visible(str(value))
    return text if len(text) <= _MOST_CHARACTERS else f"{text[: _MOST_CHARACTERS - 1]}…"


def _flat(column: pa.ChunkedArray) -> pa.ChunkedArray | pa.Array:
    """CSV knows no lists and no bytes."""
    if pa.types.is_nested(column.type) or pa.types.is_binary(column.type):
        return pa.array([None if value is None else str(value) for value in column.to_pylist()], pa.string())
    return column
