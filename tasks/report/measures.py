"""What the stage `measures` found, as rows of the page: curve of the best of M, spread, depth, parts, plausibility."""

from infra.store import Store
from tasks.measures.stage import Measures
from tasks.measures.table import NEW
from tasks.report.content import HeadlineGroup, NumberRow
from tasks.report.facts import RoundFacts
from tasks.report.measured import Metrics, measure_row
from tasks.report.numbers import format_number
from tasks.rows.metrics import read_metrics

_NOTE = "docs/measures.md says what each is; for reports, no gate reads them"


def measure_groups(store: Store, facts: RoundFacts) -> list[HeadlineGroup]:
    """A group for each split, of the measures that change in %; none where the round did not measure them."""
    metrics = _metrics(store, facts)
    groups = []
    for target in sorted({target for _, _, target in metrics}):
        rows = [
            row
            for measure in NEW
            if measure.is_relative
            and (row := measure_row(metrics, measure.name, measure.title, target, measure.better)) is not None
        ]
        groups.append(HeadlineGroup(f"Further measures on {target}", rows, _NOTE))
    return [group for group in groups if group.rows]


def measure_numbers(store: Store, facts: RoundFacts) -> list[NumberRow]:
    """The measures that change by a difference: shares, ratios, and what is often 0."""
    metrics, rows = _metrics(store, facts), []
    for target in sorted({target for _, _, target in metrics}):
        for measure in NEW:
            roles = ("before", "after", "change")
            before, after, change = (metrics.get((measure.name, role, target)) for role in roles)
            if measure.is_relative or before is None or after is None or change is None:
                continue
            unit = {"1": "none", "percentage points": "%"}.get(change.unit, change.unit)
            levels = " to ".join(format_number(one.value, unit) for one in (before, after))
            rows.append(NumberRow.of(f"{measure.title}, difference", unit, change, f"{target}; from {levels}"))
    return rows


def _metrics(store: Store, facts: RoundFacts) -> Metrics:
    key = facts.key(Measures.name)
    return {} if key is None else {(one.name, one.role, one.target): one for one in read_metrics(store, key)}
