"""What reading commands say to programs, with --json: one document each. `docs/json.md` lists their fields.

A field stays once it is there, and keeps its meaning; new ones may come. Times are UTC in ISO 8601, digests and keys
stand in full, and what is no number is null.
"""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, is_dataclass
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    import pyarrow as pa

    from flows.cli.comparison import Compared, Side
    from flows.cli.lineage import Step
    from flows.cli.plan import Plan
    from flows.cli.status import Campaign, Status
    from infra.deep import Finding
    from infra.repair import Finding as RepairFinding
    from infra.stages import StageRecord
    from infra.store import Store
    from infra.vacuum import VacuumReport
    from schemas.config.engine import EngineConfig
    from schemas.fields import Field
    from tasks.measures.table import Measure
    from tasks.report.facts import RoundFacts

Document = dict[str, Any]


def print_document(command: str, document: Mapping[str, Any]) -> None:
    """The document of a command, on standard output, and nothing else there; in ASCII, so that no terminal obeys it."""
    typer.echo(json.dumps(plain({"command": command, **document}), allow_nan=False, indent=1))


def plain(value: Any) -> Any:
    """A value in JSON's own types."""
    match value:
        case None | bool() | int() | str():
            return value
        case float():
            return value if math.isfinite(value) else None
        case datetime():
            return value.astimezone(UTC).isoformat()
        case date():
            return value.isoformat()
        case bytes():
            return base64.b64encode(value).decode()
        case Mapping():
            return {str(name): plain(one) for name, one in value.items()}
        case _ if is_dataclass(value) and not isinstance(value, type):
            return plain(asdict(value))
        case _ if hasattr(value, "_asdict"):
            return plain(value._asdict())
        case list() | tuple() | set() | frozenset():
            return [plain(one) for one in value]
    return plain(value.item()) if hasattr(value, "item") else str(value)


def status_document(status: Status) -> Document:
    stages = [
        {
            "stage": one.begun.stage,
            "stage_key": one.begun.stage_key,
            "campaign": one.begun.campaign,
            "round": one.begun.round,
            "done": one.done,
            "total": one.begun.total,
            "unit": one.begun.unit,
            "begun_at": one.since,
            "last_heard_at": one.last,
        }
        for one in status.stages
    ]
    prefect = {"server": status.server, "problem": status.problem, "runs": [asdict(run) for run in status.runs]}
    return {
        "campaigns": [_campaign(one) for one in status.campaigns],
        "unfinished_stages": stages,
        "prefect": prefect,
    }


def _campaign(campaign: Campaign) -> Document:
    state, holder = campaign.state, campaign.holder
    opening, decision = state.first(state.round, "opened"), state.decision(state.round)
    return {
        "campaign": state.campaign,
        "round": state.round,
        "is_open": state.is_open,
        "kind": opening.why if opening else None,
        "opened_at": opening.at if opening else None,
        "decision": {"event": decision.event, "why": decision.why} if decision else None,
        "abandoned": state.abandoned(state.round),
        "policy": state.policy,
        "first_policy": state.first_policy,
        "reviews": campaign.reviews,
        "at_work": None if holder is None else _run(holder) | {"silent_seconds": campaign.silent},
        "waiting": [_run(one) for one in campaign.waiting],
    }


def _run(holder: Any) -> Document:
    return {name: getattr(holder, name) for name in ("what", "host", "pid", "stage", "command", "flow_run")}


def rounds_document(events: pa.Table, earlier: int, steps: Sequence[Step]) -> Document:
    return {
        "events": events.to_pylist(),
        "rounds": [{**asdict(step), "test": str(step.test)} for step in steps],
        "earlier_rounds": earlier,
    }


def plan_document(plan: Plan) -> Document:
    return {
        "round": plan.number,
        "resumed": plan.resumed,
        "stages": plan.looks,
        "notes": plan.notes,
        "costs": {
            "stages": plan.estimate.stages,
            "together": plan.estimate.together if plan.estimate.stages else None,
            "unknown": plan.estimate.unknown,
        },
    }


def report_document(store: Store, config: EngineConfig, facts: RoundFacts) -> Document:
    from tasks.report import measured

    metrics = measured.round_metrics(store, facts)
    return {
        "campaign": facts.campaign,
        "round": facts.number,
        "kind": facts.kind,
        "promoted": facts.promoted,
        "why": facts.why,
        "policy_before": facts.policy_before,
        "policy_after": facts.policy_after,
        "reference": facts.reference,
        "scorer": facts.scorer,
        "judge": facts.judge,
        "headline": measured.headline(metrics, config),
        "numbers": measured.scorer_rows(facts, metrics, config),
        "gates": facts.verdicts,
        "stages": facts.runs,
        "notices": measured.notices(facts, config),
        "page": store.report_uri(facts.report_name),
    }


def comparison_document(found: Compared) -> Document:
    def side(of: Side) -> Document:
        return {"said": of.said, "evaluation": of.evaluation, "policy": of.policy}

    def named(measure: Measure) -> Document:
        return {
            "name": measure.name,
            "title": measure.title,
            "unit": measure.unit,
            "change_unit": measure.change_unit,
            "better": measure.better,
        }

    return {
        "before": side(found.before),
        "after": side(found.after),
        "measures": [
            {
                "split": str(target),
                **named(one.measure),
                "before": one.before,
                "after": one.after,
                "change": one.change,
                "n": one.n,
            }
            for target, of_split in found.splits.items()
            for one in of_split
        ],
        "stores": found.stores,
        "over_seeds": [
            {"split": str(target), **named(one.measure), "change": one.change, "of_seeds": one.of_seeds}
            for target, of_split in found.seeds.items()
            for one in of_split
        ],
    }


def config_document(profile: str, fields: Sequence[Field], origins: Mapping[str, str]) -> Document:
    return {"profile": profile, "fields": [{**one._asdict(), "said": origins.get(one.name)} for one in fields]}


def query_document(rows: pa.Table) -> Document:
    """Rows as lists, as two columns may have one name."""
    columns = [{"name": field.name, "type": str(field.type)} for field in rows.schema]
    values = zip(*(column.to_pylist() for column in rows.columns), strict=True)
    return {"columns": columns, "rows": [list(row) for row in values]}


def doctor_document(findings: Sequence[Finding]) -> Document:
    return {"findings": findings, "problems": sum(one.level == "problem" for one in findings)}


def vacuum_document(report: VacuumReport) -> Document:
    files = [{"path": path, "reason": reason} for path, reason in report.removed]
    return {"files": files, "bytes": report.bytes, "removed": not report.dry_run}


def repair_document(findings: Sequence[RepairFinding], dry_run: bool) -> Document:
    return {"findings": findings, "dry_run": dry_run}


def review_document(store: Store, made: StageRecord, listed: pa.Table | None) -> Document:
    from tasks.review.agreement import agreement
    from tasks.review.verdicts import counts, said_of

    said = said_of(store, made.stage_key)
    done, found = counts(said), agreement(said)
    names = sorted({name for by in said.values() for name in by})
    return {
        "pairs": made.stage_key,
        "campaign": made.campaign,
        "round": made.round,
        "total": made.rows.get("pairs", 0),
        "judged": done.judged,
        **done._asdict(),
        "reviewers": {name: sum(name in by for by in said.values()) for name in names},
        "agreement": found if found.pairs else None,
        "sample": None if listed is None else listed.to_pylist(),
    }
