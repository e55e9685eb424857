"""Judging pairs: whose turn it is, what is hidden, and that each verdict counts once, whoever writes or is killed."""

import html
import os
import re
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.cookiejar import CookieJar
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlencode
from urllib.request import HTTPCookieProcessor, OpenerDirector, ProxyHandler, Request, build_opener

import pytest
from starlette.testclient import TestClient

from flows.browse.app import make_app
from flows.browse.child import Child
from infra import rounds
from infra.listing import Listing
from infra.reviews import PairName, Review, add, history, latest
from infra.services import free_port
from infra.store import Store
from infra.tables import live_files
from schemas.ids import StageKey
from tasks.review.worklist import SAMPLINGS, sample
from tests.flows.browse.conftest import BAD_SQL, ESCAPES, PORT, SCRIPT
from tests.infra.reviewing import PEOPLE, store_with_pairs

OWN = {"Origin": f"http://127.0.0.1:{PORT}"}
UNCERTAIN = {"scope": "c/1", "sampling": "uncertain", "count": "4"}


class Place:
    """A store with ten pairs of an open round, and browsers at its pages."""

    def __init__(self, folder: Path) -> None:
        self.store, self.pairs = store_with_pairs(folder / "store")
        rounds.begin(self.store, "c", "ba5e" * 16)
        rounds.open_round(self.store, "c", 1, "dpo round")
        self.folder = folder
        self.started = 0
        self.start()

    def start(self) -> None:
        """A server, as one that was ended starts anew."""
        self.started += 1
        (lists := self.folder / f"lists{self.started}").mkdir()
        self.app, self.desk = make_app(Listing(Store.open(self.store.url), lists), "t", PORT, "tiny", "procrustes")

    def client(self, name: str = "") -> TestClient:
        """A browser that is logged in, of somebody who has said their name."""
        client = TestClient(self.app, base_url=f"http://127.0.0.1:{PORT}")
        client.get("/", params={"token": "t"})
        if name:
            told = client.post("/judge/name", data={"reviewer": name, **UNCERTAIN}, headers=OWN)
            assert told.headers["hx-redirect"].startswith("/judge?scope=c%2F1&sampling=uncertain"), told.text
        return client


@pytest.fixture(autouse=True)
def begun(monkeypatch: pytest.MonkeyPatch) -> list[Child]:
    """The children that pages began, which are not: nothing is drawn here."""
    asked: list[Child] = []
    monkeypatch.setattr(Child, "begin", lambda child: asked.append(child))
    return asked


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    made = Place(tmp_path)
    yield made
    made.desk.close()


def form(page: str) -> dict[str, str]:
    """The fields of the form that a page shows, without a verdict."""
    fields = re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)"', page)
    undo = re.search(r'name="undo" value="([^"]*)"', page)
    return {**{name: html.unescape(value) for name, value in fields}, **({"undo": undo[1]} if undo else {})}


def opened(client: TestClient, **asked: str) -> str:
    answer = client.get("/judge", params=asked or UNCERTAIN)
    assert answer.status_code == 200, answer.text
    return answer.text


def say(client: TestClient, page: str, verdict: str, **more: str) -> str:
    """The page after a verdict."""
    answer = client.post("/judge", data={**form(page), "verdict": verdict, **more}, headers=OWN)
    assert answer.status_code == 200, answer.text
    return answer.text


def undo(client: TestClient, page: str) -> str:
    answer = client.post("/judge/undo", data=form(page), headers=OWN)
    assert answer.status_code == 200, answer.text
    return answer.text


def test_the_name_is_asked_once_and_kept(place: Place, begun: list[Child]) -> None:
    client = place.client()
    assert "Who judges?" in opened(client)
    assert begun == [place.desk.painter], "what draws is on its way while the name is typed"
    refused = client.post("/judge/name", data={"reviewer": "\x1b[2J"}, headers=OWN)
    assert (refused.status_code, "be a reviewer" in refused.text, "\x1b" in refused.text) == (404, True, False)
    name = "Zoë <b>& Söhne</b>"
    client.post("/judge/name", data={"reviewer": f" {name} "}, headers=OWN)
    page = opened(client)
    assert html.escape(name) in page
    say(client, page, "accept")
    assert [one.review.reviewer for one in history(place.store)] == [name]
    assert "Pair 2 of 4" in opened(client, **UNCERTAIN, since="0")


