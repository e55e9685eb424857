"""The page of pairs: winners and losers side by side, to filter and to sort."""

from typing import Final

from fastapi import APIRouter, Request
from starlette.responses import HTMLResponse

from flows.browse.desk import AtDesk, address, meant, number
from flows.browse.paging import Condition, Sorted, page_of
from flows.browse.reviewed.said import FILTERS, MOST
from flows.browse.scopes import Scope

router = APIRouter()

SIZE: Final = 18
"""Pairs on a page."""
SORTS: Final = {
    "margin": ("margin", True, "margin, largest first"),
    "-margin": ("margin", False, "margin, smallest first"),
    "winner": ("winner_score", True, "winner's score, best first"),
    "-winner": ("winner_score", False, "winner's score, worst first"),
    "loser": ("loser_score", True, "loser's score, best first"),
    "-loser": ("loser_score", False, "loser's score, worst first"),
    "name": ("instance_id", False, "name"),
}


@router.get("/pairs")
def page(
    request: Request,
    desk: AtDesk,
    scope: str = "",
    kind: str = "",
    strategy: str = "",
    find: str = "",
    margin_from: str = "",
    margin_to: str = "",
    score_from: str = "",
    score_to: str = "",
    said: str = "",
    by: str = "",
    sort: str = "",
    after: str = "",
) -> HTMLResponse:
    """A page of the pairs of a round: those that the policy was trained on, its control's, or both; or, where people
    had a say, those that the scorer chose."""
    with_pairs = [one for one in desk.scopes() if one.pairs or one.control_pairs]
    chosen = next((one for one in with_pairs if one.name == scope), None) or (
        desk.scope(scope) if scope else with_pairs[0] if with_pairs else desk.scope("")
    )
    order = sort if sort in SORTS else "-margin"
    said = said if said in FILTERS else ""
    reviewers = desk.verdicts.reviewers(chosen.judged)
    by = meant(by, reviewers)
    if kind == "" and (said or by) and chosen.judged != chosen.pairs:
        kind = "scorer"  # nothing is said of those that were made of what was said
    wanted = _keys(chosen, kind)
    desk.listing.need("pairs", wanted)
    conditions = [Condition(f"stage_key IN ({', '.join('?' for _ in wanted) or 'NULL'})", wanted)]
    strategies = [
        row["strategy"]
        for row in desk.listing.rows(
            f"SELECT DISTINCT strategy FROM pairs WHERE {conditions[0].sql} ORDER BY strategy", wanted
        )
    ]
    strategy = meant(strategy, strategies)
    if strategy:
        conditions.append(Condition("strategy = ?", (strategy,)))
    if said or by:
        conditions.append(desk.verdicts.condition(said, by or MOST))
    if find:
        conditions.append(Condition("contains(instance_id, ?)", (find,)))
    limits = (
        ("margin", ">=", margin_from, "The least margin"),
        ("margin", "<=", margin_to, "The greatest margin"),
        ("winner_score", ">=", score_from, "The least score"),
        ("winner_score", "<=", score_to, "The greatest score"),
    )
    for column, sign, typed, what in limits:
        limit = number(typed, what)
        if limit is not None:
            conditions.append(Condition(f"{column} {sign} ?", (limit,)))
    column, descending, _ = SORTS[order]
    names = [name for name in ("instance_id", "winner", "loser", "stage_key") if name != column]
    found = page_of(desk.listing, "pairs", conditions, Sorted(column, descending, tuple(names)), after, SIZE)
    asked = {
        "scope": chosen.name,
        "kind": kind,
        "strategy": strategy,
        "find": find,
        "margin_from": margin_from,
        "margin_to": margin_to,
        "score_from": score_from,
        "score_to": score_to,
        "said": said,
        "by": by,
        "sort": order,
    }
    return desk.page(
        request,
        "pairs.html",
        scopes=with_pairs,
        scope=chosen,
        asked=asked,
        filters=FILTERS,
        reviewers=reviewers,
        strategies=strategies,
        rows=desk.verdicts.of_rows(found.rows),
        sorts={name: words for name, (_, _, words) in SORTS.items()},
        found=found,
        more=address("/pairs", **asked, after=found.next) if found.next else "",
    )


def _keys(scope: Scope, kind: str) -> tuple[str, ...]:
    """The stages whose pairs are looked at, of all legs."""
    return {
        "": scope.pairs or scope.control_pairs,
        "scorer": scope.judged,
        "trained": scope.pairs,
        "control": scope.control_pairs,
    }.get(kind, (*scope.pairs, *scope.control_pairs))
