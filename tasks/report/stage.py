"""The stage report: the round's page in the store's folder of reports, and the facts that it was made from."""

import math
from dataclasses import asdict
from typing import Any

from infra.repair import find_or_mend
from infra.sealed import read_json, sealed_json
from infra.stages import StageSpec, commit_rows, find, now
from infra.store import Store
from schemas.errors import DamagedError, StoreError
from tasks.context import Context
from tasks.gates import GateVerdict
from tasks.report.facts import RoundFacts, StageRun
from tasks.report.fill import fill_round
from tasks.report.page import report_html
from tasks.sharded import StageResult


def report_spec(context: Context, facts: RoundFacts) -> StageSpec:
    """What `report` is going to do. How a stage came about (run or reused) changes nothing."""
    about = {
        "campaign": facts.campaign,
        "round": facts.number,
        "kind": facts.kind,
        "promoted": facts.promoted,
        "why": facts.why,
        "notices": list(facts.notices),
        "gates": context.config.gates,
    }
    done = [run.key for run in facts.distinct_runs() if find(context.store, run.key) is not None]
    return context.spec("report", 1, about, reads=done, models=(facts.policy_before, facts.scorer))


def report(context: Context, facts: RoundFacts) -> StageResult:
    """Write `reports/<campaign>-round-<n>.html`; a page that somebody removed is written again."""
    store, spec = context.store, report_spec(context, facts)
    record = find_or_mend(store, spec, context.progress.say)
    if record is not None and store.exists(f"reports/{facts.report_name}"):
        return StageResult(record, reused=True)
    started_at = now()
    context.progress.begin("report", 1, "pages")
    page = report_html(fill_round(store, context.config, facts, started_at))
    store.atomic_write(f"reports/{facts.report_name}", page.encode())
    store.atomic_write(_facts_path(facts.campaign, facts.number), _to_json(facts))
    record = commit_rows(store, spec, {}, started_at=started_at)
    context.progress.advance("report")
    context.progress.end("report", store.report_uri(facts.report_name))
    return StageResult(record, reused=False)


def read_facts(store: Store, campaign: str, number: int) -> RoundFacts:
    """The facts of a round that was reported. StoreError if there is no report of it, DamagedError if its file is."""
    path = _facts_path(campaign, number)
    if not store.exists(path):
        raise StoreError(f"There is no report of round {number} of campaign {campaign} in {store.url}.")
    try:
        plain: dict[str, Any] = read_json(store.read_bytes(path), store.uri(path))
    except DamagedError as error:
        raise DamagedError(f"{error} The page beside it was made from the whole; put it back from a copy.") from error
    plain["runs"] = tuple(StageRun(**run) for run in plain["runs"])
    plain["verdicts"] = tuple(
        GateVerdict(**{**verdict, "value": math.nan if verdict["value"] is None else verdict["value"]})
        for verdict in plain["verdicts"]
    )
    plain["notices"] = tuple(plain["notices"])
    return RoundFacts(**plain)


def _facts_path(campaign: str, number: int) -> str:
    return f"reports/{campaign}-round-{number}.json"


def _to_json(facts: RoundFacts) -> bytes:
    plain = asdict(facts)
    for verdict in plain["verdicts"]:
        for name in ("value", "low", "high"):
            if verdict[name] is not None and math.isnan(verdict[name]):
                verdict[name] = None  # JSON has no word for it
    return sealed_json(plain)