def test_a_list_is_that_of_the_command_and_stays_while_it_is_judged(place: Place) -> None:
    anna, key = place.client("anna"), StageKey(place.pairs[0].stage_key)
    for how in SAMPLINGS:
        answer = anna.get("/judge", params={"scope": "c/1", "sampling": how, "count": "4"})
        listed = [form(opened(anna, **dict(answer.url.params), at=str(at)))["pair"] for at in range(4)]
        assert listed == sample(place.store, key, how, 4, "anna").column("pair").to_pylist(), how
    page = opened(anna)
    for verdict in ("accept", "swap", "reject"):
        page = say(anna, page, verdict, seconds="1.5", note="feet")
    place.desk.close()
    place.start()  # a server that knows nothing of the list
    fresh = place.client("anna")
    page = say(fresh, opened(fresh, **{name: form(page)[name] for name in (*UNCERTAIN, "since")}), "accept")
    assert "4 of 4 judged" in page
    assert re.findall(r"<dt>(\w+)</dt><dd>([\d.]+)", page) == [
        ("accept", "2"),
        ("swap", "1"),
        ("reject", "1"),
        ("seconds", "1.50"),
    ]
    said = {by["anna"].pair: by["anna"] for by in latest(place.store).values()}
    assert list(said) == place.pairs[:4]
    assert [one.verdict for one in said.values()] == ["accept", "swap", "reject", "accept"]
    assert {(one.seconds, one.note, one.blind) for one in list(said.values())[:3]} == {(1.5, "feet", False)}
    again = form(opened(fresh))
    assert (again["since"], again["pair"]) == ("4", place.pairs[4].digest), "the next list begins after this one"
    ben = place.client("ben")
    assert form(opened(ben))["pair"] == place.pairs[0].digest


def test_next_and_previous_leave_pairs_as_they_are_and_undo_takes_back_the_last(place: Place) -> None:
    client = place.client("anna")
    page = opened(client)
    assert 'rel="prev"' not in page

    def go(rel: str) -> str:
        target = re.search(rf'rel="{rel}" href="([^"]+)"', page)
        assert target is not None
        return client.get(html.unescape(target[1])).text

    page = go("next")
    assert form(page)["pair"] == place.pairs[1].digest
    page = say(client, page, "swap")
    page = say(client, page, "accept")
    assert "accepted: wild/train/00000002#0 1&gt;2" in page
    first = form(page)
    page = undo(client, page)
    assert form(page)["pair"] == place.pairs[2].digest
    client.post("/judge/undo", data=first, headers=OWN)  # a second press
    assert [by["anna"].verdict for by in latest(place.store).values()] == ["swap"]
    page = say(client, page, "reject")
    page = undo(client, undo(client, page))
    assert latest(place.store) == {}
    assert 'name="undo"' not in page
    assert client.post("/judge/undo", data={**form(page), "undo": "x"}, headers=OWN).status_code == 404
    page = go("prev")
    assert form(page)["pair"] == place.pairs[0].digest


def test_who_judges_blind_is_told_after_the_verdict(place: Place) -> None:
    asked = {**UNCERTAIN, "count": str(PEOPLE), "blind": "1"}
    orders = {}
    for name in ("anna", "ben"):
        client = place.client(name)
        page, order = opened(client, **asked), []
        for number in range(PEOPLE):
            for word in ("winner", "loser", "margin", "score ", "top_bottom", "won", "lost"):
                assert word not in page.split('id="judging"')[1].split("<dialog")[0].lower(), word
            samples = re.findall(r'<img src="[^"]*sample=(\d)&amp;colour=policy" alt="(?:left|right)"', page)[:2]
            order.append(samples)
            page = say(client, page, "left" if number % 2 else "reject")
            if number % 2:
                assert "you took the left one, " in page
                assert ("so does the scorer" in page) == (samples[0] == "1")
        orders[name] = order
        given = [by[name] for by in latest(place.store).values()]
        assert all(one.blind for one in given)
        assert [one.verdict for one in given[1::2]] == [
            "accept" if one == ["1", "2"] else "swap" for one in order[1::2]
        ]
        page = undo(client, page)
        assert "winner: sample 1" in page, "it was told"
        say(client, page, "right")
        assert not latest(place.store)[form(page)["pair"]][name].blind
        place.desk.work.sampled.cache_clear()
        assert [one.review.pair for one in history(place.store) if one.review.reviewer == name][:PEOPLE] == place.pairs
    assert orders["anna"] != orders["ben"]
    assert {tuple(one) for one in orders["anna"]} == {("1", "2"), ("2", "1")}


