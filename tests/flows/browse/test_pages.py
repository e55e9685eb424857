"""What pages show: lists that are filtered, sorted and paged, people, pairs, failures; hostile content as text."""

import html
import re
from urllib.parse import parse_qsl, urlencode, urlsplit

import pytest

from flows.browse import pairs, people
from infra.tables import read
from tests.flows.browse.conftest import BAD_SQL, CLIMBING, HOSTILE, SCRIPT, Browsed

PERSON = re.compile(r'<a href="/person\?id=([^"&]+)')


def shown(text: str) -> list[str]:
    return PERSON.findall(text)


def following(text: str) -> str:
    found = re.search(r'rel="next" href="([^"]+)"', text)
    return html.unescape(found[1]) if found else ""


def get(browsed: Browsed, path: str, **asked: str) -> str:
    answer = browsed.client.get(path, params=asked)
    assert answer.status_code == 200, answer.text
    return answer.text


def spread(browsed: Browsed, scope: str) -> None:
    """Wait for the disagreement of a round's hypotheses: pages wait a moment, and a test asks for its lists itself."""
    assert people.spread_share(browsed.desk, browsed.desk.scope(scope), 60.0) == 1.0


def test_rounds_have_their_outcome_their_trend_and_who_comes_from_whom(browsed: Browsed) -> None:
    page = get(browsed, "/")
    assert 'class="badge promoted"' in page
    assert 'class="badge kept"' in page
    trend = html.unescape(re.findall(r'data-trend="([^"]+)"', page)[0])
    assert '"zero_noise_mpvpe"' in trend
    for row in read(browsed.store, "metrics").to_pylist():
        if (row["name"], row["role"], row["split"]) == ("zero_noise_mpvpe", "after", "test") and row[
            "dataset"
        ] == "wild":
            assert str(row["value"])[:8] in trend
    policies = {row["digest"][:12] for row in read(browsed.store, "models").to_pylist() if row["kind"] == "policy"}
    assert policies <= set(re.findall(r"<text[^>]*>([0-9a-f]{12})", page))
    assert browsed.client.get("/", params={"campaign": "nobody"}).status_code == 404


