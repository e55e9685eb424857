"""From a `RoundReport` to one HTML page that needs nothing else: no network and no other file.

Its scripts stand in it, three.js among them where there are bodies, and its own Content-Security-Policy lets run those
alone and load nothing. Without scripts, and on paper, everybody is shown, one after the other.
"""

import json
from base64 import b64encode
from collections import Counter
from collections.abc import Iterator, Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from models.statistics import Interval
from tasks.report import figures
from tasks.report.content import OWN_PEOPLE, PEOPLE_LISTS, RoundReport, direction_of
from tasks.report.curves.lines import WORDS
from tasks.report.definitions import defined, in_words
from tasks.report.numbers import format_duration, format_number, format_percent, format_quantity, format_span
from tasks.report.pictures.meshes import packed
from tasks.report.windows import windows
from tasks.web.bundle import classic, source

HERE: Final = Path(__file__).parent
_TEMPLATE = "report.html.j2"
_SIZE_MARK: Final = "0000000 MB"
"""What stands in the page for its own size, until that is known."""
_DIRECTION_WORDS = {"better": "better", "worse": "worse", "unclear": "no clear change", "neutral": ""}
_SHORT = 12


def report_html(report: RoundReport) -> str:
    """The page as text. The same report gives the same text; strings in it are escaped, never trusted."""
    definitions = defined(_titles(report))
    environment = templates(autoescape=True)
    environment.filters |= {
        "number": format_number,
        "quantity": format_quantity,
        "signed": _signed,
        "percent": format_percent,
        "span": format_span,
        "duration": format_duration,
        "short": short_digest,
        "jpeg": figures.jpeg_uri,
        "svg": figures.svg_uri,
    }
    environment.globals |= {
        "direction_of": direction_of,
        "direction_words": _DIRECTION_WORDS,
        "windows": windows,
        "meanings": lambda title: [one.anchor for one in definitions if one.stands_in(title)],
        "measure_words": lambda name: in_words(name, report.samples),
        "page_unit": lambda unit: "none" if unit == "1" else unit,
    }
    script = _script(report)
    page = environment.get_template(_TEMPLATE).render(
        report=report,
        pictures=_figures(report),
        definitions=definitions,
        stage_names={stage.stage_key: stage.name for stage in report.stages},
        run_seconds=sum(stage.seconds for stage in report.stages if stage.state != "reused"),
        reused=sum(stage.state == "reused" for stage in report.stages),
        lists=PEOPLE_LISTS,
        list_counts=Counter(name for person in report.overlays for name in person.lists),
        posed={one.instance_id for one in report.bodies},
        bodies=_for_script(packed(report.bodies, report.faces)) if report.faces is not None and report.bodies else "",
        series_words=WORDS,
        own_people=OWN_PEOPLE,
        style=source("compare.css") + (HERE / "static/report.css").read_text("utf-8"),
        script=script,
        policy=_policy(script),
        size_mark=_SIZE_MARK,
    )
    return page.replace(_SIZE_MARK, f"{len(page.encode()) / 1e6:.1f} MB", 1)


def _script(report: RoundReport) -> str:
    """All that runs in the page."""
    parts = [classic("bodies.js")] if report.bodies else []
    return "\n".join([*parts, source("compare.js"), (HERE / "static/report.js").read_text("utf-8")])


def _policy(script: str) -> str:
    """What the page may do: show its own pictures and run this script."""
    digest = b64encode(sha256(script.encode()).digest()).decode()
    return (
        f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'; "
        "form-action 'none'; base-uri 'none'"
    )


def _for_script(plain: Any) -> str:
    """JSON that can stand in a script: no text in it ends that."""
    return json.dumps(plain, separators=(",", ":")).replace("<", "\\u003c")


def _signed(value: float, unit: str) -> str:
    return f"{'+' if value > 0 else ''}{format_quantity(value, unit)}"


def templates(*, autoescape: bool, keep_trailing_newline: bool = False) -> Environment:
    """The templates beside this module. A name that isn't given to them is an error."""
    return Environment(
        loader=FileSystemLoader(HERE),
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
    yield from ("margin", "pairs") if report.margins is not None else ()
    yield from (control.name for control in report.controls)
    yield from (in_words(trend.name, report.samples) for trend in report.trends)
    yield from ("disagreement", "score") if any(one.disagreement_mm is not None for one in report.overlays) else ()
    for finding in report.diagnosis.findings if report.diagnosis is not None else ():
        yield from (finding.name, *(WORDS.get(row.name, in_words(row.name, report.samples)) for row in finding.rows))


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
            [(line.name, line.steps, line.values) for line in curve.series], curve.unit, curve.reference, curve.breaks
        )
        for curve in report.curves
    ]
    pictures["trends"] = [figures.trend(trend.rounds, trend.lines, trend.unit) for trend in report.trends]
    return pictures
