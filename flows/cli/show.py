"""How answers of the command line look: on standard output, as tables for people or as CSV for programs."""

from __future__ import annotations

import io
import sys
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.csv
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table

from flows.process.terminal import TextConsole, escape
from flows.process.visible import visible

if TYPE_CHECKING:
    from flows.cli.plan import Plan
    from flows.doctor.machine import Finding
    from infra.repair import Finding as RepairFinding
    from infra.store import Store
    from infra.vacuum import VacuumReport

_MOST_ROWS = 200
_MOST_CHARACTERS = 80
_LEAST_WIDTH = 16
_PLAN = ["explain_key", "explain_value"]
"""Columns of DuckDB's answer to EXPLAIN: the second is a drawing."""
_MARKS = {"good": "[green]good[/green]   ", "note": "[yellow]note[/yellow]   ", "problem": "[red]PROBLEM[/red]"}
_VERDICTS = {"reuse": "[green]reuse[/green]", "resume": "[yellow]resume[/yellow]", "run": "[bold]run[/bold]"}


def console() -> Console:
    """Standard output, without guesses about what is a number."""
    return TextConsole()


def print_rows(rows: pa.Table, as_csv: bool = False) -> None:
    """The answer to a query."""
    if as_csv:
        flat = pa.table([_flat(column) for column in rows.columns], names=rows.column_names)
        _write_csv(flat)
        return
    out = console()
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


def print_plan(plan: Plan) -> None:
    """What the next round would do."""
    out = console()
    out.print(f"[bold]round {plan.number}[/bold] {'goes on' if plan.resumed else 'would begin'}")
    table = Table(box=None, pad_edge=False, header_style="dim")
    for title in ("stage", "", "why", "key"):
        table.add_column(title, overflow="fold")
    for look in plan.looks:
        table.add_row(escape(look.title), _VERDICTS[look.verdict], escape(look.why), look.key[:12] if look.key else "?")
    out.print(table)
    for note in plan.notes:
        out.print(f"note: {escape(note)}")
    counts = {verdict: sum(look.verdict == verdict for look in plan.looks) for verdict in _VERDICTS}
    out.print(", ".join(f"{count} to {verdict}" for verdict, count in counts.items()))


def print_history(rows: pa.Table, earlier: int = 0) -> None:
    """The log of one or all campaigns, and how many rounds before these are not shown."""
    out = console()
    if rows.num_rows == 0:
        out.print("No campaign has begun: `adhmr run` begins one.")
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in ("campaign", "round", "event", "current policy", "when", "who", "why"):
        table.add_column(title, overflow="fold")
    for row in rows.to_pylist():
        table.add_row(
            row["campaign"],
            str(row["round"]),
            row["event"],
            (row["policy"] or "")[:12],
            f"{row['at']:%Y-%m-%d %H:%M}",
            escape(row["who"]),
            escape(row["why"]),
        )
    out.print(table)
    if earlier:
        out.print(f"{earlier} earlier rounds are not shown: give a greater --last.")


def print_finding(finding: Finding) -> None:
    """What the doctor found; a list in it has lines of its own."""
    text = "\n".join(map(escape, finding.text.split("\n")))
    console().print(f"{_MARKS[finding.level]} {finding.what}: {text}", soft_wrap=True)


def print_vacuum(found: VacuumReport) -> None:
    """What vacuum found or removed."""
    out = console()
    for path, reason in found.removed:
        out.print(f"{escape(path)}  [dim]{escape(reason)}[/dim]", soft_wrap=True)
    size = f"{len(found.removed)} files, {found.bytes / 1e6:.1f} MB"
    out.print(f"{size} could go: add --delete to remove them" if found.dry_run else f"{size} removed")


def print_repairs(found: list[RepairFinding], dry_run: bool) -> None:
    """What repair did or would do, and what it left."""
    out = console()
    marks = {"done": "[green]would do[/green]" if dry_run else "[green]done[/green]", "left": "[yellow]left[/yellow]"}
    for finding in found:
        out.print(f"{marks[finding.outcome]}  {escape(finding.text)}", soft_wrap=True)
    if not found:
        out.print("Nothing to repair: all logs can be read, all finished stages have their rows.")


def print_evaluation(store: Store, key: str) -> None:
    """The figures of one evaluation, with intervals."""
    from models.statistics import bootstrap_mean
    from tasks.compare import evaluation_table
    from tasks.report.page import format_quantity, format_span

    out = console()
    for target, evaluated in evaluation_table(store, key).items():
        table = Table(
            title=f"{target}, {len(evaluated.ids)} people", title_justify="left", box=None, header_style="dim"
        )
        for title in ("figure", "value", "95 % interval"):
            table.add_column(title, justify="left" if title == "figure" else "right")
        for name, values in evaluated.figures().items():
            mean = bootstrap_mean(values, resamples=1000)
            span = format_span(mean.low, mean.high, "mm")
            table.add_row(name, format_quantity(mean.value, "mm"), escape(span))
        out.print(table)
    out.print(f"evaluation {key}")


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
