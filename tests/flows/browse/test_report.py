"""The report of a round, as the pages send it out: a file of scripts of its own, in a sandbox."""

import pytest

from flows.browse.access import REPORT_POLICY
from infra.store import Store
from tests.flows.browse.conftest import REPORT, Browsed, served


def test_a_report_is_sent_out_in_a_sandbox(browsed: Browsed) -> None:
    answer = browsed.client.get("/report/micro/1")
    assert (answer.status_code, answer.text) == (200, REPORT)
    assert answer.headers["content-type"].startswith("text/html")
    assert answer.headers["content-security-policy"] == REPORT_POLICY
    words = REPORT_POLICY.partition(";")[0].split()
    assert words == ["sandbox", "allow-scripts", "allow-popups"], "nothing of this server's origin"
    assert "default-src 'none'" in REPORT_POLICY
    assert 'href="/report/micro/1"' in browsed.client.get("/").text
    assert browsed.client.get("/report/micro/2").status_code == 404


@pytest.mark.slow
def test_its_own_script_runs_and_may_ask_the_server_nothing(browsed_store: Store) -> None:
    watched = pytest.importorskip("tests.watched")
    if watched.CHROMIUM is None:
        pytest.skip("no Chromium is installed")
    with served(browsed_store) as (link, _), watched.started_browser() as browser:
        page = watched.Watched(browser, link, 1280).page
        page.goto(link.split("/?")[0] + "/report/micro/1")
        page.wait_for_function("() => document.getElementById('said').textContent.endsWith('.')")
        assert page.inner_text("#said") == "The script runs; to ask the server is refused; cookies are refused."
