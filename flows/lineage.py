"""What each decided round trained, from what, and how it measured: the history of a campaign's policies."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow.compute as pc

from infra import rounds
from infra.store import Store
from infra.tables import read

SPLIT = ("wild", "test")
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
    changes: Mapping[str, tuple[float, float | None, float | None]]
    drift: float | None
    is_current: bool


def lineage(store: Store, campaign: str | None = None) -> list[Step]:
    """The decided rounds of one campaign or of all, in order, and the policies that campaigns began with (round 0)."""
    parents = _parents(store)
    steps = []
    for name in [campaign] if campaign else rounds.campaigns(store):
        seen = rounds.state(store, name)
        for event in seen.events:
            if event.event not in ("promoted", "kept"):
                continue
            found = _metrics(store, event.stage_key)
            trained = event.policy if event.event == "promoted" else _measured(found)
            changes = {row["name"]: (row["value"], row["low"], row["high"]) for row in found if _is_change(row)}
            drift = next((row["value"] for row in found if (row["name"], row["role"]) == ("drift", "change")), None)
            current = trained is not None and trained == seen.policy
            steps.append(
                Step(name, event.round, event.event, trained, parents.get(trained or "", ()), changes, drift, current)
            )
    return steps


def _parents(store: Store) -> dict[str, tuple[str, ...]]:
    rows = read(store, "models", where=pc.field("kind") == "policy", columns=["digest", "parents"])
    return {row["digest"]: tuple(row["parents"]) for row in rows.to_pylist()}


def _metrics(store: Store, stage_key: str | None) -> list[dict[str, Any]]:
    if stage_key is None:
        return []
    rows: list[dict[str, Any]] = read(store, "metrics", stage_keys=[stage_key]).to_pylist()
    return rows


def _measured(found: list[dict[str, Any]]) -> str | None:
    """The policy that a round which kept the old one had trained and measured."""
    return next((row["model"] for row in found if row["role"] == "after" and row["model"]), None)


def _is_change(row: Mapping[str, Any]) -> bool:
    return row["role"] == "change" and row["name"] in FIGURES and (row["dataset"], row["split"]) == SPLIT
