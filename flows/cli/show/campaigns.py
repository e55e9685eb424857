"""What `adhmr status` and `adhmr rounds` print."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from itertools import groupby
from typing import TYPE_CHECKING

from rich.table import Table

from flows.process.terminal import TextConsole, escape, plain_table
from flows.progress.pace import clock_time
from infra.rounds import WITHOUT_ERRORS

if TYPE_CHECKING:
    import pyarrow as pa

    from flows.cli.lineage import Step
    from flows.cli.status import Campaign, Status
    from infra.begun import Unfinished

_TITLES = {"zero_noise_mpvpe": "zero-\nnoise", "best_of_m_mpvpe": "best\nof M", "diversity": "diver-\nsity"}


def print_status(status: Status) -> None:
    """What runs now."""
    out = TextConsole()
    if not status.campaigns:
        out.print("No campaign has begun: `adhmr run` begins one.")
    for campaign in status.campaigns:
        out.print(f"[bold]{escape(campaign.state.campaign)}[/bold]: {escape(_campaign(campaign))}", soft_wrap=True)
        if campaign.reviews:
            out.print(f"  {escape(campaign.reviews)}", soft_wrap=True)
        for waiting in campaign.waiting:
            for_whom = "waits for that" if campaign.holder else "waits for its turn"
            who = f"{waiting.what}, process {waiting.pid} on {waiting.host}{waiting.origin(time.time())}"
            out.print(f"  {for_whom}: {escape(who)}", soft_wrap=True)
    if status.stages:
        table = plain_table("unfinished stage", "campaign", "round", "done", "begun", "last heard of", "key")
        for stage in status.stages:
            table.add_row(*map(escape, _stage(stage)))
        out.print(table)
        if not any(campaign.holder for campaign in status.campaigns):
            out.print("No run is at work on them: the next run with the same settings goes on where they are.")
    else:
        out.print("no unfinished stages")
    if status.server is None:
        out.print("No Prefect server is named (PREFECT_API_URL): its runs are not shown.", soft_wrap=True)
    elif status.problem:
        out.print(f"Prefect at {escape(status.server)} does not answer: {escape(status.problem)}", soft_wrap=True)
    else:
        idle = sum(bool(run.waits_for) for run in status.runs)
        counted = f"{len(status.runs) - idle or 'no'} flow runs at work" + (f", {idle} waiting" if idle else "")
        out.print(f"Prefect at {escape(status.server)}: {counted}", soft_wrap=True)
        for run in status.runs:
            since = f", for {_age(run.since)}" if run.since else ""
            waits = f"; waits for {run.waits_for}" if run.waits_for else ""
            out.print(f"  {escape(f'{run.flow}: {run.name}, {run.state}{since}{waits}')}", soft_wrap=True)


def print_history(rows: pa.Table, earlier: int = 0) -> None:
    """The log of one or all campaigns, and how many rounds before these are not shown."""
    out = TextConsole()
    if rows.num_rows == 0:
        out.print("No campaign has begun: `adhmr run` begins one.")
        return
    table = plain_table("campaign", "round", "event", "current policy", "when", "who", "why", header_style="bold")
    for row in rows.to_pylist():
        when, policy = f"{row['at']:%Y-%m-%d %H:%M}", (row["policy"] or "")[:12]
        table.add_row(
            row["campaign"], str(row["round"]), row["event"], policy, when, escape(row["who"]), escape(row["why"])
        )
    out.print(table)
    if earlier:
        out.print(f"{earlier} earlier rounds are not shown: give a greater --last.")


def print_lineage(steps: list[Step]) -> None:
    """What each decided round trained and how it measured, campaign by campaign; it fits into 80 columns."""
    if not steps:
        return
    out = TextConsole()
    out.print("\nChanges against the policy before, in %, on held-out people:")
    for campaign, rounds in groupby(steps, key=lambda step: step.campaign):
        table = Table(box=None, pad_edge=False, collapse_padding=True, header_style="bold")
        for title in ("round", "outcome", "policy trained", "from"):
            table.add_column(title, overflow="fold")
        for title in (*_TITLES.values(), "drift"):
            table.add_column(title, justify="right", no_wrap=True)
        table.add_column("", no_wrap=True)
        steps_of_campaign = list(rounds)
        for step in steps_of_campaign:
            table.add_row(*_round(step))
        out.print(f"[bold]{escape(campaign)}[/bold], {steps_of_campaign[0].test}", soft_wrap=True)
        out.print(table)


def _round(step: Step) -> tuple[str, ...]:
    return (
        str(step.round),
        step.event,
        step.trained[:12] if step.trained else "none",
        "\n".join(parent[:12] for parent in step.parents),
        *(_change(step.changes.get(name)) for name in _TITLES),
        _change(step.drift),
        "current" if step.is_current else "",
    )


def _change(value: float | None) -> str:
    return "" if value is None else f"{value:+.1f}".replace("-", "\u2212")


def _campaign(campaign: Campaign) -> str:
    state, holder = campaign.state, campaign.holder
    opening = state.first(state.round, "opened")
    if opening is None:
        parts = ["no round yet"]
    elif state.is_open:
        parts = [f"round {state.round} ({opening.why}) is open for {_age(opening.at)}"]
    else:
        abandoned = state.abandoned(state.round)
        parts = [f"round {state.round} " + (f"was abandoned ({abandoned})" if abandoned is not None else "is closed")]
    parts.append(f"policy {state.policy[:12]} is current" if state.policy else "no policy yet")
    decision = state.decision(state.round)
    if decision is not None and decision.why.startswith(WITHOUT_ERRORS):
        parts.append(decision.why)
    if holder is None:
        parts.append("no run is at work" + (", the next run goes on with it" if state.is_open else ""))
    else:
        now = time.time()
        parts.append(f"at work: {holder.described(now)}, heard of {campaign.silent:.0f} s ago")
        if holder.is_still(now):
            parts.append(holder.cure())
    return "; ".join(parts)


def _stage(stage: Unfinished) -> tuple[str, ...]:
    begun = stage.begun
    return (
        begun.stage,
        begun.campaign or "",
        "" if begun.round is None else str(begun.round),
        f"{stage.done} of {begun.total} {begun.unit}",
        f"{_age(stage.since)} ago",
        f"{_age(stage.last)} ago" if stage.last else "nothing yet",
        begun.stage_key[:12],
    )


def _age(then: datetime) -> str:
    return clock_time(max(0.0, (datetime.now(UTC) - then).total_seconds()))
