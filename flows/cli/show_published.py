"""What the commands that measure as the papers do print."""

from rich.table import Table

from flows.cli.show import console
from flows.process.terminal import escape
from infra.store import Store
from tasks.report.page import format_quantity, format_span
from tasks.rows.metrics import read_metrics


def print_published(store: Store, key: str) -> None:
    """The metrics of one stage, with intervals where they have one."""
    found = read_metrics(store, key)
    out = console()
    for target, role in sorted({(metric.target, metric.role) for metric in found}):
        rows = [metric for metric in found if (metric.target, metric.role) == (target, role)]
        people = max(metric.n for metric in rows)
        table = Table(title=f"{target}, {people} people, {role}", title_justify="left", box=None, header_style="dim")
        for title in ("figure", "value", "95 % interval"):
            table.add_column(title, justify="left" if title == "figure" else "right")
        for metric in rows:
            unit = "none" if metric.unit == "1" else metric.unit
            span = format_span(metric.low, metric.high, unit)
            table.add_row(metric.name, format_quantity(metric.value, unit), escape(span))
        out.print(table)
    out.print(f"evaluation {key}")
