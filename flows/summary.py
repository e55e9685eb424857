"""What a person reads at the end of a round: headline with controls, verdict, where things are, what next."""

from rich.console import Console
from rich.table import Table

from flows.one_round import COMMANDS
from infra.store import Store
from schemas.config.engine import EngineConfig
from tasks.report import measured
from tasks.report.content import HeadlineGroup, HeadlineRow
from tasks.report.facts import RoundFacts
from tasks.report.page import format_percent, format_quantity, format_span


def print_summary(console: Console, store: Store, config: EngineConfig, facts: RoundFacts) -> None:
    """The round in one screen, from the tables."""
    found = measured.found_metrics(store, facts)
    groups = measured.headline(found, facts, config)
    console.print()
    console.print(f"[bold]{facts.title}[/bold] of campaign {facts.campaign}: {_outcome(facts)}")
    if groups:
        console.print(_table(groups, [control.name for control in measured.controls(facts, config)]))
    for row in measured.scorer_rows(store, facts, config, found):
        console.print(
            f"  {row.name}: {format_quantity(row.value, row.unit)} {format_span(row.low, row.high, row.unit)}",
            highlight=False,
            markup=False,
        )
    for verdict in facts.verdicts:
        console.print(f"  gate {verdict}", style=None if verdict.passed else "red", highlight=False, markup=False)
    for notice in facts.notices:
        console.print(f"  note: {notice}", highlight=False, markup=False)
    places = (("report", store.report_uri(facts.report_name)), ("store", store.url), ("next", what_next(facts)))
    for name, text in places:
        console.print(f"{name + ':':<8}{text}", highlight=False, markup=False, soft_wrap=True)


def what_next(facts: RoundFacts) -> str:
    """What a person might do now."""
    again = f"`{COMMANDS[facts.kind]}` again for round {facts.number + 1}"
    if facts.policy_after is None:
        return f"see why above and in the report; {again}"
    return f"{again}, `adhmr plan` to see what that would reuse, `adhmr clean` for a cleaning round"


def _outcome(facts: RoundFacts) -> str:
    if facts.promoted and facts.policy_after is not None:
        return f"policy {facts.policy_after[:12]} is current now"
    return f"policy {facts.policy_before[:12]} stays current ({facts.why})"


def _table(groups: list[HeadlineGroup], controls: list[str]) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 1), header_style="dim")
    table.add_column("measure", no_wrap=True)
    for title in ("before", "after", "change", *controls):
        table.add_column(title, justify="right", no_wrap=True)
    for group in groups:
        table.add_row(f"[dim]{group.title}[/dim]")
        for row in group.rows:
            table.add_row(f"  {row.name}", *_cells(row, controls))
    return table


def _cells(row: HeadlineRow, controls: list[str]) -> list[str]:
    change = "" if row.change is None else format_percent(row.change.value)
    span = "" if row.change is None else format_span(row.change.low, row.change.high, "%")
    beside = [format_percent(row.controls[name].value) if name in row.controls else "" for name in controls]
    # rich reads [..] as its own markup
    return [
        format_quantity(row.before, row.unit),
        format_quantity(row.after, row.unit),
        f"{change} {span}".replace("[", "\\["),
        *beside,
    ]