def test_a_verdict_counts_once_however_often_it_is_sent(place: Place) -> None:
    """A double click, two windows of one person, and two people, all at once."""
    names = ("anna", "ben")
    pages = {name: opened(place.client(name)) for name in names}

    def send(name: str) -> int:
        client = place.client(name)
        return client.post("/judge", data={**form(pages[name]), "verdict": "swap"}, headers=OWN).status_code

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(send, names * 4)) == {200}
    rows = history(place.store)
    assert Counter(one.review.reviewer for one in rows) == {"anna": 1, "ben": 1}
    anna = place.client("anna")
    say(anna, opened(anna, **{name: form(pages["anna"])[name] for name in (*UNCERTAIN, "since")}, at="0"), "accept")
    assert send("anna") == 200  # late, and of a page that was left long ago
    assert latest(place.store)[place.pairs[0].digest]["anna"].verdict == "accept"
    changed = anna.post("/judge", data={**form(pages["anna"]), "verdict": "reject"}, headers=OWN)
    assert changed.status_code == 404
    assert "Your first verdict of this pair counts: open the page again, then change it." in changed.text


def test_the_pages_of_this_server_alone_write_and_nothing_but_reviews(place: Place) -> None:
    client = place.client("anna")
    page, files = opened(client), live_files(place.store, "pairs")
    data = {**form(page), "verdict": "accept"}
    for path in ("/judge", "/judge/undo", "/judge/name"):
        for headers in ({}, {"Origin": "http://evil.example"}, {"Origin": "null"}):
            assert client.post(path, data={**data, "reviewer": "mallory"}, headers=headers).status_code == 403, path
        assert client.post(path, json=data, headers=OWN).status_code == 403
        stranger = TestClient(place.app, base_url=f"http://127.0.0.1:{PORT}")
        assert stranger.post(path, data=data, headers=OWN).status_code == 401
        for method in ("PUT", "DELETE", "PATCH"):
            assert client.request(method, path, headers=OWN).status_code == 405
    for wrong in (
        {"verdict": "withdrawn"},
        {"pair": place.pairs[5].digest},
        {"pair": "x"},
        {"seconds": "nan"},
        {"seconds": "-1"},
        {"note": "x" * 2001},
        {"review": "../x"},
        {"at": "77"},
        {"scope": "../x"},
        {"sampling": BAD_SQL},
        {"count": "1000000"},
    ):
        answer = client.post("/judge", data={**data, **wrong}, headers=OWN)
        assert answer.status_code in (404, 422), wrong
        assert 'class="problem"' in answer.text
    assert client.post("/judge", data={**data, "note": "x" * 70_000}, headers=OWN).status_code == 413
    for asked in ({**data, "reviewer": "x"}, {"pairs": "x", "person": SCRIPT, "winner": "1", "loser": "2"}):
        assert client.get("/judge", params=asked).status_code in (200, 404)
    assert history(place.store) == []
    say(client, page, "accept")
    assert live_files(place.store, "pairs") == files
    nameless = place.client()
    assert "give a name" in nameless.post("/judge", data=data, headers=OWN).text
    assert len(history(place.store)) == 1


def test_one_pair_is_judged_from_its_card_and_what_is_said_is_text(place: Place) -> None:
    notes = [f"{SCRIPT} {BAD_SQL}", ESCAPES, '"><img src=x onerror=alert(1)>\nsecond line']
    for number, note in enumerate(notes):
        client = place.client(f"anna {number}")
        card = html.unescape(re.findall(r'class="say" href="([^"]+)"', client.get("/pairs").text)[0])
        page = client.get(card).text
        assert "Pair 1 of 1" in page
        page = say(client, page, "swap", note=note)
        assert 'You said: <span class="badge swap">' in page
    assert {one.review.note for one in history(place.store)} == set(notes)
    for shown in (page, client.get("/pairs").text):
        assert html.escape(BAD_SQL).replace("&#x27;", "&#39;") in shown
        assert "<script>alert" not in shown
        assert "<img src=x" not in shown
        assert "\x1b" not in shown
        assert "\u202e" not in shown


