"""What the command compare prints: a table for each split, and one over the stores of several seeds."""

from rich.table import Table

from flows.cli.comparison import Compared, Side
from flows.process.terminal import TextConsole, escape
from tasks.measures.table import Measure
from tasks.report.content import direction_of
from tasks.report.numbers import format_number, format_percent, format_span

_MARKS = {"better": "[green]better[/green]", "worse": "[red]worse[/red]", "unclear": "", "neutral": ""}


def print_comparison(found: Compared) -> None:
    """All of it; it fits into 80 columns."""
    out = TextConsole()
    for side, words in ((found.before, "before"), (found.after, "after")):
        out.print(f"{words}: {_side(side)}", soft_wrap=True)
    for target, changes in found.splits.items():
        people = max((one.n for one in changes), default=0)
        table = _table(f"{target}, {people} people, 95 % intervals by paired bootstrap over them")
        for one in changes:
            change = one.change
            said = "" if change is None else f"{_change(one.measure, change.value)} {_span(one.measure, *change[1:])}"
            mark = "" if change is None else _MARKS[direction_of(change, one.measure.better)]
            table.add_row(*_named(one.measure), *_two(one.measure, one.before.value, one.after.value), said, mark)
        out.print(table)
    for target, together in found.seeds.items():
        table = _table(f"{target}, mean of {len(found.stores)} stores, Student's 95 % interval over them")
        for seen in together:
            said = f"{_change(seen.measure, seen.change.value)} {_span(seen.measure, *seen.change[1:])}"
            mark = _MARKS[direction_of(seen.change, seen.measure.better)]
            table.add_row(*_named(seen.measure), *_two(seen.measure, seen.before, seen.after), said, mark)
        out.print(table)
    out.print("What each measure is: docs/measures.md. People without a number of it are left out of a measure.")


def _side(side: Side) -> str:
    return escape(f"{side.said}, policy {side.policy[:12]}, evaluation {side.evaluation[:12]}")


def _table(title: str) -> Table:
    table = Table(title=escape(title), title_justify="left", box=None, pad_edge=False, header_style="dim")
    table.add_column("measure", overflow="fold")
    table.add_column("unit")
    for name in ("before", "after", "change"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("")
    return table


def _named(measure: Measure) -> tuple[str, str]:
    return measure.title, "" if measure.unit == "1" else measure.unit


def _two(measure: Measure, *values: float) -> tuple[str, ...]:
    return tuple(format_number(value, _unit(measure)) for value in values)


def _change(measure: Measure, value: float) -> str:
    if measure.is_relative:
        return format_percent(value)
    text = format_number(value, _unit(measure))
    return text if value <= 0 or not text.strip("0.,") else f"+{text}"


def _span(measure: Measure, low: float, high: float) -> str:
    return escape(format_span(low, high, "%" if measure.is_relative else _unit(measure)))


def _unit(measure: Measure) -> str:
    """The unit as numbers are formatted by it."""
    return {"1": "none", "px": "mm"}.get(measure.unit, measure.unit)
