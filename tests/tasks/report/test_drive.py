"""A person at a report, as a file on a disk: sorts people, moves a slider, enlarges, turns a body; two widths."""

import shutil
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from infra.store import Store
from schemas.ids import ModelDigest, StageKey
from tasks.engine.context import Context
from tasks.report.content import RoundReport
from tasks.report.facts import RoundFacts, StageRun
from tasks.report.fill import fill_round
from tasks.report.page import report_html
from tasks.stages.compare import Compare
from tasks.stages.evaluate import Evaluate
from tests.tasks import micro
from tests.tasks.conftest import MicroStore
from tests.tasks.report.invented import dpo_round
from tests.watched import BESIDE, CHROMIUM, Watched, started_browser

pytestmark = [pytest.mark.slow, pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed")]
SPLIT = micro.CONFIG.sources.held_out[0]


class Made(NamedTuple):
    report: RoundReport
    link: str


@pytest.fixture(scope="module")
def made(shared_micro_store: MicroStore, tmp_path_factory: pytest.TempPathFactory) -> Made:
    """The page of a round that compared two untrained policies; what was trained, nobody did."""
    folder = tmp_path_factory.mktemp("report")
    shutil.copytree(shared_micro_store.store.root, folder / "store")
    context = Context(Store.open(folder / "store"), micro.CONFIG, in_process=True)
    ingests = (StageKey(shared_micro_store.ingest_key),)
    policy, scorer = ModelDigest(shared_micro_store.policy), ModelDigest(shared_micro_store.scorer)
    other = ModelDigest(micro.untrained(context.store, "policy", seed=2))
    before, after = (
        Evaluate(ingests, (SPLIT,), one, scorer, micro.CONFIG.evaluate).run(context).key for one in (policy, other)
    )
    compared = Compare(before, after, {}, drift=()).run(context).key
    runs = (
        StageRun("evaluate", "before", before, "run"),
        StageRun("evaluate", "after", after, "run"),
        StageRun("compare", "", compared, "run"),
    )
    facts = RoundFacts("dpo", "micro", 1, policy, other, policy, scorer, runs)
    filled = fill_round(context.store, micro.CONFIG, facts, datetime(2026, 3, 14, tzinfo=UTC))
    invented = dpo_round()
    filled = replace(filled, diagnosis=invented.diagnosis, trends=invented.trends, galleries=invented.galleries)
    (folder / "report.html").write_text(report_html(filled), "utf-8")
    return Made(filled, (folder / "report.html").as_uri())


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with started_browser() as started:
        yield started


def shown(page: Any) -> list[str]:
    """The names of the people that are seen, in their order."""
    names: list[str] = page.eval_on_selector_all(".person:not([hidden])", "all => all.map(one => one.dataset.person)")
    return names


def test_people_are_listed_and_sorted(made: Made, browser: Any) -> None:
    watched = Watched(browser, made.link, 1280)
    page, people = watched.page, {one.instance_id: one for one in made.report.overlays}
    assert shown(page) == sorted(name for name, one in people.items() if "first" in one.lists)
    page.select_option("[data-list]", "improved")
    improved = [one for one in people.values() if "improved" in one.lists]
    assert shown(page) == [one.instance_id for one in sorted(improved, key=lambda one: one.change_mm or 0)]
    assert all((one.change_mm or 0) < 0 for one in improved)
    page.select_option("[data-list]", "disputed")
    assert shown(page)[0] == max(people.values(), key=lambda one: one.disagreement_mm or 0).instance_id
    page.select_option("[data-list]", "")
    for by in ("error", "change", "score", "disagreement"):
        page.select_option("[data-by]", by)
        for greatest_first in (False, True):
            page.set_checked("[data-descending]", greatest_first)
            values = {
                "error": lambda one: one.after_error_mm,
                "change": lambda one: one.change_mm,
                "score": lambda one: one.score,
                "disagreement": lambda one: one.disagreement_mm,
            }[by]
            assert [values(people[name]) for name in shown(page)] == sorted(
                map(values, people.values()), reverse=greatest_first
            )
    assert page.inner_text("[data-said]").startswith(f"{len(people)} people, by disagreement")
    assert watched.trouble == []


def test_sliders_pictures_meanings_and_bodies_by_keyboard(made: Made, browser: Any) -> None:
    watched = Watched(browser, made.link, 1280)
    page = watched.page
    person = page.locator(".person:not([hidden])").first
    cut = person.locator("[data-cut]")
    cut.focus()
    for _ in range(5):
        page.keyboard.press("ArrowRight")
    assert person.locator(".stack.cut").get_attribute("style") == "--cut: 55%;"
    assert person.locator(".stack").bounding_box()["width"] == pytest.approx(320, abs=1)

    person.locator(".zoom").nth(1).focus()
    page.keyboard.press("Enter")
    large = page.locator("#zoom[open] img")
    assert large.get_attribute("alt") == "mesh of the policy before"
    assert large.bounding_box()["width"] > 500
    page.keyboard.press("ArrowRight")
    assert large.get_attribute("alt") == "mesh of the policy after"
    assert person.get_attribute("data-person") in page.inner_text("#zoom-words")
    page.keyboard.press("Escape")
    assert page.locator("#zoom[open]").count() == 0
    assert page.evaluate("document.activeElement.className") == "zoom"

    term = page.locator("#headline .term", has_text="zero-noise MPVPE").first
    term.focus()
    meaning = page.locator("#meaning")
    assert meaning.is_visible()
    assert "MPVPE: mean distance" in meaning.inner_text()
    assert "zero-noise: error" in meaning.inner_text()
    page.keyboard.press("Escape")
    assert not meaning.is_visible()
    term.hover()
    assert meaning.is_visible()

    page.locator("[data-turn]").first.click()
    canvas = page.locator("canvas").first
    page.wait_for_function(
        "[...document.querySelectorAll('canvas')].every(one => one.dataset.shown && one.dataset.turn)"
    )
    before = [page.locator("canvas").nth(place).get_attribute("data-turn") for place in (0, 1)]
    canvas.focus()
    page.keyboard.press("ArrowRight")
    by_keys = [page.locator("canvas").nth(place).get_attribute("data-turn") for place in (0, 1)]
    assert by_keys[0] != before[0]
    assert by_keys[1] != before[1], "both turn together"
    box = canvas.bounding_box()
    page.mouse.move(box["x"] + 100, box["y"] + 100)
    page.mouse.down()
    page.mouse.move(box["x"] + 160, box["y"] + 120, steps=4)
    page.mouse.up()
    assert canvas.get_attribute("data-turn") != by_keys[0]
    drawn = "canvas => canvas.toDataURL().length"
    with_photograph = canvas.evaluate(drawn)
    assert with_photograph > 5000
    page.set_checked("[data-with-photo]", False)
    assert canvas.evaluate(drawn) < with_photograph, "the photograph lay behind the body"
    page.set_checked("[data-with-label]", True)
    assert page.inner_text("#bodies [data-words]") == ""
    assert watched.trouble == []


@pytest.mark.parametrize("width", [1280, 390])
def test_it_is_readable(made: Made, browser: Any, width: int) -> None:
    watched = Watched(browser, made.link, width)
    assert watched.page.evaluate(BESIDE) == []
    assert watched.serious() == []
    assert watched.trouble == []


def test_it_is_small_enough_to_be_sent(made: Made) -> None:
    assert len(made.report.bodies) == 8
    size = Path(made.link.removeprefix("file://")).stat().st_size
    assert size < 5e6, f"{size / 1e6:.1f} MB"
