"""Keys that come too soon: while an answer is on its way, as a page is swapped, before a pair is to be seen. None is
lost in silence, and none says anything of another pair than the one that was seen."""

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from flows.browse.pictures import problem_picture
from infra import rounds
from infra.reviews import PairName, history, latest
from infra.store import Store
from tests.flows.browse.conftest import answered, drawn, served
from tests.infra.reviewing import store_with_pairs
from tests.watched import CHROMIUM, Watched, started_browser

pytestmark = [pytest.mark.slow, pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed")]
TYPED = """([keys, after]) => document.addEventListener("htmx:afterSwap", () => {
    for (const key of keys)
        setTimeout(() => document.body.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true })), after);
}, { once: true })"""
"""Presses keys so many milliseconds after the next pair was put into the page; -1: in that very moment."""
AT_ONCE = TYPED.replace("setTimeout(() => ", "(").replace(")), after);", ")));")
SEEN = (
    """number => document.querySelector("#judging[data-seen] h1")?.textContent === `Pair ${number} of 10` && !under"""
)


def of_person(number: int) -> str:
    """Addresses of the bodies of the pair after so many others: each has a person of its own."""
    return f"**/picture/overlay*{number:08d}*"


class Judged:
    """A list of ten pairs in a browser, and what is said of them."""

    def __init__(self, watched: Watched, store: Store, pairs: list[PairName], reviewer: str) -> None:
        self.page, self.store, self.pairs, self.reviewer = watched.page, store, pairs, reviewer
        self.press = self.page.keyboard.press
        self.page.route("**/picture/*", drawn())
        self.page.goto(watched.base + "/judge")
        self.page.keyboard.type(reviewer)
        self.press("Enter")
        self.page.wait_for_selector("h1:has-text('Judge pairs')")
        self.page.goto(watched.base + "/judge?scope=c/1&sampling=uncertain&count=10")
        self.sees(1)

    def sees(self, number: int) -> None:
        """Wait until this pair is in sight."""
        self.page.wait_for_function(SEEN, arg=number)

    def typed(self, script: str, keys: str, after: int = 0) -> None:
        """Press keys around the moment in which the next pair comes."""
        self.page.evaluate(script, [list(keys), after])

    @property
    def said(self) -> list[str]:
        """What holds of each pair of the list, from the first to the last that something is said of."""
        by_pair = {by[self.reviewer].pair: by[self.reviewer].verdict for by in self._latest()}
        found = [by_pair.get(pair, "") for pair in self.pairs]
        while found and not found[-1]:
            found.pop()
        return found

    def says(self, *expected: str, rows: int | None = None) -> None:
        """Wait until this is said, by so many rows of the table, and see that it stays so."""
        deadline = time.monotonic() + 30
        while (self.said != list(expected) or rows not in (None, self.rows)) and time.monotonic() < deadline:
            self.page.wait_for_timeout(50)
        self.page.wait_for_timeout(200)
        assert self.said == list(expected)
        self.page.wait_for_selector("#judging[data-seen]")

    @property
    def rows(self) -> int:
        """All that this reviewer has ever said, and taken back."""
        return sum(one.review.reviewer == self.reviewer for one in history(self.store))

    def _latest(self) -> list[Any]:
        return [by for by in latest(self.store).values() if self.reviewer in by]

    def slow(self, path: str, milliseconds: int = 400) -> None:
        """Have answers to such requests on their way for so long."""

        def later(route: Any) -> None:
            self.page.wait_for_timeout(milliseconds)
            route.continue_()

        self.page.route(path, later)


@pytest.fixture(scope="module")
def judge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Judged]]:
    store, pairs = store_with_pairs(tmp_path_factory.mktemp("keys") / "store")
    rounds.begin(store, "c", "ba5e" * 16)
    rounds.open_round(store, "c", 1, "dpo round")
    with served(store) as (link, _), started_browser() as browser:
        yield lambda reviewer: Judged(Watched(browser, link, 1280), store, pairs, reviewer)


def test_keys_at_the_moment_of_the_swap_are_about_the_pair_before(judge: Callable[[str], Judged]) -> None:
    here = judge("anna")
    here.typed(AT_ONCE, "s")
    here.press("a")
    here.says("swap")
    for after in (0, 5, 10, 19, 40):
        number = len(here.said) + 1
        here.sees(number)
        here.typed(TYPED, "s", after)
        here.press("a")
        here.says(*["swap"] * number)
    here.sees(7)
    here.typed(AT_ONCE, "u")
    before = here.rows
    here.press("r")
    here.says(*["swap"] * 6, rows=before + 2)
    here.sees(7)


def test_keys_while_an_answer_is_on_its_way_wait_for_it(judge: Callable[[str], Judged]) -> None:
    here = judge("ben")
    here.slow("**/judge")
    for key in "asr":
        here.press(key)
    here.says("reject")
    here.sees(2)
    for key in "aa":
        here.press(key)
    here.says("reject", "accept")
    here.sees(3)
    before = here.rows
    for key in "aujk":
        here.press(key)
    here.says("reject", "accept", rows=before + 2)
    here.sees(3)
    here.press("a")
    here.press("n")
    here.page.keyboard.type("arms")
    here.says("reject", "accept", "accept")
    here.sees(4)
    assert here.page.input_value("textarea") == "arms"


def test_a_verdict_before_a_pair_is_seen_is_said_of_none_and_the_page_tells(judge: Callable[[str], Judged]) -> None:
    here = judge("carl")
    held: list[Any] = []
    here.page.route(of_person(3), lambda route: held.append(route))
    here.slow("**/judge?*")
    here.press("j")
    here.press("a")
    here.page.wait_for_selector("[data-problem]:has-text('Press it again')")
    here.sees(2)
    assert here.said == []
    here.press("s")
    here.says("", "swap")
    here.sees(3)
    here.press("j")
    here.page.wait_for_function("() => document.querySelector('h1').textContent === 'Pair 4 of 10'")
    here.page.wait_for_timeout(400)
    here.press("a")
    here.page.wait_for_selector("[data-problem]:has-text('Press it again')")
    here.page.unroute(of_person(3))
    for route in held:
        drawn()(route)
    here.sees(4)
    assert here.said == ["", "swap"]
    here.press("a")
    here.says("", "swap", "", "accept")


def test_nothing_is_said_of_a_pair_whose_bodies_are_not_to_be_seen(judge: Callable[[str], Judged]) -> None:
    here = judge("emil")
    missing = bytes(problem_picture("It was drawn with <another> body: --set body=PATH.\x1b").body)
    here.page.route(of_person(2), answered(body=missing, content_type="image/svg+xml"))
    here.page.route(of_person(3), answered(body="none", content_type="image/jpeg"))
    here.press("j")
    here.sees(2)
    for number, words in ((3, "can't be drawn"), (4, "did not come")):
        here.press("j")
        here.page.wait_for_function(f"() => document.querySelector('h1').textContent === 'Pair {number} of 10'")
        here.page.wait_for_selector(f'[data-problem]:has-text("{words}")')
        here.press("a")
        here.page.wait_for_timeout(300)
        assert words in here.page.inner_text("[data-problem]")
    assert here.rows == 0
    here.press("j")
    here.sees(5)
    here.press("a")
    here.says("", "", "", "", "accept")


def test_the_way_back_of_the_browser_shows_the_pair_that_was_there(judge: Callable[[str], Judged]) -> None:
    here = judge("dora")
    here.press("j")
    here.sees(2)
    here.page.go_back()
    here.sees(1)
    here.press("a")
    here.says("accept")
