"""The page: self-contained, escaped, complete, and honest about what is missing."""

import json
import re
from base64 import b64encode
from dataclasses import replace
from hashlib import sha256
from html import unescape
from html.parser import HTMLParser

import numpy as np
import pytest

from models.statistics import Interval
from tasks.report import content as page
from tasks.report.content import direction_of
from tasks.report.curves.findings import Cure, Diagnosis, Finding, Row
from tasks.report.curves.trends import TrendLine
from tasks.report.definitions import DEFINITIONS
from tasks.report.numbers import format_duration, format_number, format_percent, format_quantity, format_span
from tasks.report.page import report_html
from tasks.report.settings import SettingRow
from tests.tasks.report.invented import clean_round, dpo_round

_VOID = {"meta", "img", "br", "link", "input", "hr"}


class _Reader(HTMLParser):
    """Collects text, attributes and ids; fails where tags don't nest."""

    def __init__(self) -> None:
        super().__init__()
        self.text: list[str] = []
        self.sources: list[str] = []
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.scripts: list[str] = []
        self.policy = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        given = dict(attrs)
        if given.get("http-equiv") == "Content-Security-Policy":
            self.policy = given["content"] or ""
        self.sources += [value or "" for name, value in attrs if name in ("src", "href", "srcset", "data", "action")]
        if tag not in _VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] == "script":
            self.scripts.append(data)
        elif self.open and self.open[-1] != "style":
            self.text.append(data)


def _read(html: str) -> _Reader:
    reader = _Reader()
    reader.feed(html)
    assert not reader.open
    return reader


def _text(report: page.RoundReport) -> str:
    return " ".join(" ".join(_read(report_html(report)).text).split())


@pytest.fixture(scope="module")
def html() -> str:
    return report_html(dpo_round())


def test_the_page_needs_nothing_else(html: str) -> None:
    reader = _read(html)
    assert reader.sources
    for source in reader.sources:
        assert source.startswith(("data:image/", "#"))
    assert not reader.tags & {"link", "iframe", "object", "embed", "base", "form"}
    for script in reader.scripts:  # three.js names namespaces, and where its algorithms are from
        html = html.replace(script, "")
    assert "http:" not in html
    assert "https:" not in html
    assert "url(" not in html
    assert "@import" not in html
    targets = [source[1:] for source in reader.sources if source.startswith("#")]
    assert all(f'id="{target}"' in html for target in targets)


def test_its_own_policy_lets_run_its_own_script_alone(html: str) -> None:
    reader = _read(html)
    bodies, script = reader.scripts
    assert json.loads(bodies)["people"]
    digest = b64encode(sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}';" in reader.policy
    assert reader.policy.startswith("default-src 'none'; img-src data:;")
    assert "Three.js Authors" in script
    (without,) = _read(report_html(replace(dpo_round(), bodies=[]))).scripts
    assert "Three.js Authors" not in without, "nothing is there that nobody needs"


def test_it_says_how_large_it_is(html: str) -> None:
    assert f"one file of {len(html.encode()) / 1e6:.1f} MB" in html
    assert "000 MB" not in html


def test_what_is_said_in_a_tooltip_is_said_for_every_measure(html: str) -> None:
    report = dpo_round()
    ids = set(re.findall(r'<dd id="([^"]+)"', html))
    terms = re.findall(r'<span class="term" tabindex="0" aria-describedby="([^"]+)">([^<]+)</span>', html)
    assert {one for described, _ in terms for one in described.split()} <= ids
    told = {unescape(words) for _, words in terms}
    measures = {row.name for group in report.headline for row in group.rows}
    measures |= {curve.title for curve in report.curves} | {"change", "Margins", "Score against error", "score"}
    measures |= {"disagreement", "Spearman within instance", "random pairs", "less noise"}
    assert measures <= told


def test_the_same_report_gives_the_same_page(html: str) -> None:
    assert report_html(dpo_round()) == html


