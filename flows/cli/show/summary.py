"""What commands print at the end of a round: headline with controls, verdict, where things are, what next."""

import shlex
from collections.abc import Sequence

from rich.table import Table

from flows.process.terminal import TextConsole
from infra.store import Store
from models.statistics import Interval
from schemas.config.engine import EngineConfig
from tasks.gates import BEFORE_PROMOTION
from tasks.report import measured
from tasks.report.content import HeadlineGroup, HeadlineRow
from tasks.report.facts import RoundFacts
from tasks.report.measured import notices
from tasks.report.numbers import format_number, format_quantity, format_span

_LEFT_OUT = ("PA-MPJPE", "expected MPJPE", "selected MPJPE")
"""Endings of headline rows that only the page shows."""
_CONTROLS = 2
"""As many fit into a terminal; the page has all."""


def print_summary(
    store: Store, config: EngineConfig, facts: RoundFacts, said: Sequence[str] | None = (), coming: int | None = None
) -> None:
    """The round in one screen, from the tables. Errors and diversity in mm.

    `said` are the options of store and configuration that were typed; the next commands get them. None where they
    name another campaign than this. `coming` is the campaign's next round, where that may be another than the one
    after this.
    """
    console = TextConsole()
    metrics = measured.round_metrics(store, facts)
    groups = measured.headline(metrics, config)
    console.print()
    console.print(f"[bold]{facts.title}[/bold] of campaign {facts.campaign}: {_outcome(facts)}")
    if groups:
        console.print(
            f"{groups[0].title}, {groups[0].rows[0].n:,} people, depth of the pelvis from the label:",
            markup=False,
        )
        console.print(_table(groups, [control.name for control in measured.controls(facts, config)][:_CONTROLS]))
    for row in measured.scorer_rows(facts, metrics, config):
        spread = format_span(row.low, row.high, row.unit)
        console.print(f"{row.name}: {format_quantity(row.value, row.unit)} {spread}", markup=False, soft_wrap=True)
    if facts.judge is not None:
        for verdict in facts.verdicts:
            if verdict.when == BEFORE_PROMOTION:
                span = format_span(verdict.low, verdict.high, verdict.unit)
                console.print(f"{verdict} {span}".strip(), markup=False, soft_wrap=True)
    broken = [verdict for verdict in facts.verdicts if not verdict.passed]
    console.print(f"gates: {len(facts.verdicts) - len(broken)} of {len(facts.verdicts)} hold", markup=False)
    for verdict in broken:
        console.print(f"  {verdict}", style="red", markup=False, soft_wrap=True)
    for notice in notices(facts, config):
        console.print(f"note: {notice}", markup=False, soft_wrap=True)
    places = (
        ("report", store.report_uri(facts.report_name)),
        ("store", store.url),
        ("next", _what_next(facts, said, coming or facts.number + 1)),
    )
    for name, text in places:
        console.print(f"{name + ':':<8}{text}", markup=False, soft_wrap=True)


def _what_next(facts: RoundFacts, said: Sequence[str] | None, coming: int) -> str:
    """The commands that may come next."""
    why = "" if facts.policy_after is not None else "see above and in the report why nothing was trained; then "
    if said is None:
        return f"{why}`adhmr run` with the --config or the options of campaign {facts.campaign}, for round {coming}"
    run, clean, plan = (shlex.join(["adhmr", command, *said]) for command in ("run", "clean", "plan"))
    return f"{why}`{run}` or `{clean}` for round {coming}; `{plan}` says what it would reuse"


def _outcome(facts: RoundFacts) -> str:
    if facts.promoted and facts.policy_after is not None:
        because = f" ({facts.why})" if facts.judge is not None else ""
        return f"policy {facts.policy_after[:12]} is current now{because}"
    return f"policy {facts.policy_before[:12]} stays current ({facts.why})"


def _table(groups: list[HeadlineGroup], controls: list[str]) -> Table:
    """At most 80 characters wide. Held-out test and drift rows; the page has all."""
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), header_style="dim")
    table.add_column("mm; changes in %", no_wrap=True)
    for title in ("before", "after", "change", *controls):
        table.add_column(title, justify="right", no_wrap=True)
    for group in groups:
        for row in group.rows if group.role != "validation" else ():
            if not row.name.endswith(_LEFT_OUT):
                table.add_row(f"{'drift, ' if group.role == 'drift' else ''}{row.name}", *_cells(row, controls))
    return table


def _cells(row: HeadlineRow, controls: list[str]) -> list[str]:
    return [
        format_number(row.before, row.unit),
        format_number(row.after, row.unit),
        "" if row.change is None else _interval(row.change),
        *("" if name not in row.controls else format_number(row.controls[name].value, "%") for name in controls),
    ]


def _interval(change: Interval) -> str:
    # rich reads [..] as its own markup
    return f"{format_number(change.value, '%')} {format_span(change.low, change.high, '%')}".replace("[", "\\[")
