"""What the command clean-sweep prints: for each share of labels what is kept, and what it is worth on validation."""

from collections.abc import Sequence

from flows.order.sweep import Point
from flows.process.terminal import TextConsole, escape, plain_table
from infra.stages import find
from infra.store import Store
from schemas.ids import Target
from tasks.report.numbers import format_number, format_percent, format_span
from tasks.rows.calibrations import find_expected_mpvpe
from tasks.rows.metrics import DIVERSITY, Metric, read_metrics

_WORTH = (("zero_noise_mpvpe", "zero-noise"), ("expected_mpvpe", "expected"), ("best_of_m_mpvpe", "best of M"))


def print_sweep(store: Store, points: Sequence[Point], validation: Sequence[Target]) -> None:
    """Two tables: what is kept, and, where policies were trained, how they compare."""
    out = TextConsole()
    table = plain_table("share", "kept", "of", "score from", "expected MPVPE, mm", "swapped among kept", "AUC", "stage")
    for point in points:
        table.add_row(*map(escape, _kept(store, point)))
    out.print(table)
    for target in validation if any(point.compared for point in points) else ():
        table = plain_table("share", *(f"{words}, %" for _, words in _WORTH), "diversity over the first's")
        for point in points:
            if point.compared is not None:
                metrics = {(one.name, one.role, one.target): one for one in read_metrics(store, point.compared)}
                changes = [metrics.get((name, "change", target)) for name, _ in _WORTH]
                share = metrics.get((DIVERSITY, "share_of_first", target))
                last = "" if share is None else format_number(share.value)
                table.add_row(_share(point), *(escape(_cell(one)) for one in changes), last)
        out.print(f"MPVPE on {escape(str(target))}, change against the current policy, 95 % intervals over people")
        out.print(table)
    if not any(point.compared for point in points):
        out.print("What each share is worth: --train trains a policy on it, and measures that on validation.")


def _kept(store: Store, point: Point) -> tuple[str, ...]:
    record = find(store, point.kept)
    assert record is not None
    metrics: dict[str, list[Metric]] = {}
    for metric in read_metrics(store, point.kept):
        metrics.setdefault(metric.name, []).append(metric)
    scorer = next((one.model for of_name in metrics.values() for one in of_name if one.model), None)
    found = None if scorer is None else find_expected_mpvpe(store, scorer)
    least = min((one.value for one in metrics.get("least_kept_score", ())), default=None)
    expected = ""
    if found is not None and least is not None:
        expected = f"up to {format_number(float(found.curve.of(least)), 'mm')}"
    return (
        _share(point),
        f"{record.tally.ok:,}",
        f"{record.units_in:,}",
        "" if least is None else format_number(least),
        expected,
        _mean(metrics.get("swapped_among_kept", ())),
        _mean(metrics.get("auc", ())),
        point.kept[:12],
    )


def _share(point: Point) -> str:
    return f"{point.ratio:g}{' random' if point.at_random else ''}"


def _mean(metrics: Sequence[Metric]) -> str:
    """Over splits, by their people."""
    people = sum(one.n for one in metrics)
    return format_number(sum(one.value * one.n for one in metrics) / people) if people else ""


def _cell(change: Metric | None) -> str:
    if change is None:
        return ""
    return f"{format_percent(change.value)} {format_span(change.low, change.high, '%')}"
