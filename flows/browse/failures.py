"""The page of failures: what did not make it, where and why."""

from typing import Final

from fastapi import APIRouter, Request
from starlette.responses import HTMLResponse

from flows.browse.desk import AtDesk, address, meant
from flows.browse.paging import Condition, Sorted, page_of
from infra.stages import records

router = APIRouter()

SIZE: Final = 50


@router.get("/failures")
def page(
    request: Request,
    desk: AtDesk,
    stage: str = "",
    outcome: str = "",
    reason: str = "",
    find: str = "",
    after: str = "",
) -> HTMLResponse:
    """Counts by stage, outcome and reason, and a page of the units."""
    desk.listing.need("failed", (record.stage_key for record in records(desk.store) if record.rows.get("failures")))
    counts = desk.listing.rows(
        "SELECT stage, outcome, reason, count(*) AS units FROM failed GROUP BY ALL ORDER BY units DESC, stage, reason"
    )
    known = {name: [row[name] for row in counts] for name in ("stage", "outcome", "reason")}
    typed = {"stage": stage, "outcome": outcome, "reason": reason}
    asked = {"find": find, **{name: meant(value, known[name]) for name, value in typed.items()}}
    conditions = [Condition(f"{name} = ?", (asked[name],)) for name in ("stage", "outcome", "reason") if asked[name]]
    if find:
        conditions.append(Condition("(contains(id, ?) OR contains(detail, ?))", (find, find)))
    found = page_of(desk.listing, "failed", conditions, Sorted("stage", False, ("id", "stage_key")), after, SIZE)
    return desk.page(
        request,
        "failures.html",
        counts=counts,
        asked=asked,
        found=found,
        more=address("/failures", **asked, after=found.next) if found.next else "",
    )
