"""The stage report: the round's page in the store's folder of reports, with the facts and the configuration of it."""

import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Any

from pydantic import ValidationError

from infra.sealed import read_json, sealed_json
from infra.stages import find, now
from infra.store import Store
from schemas.config.engine import EngineConfig
from schemas.config.stages import GenerateConfig
from schemas.digests import canonical_json
from schemas.errors import DamagedError, StoreError
from schemas.ids import ModelDigest, StageKey
from tasks.engine.context import Context
from tasks.engine.stage import Rows, WholeStage
from tasks.gates import GateVerdict
from tasks.report.facts import RoundFacts, StageRun

_CONFIGURATION = "configuration"


@dataclass(frozen=True)
class Report(WholeStage):
    """Writes the page of a decided round -> `reports/<campaign>-round-<n>.html`, no rows.

    A page that was removed is written again.
    """

    facts: RoundFacts

    name = "report"

    def key_config(self, context: Context) -> Mapping[str, Any]:
        """How a stage came about (run or reused) changes nothing."""
        facts = self.facts
        return {
            "campaign": facts.campaign,
            "round": facts.number,
            "kind": facts.kind,
            "promoted": facts.promoted,
            "why": facts.why,
            "notices": list(facts.notices),
            "gates": context.config.gates,
        }

    def reads(self, context: Context) -> Sequence[StageKey]:
        return [run.key for run in self.facts.distinct_runs() if find(context.store, run.key) is not None]

    def models(self, context: Context) -> Sequence[ModelDigest]:
        return (self.facts.policy_before, self.facts.scorer)

    def is_kept(self, context: Context) -> bool:
        return context.store.exists(f"reports/{self.facts.report_name}")

    def make(self, context: Context) -> Rows:
        from tasks.report.fill import fill_round
        from tasks.report.page import report_html

        store, facts = context.store, self.facts
        context.progress.begin(self.name, 1, "pages")
        page = report_html(fill_round(store, context.config, facts, now()))
        store.atomic_write(f"reports/{facts.report_name}", page.encode())
        store.atomic_write(_facts_path(facts.campaign, facts.number), _to_json(facts, context.config))
        context.progress.advance(self.name)
        context.progress.end(self.name, store.report_uri(facts.report_name))
        return Rows({})


def read_facts(store: Store, campaign: str, number: int) -> RoundFacts:
    """The facts of a round that was reported. StoreError if there is no report of it, DamagedError if its file is."""
    plain = _read(store, campaign, number)
    plain.pop(_CONFIGURATION, None)
    plain["runs"] = tuple(StageRun(**run) for run in plain["runs"])
    plain["verdicts"] = tuple(
        GateVerdict(**{**verdict, "value": math.nan if verdict["value"] is None else verdict["value"]})
        for verdict in plain["verdicts"]
    )
    plain["notices"] = tuple(plain["notices"])
    return RoundFacts(**plain)


def read_configuration(store: Store, facts: RoundFacts, otherwise: EngineConfig) -> EngineConfig:
    """What a round that was reported ran with. Earlier engines did not note it, or noted fields that this one does not
    know; then it is `otherwise`, with that of the evaluation as its stage recorded it."""
    noted = _read(store, facts.campaign, facts.number).get(_CONFIGURATION)
    with suppress(ValidationError):
        if noted is not None:
            return EngineConfig.model_validate_json(canonical_json(noted))
    key = facts.key("evaluate", "before")
    record = find(store, key) if key is not None else None
    if record is None:
        return otherwise
    drawn = GenerateConfig.model_validate_json(canonical_json(record.config["generate"]))
    return otherwise.model_copy(
        update={
            "campaign": facts.campaign,
            "evaluate": otherwise.evaluate.model_copy(update={"generate": drawn}),
        }
    )


def _read(store: Store, campaign: str, number: int) -> dict[str, Any]:
    path = _facts_path(campaign, number)
    if not store.exists(path):
        raise StoreError(f"There is no report of round {number} of campaign {campaign} in {store.url}.")
    try:
        plain: dict[str, Any] = read_json(store.read_bytes(path), store.uri(path))
    except DamagedError as error:
        raise DamagedError(f"{error} The page beside it was made from the whole; put it back from a copy.") from error
    return plain


def _facts_path(campaign: str, number: int) -> str:
    return f"reports/{campaign}-round-{number}.json"


def _to_json(facts: RoundFacts, config: EngineConfig) -> bytes:
    plain = {**asdict(facts), _CONFIGURATION: config.model_dump(mode="json")}
    for verdict in plain["verdicts"]:
        for name in ("value", "low", "high"):
            if verdict[name] is not None and math.isnan(verdict[name]):
                verdict[name] = None  # JSON has no word for it
    return sealed_json(plain)
