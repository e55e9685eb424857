"""A million pairs of many people: how soon pages come, how long a filter takes, and what the server holds in memory."""

import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.cookiejar import CookieJar
from pathlib import Path
from typing import Any
from urllib.parse import urlencode
from urllib.request import HTTPCookieProcessor, ProxyHandler, Request, build_opener

import psutil
import pytest

from flows.browse.people import PATIENCE_S
from infra import reviews
from infra.reviews import PairName, Review
from infra.services import free_port
from infra.store import Store
from infra.tables import read
from tasks.review.worklist import SAMPLINGS
from tests.flows.browse.large_store import EACH, fill

pytestmark = [pytest.mark.nightly, pytest.mark.timeout(3600)]
PEOPLE = 250_000
NAME = ("pair_set", "instance_id", "winner", "loser")
FIRST_SECONDS, SECONDS, LIST_SECONDS, MEGABYTES = 1.0, 0.5, 3.0, 500
Timed = Callable[[str], tuple[float, str]]
Asker = Callable[..., Any]


def test_a_million_pairs(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "store")
    fill(store, PEOPLE)
    with _served(store) as (link, ask, server):
        timed = _clock(ask)
        base = link.split("/?")[0]
        seconds, _ = timed(link)
        assert seconds < FIRST_SECONDS
        seconds, page = timed(f"{base}/pairs")
        print(f"first page of pairs: {seconds:.2f} s")
        assert seconds < FIRST_SECONDS
        assert f"of {PEOPLE * EACH:,} pairs" in page
        pair = PairName(*(read(store, "pairs", ids=["wild/train/0000007#0"]).to_pylist()[0][name] for name in NAME))
        reviews.add(store, [Review(pair, "anna", reviews.SWAP)])
        for asked in (
            {"said": "swap", "by": "anna"},
            {"said": "open", "sort": "margin"},
            {"sort": "margin"},
            {"sort": "-winner", "margin_from": "0.3", "margin_to": "0.6"},
            {"find": "0099", "sort": "name"},
            {"score_from": "0.99"},
        ):
            seconds, page = timed(f"{base}/pairs?{urlencode(asked)}")
            print(f"{asked}: {seconds:.2f} s")
            assert seconds < SECONDS
            following = re.search(r'rel="next" href="([^"]+)"', page)
            if following:
                seconds, _ = timed(base + following[1].replace("&amp;", "&"))
                assert seconds < SECONDS
        ask(Request(f"{base}/judge/name", b"reviewer=anna", {"Origin": base})).read()
        for how in SAMPLINGS:
            seconds, page = timed(f"{base}/judge?{urlencode({'sampling': how})}")
            print(f"list {how}: {seconds:.2f} s")
            assert "Pair 1 of 20" in page
            assert seconds < LIST_SECONDS
        seconds, page = timed(f"{base}/people")
        print(f"first page of people: {seconds:.2f} s")
        assert f"of {PEOPLE:,} people" in page
        for asked in (
            {"sort": "disagreement"},
            {"sort": "-disagreement", "disagreement_to": "100"},
            {"sort": "score", "score_from": "0.9"},
            {"find": "0099", "sort": "name"},
            {"scope": "everyone"},
            {"scope": "everyone", "sort": "data"},
        ):
            seconds, page = timed(f"{base}/people?{urlencode(asked)}")
            print(f"people, {asked}: {seconds:.2f} s")
            assert seconds < SECONDS
        _hold(server)


def test_a_million_hypotheses_that_an_older_version_scored(tmp_path: Path) -> None:
    """How far they lie apart is read from poses, and said when it is there; meanwhile others are answered."""
    store = Store.open(tmp_path / "store")
    fill(store, PEOPLE, spreads=False)
    with _served(store) as (link, ask, server):
        timed = _clock(ask)
        base = link.split("/?")[0]
        timed(link)
        timed(f"{base}/people")
        seconds, page = timed(f"{base}/people?sort=disagreement")
        print(f"disagreement, which is made meanwhile: {seconds:.2f} s")
        assert seconds < SECONDS + PATIENCE_S
        began = time.monotonic()
        while "The list comes by itself" in page:
            seconds, _ = timed(f"{base}/people?sort=-score")
            assert seconds < SECONDS
            time.sleep(1)
            _, page = timed(f"{base}/people?sort=disagreement")
        print(f"made after {time.monotonic() - began:.0f} s")
        assert f"of {PEOPLE:,} people" in page
        seconds, _ = timed(f"{base}/people?sort=-disagreement")
        assert seconds < SECONDS
        _hold(server)


@contextmanager
def _served(store: Store) -> Iterator[tuple[str, Asker, subprocess.Popen[str]]]:
    """The link of a server of its own, what asks it with its cookies, and its process."""
    command = [sys.executable, "-m", "flows.cli.main", "browse", "--store", store.url, "--port", str(free_port())]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[3]) as server:
        try:
            assert server.stdout is not None
            link = next(line.strip() for line in server.stdout if "token=" in line)
            yield link, build_opener(ProxyHandler({}), HTTPCookieProcessor(CookieJar())).open, server
        finally:
            server.terminate()


def _clock(ask: Asker) -> Timed:
    def timed(url: str) -> tuple[float, str]:
        began = time.monotonic()
        text = ask(url).read().decode()
        return time.monotonic() - began, text

    return timed


def _hold(server: subprocess.Popen[str]) -> None:
    tree = [psutil.Process(server.pid), *psutil.Process(server.pid).children(recursive=True)]
    held = max(process.memory_info().rss for process in tree) / 1e6
    print(f"memory: {held:.0f} MB")
    assert held < MEGABYTES
