"""The page of SQL: one reading statement, its rows as a table, a chart or a grid of people."""

import json
from typing import Any, Final

from fastapi import APIRouter, Request
from starlette.responses import HTMLResponse

from flows.browse.asker import PERSON
from flows.browse.child import ChildError
from flows.browse.desk import AtDesk, address

router = APIRouter()

_GENERATION, _SAMPLE = "generation_id", "sample_index"
EXAMPLES: Final = {
    "The ten pairs with the largest margin": "SELECT instance_id, generation_id, winner AS sample_index, margin\n"
    "FROM round_pairs ORDER BY margin DESC LIMIT 10",
    "A metric per round": "SELECT round, role, value, low, high FROM metrics\n"
    "WHERE name = 'zero_noise_mpvpe' AND split = 'test' ORDER BY round, role",
    "How pairs' margins are spread": "SELECT floor(margin * 50) / 50 AS margin, count(*) AS pairs\n"
    "FROM pairs WHERE strategy = 'top_bottom' GROUP BY ALL ORDER BY 1",
    "A training curve": "SELECT step, value FROM curves WHERE series = 'loss' ORDER BY stage_key, step",
    "The columns of a table": "DESCRIBE hypotheses",
}


@router.get("/sql")
def page(request: Request, desk: AtDesk, q: str = "") -> HTMLResponse:
    """The form, and the answer to what was asked."""
    answer: dict[str, Any] | None = None
    problem = ""
    if q.strip():
        try:
            answer = json.loads(desk.asker.ask({"sql": q}).data)
        except ChildError as error:
            problem = str(error)
    return desk.page(
        request, "sql.html", q=q, answer=answer, problem=problem, people=_people(answer), examples=EXAMPLES
    )


def _people(answer: dict[str, Any] | None) -> list[dict[str, Any]]:
    """The people of an answer that names some, once each, with the hypothesis that a row names besides."""
    if answer is None or PERSON not in answer["columns"]:
        return []
    found: dict[tuple[str, ...], dict[str, Any]] = {}
    _, ids = max(answer["ids"].items(), key=lambda one: int(one[0]))  # the last column of that name, as below
    for row, person in zip(answer["rows"], ids, strict=True):
        named = dict(zip(answer["columns"], row, strict=True))
        if not isinstance(named[PERSON], str):
            continue
        generation, sample = named.get(_GENERATION), named.get(_SAMPLE)
        shown = {name: value for name, value in named.items() if name not in (PERSON, _GENERATION, _SAMPLE)}
        drawn = generation if isinstance(generation, str) else ""
        picture = address(
            "/picture/overlay", person=person, generation=drawn, sample=sample if sample is not None else 0
        )
        card = {
            "id": person,
            "name": named[PERSON],
            "picture": picture if drawn else address("/picture/photo", person=person),
            "values": list(shown.items())[:4],
        }
        found.setdefault((person, drawn, str(sample)), card)
    return list(found.values())
