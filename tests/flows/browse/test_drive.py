"""A person at the pages: filters, opens somebody, moves both sliders, turns a body; by keyboard, at two widths."""

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from infra import rounds
from infra.services import free_port
from schemas.ids import StageKey
from schemas.splits import WILD_TEST, WILD_TRAIN
from tasks.engine.context import Context
from tasks.stages.evaluate import Evaluate
from tasks.stages.generate import Generate
from tasks.stages.pair import Pair
from tasks.stages.score import Score
from tests.tasks import micro

sync_api = pytest.importorskip("playwright.sync_api")
axe = pytest.importorskip("axe_playwright_python.sync_playwright")
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = [pytest.mark.slow, pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed")]
PERSON_TIMEOUT_MS = 60_000
BESIDE = """() => {
    const width = document.documentElement.clientWidth;
    if (document.documentElement.scrollWidth <= width) return [];
    return [...document.querySelectorAll("main *")].filter((one) => one.getBoundingClientRect().right > width + 1)
        .map((one) => one.outerHTML.slice(0, 80));
}"""
"""What makes a page wider than the window."""


@pytest.fixture(scope="module")
def link(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """What the command prints, over a store with an open round whose models are untrained."""
    store, ingest = micro.make_store(tmp_path_factory.mktemp("drive") / "store")
    policy, scorer = micro.untrained(store, "policy"), micro.untrained(store, "scorer")
    ingests = (StageKey(ingest),)
    outside = Context(store, micro.CONFIG, in_process=True)
    Evaluate(ingests, (WILD_TEST,), policy, scorer, micro.CONFIG.evaluate).run(outside)
    rounds.begin(store, micro.CONFIG.campaign, policy)
    rounds.open_round(store, micro.CONFIG.campaign, 1)
    inside = Context(store, micro.CONFIG, in_process=True, round=1)
    drawn = Generate(ingests, (WILD_TRAIN,), policy, micro.CONFIG.generate, 1).run(inside).key
    scores = Score(drawn, ingests, scorer).run(inside).key
    Pair(drawn, scores, micro.CONFIG.pair).run(inside)
    port = str(free_port())
    command = [sys.executable, "-m", "flows.cli.main", "browse", "--store", store.url, "--port", port]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[3]) as server:
        try:
            assert server.stdout is not None
            yield next(line.strip() for line in server.stdout if "token=" in line)
        finally:
            server.terminate()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with sync_api.sync_playwright() as playwright:
        arguments = ["--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=arguments)
        yield started
        started.close()


class Watched:
    """A page, and what went wrong on it."""

    def __init__(self, browser: Any, link: str, width: int, scheme: str) -> None:
        self.base = link.split("/?")[0]
        self.page = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme).new_page()
        self.page.set_default_timeout(PERSON_TIMEOUT_MS)
        self.trouble: list[str] = []
        self.page.on("console", lambda said: self.trouble.append(said.text) if said.type == "error" else None)
        self.page.on("pageerror", lambda error: self.trouble.append(str(error)))
        self.page.on("request", lambda asked: self._outside(asked.url))
        self.page.goto(link)

    def _outside(self, url: str) -> None:
        if not url.startswith((self.base + "/", "data:", "blob:")):
            self.trouble.append(f"asked for {url}")

    def serious(self) -> list[str]:
        """What axe-core finds serious on the page as it is."""
        found = axe.Axe().run(self.page).response["violations"]
        return [
            f"{one['id']}: {one['nodes'][0]['html'][:200]}" for one in found if one["impact"] in ("serious", "critical")
        ]


def test_a_person_at_the_pages(browser: Any, link: str) -> None:
    watched = Watched(browser, link, 1280, "light")
    page = watched.page
    assert "token" not in page.url
    page.get_by_role("link", name="people").first.click()
    everyone = page.inner_text("#found .count")
    page.select_option("select[name=data]", "wild/train")
    page.wait_for_function(
        "before => document.querySelector('#found .count').textContent.trim() !== before", arg=everyone
    )
    page.select_option("select[name=sort]", "disagreement")
    page.wait_for_selector("#found dt:has-text('disagreement')")
    assert "data=wild" in page.url
    page.locator("#found .card a").first.focus()
    page.keyboard.press("Enter")

    cut = page.locator("[data-cut]")
    cut.focus()
    for _ in range(5):
        page.keyboard.press("ArrowRight")
    assert page.locator(".stack.cut").get_attribute("style") == "--cut: 55%;"

    step = page.locator("[data-step]")
    step.scroll_into_view_if_needed()
    page.wait_for_function("() => document.querySelector('[data-step]').max > 0")
    first = page.locator("img[data-picture]").get_attribute("src")
    step.focus()
    page.keyboard.press("ArrowRight")
    page.wait_for_function("() => document.querySelector('[data-steps] [data-words]').textContent.startsWith('Step 2')")
    assert page.locator("img[data-picture]").get_attribute("src") != first

    canvas = page.locator("canvas").first
    canvas.scroll_into_view_if_needed()
    page.wait_for_function(
        "() => [...document.querySelectorAll('canvas')].every(one => one.dataset.shown && one.dataset.turn)"
    )
    before = canvas.get_attribute("data-turn"), page.locator("canvas").nth(1).get_attribute("data-turn")
    canvas.focus()
    page.keyboard.press("ArrowRight")
    by_keys = canvas.get_attribute("data-turn")
    assert by_keys != before[0]
    assert page.locator("canvas").nth(1).get_attribute("data-turn") != before[1]
    box = canvas.bounding_box()
    page.mouse.move(box["x"] + 100, box["y"] + 100)
    page.mouse.down()
    page.mouse.move(box["x"] + 160, box["y"] + 120, steps=4)
    page.mouse.up()
    assert canvas.get_attribute("data-turn") != by_keys
    drawn = "canvas => new Set(canvas.toDataURL()).size > 20 && canvas.toDataURL().length > 5000"
    assert canvas.evaluate(drawn)

    page.get_by_role("button", name=re.compile("Make sample")).nth(1).click()
    page.wait_for_selector("#again img")
    assert "equal, to the last bit" in page.inner_text("#again")
    assert watched.trouble == []


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")])
def test_every_page_is_readable(browser: Any, link: str, width: int, scheme: str) -> None:
    watched = Watched(browser, link, width, scheme)
    page = watched.page
    paths = ["/", "/people", "/pairs", "/failures", "/people?score_from=x"]
    paths.append("/sql?q=SELECT instance_id, margin FROM pairs LIMIT 3".replace(" ", "+"))
    paths.append("/person?id=wild/train/00000000%230")
    for path in paths if width > 1000 else paths[-3:]:
        page.goto(watched.base + path)
        assert watched.serious() == [], path
        assert page.evaluate(BESIDE) == [], path
    page.goto(watched.base + paths[-2])
    page.get_by_role("tab", name="table").focus()
    page.keyboard.press("ArrowRight")
    assert page.locator("#panel-chart canvas").count() == 1
    page.keyboard.press("ArrowRight")
    assert page.locator("#panel-grid .card").count() >= 1
    assert [one for one in watched.trouble if "404" not in one] == []


def test_a_keyboard_meets_all_that_a_mouse_does(browser: Any, link: str) -> None:
    page = Watched(browser, link, 1280, "light").page
    page.goto(link.split("/?")[0] + "/pairs")
    wanted = page.locator("a, button, select, input:not([type=hidden])").count()
    seen = set()
    for _ in range(wanted + 10):
        page.keyboard.press("Tab")
        seen.add(
            page.evaluate("[...document.querySelectorAll('a, button, select, input')].indexOf(document.activeElement)")
        )
    assert len(seen - {-1}) == wanted
