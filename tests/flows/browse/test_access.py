"""Who sees the pages, and what a page may load: no stranger, no foreign page, no file but those of the application."""

import re

import pytest

from flows.browse.access import IMPORTS
from tests.flows.browse.conftest import PORT, Browsed

PAGES = ("/", "/people", "/pairs", "/judge", "/failures", "/sql", "/person?id=wild/test/00000000.jpg%230")


@pytest.mark.parametrize("page", [*PAGES, "/mesh?person=a", "/picture/photo?person=a", "/report/micro/1", "/nothing"])
def test_a_stranger_learns_nothing(browsed: Browsed, page: str) -> None:
    answer = browsed.stranger().get(page)
    assert answer.status_code == 401
    assert "Open the link" in answer.text
    assert browsed.store.url not in answer.text


def test_the_link_logs_in_and_leaves_no_token_in_the_address(browsed: Browsed) -> None:
    stranger = browsed.stranger()
    assert stranger.get("/people", params={"token": "guessed", "sort": "score"}).status_code == 401
    entered = stranger.get("/people", params={"token": browsed.token, "sort": "score"})
    assert (entered.status_code, entered.headers["location"]) == (303, "/people?sort=score")
    cookie = entered.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=strict" in cookie
    assert browsed.token not in cookie
    assert stranger.get("/people").status_code == 200
    away = browsed.stranger().get("//elsewhere.example/", params={"token": browsed.token})
    assert not away.headers.get("location", "/").startswith("//")


@pytest.mark.parametrize("other", ['a="b', "a=b c", "bare", "a=é", "path=/", "a[]=1", "=", ";;"])
def test_cookies_that_other_servers_left_lock_nobody_out(browsed: Browsed, other: str) -> None:
    stranger = browsed.stranger()
    stranger.get("/", params={"token": browsed.token})
    ((name, session),) = stranger.cookies.items()
    for cookies in (f"{other}; {name}={session}", f"{name}={session}; {other}"):
        assert browsed.stranger().get("/sql", headers={"Cookie": cookies.encode()}).status_code == 200
    for cookies in (other, f"{name}=", f"{name}=é", f"{name}={session[:-1]}"):
        assert browsed.stranger().get("/sql", headers={"Cookie": cookies.encode()}).status_code == 401


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "evil.example"},
        {"Host": f"evil.example:{PORT}"},
        {"Host": "127.0.0.1:1"},
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": f"https://127.0.0.1:{PORT}"},
    ],
)
def test_foreign_hosts_and_origins_are_refused(browsed: Browsed, headers: dict[str, str]) -> None:
    for page in ("/", "/static/browse.css"):
        assert browsed.client.get(page, headers=headers).status_code == 403
    assert browsed.client.get("/", headers={"Origin": f"http://localhost:{PORT}"}).status_code == 200


@pytest.mark.parametrize("page", PAGES)
def test_a_page_may_load_what_this_server_has_and_nothing_else(browsed: Browsed, page: str) -> None:
    answer = browsed.client.get(page)
    assert answer.status_code == 200
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["referrer-policy"] == "no-referrer"
    loaded = re.findall(r'(?:src|href|action|hx-get|data-[a-z]+)="([^"]*)"', answer.text)
    assert not [one for one in loaded if re.match(r"(https?:)?//", one)]
    assert not re.search(r'\s(on[a-z]+|style)="', answer.text)
    scripts = re.findall(r"<script(?![^>]*\bsrc=)[^>]*>(.*?)</script>", answer.text, re.DOTALL)
    assert set(scripts) <= {IMPORTS}


@pytest.mark.parametrize(
    "path",
    [
        "/static/../app.py",
        "/static/%2e%2e/app.py",
        "/static/..%2f..%2f..%2fpyproject.toml",
        "/static//etc/passwd",
        "/report/..%2f..%2fadhmr-store/1",
        "/report/micro/..%2f1",
        "/static/vendor/../../app.py",
    ],
)
def test_no_other_file_is_sent_out(browsed: Browsed, path: str) -> None:
    answer = browsed.client.get(path)
    assert answer.status_code in (404, 422)
    assert "import" not in answer.text
    assert "root:" not in answer.text


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
def test_nothing_can_be_written_but_on_the_page_judge(browsed: Browsed, method: str) -> None:
    for page in ("/", "/people", "/pairs", "/sql?q=SELECT+1"):
        assert browsed.client.request(method, page).status_code == 405
