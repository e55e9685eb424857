"""What runs now, and what waits for whom: who holds campaigns, open rounds, unfinished stages, Prefect's runs."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from flows.cli.options import check_campaign
from flows.process.errors import without_passwords
from flows.run.decision.reviewed import state_in_words
from flows.run.holder import Holder
from flows.run.lease import holder_of, leased_campaigns
from flows.run.waiting import waiting_for
from flows.serve.address import may_be_named
from infra import rounds
from infra.begun import Unfinished, unfinished
from infra.store import Store

if TYPE_CHECKING:
    from prefect.client.schemas.objects import FlowRun as PrefectRun

_SECONDS = 5.0
_ACTIVE = ("RUNNING", "PENDING", "CANCELLING", "PAUSED")
_WAITING = ("Late", "AwaitingRetry", "AwaitingConcurrencySlot")
"""Names of states of type SCHEDULED whose runs should have begun."""


@dataclass(frozen=True)
class Campaign:
    """Round and policy of a campaign, and the run that is at work on it, if one is."""

    state: rounds.CampaignState
    holder: Holder | None
    silent: float
    """Seconds since the holder's last heartbeat."""
    waiting: tuple[Holder, ...] = ()
    """Runs of deployments that wait for the holder to end."""
    reviews: str = ""
    """What the open round has of what people said of its pairs, or that it waits for that."""


@dataclass(frozen=True)
class FlowRun:
    """A flow run that Prefect has at work, or that should have begun; `waits_for` says what for."""

    name: str
    flow: str
    state: str
    since: datetime | None
    waits_for: str = ""


@dataclass(frozen=True)
class Status:
    """All of it. `server` is None where no Prefect server is named; `problem` says why a named one tells nothing."""

    campaigns: tuple[Campaign, ...]
    stages: tuple[Unfinished, ...]
    server: str | None
    runs: tuple[FlowRun, ...]
    problem: str = ""


def status(store: Store, campaign: str | None = None) -> Status:
    """What runs now in the store, of one campaign or of all. DataError for a campaign that has not begun."""
    campaigns = {*rounds.campaigns(store), *leased_campaigns(store)}
    if campaign is not None:
        check_campaign(campaign, campaigns)
    names = [campaign] if campaign else sorted(campaigns)
    stages = [one for one in unfinished(store) if campaign is None or one.begun.campaign in (None, campaign)]
    server, runs, problem = _prefect()
    return Status(tuple(_campaign(store, name) for name in names), tuple(stages), server, runs, problem)


def _campaign(store: Store, name: str) -> Campaign:
    holder = holder_of(store, name)
    silent = max(0.0, time.time() - holder.beat) if holder else 0.0
    state = rounds.state(store, name)
    reviews = state_in_words(store, name, state.round) if state.is_open else ""
    return Campaign(state, holder, silent, waiting_for(store, name), reviews)


def _prefect() -> tuple[str | None, tuple[FlowRun, ...], str]:
    """The server that the environment or the Prefect profile names, and its runs; else why they can't be had."""
    if not may_be_named():
        return None, (), ""
    from prefect.settings import PREFECT_API_URL

    url = PREFECT_API_URL.value() or os.environ.get("PREFECT_API_URL")
    if not url:
        return None, (), ""
    server = without_passwords(str(url))
    try:
        return server, _runs(), ""
    except Exception as error:  # noqa: BLE001 - whatever keeps the server from answering, the rest of the status is shown
        return server, (), f"{type(error).__name__}: {without_passwords(str(error)).partition(chr(10))[0]}"


def _runs() -> tuple[FlowRun, ...]:
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import FlowRunFilter
    from prefect.client.schemas.objects import StateType

    active = [StateType(name) for name in _ACTIVE]
    states = {"operator": "or_", "type": {"any_": active}, "name": {"any_": list(_WAITING)}}
    wanted = FlowRunFilter.model_validate({"state": states})
    with get_client(sync_client=True, httpx_settings={"timeout": _SECONDS}) as client:
        flow_runs = client.read_flow_runs(flow_run_filter=wanted, limit=50)
        flows = {run.flow_id: client.read_flow(run.flow_id).name for run in flow_runs}
    starts = [run.start_time or run.expected_start_time for run in flow_runs]
    return tuple(
        FlowRun(run.name, flows[run.flow_id], run.state_name or "?", at and at.astimezone(UTC), _waits_for(run))
        for run, at in zip(flow_runs, starts, strict=True)
    )


def _waits_for(run: PrefectRun) -> str:
    """What a run that has not begun waits for; empty for one that has."""
    pool = f"pool {run.work_pool_name}" if run.work_pool_name else "its deployment"
    match run.state_name:
        case "Late":
            return f"a worker of {pool}: none has taken it (`make serve`, or `prefect worker start`, starts one)"
        case "Pending":
            return "its process, which a worker is starting" if run.work_pool_name else "its process to begin"
        case "AwaitingConcurrencySlot":
            return f"other runs of {pool} to end, as no more may be at work at once"
        case "AwaitingRetry":
            return "its next try"
        case "Paused" | "Suspended":
            return "somebody to resume it"
        case _:
            return ""
