"""The page of rounds: what happened to each, the trend of every measure, the gates, and who comes from whom."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, NamedTuple

import pyarrow.compute as pc
from fastapi import APIRouter, Request
from starlette.responses import HTMLResponse, Response

from flows.browse.access import REPORT_POLICY
from flows.browse.desk import AtDesk, Desk
from flows.browse.scopes import Scope
from flows.run.decision.reviewed import state_in_words
from infra import rounds
from infra.stages import find
from infra.store import Store
from infra.tables import read
from schemas.errors import DataError, StoreError
from tasks.gates import GateVerdict
from tasks.report.curves.trends import Trend, refused_rounds, trends
from tasks.report.definitions import in_words
from tasks.report.stage import read_facts

router = APIRouter()

_COLUMN, _ROW = 170, 76
"""Pixels of the graph of policies."""


class _Row(NamedTuple):
    """A round in the table of them."""

    scope: Scope
    why: str
    gates: Sequence[GateVerdict]


@dataclass(frozen=True)
class Node:
    """A policy in the graph of who comes from whom; x and y in pixels."""

    digest: str
    x: int
    y: int
    title: str
    kind: str
    """current, promoted, control or kept (the policy before)."""


@dataclass(frozen=True)
class Lineage:
    """The graph: policies, and lines from parents to what was trained from them, as places of nodes."""

    nodes: Sequence[Node]
    lines: Sequence[tuple[Node, Node]]
    width: int
    height: int


@router.get("/")
def page(request: Request, desk: AtDesk, campaign: str = "", split: str = "") -> HTMLResponse:
    """All rounds of a campaign: of the one that the newest round is of, if none is named."""
    names = rounds.campaigns(desk.store)
    of_rounds = [scope for scope in desk.scopes() if scope.campaign]
    chosen = campaign or (of_rounds[0].campaign if of_rounds else names[0] if names else "")
    if campaign and campaign not in names:
        raise DataError(f"There is no campaign {campaign} in this store.")
    own = sorted((scope for scope in of_rounds if scope.campaign == chosen), key=lambda scope: scope.round)
    every = _trends(desk.store, own)
    splits = sorted({trend.split for trend in every})
    shown = split if split in splits else _first_test(splits)
    return desk.page(
        request,
        "rounds.html",
        campaigns=names,
        campaign=chosen,
        rounds=[_Row(scope, _why(desk.store, scope), _gates(desk.store, scope)) for scope in reversed(own)],
        reports={scope.round for scope in own if _report(desk.store, scope)},
        splits=splits,
        split=shown,
        trends=[asdict(trend) for trend in every if trend.split == shown],
        measure=partial(in_words, samples=_samples(desk.store, own)),
        lineage=_lineage(desk, chosen),
        state=rounds.state(desk.store, chosen) if chosen else None,
    )


@router.get("/report/{campaign}/{number}")
def report(desk: AtDesk, campaign: str, number: int) -> Response:
    """The report of a round, whose names the store has: no other file can be asked for."""
    if campaign not in rounds.campaigns(desk.store):
        raise DataError(f"There is no campaign {campaign} in this store.")
    path = f"reports/{campaign}-round-{number}.html"
    if not desk.store.exists(path):
        raise DataError(f"There is no report of round {number} of {campaign}: `adhmr report` writes it again.")
    return Response(
        desk.store.read_bytes(path), media_type="text/html", headers={"Content-Security-Policy": REPORT_POLICY}
    )


def _trends(store: Store, own: Sequence[Scope]) -> list[Trend]:
    numbered = {key: scope.round for scope in own for key in (scope.compared, scope.measured) if key}
    if not numbered:
        return []
    metrics = read(store, "metrics", stage_keys=list(numbered)).to_pylist()
    return trends(metrics, numbered, refused_rounds(store, own[0].campaign))


def _samples(store: Store, own: Sequence[Scope]) -> int:
    """How many random samples the best is of, in the newest evaluation."""
    keys = [key for scope in own for key in (scope.before, scope.after) if key]
    record = find(store, keys[-1]) if keys else None
    return int(record.config["generate"]["hypotheses"]) - 1 if record is not None else 0


def _why(store: Store, scope: Scope) -> str:
    """Why a round ended as it did; of an open one what it waits for."""
    return scope.why or (state_in_words(store, scope.campaign, scope.round) if scope.outcome == "open" else "")


def _first_test(splits: Sequence[str]) -> str:
    """The split whose trend is shown if none is asked for: a test split before others."""
    return next((name for name in reversed(splits) if name.endswith("/test")), splits[0] if splits else "")


def _gates(store: Store, scope: Scope) -> Sequence[GateVerdict]:
    """The gates of a round that was reported; none of one that was not."""
    try:
        return read_facts(store, scope.campaign, scope.round).verdicts
    except StoreError:
        return ()


def _report(store: Store, scope: Scope) -> bool:
    return store.exists(f"reports/{scope.campaign}-round-{scope.round}.html")


def _lineage(desk: Desk, campaign: str) -> Lineage | None:
    """The policies of a campaign, a column for each round."""
    if not campaign:
        return None
    state = rounds.state(desk.store, campaign)
    rows = read(
        desk.store, "models", where=pc.field("kind") == "policy", columns=["digest", "parents", "stage_key"]
    ).to_pylist()
    stages = read(desk.store, "stages", columns=["stage_key", "campaign", "round"]).to_pylist()
    made = {row["stage_key"]: row for row in stages}
    decided = {event.policy: event for event in state.events if event.event == "promoted"}
    nodes: dict[str, Node] = {}
    heights: dict[int, int] = {}
    wanted = [row for row in rows if row["digest"] in decided or _is_of(made.get(row["stage_key"]), campaign)]
    for row in sorted(wanted, key=lambda row: (row["digest"] not in decided, row["digest"])):
        stage, event = made.get(row["stage_key"]), decided.get(row["digest"])
        number = event.round if event else (stage or {}).get("round") or 0
        place = heights.get(number, 0)
        heights[number] = place + 1
        kind = "current" if row["digest"] == state.policy else "promoted" if event else "control"
        title = {"current": "current policy", "promoted": "promoted"}.get(kind, "control, or kept out by a gate")
        nodes[row["digest"]] = Node(
            row["digest"], 24 + number * _COLUMN, 24 + place * _ROW, f"round {number}: {title}", kind
        )
    if not nodes:
        return None
    lines = [
        (nodes[parent], nodes[row["digest"]])
        for row in wanted
        for parent in dict.fromkeys(row["parents"])
        if parent in nodes
    ]
    most = max(node.x for node in nodes.values()) + _COLUMN - 20
    return Lineage(list(nodes.values()), lines, most, 20 + _ROW * max(heights.values()))


def _is_of(stage: dict[str, Any] | None, campaign: str) -> bool:
    return stage is not None and stage["campaign"] == campaign
