"""What commands print of one stage: counts and failures of an ingest, figures of an evaluation."""

import shlex
from collections.abc import Iterator, Sequence

import numpy as np
from rich.table import Table

from flows.process.terminal import TextConsole, escape
from flows.run.steps.ended import DIGITS, finished_stage
from infra.stages import StageRecord
from infra.store import Store
from infra.views import query
from models.statistics import bootstrap_mean
from schemas.ids import StageKey
from tasks.compare import evaluation_table
from tasks.report.numbers import format_quantity, format_span
from tasks.rows.calibrations import find_calibration
from tasks.rows.metrics import read_metrics

_SHOWN_CELLS = 7
_TABLES = ("images", "instances", "labels", "hypotheses", "errors", "scores", "pairs")


def print_ingest(store: Store, key: str, said: Sequence[str] | None = None) -> None:
    """Counts of an ingest, its failures by reason, and the query that lists them.

    Of hypotheses, also the command that scores them, with the options `said` of store and configuration; None: nothing
    goes on from here.
    """
    record = finished_stage(store, key)
    out = TextConsole()
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
        out.print(_query_of_failures(key), soft_wrap=True)
    if said is not None and record.rows.get("hypotheses"):
        words = ["score", "--hypotheses", key[:DIGITS], "--scorer", "SCORER", *said]
        out.print(f"next:   adhmr {escape(shlex.join(words))}", soft_wrap=True)


def failed_units(store: Store, record: StageRecord) -> Iterator[str]:
    """The units of a stage that did not make it, by reason, and the query that lists them; as rich's markup."""
    if record.tally.failed or record.tally.filtered:
        for outcome, reason, count, example in _reasons(store, record.stage_key):
            yield escape(f"{record.stage}: {outcome} {count:,}: {reason}, such as {example}")
        yield escape(_query_of_failures(record.stage_key))


def _query_of_failures(key: str) -> str:
    return f"adhmr query \"SELECT id, reason, detail FROM failures WHERE stage_key = '{key}'\""


def print_evaluation(store: Store, key: str) -> None:
    """The figures of an evaluation by the engine's own protocol, in mm, with bootstrap intervals."""
    out = TextConsole()
    for target, evaluated in evaluation_table(store, StageKey(key)).items():
        table = _figures(f"{target}, {len(evaluated.ids)} people")
        for name, values in evaluated.figures().items():
            mean = bootstrap_mean(values, resamples=1000)
            table.add_row(name, format_quantity(mean.value, "mm"), escape(format_span(mean.low, mean.high, "mm")))
        out.print(table)
    out.print(f"evaluation {key}")


def print_published(store: Store, key: str) -> None:
    """The metrics of an evaluation by a published protocol, with intervals where they have one."""
    metrics = read_metrics(store, StageKey(key))
    out = TextConsole()
    for target, role in sorted({(metric.target, metric.role) for metric in metrics}):
        rows = [metric for metric in metrics if (metric.target, metric.role) == (target, role)]
        table = _figures(f"{target}, {max(metric.n for metric in rows)} people, {role}")
        for metric in rows:
            unit = "none" if metric.unit == "1" else metric.unit
            span = format_span(metric.low, metric.high, unit)
            table.add_row(metric.name, format_quantity(metric.value, unit), escape(span))
        out.print(table)
    _print_calibration(out, store, key)
    out.print(f"evaluation {key}")


def _print_calibration(out: TextConsole, store: Store, key: str) -> None:
    """What the scores that an evaluation of a scorer went by mean in millimetres; nothing where it is not known."""
    found = find_calibration(store, scores=finished_stage(store, key).reads[-1])
    if found is None:
        return
    table = Table(title=f"expected {found.error.upper()} by score", title_justify="left", box=None, header_style="dim")
    for name in ("score", "expected", "95 % interval", "scatter"):
        table.add_column(name, justify="right")
    curve = found.curve
    for place in np.unique(np.linspace(0, len(curve.score) - 1, _SHOWN_CELLS).round().astype(int)):
        low, high = curve.low_mm[place], curve.high_mm[place]
        row = f"{curve.score[place]:.3f}", format_quantity(curve.expected_mm[place], "mm")
        scatter = f"± {format_quantity(curve.spread_mm[place], 'mm')}"
        table.add_row(*row, escape(format_span(low, high, "mm")), scatter)
    out.print(table)
    if found.missed_mm is not None:
        missed = format_quantity(found.missed_mm, "mm")
        out.print(f"On the other half of the people, what is expected is {missed} off.")


def _figures(title: str) -> Table:
    table = Table(title=title, title_justify="left", box=None, header_style="dim")
    for name in ("figure", "value", "95 % interval"):
        table.add_column(name, justify="left" if name == "figure" else "right")
    return table


def _reasons(store: Store, key: str) -> list[tuple[str, str, int, str]]:
    """Outcome, reason, count and an example, the most frequent first. SQL may hold `key` as it is: a digest."""
    rows = query(
        store,
        "SELECT outcome, reason, count(*) AS count, min(id) AS example FROM failures "
        f"WHERE stage_key = '{key}' GROUP BY outcome, reason ORDER BY count DESC, reason",
    ).to_pylist()
    return [(row["outcome"], row["reason"], row["count"], row["example"]) for row in rows]