def test_every_number_given_is_on_the_page(html: str) -> None:
    report = dpo_round()
    text = " ".join(" ".join(_read(html).text).split())
    wanted: list[str] = []
    for group in report.headline:
        for row in group.rows:
            wanted += [format_quantity(row.before, row.unit), format_quantity(row.after, row.unit), f"{row.n:,}"]
            for change in [row.change, *row.controls.values()]:
                assert change is not None
                wanted += [format_percent(change.value), format_span(change.low, change.high, "%")]
    for number in report.numbers:
        wanted += [format_quantity(number.value, number.unit), format_span(number.low, number.high, number.unit)]
    for gate in report.gates:
        wanted += [gate.name, gate.when, gate.limit, gate.note, format_quantity(gate.value, gate.unit)]
        wanted.append(format_span(gate.low, gate.high, gate.unit))
    for stage in report.stages:
        counts = (stage.units_in, stage.ok, stage.filtered, stage.failed)
        wanted += [
            stage.name,
            stage.stage_key,
            stage.state,
            format_duration(stage.seconds),
            *(f"{c:,}" for c in counts),
        ]
    for failure in report.failures:
        wanted += [failure.stage, failure.outcome, failure.reason, str(failure.count), *failure.examples]
    for overlay in report.overlays:
        assert overlay.before_error_mm is not None
        assert overlay.after_error_mm is not None
        wanted += [overlay.instance_id, f"{overlay.before_error_mm:.1f}", f"{overlay.after_error_mm:.1f}"]
    assert report.mix is not None
    wanted += [*report.mix.counted, report.mix.note]
    for row_of_mix in report.mix.rows:
        wanted += [row_of_mix.data, f"{100 * row_of_mix.share:.1f}\u00a0%", *(f"{c:,}" for c in row_of_mix.counts)]
    for gallery in report.galleries:
        wanted += [gallery.title, gallery.note if gallery.strips else gallery.missing]
        for person in gallery.strips:
            wanted += [person.instance_id, person.note]
            wanted += [text for view in person.views for text in (view.title, view.number)]
    for model in report.models:
        wanted += [model.role, model.digest, model.config_digest[:12], *(parent[:12] for parent in model.parents)]
    for setting in report.settings:
        wanted += [setting.name, setting.value, setting.usual, setting.description, setting.origin or "not known"]
    wanted += [*report.provenance, *report.provenance.values(), *report.versions, *report.versions.values()]
    assert report.score_against_error is not None
    wanted += [format_number(report.score_against_error.spearman_within.value), "0.512", "400 × 20"]
    assert report.margins is not None
    wanted += ["1,987", format_number(float(report.margins.values.mean()))]
    missing = [value for value in wanted if " ".join(value.split()) not in text]
    assert not missing


def test_pictures_and_figures_are_all_there(html: str) -> None:
    report = dpo_round()
    views = sum(len(person.views) for gallery in report.galleries for person in gallery.strips)
    assert html.count("data:image/jpeg") == 3 * len(report.overlays) + views
    assert html.count("data:image/svg+xml") == 3 + len(report.curves) + len(report.trends)


def test_text_is_escaped_wherever_it_comes_from() -> None:
    evil = "<script>alert('x')</script>&\"'"
    report = dpo_round()
    row = replace(report.headline[0].rows[0], name=evil, note=evil, controls={evil: Interval(1, 0, 2)})
    row_of_people = report.galleries[0].strips[0]
    report = replace(
        report,
        title=evil,
        campaign=evil,
        created_at=evil,
        outcome=evil,
        summary=evil,
        notices=[evil],
        before_name=evil,
        after_name=evil,
        headline=[page.HeadlineGroup(evil, [row], evil)],
        controls=[page.Control(evil, evil)],
        numbers=[replace(report.numbers[0], name=evil, note=evil)],
        numbers_title=evil,
        gates=[replace(report.gates[0], name=evil, when=evil, limit=evil, note=evil)],
        stages=[
            replace(report.stages[0], name=evil, stage_key=evil, state=evil, unit=evil, reads=[evil], models=[evil])
        ],
        failures=[page.FailureRow(evil, evil, evil, 1, [evil])],
        curves=[replace(report.curves[0], title=evil, note=evil)],
        overlays=[replace(report.overlays[0], instance_id=evil, lists=[])],
        bodies=[replace(report.bodies[0], instance_id=evil)],
        diagnosis=Diagnosis(
            [Finding(evil, evil, [Row(evil, evil, 1.0)], [Cure(evil, evil, evil)])], [evil], [(evil, evil)]
        ),
        trends=[replace(report.trends[0], name=evil, split=evil, lines=[TrendLine(evil, [None, None])])],
        overlays_note=evil,
        galleries=[
            page.Gallery(evil, evil, [page.Strip(evil, [page.View(row_of_people.views[0].picture, evil, evil)], evil)]),
            page.Gallery(evil, evil, missing=evil),
        ],
        mix=page.MixTable([evil], [page.MixRow(evil, 1.0, [1])], evil),
        models=[page.ModelRow(evil, evil, [evil], evil)],
        profile=evil,
        settings=[SettingRow(evil, evil, evil, evil, evil, evil)],
        provenance={evil: evil},
        versions={evil: evil},
    )
    html = report_html(report)
    reader = _read(html)
    assert len(reader.scripts) == 2
    assert html.count("<script") == 2
    assert evil in json.loads(reader.scripts[0])["people"]
    assert unescape(" ".join(reader.text)).count(evil) > 40


def test_a_cleaning_round_says_what_it_lacks() -> None:
    text = _text(clean_round())
    assert "kept the old policy" in text
    assert "not passed" in text
    assert "AUC of the score for swapped labels 0.893 [0.881, 0.905] 2,000" in text
    for missing in (
        "No overlays",
        "to no hypotheses and to no pseudo-labels",
        "No pairs",
        "Nothing was trained",
        "Nothing failed",
        "Scores were not held",
    ):
        assert missing in text
    assert "10 unaccounted for" in text


def test_an_empty_report_is_still_a_page_and_warns() -> None:
    empty = page.RoundReport("DPO round 1", "tiny", "", "stopped", False, "", headline=[], controls=[])
    text = _text(empty)
    assert "No controls were measured" in text
    assert "No error was measured" in text
    assert "No gate was reached" in text