def test_pairs_are_filtered_by_what_was_said(place: Place) -> None:
    store, pairs = place.store, place.pairs
    client = place.client("anna")

    def listed(**asked: str) -> list[PairName]:
        page = client.get("/pairs", params={"scope": "c/1", **asked}).text
        people = re.findall(r'data-pair="([^ "]+) ', page)
        return [pair for pair in pairs if pair.instance_id in people]

    assert listed() == pairs
    add(store, [Review(pairs[0], name, "swap") for name in ("anna", "ben")])
    add(store, [Review(pairs[1], "anna", "swap"), Review(pairs[1], "ben", "accept"), Review(pairs[2], "ben", "reject")])
    assert listed(said="swap") == [pairs[0]]
    assert listed(said="swap", by="anna") == pairs[:2]
    assert listed(said="accept", by="ben") == [pairs[1]]
    assert listed(said="divided") == [pairs[1]]
    assert listed(said="judged") == [pairs[0], pairs[2]]
    assert listed(said="judged", by="anna") == pairs[:2]
    assert listed(by="ben") == pairs[:3]
    assert listed(said="open") == [pairs[1], *pairs[3:]]
    assert listed(said=BAD_SQL, by=BAD_SQL) == []
    add(store, [Review(pairs[1], "ben", "swap")])
    assert listed(said="swap") == pairs[:2], "what is said later counts at once"


@pytest.mark.slow
def test_a_server_that_is_killed_as_it_writes_loses_and_doubles_nothing(place: Place) -> None:
    """Whoever judged sees no answer, starts it again, logs in, and presses the key once more: the same form is sent."""
    data: dict[str, str] = {}
    port = free_port()
    for fault in ("append:reviews", "committed:reviews", ""):
        with served(place.store, port, fault) as (ask, server):
            if not data:
                ask("/judge/name", {"reviewer": "anna"})
                data = {**form(ask("/judge?" + urlencode(UNCERTAIN))), "verdict": "swap"}
            else:
                ask("/judge/name", {"reviewer": "anna"})
            if fault:
                with pytest.raises((OSError, ConnectionError)):
                    ask("/judge", data)
                assert server.wait(60) in (-signal.SIGKILL, 128 + signal.SIGKILL)
            else:
                assert "Pair 2 of 4" in ask("/judge", data)
    assert [one.review.verdict for one in history(Store.open(place.store.url))] == ["swap"]


class served:  # noqa: N801 - a context like those of contextlib
    """The command, and what asks it as a browser does that has opened its link."""

    def __init__(self, store: Store, port: int, fault: str) -> None:
        environment = {**os.environ, **({"ADHMR_FAULT_AT": fault} if fault else {})}
        command = [sys.executable, "-m", "flows.cli.main", "browse", "--store", store.url, "--port", str(port)]
        root = Path(__file__).parents[3]
        self.base = f"http://127.0.0.1:{port}"
        self.server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=root, env=environment)
        self.opener: OpenerDirector = build_opener(ProxyHandler({}), HTTPCookieProcessor(CookieJar()))

    def __enter__(self) -> tuple[Callable[..., str], "subprocess.Popen[str]"]:
        assert self.server.stdout is not None
        self.opener.open(next(line.strip() for line in self.server.stdout if "token=" in line)).read()
        return self.ask, self.server

    def ask(self, path: str, data: dict[str, str] | None = None) -> str:
        body = None if data is None else urlencode(data).encode()
        try:
            return self.opener.open(Request(self.base + path, body, {"Origin": self.base})).read().decode()
        except HTTPError as error:
            raise AssertionError(error.read().decode()) from error

    def __exit__(self, *about: Any) -> None:
        self.server.terminate()
        self.server.wait(60)
        assert self.server.stdout is not None
        self.server.stdout.close()
