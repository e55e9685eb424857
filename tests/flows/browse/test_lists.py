"""Lists in a browser: another round is a page of that round, and what can't be had is said in the place of what was."""

from collections.abc import Iterator
from typing import Any

import pytest

from infra import reviews, rounds
from infra.reviews import PairName, Review
from infra.store import Store
from tests.flows.browse.conftest import answered, drawn, served
from tests.flows.browse.test_scopes import PEOPLE, Round
from tests.watched import CHROMIUM, Watched, started_browser

pytestmark = [pytest.mark.slow, pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed")]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """Two rounds, of whose pairs only the first's was judged."""
    made = Store.open(tmp_path_factory.mktemp("lists") / "store")
    rounds.begin(made, "c", "base")
    first = Round(made, 1, "base")
    first.leg(PEOPLE)
    pair = PairName(first.legs[0].pairs or "", PEOPLE[0], 1, 2)
    reviews.add(made, [Review(pair, "anna", reviews.SWAP)])
    Round(made, 2, first.decide()).leg(PEOPLE[:4])
    return made


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with started_browser() as started:
        yield started


def test_another_round_is_a_page_of_that_round(browser: Any, store: Store) -> None:
    with served(store) as (link, _):
        watched = Watched(browser, link, 1280)
        page = watched.page
        page.route("**/picture/*", drawn())
        page.goto(watched.base + "/pairs")
        assert "of 4 pairs" in page.inner_text("#found .count")
        assert page.locator("select[name=said]").count() == 0, "nobody has said anything of that round's pairs"
        page.get_by_label("Round or drawing").focus()
        page.keyboard.press("ArrowDown")
        page.wait_for_selector("#found .count:has-text('of 6 pairs')")
        assert page.evaluate("document.activeElement.name") == "scope", "who goes by keyboard stays where they were"
        judge = page.get_by_role("link", name="Judge some").get_attribute("href")
        assert judge == "/judge?scope=c%2F1"
        page.get_by_label("Reviews").select_option("swap")
        page.wait_for_selector("#found .count:has-text('of 1 pairs')")
        page.get_by_label("Round or drawing").select_option("c/2")
        page.wait_for_selector("#found .count:has-text('No pairs')")
        assert page.get_by_label("Reviews").input_value() == "swap", "what the list goes by is said"
        page.get_by_label("Reviews").select_option("")
        page.wait_for_selector("#found .count:has-text('of 4 pairs')")
        assert "scope=c%2F2" in page.url
        page.go_back()
        page.wait_for_selector("#found .count:has-text('No pairs')")
        assert watched.trouble == []


def test_what_cannot_be_had_is_said_where_it_was_to_be(browser: Any, store: Store) -> None:
    with served(store) as (link, server):
        watched = Watched(browser, link, 1280)
        page, told = watched.page, "#found [role=alert]"
        page.route("**/picture/*", drawn())
        page.goto(watched.base + "/pairs")
        page.get_by_label("Margin, at least").fill("much")
        page.keyboard.press("Enter")
        page.wait_for_selector(f"{told}:has-text('is to be a number')")
        assert page.locator("#found .card").count() == 0, "pairs of before are no answer"
        page.get_by_label("Margin, at least").fill("0.1")
        page.keyboard.press("Enter")
        page.wait_for_selector("#found .count:has-text('of 3 pairs')")
        for status, words in ((401, "open the link that it printed"), (500, "met a defect")):
            page.route("**/pairs?*", answered(status=status, body="<b>no</b>"))
            page.get_by_label("Sorted by").select_option("margin" if status == 401 else "name")
            page.wait_for_selector(f"{told}:has-text('{words}')")
            page.unroute("**/pairs?*")
        server.terminate()
        server.wait()
        page.get_by_label("Round or drawing").select_option("c/1")
        page.wait_for_selector(f"{told}:has-text('start adhmr browse again')")


def test_a_filter_waits_for_no_picture_of_the_list_before(browser: Any, store: Store) -> None:
    with served(store) as (link, _):
        watched = Watched(browser, link, 1280)
        page = watched.page
        page.route("**/picture/*", lambda route: None)
        page.goto(watched.base + "/pairs", wait_until="domcontentloaded")
        page.evaluate("() => { window.before = [...document.images]; }")
        assert page.evaluate("before.length") == 8
        page.get_by_label("Margin, at least").fill("0.1")
        page.keyboard.press("Enter")
        page.wait_for_selector("#found .count:has-text('of 3 pairs')")
        assert page.evaluate("before.every((picture) => !picture.hasAttribute('src'))")