def test_the_page_says_what_its_measures_mean_and_no_others() -> None:
    meant = {one.measure: one.text for one in DEFINITIONS}
    said = _text(dpo_round())
    listed = ("MPVPE", "MPJPE", "zero-noise", "expected", "best of M", "selected", "diversity", "drift", "change")
    for measure in (*listed, "Spearman", "margin", "preference accuracy"):
        assert f"{measure} {meant[measure]}" in said, measure
    assert meant["AUC"] not in said
    assert meant["AUC"] in _text(clean_round())
    assert meant["margin"] not in _text(clean_round())


def test_a_round_as_its_profile_has_it_says_so() -> None:
    assert "All fields are as the profile tiny has them" in _text(replace(dpo_round(), settings=[]))
    assert "No configuration was recorded" in _text(clean_round())


def test_curves_are_told_by_their_windows() -> None:
    text = _text(dpo_round())
    assert "Medians over windows of 5 batches each" in text
    (first, last) = (np.median(dpo_round().curves[1].series[0].values[part]) for part in (slice(5), slice(-5, None)))
    assert f"accuracy: {first:.3f} → {last:.3f}" in text
    few = dpo_round().curves[1]
    few = replace(few, series=[replace(few.series[0], steps=np.arange(4), values=np.arange(4.0))])
    assert "Single batches, as they are too few" in _text(replace(dpo_round(), curves=[few]))


def test_a_control_that_was_not_measured_is_said_and_one_that_is_unknown_is_refused() -> None:
    report = clean_round()
    row = replace(report.headline[0].rows[0], controls={"random pairs": Interval(1.1, 0.7, 1.5)}, change=None)
    text = _text(replace(report, headline=[page.HeadlineGroup("wild", [row])]))
    assert text.count("not measured") == 2
    with pytest.raises(ValueError, match=r"'expected MPVPE' has controls \['random pairs'\] that are not listed"):
        replace(report, headline=[page.HeadlineGroup("wild", [row])], controls=[])


def test_findings_are_told_with_their_rows_and_fields() -> None:
    text = _text(dpo_round())
    assert "found: both denoising errors rise." in text
    assert (
        "winner's denoising error against the reference's winner_change steps 140 to 196 0.021 [0.018, 0.025]" in text
    )
    assert "align.beta now 10.0 : lower it" in text
    assert "Looked for, and not so: diversity collapses." in text
    assert "Could not be looked for: the winner's denoising error rises (no curves)." in text
    assert "urve doctor" not in _text(clean_round())


def test_trends_have_their_numbers() -> None:
    text = _text(dpo_round()).replace("\u00a0", " ")
    assert "1 89.7 mm [88.9, 90.4] 97.0 mm" in text
    assert "Over the rounds" not in _text(clean_round())


def test_overlays_may_lack_a_label_and_have_a_photo() -> None:
    overlay = dpo_round().overlays[0]
    bare = replace(overlay, label=None, photo=np.zeros((8, 8, 3), np.uint8), before_error_mm=None, after_error_mm=None)
    html = report_html(replace(clean_round(), overlays=[bare]))
    assert html.count("data:image/jpeg") == 3
    assert 'alt="the crop"' in html
    assert "mesh of the label" not in html


@pytest.mark.parametrize(
    ("low", "high", "better", "direction"),
    [
        (-2, -1, "lower", "better"),
        (-2, -1, "higher", "worse"),
        (1, 2, "lower", "worse"),
        (1, 2, "higher", "better"),
        (-1, 1, "lower", "unclear"),
        (-1, 0, "lower", "unclear"),
        (float("nan"), float("nan"), "lower", "unclear"),
        (1, 2, "neither", "neutral"),
    ],
)
def test_only_an_interval_on_one_side_of_zero_says_something(
    low: float, high: float, better: page.Better, direction: str
) -> None:
    assert direction_of(Interval((low + high) / 2, low, high), better) == direction


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (98.43, "mm", "98.4\u00a0mm"),
        (-8.92, "%", "−8.9\u00a0%"),
        (0.04, "%", "0.04\u00a0%"),
        (-0.001, "%", "0.00\u00a0%"),
        (0.4137, "none", "0.414"),
        (40000, "count", "40,000"),
        (None, "mm", "not measured"),
        (float("nan"), "mm", "not measured"),
        (float("-inf"), "none", "−∞"),
    ],
)
def test_numbers_have_the_decimals_of_their_unit(value: float | None, unit: str, text: str) -> None:
    assert format_quantity(value, unit) == text


def test_changes_carry_their_sign_unless_they_are_zero() -> None:
    shown = [format_percent(value) for value in (3.21, -3.21, 0.0, -0.0, 0.002, float("nan"))]
    assert shown == ["+3.2\u00a0%", "−3.2\u00a0%", "0.0\u00a0%", "0.0\u00a0%", "0.00\u00a0%", "not measured"]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(4.21, "4.2 s"), (59.96, "1 min 00 s"), (185, "3 min 05 s"), (3599.7, "1 h 00 min"), (7620, "2 h 07 min")],
)
def test_durations(seconds: float, text: str) -> None:
    assert re.sub(r"\s", " ", format_duration(seconds)) == text
