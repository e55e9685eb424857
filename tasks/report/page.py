"""From a `RoundReport` to one HTML page that needs nothing else: no network, no scripts, no other file."""

from collections.abc import Iterator, Mapping
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from models.statistics import Interval
from tasks.report import figures
from tasks.report.content import RoundReport, direction_of
from tasks.report.definitions import defined
from tasks.report.numbers import format_duration, format_number, format_percent, format_quantity, format_span
from tasks.report.windows import windows

_TEMPLATE = "report.html.j2"
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
