"""What each decided round trained, from what, and how it measured: the history of a campaign's policies."""

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow.compute as pc

from flows.run.campaign.opening import opening_of
from infra import rounds
from infra.store import Store
from infra.tables import read
from schemas.config.sources import SourcesConfig
from schemas.ids import Target
from schemas.splits import WILD_TEST

FIGURES = ("zero_noise_mpvpe", "best_of_m_mpvpe", "diversity")
"""Metrics of the comparison whose change against the policy before is shown, in %."""


@dataclass(frozen=True)
class Step:
    """A decided round. Digests are whole; `trained` is None where no policy was; `changes` by name in `FIGURES`, %."""

    campaign: str
    round: int
    event: str
    trained: str | None
    parents: tuple[str, ...]
    changes: Mapping[str, float]
    drift: float | None
    is_current: bool
    test: Target
    """The split that `changes` were measured on."""


def lineage(store: Store, campaign: str | None = None, newest: int | None = None) -> list[Step]:
    """The decided rounds of one campaign or of all, in order, and the policies that campaigns began with (round 0).

    `newest`: only so many rounds of each campaign; no more of the store is read then, however long its history.
    """
    states = [rounds.state(store, name) for name in ([campaign] if campaign else rounds.campaigns(store))]
    decided = [
        (state, event)
        for state in states
        for event in state.events
        if event.event in ("promoted", "kept") and (newest is None or event.round > state.round - newest)
    ]
    keys = sorted({event.stage_key for _, event in decided if event.stage_key})
    metrics: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in read(store, "metrics", stage_keys=keys).to_pylist() if keys else ():
        metrics[row["stage_key"]].append(row)
    tests = {state.campaign: _test_of(store, state) for state in states}
    parents = _parents(store, sorted({event.round for _, event in decided}))
    steps = []
    for state, event in decided:
        measured = metrics[event.stage_key or ""]
        trained = event.policy if event.event == "promoted" else _rejected(measured)
        test = tests[state.campaign]
        changes = {row["name"]: row["value"] for row in measured if _is_change(row, test)}
        drift = next((row["value"] for row in measured if (row["name"], row["role"]) == ("drift", "change")), None)
        current = trained is not None and trained == state.policy
        ancestors = parents.get(trained or "", ())
        steps.append(Step(state.campaign, event.round, event.event, trained, ancestors, changes, drift, current, test))
    return steps


def _parents(store: Store, numbers: Sequence[int]) -> dict[str, tuple[str, ...]]:
    """Of the policies that these rounds made, and of those that were made in none."""
    of_these = pc.field("round").isin(numbers) | pc.field("round").is_null()
    stages = read(store, "stages", where=of_these, columns=["stage_key", "tables_json"]).to_pylist()
    keys = [row["stage_key"] for row in stages if json.loads(row["tables_json"]).get("models", {}).get("rows")]
    rows = read(store, "models", stage_keys=keys, where=pc.field("kind") == "policy", columns=["digest", "parents"])
    return {row["digest"]: tuple(row["parents"]) for row in rows.to_pylist()}


def _rejected(metrics: list[dict[str, Any]]) -> str | None:
    """The policy that a round which kept the old one had trained and measured."""
    return next((row["model"] for row in metrics if row["role"] == "after" and row["model"]), None)


def _test_of(store: Store, state: rounds.CampaignState) -> Target:
    """The first split of `sources.test` in the campaign's newest round."""
    noted = opening_of(store, state.campaign, state.round)
    sources = SourcesConfig() if noted is None else noted.sources
    return next(iter(sources.targets("test", "validation", "drift")), WILD_TEST)


def _is_change(row: Mapping[str, Any], test: Target) -> bool:
    return row["role"] == "change" and row["name"] in FIGURES and (row["dataset"], row["split"]) == test
