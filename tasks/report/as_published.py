"""What the round measured by published protocols, as rows of the page."""

from infra.store import Store
from tasks.report.content import HeadlineGroup
from tasks.report.facts import RoundFacts
from tasks.report.measured import ERROR_NAMES, figure_rows
from tasks.rows.metrics import read_metrics

_FIGURES = (
    ("published_min", "least of M"),
    ("published_select", "mean of the best-scored"),
    ("published_zero_noise", "zero-noise"),
    ("published_hypotheses_mean", "mean of M"),
)
_NOTE = "as the papers' tables are computed (docs/published.md); for reports, no gate reads it"


def published_groups(store: Store, facts: RoundFacts) -> list[HeadlineGroup]:
    """A group for each split that names a protocol; none where the round did not come to measure it."""
    groups = []
    for run in facts.runs:
        if run.name == "compare_published":
            metrics = {(one.name, one.role, one.target): one for one in read_metrics(store, run.key)}
            target = next(iter(metrics.values())).target
            rows = figure_rows(metrics, _FIGURES, target, samples=0, errors=ERROR_NAMES)
            groups.append(HeadlineGroup(f"Held-out {target}, by the published protocol", rows, _NOTE))
    return groups
