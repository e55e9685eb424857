"""A person at the pages: filters, opens somebody, moves both sliders, turns a body, and judges ten pairs, which the
open round then trains on; by keyboard, at two widths."""

import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

import flows.run.session
import tasks.train.align
import tests.watched
from flows.dpo_round import dpo_round
from flows.run.configuration import Choices
from infra import reviews
from infra.stages import records
from infra.standing import newest_ingest
from infra.store import Store
from schemas.ids import StageKey
from schemas.splits import WILD_TEST
from tasks.engine.context import Context
from tasks.stages.evaluate import Evaluate
from tasks.train.pairs import PreferencePairs, load_pairs
from tests.flows.browse.conftest import served
from tests.flows.judged import ends, times
from tests.prefect_server import PrefectServer
from tests.watched import BESIDE, CHROMIUM, started_browser

pytestmark = [pytest.mark.slow, pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed")]
JUDGED: dict[str, Any] = yaml.safe_load((Path(__file__).parents[3] / "campaigns" / "judged.yaml").read_text("utf-8"))
FILE: dict[str, Any] = JUDGED | {
    "campaign": "looked-at",
    "synthesize": {"source_train": 16, "source_test": 4, "scorer_train": 16, "wild_train": 12, "wild_validation": 4,
                   "wild_test": 4},
    "sources": JUDGED["sources"] | {"test": [], "drift": []},
    "hypotheses": {"keep": "none"},
}  # fmt: skip
"""The campaign of the tutorial, with fewer people."""
KEYS = "asraasaraa"
"""What is pressed for each of ten pairs; at the third a verdict is taken back before."""
VERDICTS = {"a": reviews.ACCEPT, "s": reviews.SWAP, "r": reviews.REJECT}


class Waiting(NamedTuple):
    """A store whose round waits for reviews, what the command prints that shows it, and what trainings will read."""

    store: Store
    link: str
    trained: dict[str, PreferencePairs]
    """By the key of the stage whose pairs they are."""


@pytest.fixture(scope="module")
def waiting(prefect_server: PrefectServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Waiting]:
    """The round's hypotheses are not kept; those of an evaluation are."""
    store = Store.open(tmp_path_factory.mktemp("drive") / "store")
    trained: dict[str, PreferencePairs] = {}

    def seen(opened: Store, key: StageKey, *others: Any) -> PreferencePairs:
        trained[key] = load_pairs(opened, key, *others)
        return trained[key]

    with prefect_server.used(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(flows.run.session, "IN_PROCESS", True)
        patch.setattr(tasks.train.align, "load_pairs", seen)
        dpo_round(store.url, config=FILE)
        config = Choices(config=FILE).configured().config
        (drawn,) = records(store, "draw")
        people = (newest_ingest(store, WILD_TEST),), (WILD_TEST,)
        Evaluate(*people, *drawn.models, config.evaluate).run(Context(store, config, in_process=True))
        with served(store) as (link, _):
            yield Waiting(store, link, trained)


@pytest.fixture(scope="module")
def link(waiting: Waiting) -> str:
    return waiting.link


@pytest.fixture(scope="module")
def browser(link: str) -> Iterator[Any]:
    """It goes before the server, which waits for connections to end."""
    with started_browser() as started:
        yield started


class Watched(tests.watched.Watched):
    """A page on which somebody judges, too."""

    def heading(self, words: str) -> None:
        """Wait until the page has this heading."""
        # a verdict is taken once a person can have seen the pair
        seen = "!document.querySelector('.htmx-request, #judging:not([data-seen])')"
        there = f"words => document.querySelector('h1')?.textContent === words && {seen}"
        self.page.wait_for_function(there, arg=words)

    def listed(self, asked: str) -> None:
        """Wait until the list is there that an address with these words asks for."""
        # what has the focus in the list before goes with it, and so does the key that is pressed
        there = "asked => location.search.includes(asked) && !document.querySelector('.htmx-request')"
        self.page.wait_for_function(there, arg=asked)

    def named(self, name: str) -> None:
        """Say who judges."""
        self.page.goto(self.base + "/judge")
        self.page.keyboard.type(name)
        self.page.keyboard.press("Enter")
        self.heading("Judge pairs")


def test_a_person_at_the_pages(browser: Any, link: str) -> None:
    watched = Watched(browser, link, 1280, "light")
    page = watched.page
    assert "token" not in page.url
    page.get_by_role("link", name="people").first.click()
    everyone = page.inner_text("#found .count")
    page.select_option("select[name=data]", "wild/test")
    watched.listed("data=wild")
    assert page.inner_text("#found .count") != everyone
    page.select_option("select[name=sort]", "disagreement")
    watched.listed("sort=disagreement")
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

    page.get_by_label("photograph", exact=True).uncheck()
    without = canvas.evaluate("canvas => canvas.toDataURL()")
    page.get_by_label("label", exact=True).check()
    page.wait_for_function("before => document.querySelector('canvas').toDataURL() !== before", arg=without)

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
    paths.append("/person?id=wild/train/00000000.jpg%230")
    of_charts = paths[-2]
    worst = "/judge?sampling=worst&count=3"
    paths += ["/judge", worst, f"{worst}&blind=1&at=0", f"{worst}&blind=1&at=3"]
    watched.named("looker")
    for path in paths:
        page.goto(watched.base + path)
        assert watched.serious() == [], path
        assert page.evaluate(BESIDE) == [], path
        if path.startswith("/person"):
            assert page.locator(".strip li").count() == 5, "hypotheses that were not kept"
    page.goto(watched.base + of_charts)
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


def test_ten_pairs_are_judged_by_keyboard_and_the_round_trains_on_what_was_said(browser: Any, waiting: Waiting) -> None:
    watched = Watched(browser, waiting.link, 1280, "light")
    page, press = watched.page, watched.page.keyboard.press
    page.goto(watched.base)
    assert "waits for reviews: 0 of its 12 pairs are judged" in page.inner_text("main")
    assert page.get_by_role("link", name="judge").count() == 2, "in the navigation, and beside the round"
    watched.named("anna")
    page.get_by_label("How many").fill("10")
    press("Enter")
    watched.heading("Pair 1 of 10")
    for picture in page.locator(".trio img").all():
        drawn = page.request.get(watched.base + str(picture.get_attribute("src")))
        assert drawn.headers["content-type"] == "image/jpeg", "it was not kept, so it is drawn again"
    press("?")
    assert page.get_by_role("dialog").is_visible()
    press("r")
    press("Escape")
    press("3")
    for number, key in enumerate(KEYS, start=1):
        watched.heading(f"Pair {number} of 10")
        if number == 2:
            page.wait_for_function("() => [...document.querySelectorAll('canvas')].every(one => one.dataset.shown)")
            assert watched.serious() == []
            press("3")
        if number == 3:
            press("a")
            watched.heading("Pair 4 of 10")
            press("u")
            watched.heading("Pair 3 of 10")
            press("n")
            page.keyboard.type("sr <b>both")
            press("Escape")
        press(key)
    watched.heading("10 of 10 judged")
    assert "Round 1 of campaign looked-at waits for these" in page.inner_text("#judging")
    assert watched.trouble == []

    rows = [one.review for one in reviews.history(waiting.store) if one.review.reviewer == "anna"]
    assert len(rows) == len(KEYS) + 2, "a verdict that was taken back, and the row that takes it"
    said = [by["anna"] for by in reviews.latest(waiting.store).values()]
    assert [one.verdict for one in said] == [VERDICTS[key] for key in KEYS]
    assert [one.note for one in said if one.note] == ["sr <b>both"]
    assert all(one.seconds is not None and 0 < one.seconds < 100 for one in said)

    with ThreadPoolExecutor(1) as other:  # this thread is that of the browser's loop
        facts = other.submit(copy_context().run, dpo_round, waiting.store.url, config=FILE).result()
    assert any("People judged 10 of the 12 pairs: 6 accepted, 2 swapped, 2 rejected" in one for one in facts.notices)
    learned = waiting.trained[facts.trained_pairs()[0]]
    assert len(learned) == 10
    for one in said:
        winner, loser = ends(waiting.store, one.pair)
        read_as = (times(learned, winner, loser), times(learned, loser, winner))
        assert read_as == {"accept": (1, 0), "swap": (0, 1), "reject": (0, 0)}[one.verdict]

    page.goto(watched.base + "/pairs?said=swap&by=anna")
    assert page.locator(".card").count() == 2
    page.goto(watched.base + "/pairs?kind=trained")
    assert "of 10 pairs" in page.inner_text("#found .count")
