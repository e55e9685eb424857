"""From a `RoundReport` to one HTML page that needs nothing else: no network, no scripts, no other file."""

import math
from collections.abc import Iterator, Mapping
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from models.statistics import Interval
from tasks.report import figures
from tasks.report.content import RoundReport, direction_of
from tasks.report.definitions import defined
from tasks.report.windows import windows

_TEMPLATE = "report.html.j2"
_DECIMALS = {"mm": 1, "%": 1, "s": 1, "none": 3}
_DIRECTION_WORDS = {"better": "better", "worse": "worse", "unclear": "no clear change", "neutral": ""}
_SHORT = 12


def report_html(report: RoundReport) -> str:
    """The page as text. The same report gives the same text; strings in it are escaped, never trusted."""
    environment = templates(autoescape=True)
    environment.filters |= {
        "number": format_number,
        "quantity": format_quantity,
        "percent": format_percent,
        "span": format_span,
        "duration": format_duration,
        "short": short_digest,
        "jpeg": figures.jpeg_uri,
        "svg": figures.svg_uri,
    }
    environment.globals |= {"direction_of": direction_of, "direction_words": _DIRECTION_WORDS, "windows": windows}
    return environment.get_template(_TEMPLATE).render(
        report=report,
        pictures=_figures(report),
        definitions=defined(_titles(report)),
        stage_names={stage.stage_key: stage.name for stage in report.stages},
        run_seconds=sum(stage.seconds for stage in report.stages if stage.state != "reused"),
        reused=sum(stage.state == "reused" for stage in report.stages),
    )


def templates(*, autoescape: bool, keep_trailing_newline: bool = False) -> Environment:
    """The templates beside this module. A name that isn't given to them is an error."""
    return Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=autoescape,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=keep_trailing_newline,
    )


def format_number(value: float | None, unit: str = "none") -> str:
    """A number without its unit, with as many decimals as the unit deserves: 65.4 mm, 0.391, 1,000 instances."""
    if value is None or math.isnan(value):
        return "not measured"
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    decimals = 0 if unit == "count" else _DECIMALS.get(unit, 3)
    if decimals and 0 < abs(value) < 10**-decimals:
        decimals += 1
    text = f"{value:,.{decimals}f}"
    # A hyphen is too short for a minus, and a zero has no sign.
    return text.lstrip("-") if not text.strip("-0.,") else text.replace("-", "−")


def format_quantity(value: float | None, unit: str = "none") -> str:
    """A number with its unit, where it has one that is written."""
    text = format_number(value, unit)
    written = unit not in ("none", "count") and value is not None and not math.isnan(value)
    return f"{text}\u00a0{unit}" if written else text


def format_percent(value: float) -> str:
    """A change with its sign: −8.9 %, +0.4 %."""
    text = format_number(value, "%")
    if math.isnan(value):
        return text
    return f"{'+' if value > 0 and text.strip('0.') else ''}{text}\u00a0%"


def format_span(low: float | None, high: float | None, unit: str = "none") -> str:
    """An interval without its unit: [−9.4, −8.4]; empty where there is none."""
    if low is None or high is None:
        return ""
    return f"[{format_number(low, unit)}, {format_number(high, unit)}]"


def format_duration(seconds: float) -> str:
    """4.2 s, 3 min 05 s, 2 h 07 min."""
    if seconds < 59.95:
        return f"{seconds:.1f}\u00a0s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60}\u00a0min\u00a0{whole % 60:02d}\u00a0s"
    minutes = round(seconds / 60)
    return f"{minutes // 60}\u00a0h\u00a0{minutes % 60:02d}\u00a0min"


def short_digest(digest: str) -> str:
    """The first characters of a digest, enough to distinguish them; the page has the whole ones under lineage."""
    return digest.removeprefix("sha256:")[:_SHORT]


def _titles(report: RoundReport) -> Iterator[str]:
    """Of every measure on the page."""
    for group in report.headline:
        yield from (group.title, *(row.name for row in group.rows))
        yield from ("change" for row in group.rows if row.change is not None)
    for rows in (report.numbers, report.gates):
        yield from (row.name for row in rows)
    yield from (curve.title for curve in report.curves)
    yield from ("Spearman", "score") if report.score_against_error is not None else ()
    yield from ("margin",) if report.margins is not None else ()


def _figures(report: RoundReport) -> dict[str, str | list[str]]:
    """SVG text by name; a figure without data is missing, and the template says so in words."""
    pictures: dict[str, str | list[str]] = {}
    rows: list[tuple[str, Interval, Mapping[str, Interval]]] = [
        (f"{row.name}\n{group.title}" if place else row.name, row.change, row.controls)
        for place, group in enumerate(report.headline)
        for row in group.rows
        # Errors alone: diversity, of another size and with the better side on the right, is in the table.
        if row.change is not None and row.better == "lower"
    ]
    if rows:
        pictures["changes"] = figures.changes(rows)
    scored = report.score_against_error
    if scored is not None and scored.scores.size:
        pictures["error_by_score"] = figures.error_by_score(scored.scores, scored.errors)
    if report.margins is not None and report.margins.values.size:
        pictures["margins"] = figures.margin_histogram(report.margins.values)
    pictures["curves"] = [
        figures.training_curve(
            [(line.name, line.steps, line.values) for line in curve.series], curve.unit, curve.reference
        )
        for curve in report.curves
    ]
    return pictures
