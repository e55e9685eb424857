"""How the commands about data end: what came in, what did not and why, and where to look."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.table import Table

from flows.cli.show import console
from flows.process.terminal import escape
from infra.stages import find
from infra.views import query
from schemas.errors import DataError

if TYPE_CHECKING:
    from infra.store import Store

_TABLES = ("images", "instances", "labels", "hypotheses", "errors", "scores", "pairs")


def print_ingest(store: Store, key: str) -> None:
    """Counts of an ingest, its failures by reason, and the query that lists them."""
    record = find(store, key)
    if record is None:
        raise DataError(f"There is no finished stage {key} in {store.url}.")
    out = console()
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column()
    table.add_column(justify="right")
    table.add_column(overflow="fold")
    table.add_row("rows in", f"{record.units_in:,}", "")
    for name in _TABLES:
        if record.rows.get(name):
            table.add_row(name, f"{record.rows[name]:,}", "")
    for outcome, reason, count, example in _reasons(store, key):
        table.add_row(outcome, f"{count:,}", escape(f"{reason}, such as {example}"))
    out.print(table)
    out.print(f"stage {record.stage} {key} of {escape(store.url)}", soft_wrap=True)
    if record.tally.failed or record.tally.filtered:
        sql = f"SELECT id, reason, detail FROM failures WHERE stage_key = '{key}'"
        out.print(f'adhmr query "{sql}"', soft_wrap=True)


def _reasons(store: Store, key: str) -> list[tuple[str, str, int, str]]:
    """Outcome, reason, count and an example, the most frequent first. `key` is a digest, so it can stand in SQL."""
    rows = query(
        store,
        "SELECT outcome, reason, count(*) AS count, min(id) AS example FROM failures "
        f"WHERE stage_key = '{key}' GROUP BY outcome, reason ORDER BY count DESC, reason",
    ).to_pylist()
    return [(row["outcome"], row["reason"], row["count"], row["example"]) for row in rows]