@pytest.mark.parametrize("sort", people.SORTS)
def test_people_are_sorted_and_paged_with_nobody_lost_or_twice(
    browsed: Browsed, sort: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(people, "SIZE", 7)
    scope = "micro/2" if sort == "reason" else "micro/1"  # of the first round nobody was left out
    spread(browsed, scope)
    page = get(browsed, "/people", scope=scope, sort=sort)
    total = int(re.search(r"of (\d+) people", page)[1])  # type: ignore[index]
    found = shown(page)
    while target := following(page):
        page = browsed.client.get(target).text
        found += shown(page)
    assert len(found) == len(set(found)) == total
    column, descending, _ = people.SORTS[sort]
    with people.crowd(browsed.desk, browsed.desk.scope(scope), with_spread=True) as table:
        rows = {row["instance_id"]: row[column] for row in browsed.desk.listing.rows(f"SELECT * FROM {table}")}
    values = [rows[name.replace("%2F", "/").replace("%23", "#")] for name in found]
    known = [value for value in values if value is not None]
    assert values[: len(known)] == sorted(known, reverse=descending)
    assert len(set(values)) > 1


def test_people_are_filtered(browsed: Browsed) -> None:
    spread(browsed, "micro/1")
    page = get(browsed, "/people", scope="micro/1", data="wild/test")
    assert {name.split("%2F")[1] for name in shown(page)} == {"test"}
    with people.crowd(browsed.desk, browsed.desk.scope("micro/1")) as table:
        known = browsed.desk.listing.rows(f"SELECT score FROM {table} WHERE score IS NOT NULL")
    scores = [row["score"] for row in known]
    limit = sorted(scores)[len(scores) // 2]
    page = get(browsed, "/people", scope="micro/1", score_from=repr(limit))
    assert f"of {sum(score >= limit for score in scores)} people" in page
    assert "No people are like that" in get(browsed, "/people", error_from="1e9")
    with people.crowd(browsed.desk, browsed.desk.scope("micro/1"), with_spread=True) as table:
        rows = browsed.desk.listing.rows(f"SELECT change, disagreement FROM {table}")
    for column in ("change", "disagreement"):
        values = sorted(row[column] for row in rows if row[column] is not None)
        low, high = values[1], values[-2]
        page = get(browsed, "/people", scope="micro/1", **{f"{column}_from": repr(low), f"{column}_to": repr(high)})
        assert f"of {sum(low <= value <= high for value in values)} people" in page
    refused = browsed.client.get("/people", params={"score_from": "many"})
    assert (refused.status_code, "is to be a number" in refused.text) == (404, True)


def test_a_list_that_waits_for_disagreement_says_how_far_it_is(
    browsed: Browsed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(people, "spread_share", lambda *given: 0.374)
    asked = {"scope": "micro/1", "sort": "disagreement", "find": "0<1"}
    page = get(browsed, "/people", **asked)
    assert "37 % done. The list comes by itself." in page
    assert shown(page) == []
    again = re.search(r'id="found" hx-get="([^"]+)" hx-trigger="load delay:1s"', page)
    assert again is not None
    assert dict(parse_qsl(urlsplit(html.unescape(again[1])).query)) == asked
    assert "comes by itself" not in get(browsed, "/people", scope="micro/1", sort="score")


def test_pairs_are_those_of_the_table(browsed: Browsed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pairs, "SIZE", 5)
    scope = browsed.desk.scope("micro/1")
    rows = read(browsed.store, "pairs", stage_keys=scope.pairs).to_pylist()
    for sort in pairs.SORTS:
        page = get(browsed, "/pairs", scope="micro/1", sort=sort)
        assert f"of {len(rows)} pairs" in page
        found = shown(page)
        while target := following(page):
            page = browsed.client.get(target).text
            found += shown(page)
        assert len(found) == len(rows)
    margins = sorted(row["margin"] for row in rows)
    page = get(browsed, "/pairs", scope="micro/1", margin_from=repr(margins[3]))
    assert f"of {len(rows) - 3} pairs" in page
    both = read(browsed.store, "pairs", stage_keys=[*scope.pairs, *scope.control_pairs]).num_rows
    page = get(browsed, "/pairs", scope="micro/1", kind="both")
    assert f"of {both} pairs" in page
    assert re.findall(r'<option value="(random|top_bottom)">', page) == ["random", "top_bottom"]
    assert f"of {both - len(rows)} pairs" in get(browsed, "/pairs", scope="micro/1", kind="both", strategy="random")
    assert 'name="strategy"' not in get(browsed, "/pairs", scope="micro/1"), "a choice of one"


def test_a_page_that_no_list_has_is_refused(browsed: Browsed) -> None:
    for mark in ("x", "W10", "eyJhIjoxfQ", "WyJhIiwgImIiLCBbXV0"):
        assert browsed.client.get("/people", params={"after": mark}).status_code == 404


def test_a_person_has_all_hypotheses_by_score(browsed: Browsed) -> None:
    scope = browsed.desk.scope("micro/1")
    scores = read(browsed.store, "scores", stage_keys=[scope.after]).to_pylist()
    person = scores[0]["instance_id"]
    own = sorted((row for row in scores if row["instance_id"] == person), key=lambda row: -row["score"])
    page = get(browsed, "/person", id=person, scope="micro/1")
    assert re.findall(r"<b>sample (\d+)</b>", page) == [str(row["sample_index"]) for row in own]
    assert "label" in page
    drawn = read(browsed.store, "pairs", stage_keys=scope.pairs).to_pylist()[0]
    page = get(browsed, "/person", id=drawn["instance_id"], scope="micro/1")
    assert "side by side" in page
    assert browsed.client.get("/person", params={"id": "wild/train/nobody#0"}).status_code == 404


def test_every_scope_has_its_pages(browsed: Browsed) -> None:
    for scope in browsed.desk.scopes():
        for path in ("/people", "/pairs"):
            assert browsed.client.get(path, params={"scope": scope.name}).status_code == 200, scope
    clean = get(browsed, "/people", scope="micro/2")
    assert "score below the kept share" in clean


def test_hostile_content_is_text(browsed: Browsed) -> None:
    page = get(browsed, "/failures")
    assert "<script>alert" not in page
    assert "<img src=x" not in page
    assert html.escape(SCRIPT) in page
    assert html.escape(BAD_SQL).replace("&#x27;", "&#39;") in page
    assert CLIMBING in page
    assert "\x1b" not in page
    assert "\u202e" not in page
    assert "\\x1b]0;owned\\x07" in page
    for name in (SCRIPT, CLIMBING, BAD_SQL, "\x1b[2J", "a" * 2000):
        for path, field in (("/people", "find"), ("/failures", "find"), ("/pairs", "find"), ("/person", "id")):
            answer = browsed.client.get(path, params={field: name})
            assert answer.status_code in (200, 404), (path, name)
            assert "<script>alert" not in answer.text
            assert "\x1b" not in answer.text
    for field in ("scope", "data", "reason", "sort", "kind"):
        for path in ("/people", "/pairs"):
            answer = browsed.client.get(path, params={field: BAD_SQL})
            assert answer.status_code in (200, 404)
    assert browsed.desk.listing.rows("SELECT count(*) AS n FROM pairs")[0]["n"] > 0


def test_a_hostile_name_is_shown_as_text_and_its_links_mean_the_person(browsed: Browsed) -> None:
    scope = next(
        one for one in browsed.desk.scopes() if one.campaign == "" and "hostile" in _people(browsed, one.pairs)
    )
    for path, asked in (
        ("/people", {"scope": "everyone", "data": "hostile/train"}),
        ("/pairs", {"scope": scope.name}),
        ("/failures", {"find": "hostile"}),
        ("/person", {"id": HOSTILE, "scope": scope.name}),
    ):
        page = get(browsed, path, **asked)
        assert "<b>'" not in page
        words = re.sub(r"<[^>]+>", "", page)
        assert not any(sign in words for sign in ("\u202e", "\u200e", "\x85")), path
        links = [html.unescape(one) for one in re.findall(r'href="(/person\?[^"]+)"', page)]
        links = [one for one in links if "hostile" in one]
        assert bool(links) == (path != "/failures"), path
        for link in links:
            assert "&lt;b&gt;&#39;\\u202e\\u200e\\x85&#34;" in browsed.client.get(link).text, link
    (value,) = re.findall(r'<input type="hidden" name="id" value="([^"]*)">', get(browsed, "/person", id=HOSTILE))
    assert html.unescape(value) == HOSTILE, "the form asks for the same person"


def _people(browsed: Browsed, keys: tuple[str, ...]) -> set[str]:
    rows = read(browsed.store, "pairs", stage_keys=keys, columns=["dataset"]) if keys else None
    return set() if rows is None else set(rows.column("dataset").to_pylist())


@pytest.mark.parametrize("path", ["/picture/overlay", "/picture/photo", "/mesh", "/again"])
def test_pictures_are_asked_for_by_names_that_may_be(browsed: Browsed, path: str) -> None:
    for asked in ({"person": "a", "generation": "../x"}, {"person": "a", "generation": "A" * 64}):
        answer = browsed.client.get(f"{path}?{urlencode(asked)}")
        assert answer.status_code == 422, answer.text
