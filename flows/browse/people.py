"""The page of people: a grid with photograph and body, to filter and to sort."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from fastapi import APIRouter, Request
from starlette.responses import HTMLResponse

from flows.browse.desk import AtDesk, Desk, address, meant, number
from flows.browse.paging import Condition, Sorted, page_of
from flows.browse.scopes import Scope
from infra.listing import PEOPLE
from infra.stages import find as stage_of
from infra.views import quoted
from tasks.rows.drawn import DRAW

router = APIRouter()

SIZE: Final = 24
"""People on a page."""
SORTS: Final = {
    "name": ("instance_id", False, "name"),
    "score": ("score", True, "score, best first"),
    "-score": ("score", False, "score, worst first"),
    "error": ("error", True, "error, largest first"),
    "-error": ("error", False, "error, smallest first"),
    "change": ("change", False, "change of error, most improved first"),
    "-change": ("change", True, "change of error, most worsened first"),
    "data": ("data", False, "data set and split"),
    "reason": ("reason", False, "reason for which they were left out"),
    "disagreement": ("disagreement", True, "disagreement of hypotheses, most first"),
    "-disagreement": ("disagreement", False, "disagreement of hypotheses, least first"),
}
"""Name in addresses -> column, whether it falls, words."""
PATIENCE_S: Final = 0.3
"""How long a page waits for the disagreement of hypotheses; after that it says how far it is."""


@router.get("/people")
def page(
    request: Request,
    desk: AtDesk,
    scope: str = "",
    data: str = "",
    find: str = "",
    score_from: str = "",
    score_to: str = "",
    error_from: str = "",
    error_to: str = "",
    change_from: str = "",
    change_to: str = "",
    disagreement_from: str = "",
    disagreement_to: str = "",
    reason: str = "",
    sort: str = "",
    after: str = "",
) -> HTMLResponse:
    """A page of the people of a round, or of everyone."""
    chosen = desk.scope(scope)
    by = (
        sort
        if sort in SORTS
        else "-change"
        if chosen.before and chosen.after
        else "-score"
        if chosen.scores
        else "name"
    )
    with_spread = "disagreement" in by or bool(disagreement_from.strip() or disagreement_to.strip())
    share = spread_share(desk, chosen, PATIENCE_S) if with_spread else 1.0
    with_spread &= share == 1.0
    with crowd(desk, chosen, with_spread=with_spread) as table:
        facets = desk.listing.rows(f"SELECT data, count(*) AS n FROM {table} GROUP BY 1 ORDER BY 1")
        reasons = desk.listing.rows(
            f"SELECT reason, count(*) AS n FROM {table} WHERE reason IS NOT NULL GROUP BY 1 ORDER BY 1"
        )
        data, reason = meant(data, (row["data"] for row in facets)), meant(reason, (row["reason"] for row in reasons))
        conditions = [Condition("contains(instance_id, ?)", (find,))] if find else []
        if data:
            conditions.append(Condition("data = ?", (data,)))
        limits = (
            ("score", ">=", score_from, "The least score"),
            ("score", "<=", score_to, "The greatest score"),
            ("error", ">=", error_from, "The least error"),
            ("error", "<=", error_to, "The greatest error"),
            ("change", ">=", change_from, "The least change"),
            ("change", "<=", change_to, "The greatest change"),
            ("disagreement", ">=", disagreement_from, "The least disagreement"),
            ("disagreement", "<=", disagreement_to, "The greatest disagreement"),
        )
        for column, sign, typed, what in limits:
            limit = number(typed, what)
            if limit is not None:
                conditions.append(Condition(f"{column} {sign} ?", (limit,)))
        if reason:
            conditions.append(Condition("reason IS NOT NULL") if reason == "*" else Condition("reason = ?", (reason,)))
        column, descending, _ = SORTS[by]
        then = ("instance_id",) if column != "instance_id" else ("data",)
        found = page_of(desk.listing, table, conditions, Sorted(column, descending, then), after, SIZE)
    for row in found.rows:
        row["generation"] = None if row["drawing"] is None else chosen.drawings[row["drawing"]]
    asked = {
        "scope": chosen.name,
        "data": data,
        "find": find,
        "score_from": score_from,
        "score_to": score_to,
        "error_from": error_from,
        "error_to": error_to,
        "change_from": change_from,
        "change_to": change_to,
        "disagreement_from": disagreement_from,
        "disagreement_to": disagreement_to,
        "reason": reason,
        "sort": by,
    }
    return desk.page(
        request,
        "people.html",
        scopes=desk.scopes(),
        scope=chosen,
        asked=asked,
        sorts={name: words for name, (_, _, words) in SORTS.items()},
        facets=facets,
        reasons=reasons,
        found=found,
        share=share,
        again=address("/people", **asked, after=after),
        more=address("/people", **asked, after=found.next) if found.next else "",
    )


def spread_share(desk: Desk, scope: Scope, patience_s: float) -> float:
    """Which share of a scope's hypotheses the disagreement is made of, after so many seconds at most; at 1 lists can
    have it. It is made meanwhile, unless it came with the scores."""
    return desk.listing.spread_share(_without_spreads(desk, scope), patience_s)


@contextmanager
def crowd(desk: Desk, scope: Scope, *, with_spread: bool = False) -> Iterator[str]:
    """The name of the table of a scope's people: instance_id, data (DATASET/SPLIT), drawing (its place among the
    scope's), score, error, change, disagreement and reason; the newest word on each counts. Disagreement is null where
    it didn't come with the scores, but `with_spread`, once `spread_share` has made it."""
    listing = desk.listing
    listing.need(PEOPLE, scope.ingests)
    listing.need("measured", (scope.before, scope.after))
    listing.need("scored", scope.scores)
    alone = [leg.drawn for leg in scope.legs if leg.drawn and not leg.scored]
    listing.need("drawn", alone)
    listing.need("failed", _with_failures(desk, scope))
    unsaid = _without_spreads(desk, scope) if with_spread else []
    newest = " ".join(f"WHEN {quoted(key)} THEN {place}" for place, key in enumerate(scope.ingests))
    # an ingest has a person once, and to look for those that several have takes the memory of all
    once = f"QUALIFY row_number() OVER (PARTITION BY instance_id ORDER BY CASE stage_key {newest} END) = 1"
    wanted = "" if not scope.drawings else "WHERE drawing IS NOT NULL OR reason IS NOT NULL"
    spreads = []
    for keys, said in (((scope.after,), "now_scored"), ((scope.before,), "was_scored"), (scope.drawn, "own")):
        spreads += [f"{said}.spread_mm", *(f"spread_{key}.mm" for key in keys if key in unsaid)]
    joins = "".join(f" LEFT JOIN spread_{key} ON spread_{key}.instance_id = person.instance_id" for key in unsaid)
    before, after = (quoted(key or "") for key in (scope.before, scope.after))
    own_scored, own_alone = (", ".join(map(quoted, keys)) or "''" for keys in (scope.scored, alone))
    places = {key: place for place, key in enumerate(scope.drawings)}
    of_before, of_after = (places.get(key or "", "NULL") for key in (scope.before, scope.after))
    own_drawn = " ".join(
        f"WHEN {quoted(leg.scored or leg.drawn)} THEN {places[leg.drawn]}" for leg in scope.legs if leg.drawn
    )
    own_drawing = f"CASE coalesce(own.stage_key, bare.stage_key) {own_drawn or 'WHEN NULL THEN NULL'} END"
    stages = ", ".join(map(quoted, _with_failures(desk, scope))) or "''"
    with listing.derived(
        f"""
        WITH person AS (
            SELECT * FROM people WHERE stage_key IN ({", ".join(map(quoted, scope.ingests)) or "''"})
            {once if len(scope.ingests) > 1 else ""}
        ), failure AS (
            SELECT id, any_value(reason) AS reason FROM failed WHERE stage_key IN ({stages}) GROUP BY id
        ), crowd AS (
            SELECT person.instance_id, person.dataset || '/' || person.split AS data,
                CAST(CASE WHEN now.instance_id IS NOT NULL OR now_scored.instance_id IS NOT NULL THEN {of_after}
                     WHEN was.instance_id IS NOT NULL OR was_scored.instance_id IS NOT NULL THEN {of_before}
                     ELSE {own_drawing} END AS UTINYINT) AS drawing,
                coalesce(now_scored.zero_score, was_scored.zero_score, own.zero_score) AS score,
                coalesce(now.zero_mm, was.zero_mm) AS error, now.zero_mm - was.zero_mm AS change,
                coalesce({", ".join(spreads)}) AS disagreement, failure.reason
            FROM person
            LEFT JOIN measured now ON now.stage_key = {after} AND now.instance_id = person.instance_id
            LEFT JOIN measured was ON was.stage_key = {before} AND was.instance_id = person.instance_id
            LEFT JOIN scored now_scored
                ON now_scored.stage_key = {after} AND now_scored.instance_id = person.instance_id
            LEFT JOIN scored was_scored
                ON was_scored.stage_key = {before} AND was_scored.instance_id = person.instance_id
            LEFT JOIN scored own ON own.stage_key IN ({own_scored}) AND own.instance_id = person.instance_id
            LEFT JOIN drawn bare ON bare.stage_key IN ({own_alone}) AND bare.instance_id = person.instance_id
            LEFT JOIN failure ON failure.id = person.instance_id{joins}
        )
        SELECT * FROM crowd {wanted}
        """
    ) as table:
        yield table


def _without_spreads(desk: Desk, scope: Scope) -> list[str]:
    """The drawings of whose hypotheses no scores say how far they lie apart, so that it has to be made of poses."""
    scored = scope.scores_of
    said = {key for key in scope.drawings if key in scored and desk.listing.has_spreads(scored[key])}
    return [key for key in scope.drawings if key not in said and _has_all(desk, key)]


def _with_failures(desk: Desk, scope: Scope) -> list[str]:
    keys = dict.fromkeys((*scope.stages, *scope.ingests))
    return [key for key in keys if _has(desk, key, "failures")]


def _has(desk: Desk, key: str, table: str) -> bool:
    record = stage_of(desk.store, key)
    return record is not None and bool(record.rows.get(table))


def _has_all(desk: Desk, key: str) -> bool:
    """Whether a stage's hypotheses are all in the table: how far winners lie from losers says nothing of the others."""
    record = stage_of(desk.store, key)
    return record is not None and bool(record.rows.get("hypotheses")) and record.stage != DRAW
